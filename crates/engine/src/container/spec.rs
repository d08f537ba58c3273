//! From a container's record to an OCI runtime spec: the one generator, for containers, execs and build steps alike.
//!
//! Pure: what the host is like comes in as [`Inputs`]. The baseline (capabilities, masked paths, devices, filter) is
//! Docker's or stricter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use teu_api::container::{HostConfig, Ulimit};
use teu_oci::runtime::{
    Capabilities, ConsoleSize, Cpu, Device, DeviceRule, Linux, Memory, Mount, Namespace, NamespaceKind, Pids, Process,
    Resources, Rlimit, Root, Spec, User, VERSION,
};

use super::baseline::{ALL_CAPABILITIES, CAPABILITIES, MASKED, READ_ONLY, SYSCTLS};
use super::mounts::spec::Attachment;
use super::users;
use crate::error::{Error, Result};

/// The search path of programs where an image names none.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const DEFAULT_SHM: i64 = 64 << 20;

/// All that the spec depends on.
pub(crate) struct Inputs<'a> {
    /// The container's id; names its cgroup.
    pub(crate) id: &'a str,
    /// How it runs on this host.
    pub(crate) host: &'a HostConfig,
    /// Program and arguments.
    pub(crate) args: Vec<String>,
    /// Environment of the image and the user.
    pub(crate) env: &'a [String],
    /// Working directory; empty is the root.
    pub(crate) cwd: &'a str,
    /// Who.
    pub(crate) user: User,
    /// The user's home.
    pub(crate) home: &'a str,
    /// Whether it gets a terminal.
    pub(crate) terminal: bool,
    /// Host name.
    pub(crate) hostname: &'a str,
    /// NIS domain name.
    pub(crate) domainname: &'a str,
    /// Binds, volumes and images, ready to be mounted.
    pub(crate) mounts: &'a [Attachment],
    /// Folder of `hosts`, `hostname` and `resolv.conf`, if the container gets them.
    pub(crate) etc: Option<&'a Path>,
    /// Tmpfs mounts: path to options.
    pub(crate) tmpfs: BTreeMap<String, Vec<String>>,
    /// Device nodes of the host that were asked for.
    pub(crate) devices: Vec<(Device, String)>,
    /// Namespaces of other containers that it joins.
    pub(crate) joined: Joined,
    /// The first of the host's ids that its own user namespace has; none shares the host's.
    pub(crate) users: Option<u32>,
}

/// The first processes of the containers whose namespaces are joined.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Joined {
    /// For the pid namespace.
    pub(crate) pid: Option<i32>,
    /// For the network namespace.
    pub(crate) network: Option<i32>,
    /// For the IPC namespace, and `/dev/shm` with it.
    pub(crate) ipc: Option<i32>,
}

/// Where a container's cgroup is: in its own folder below its parent, or a scope in a slice of systemd's, as the runtime
/// has `slice:prefix:name`.
pub(crate) fn cgroup_path(host: &HostConfig, id: &str) -> PathBuf {
    if is_slice(&host.cgroup_parent) {
        return format!("{}:teu:{id}", host.cgroup_parent).into();
    }
    let parent = host.cgroup_parent.trim_matches('/');
    Path::new("/").join(if parent.is_empty() { "teu" } else { parent }).join(id)
}

/// Whether a parent of cgroups is a slice of systemd's: what begins with a slash is a folder, whatever it is called.
pub(crate) fn is_slice(parent: &str) -> bool {
    parent.ends_with(".slice") && !parent.starts_with('/')
}

/// The spec of a container of which nothing special was asked.
///
/// # Errors
/// None that a host can cause.
pub(crate) fn ordinary() -> Result<Spec> {
    generate(&Inputs {
        id: "",
        host: &HostConfig::default(),
        args: vec![],
        env: &[],
        cwd: "",
        user: User::default(),
        home: "/",
        terminal: false,
        hostname: "",
        domainname: "",
        mounts: &[],
        etc: None,
        tmpfs: BTreeMap::new(),
        devices: vec![],
        joined: Joined::default(),
        users: None,
    })
}

/// Makes the spec.
///
/// # Errors
/// When a capability, limit or option has no meaning.
pub(crate) fn generate(inputs: &Inputs<'_>) -> Result<Spec> {
    let host = inputs.host;
    let security = security(&host.security_opt)?;
    let capabilities = capabilities(host)?;
    let seccomp = match (&security.seccomp, host.privileged) {
        // A profile that was asked for counts whatever else is open.
        (Seccomp::Profile(text), _) => Some(
            serde_json::from_str(text)
                .map_err(|error| Error::bad(format!("Decoding seccomp profile failed: {error}")))?,
        ),
        (Seccomp::Unconfined, _) | (_, true) => None,
        (Seccomp::Default, _) => {
            let names: Vec<&str> = capabilities.iter().map(String::as_str).collect();
            Some(teu_runtime::seccomp::profile::default(&names))
        }
    };
    let open_paths = host.privileged || security.system_paths;
    let paths = |chosen: &Option<Vec<String>>, default: &[&str]| match chosen {
        Some(paths) => paths.clone(),
        None if open_paths => vec![],
        None => default.iter().map(ToString::to_string).collect(),
    };
    Ok(Spec {
        oci_version: VERSION.into(),
        process: Some(process(inputs, &capabilities, security.no_new_privileges)?),
        root: Some(Root { path: PathBuf::new(), readonly: host.readonly_rootfs }),
        hostname: if host.uts_mode == "host" { String::new() } else { inputs.hostname.into() },
        domainname: if host.uts_mode == "host" { String::new() } else { inputs.domainname.into() },
        mounts: users::mapped(mounts(inputs, security.writable_cgroups.unwrap_or(host.privileged)), inputs.users),
        hooks: None,
        annotations: host.annotations.clone(),
        linux: Some(Linux {
            namespaces: namespaces(host, inputs.joined, inputs.users.is_some()),
            uid_mappings: inputs.users.map(users::mapping).into_iter().collect(),
            gid_mappings: inputs.users.map(users::mapping).into_iter().collect(),
            devices: inputs.devices.iter().map(|(device, _)| device.clone()).collect(),
            cgroups_path: Some(cgroup_path(host, inputs.id)),
            resources: Some(resources(host, &inputs.devices)?),
            seccomp,
            sysctl: sysctls(inputs),
            masked_paths: paths(&host.masked_paths, MASKED),
            readonly_paths: paths(&host.readonly_paths, READ_ONLY),
            rootfs_propagation: propagation(inputs.mounts).into(),
            ..Linux::default()
        }),
    })
}

/// Those asked for, and Docker's two: in a network of its own no port and no echo request is a privilege.
fn sysctls(inputs: &Inputs<'_>) -> BTreeMap<String, String> {
    let mut all = inputs.host.sysctls.clone();
    if inputs.host.network_mode != "host" && inputs.joined.network.is_none() && inputs.users.is_none() {
        for (name, value) in SYSCTLS {
            all.entry((*name).into()).or_insert_with(|| (*value).into());
        }
    }
    all
}

/// What no container sees of /proc and /sys, and what none writes to there, unless it says otherwise: noted in its
/// configuration, where `inspect` shows it.
///
/// # Errors
/// When a security option has no meaning.
pub(crate) fn note_paths(host: &mut HostConfig) -> Result<()> {
    if host.privileged || security(&host.security_opt)?.system_paths {
        return Ok(());
    }
    for (own, default) in [(&mut host.masked_paths, MASKED), (&mut host.readonly_paths, READ_ONLY)] {
        own.get_or_insert_with(|| default.iter().map(ToString::to_string).collect());
    }
    Ok(())
}

/// The process alone: an exec's, in a container that runs.
///
/// # Errors
/// As for [`generate`].
pub(crate) fn process_of(inputs: &Inputs<'_>) -> Result<Process> {
    let security = security(&inputs.host.security_opt)?;
    process(inputs, &capabilities(inputs.host)?, security.no_new_privileges)
}

fn process(inputs: &Inputs<'_>, capabilities: &[String], no_new_privileges: bool) -> Result<Process> {
    let [height, width] = inputs.host.console_size;
    let size = |cells: u32| u16::try_from(cells).unwrap_or(0);
    // capabilities(7): a user other than root keeps none over execve, as with any program that root starts for a user.
    let effective = if inputs.user.uid == 0 { capabilities.to_vec() } else { vec![] };
    Ok(Process {
        terminal: inputs.terminal,
        console_size: (inputs.terminal && height > 0).then(|| ConsoleSize { height: size(height), width: size(width) }),
        user: inputs.user.clone(),
        args: inputs.args.clone(),
        env: environment(inputs),
        cwd: if inputs.cwd.is_empty() { "/".into() } else { inputs.cwd.into() },
        capabilities: Some(Capabilities {
            bounding: capabilities.to_vec(),
            effective: effective.clone(),
            permitted: effective,
            inheritable: vec![],
            ambient: vec![],
        }),
        rlimits: inputs.host.ulimits.iter().map(rlimit).collect::<Result<_>>()?,
        no_new_privileges,
        oom_score_adj: i32::try_from(inputs.host.oom_score_adj).ok().filter(|score| *score != 0),
        ..Process::default()
    })
}

/// The image's and the user's variables, and those that every container has unless it sets them itself.
fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let has = |name: &str| inputs.env.iter().any(|entry| entry.split('=').next() == Some(name));
    let mut env = Vec::with_capacity(inputs.env.len() + 4);
    if !has("PATH") {
        env.push(PATH.to_string());
    }
    if !has("HOSTNAME") && !inputs.hostname.is_empty() {
        env.push(format!("HOSTNAME={}", inputs.hostname));
    }
    if inputs.terminal && !has("TERM") {
        env.push("TERM=xterm".into());
    }
    env.extend(inputs.env.iter().filter(|entry| entry.contains('=')).cloned());
    if !has("HOME") {
        env.push(format!("HOME={}", inputs.home));
    }
    env
}

fn rlimit(limit: &Ulimit) -> Result<Rlimit> {
    const KINDS: &[&str] = &[
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    if !KINDS.contains(&limit.name.as_str()) {
        return Err(Error::bad(format!("invalid ulimit type: {}", limit.name)));
    }
    let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    let kind = format!("RLIMIT_{}", limit.name.to_ascii_uppercase());
    Ok(Rlimit { kind, soft: value(limit.soft), hard: value(limit.hard) })
}

/// The container's capabilities as `CAP_…` names, in the order of their numbers.
fn capabilities(host: &HostConfig) -> Result<Vec<String>> {
    let plain = |name: &String| {
        let upper = name.to_ascii_uppercase();
        upper.strip_prefix("CAP_").map(ToString::to_string).unwrap_or(upper)
    };
    let add: Vec<String> = host.cap_add.iter().map(plain).collect();
    let drop: Vec<String> = host.cap_drop.iter().map(plain).collect();
    for name in add.iter().chain(&drop) {
        if name != "ALL" && !ALL_CAPABILITIES.contains(&name.as_str()) {
            return Err(Error::bad(format!("invalid capability: \"CAP_{name}\"")));
        }
    }
    let all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let keep = |name: &&&str| {
        let named = |list: &[String]| list.iter().any(|other| other == **name);
        if host.privileged {
            return true;
        }
        let base = if all(&add) { !named(&drop) } else { CAPABILITIES.contains(name) && !all(&drop) && !named(&drop) };
        base || named(&add)
    };
    Ok(ALL_CAPABILITIES.iter().filter(keep).map(|name| format!("CAP_{name}")).collect())
}

#[derive(Default)]
enum Seccomp {
    #[default]
    Default,
    Unconfined,
    Profile(String),
}

#[derive(Default)]
struct Security {
    seccomp: Seccomp,
    no_new_privileges: bool,
    system_paths: bool,
    /// Privileged containers may change their own cgroups, unless it is said otherwise.
    writable_cgroups: Option<bool>,
}

fn security(options: &[String]) -> Result<Security> {
    let mut security = Security::default();
    for option in options {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin" | "default") => security.seccomp = Seccomp::Default,
            ("seccomp", text) => security.seccomp = Seccomp::Profile(text.into()),
            ("systempaths", "unconfined") => security.system_paths = true,
            ("writable-cgroups", "" | "true") => security.writable_cgroups = Some(true),
            ("writable-cgroups", "false") => security.writable_cgroups = Some(false),
            ("apparmor", "unconfined" | "docker-default" | "") | ("label", _) => {}
            // Docker numbers what is not of the form KEY=VALUE, and what is.
            _ => {
                let form = if option.contains(['=', ':']) { 2 } else { 1 };
                return Err(Error::bad(format!("invalid --security-opt {form}: \"{option}\"")));
            }
        }
    }
    Ok(security)
}

fn namespaces(host: &HostConfig, joined: Joined, own_users: bool) -> Vec<Namespace> {
    use NamespaceKind::{Cgroup, Ipc, Mount, Network, Pid, User, Uts};
    let kinds = [
        (Mount, true),
        (Network, host.network_mode != "host"),
        (Uts, host.uts_mode != "host"),
        (Pid, host.pid_mode != "host"),
        (Ipc, host.ipc_mode != "host"),
        (Cgroup, host.cgroupns_mode != "host"),
        (User, own_users),
    ];
    let path = |kind| match (kind, joined) {
        (Pid, Joined { pid: Some(pid), .. }) => Some(PathBuf::from(format!("/proc/{pid}/ns/pid"))),
        (Ipc, Joined { ipc: Some(pid), .. }) => Some(PathBuf::from(format!("/proc/{pid}/ns/ipc"))),
        (Network, Joined { network: Some(pid), .. }) => Some(PathBuf::from(format!("/proc/{pid}/ns/net"))),
        _ => None,
    };
    kinds.into_iter().filter(|(_, own)| *own).map(|(kind, _)| Namespace { kind, path: path(kind) }).collect()
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: Some(source.into()),
        options: options.iter().map(ToString::to_string).collect(),
        ..Mount::default()
    }
}

fn mounts(inputs: &Inputs<'_>, writable_cgroups: bool) -> Vec<Mount> {
    let host = inputs.host;
    let shm = if host.shm_size > 0 { host.shm_size } else { DEFAULT_SHM };
    let shm = format!("size={shm}");
    let access = |writable: bool| if writable { "rw" } else { "ro" };
    let (writable, cgroups) = (access(host.privileged), access(writable_cgroups));
    let quiet = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &quiet),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", cgroups]),
        mount("/dev/mqueue", "mqueue", "mqueue", &quiet),
    ];
    if let Some(pid) = inputs.joined.ipc {
        mounts.push(mount(
            "/dev/shm",
            "bind",
            &format!("/proc/{pid}/root/dev/shm"),
            &["bind", "nosuid", "noexec", "nodev"],
        ));
    } else if host.ipc_mode == "host" {
        mounts.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "nosuid", "noexec", "nodev"]));
    } else if host.ipc_mode != "none" {
        mounts.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]));
    }
    if let Some(etc) = inputs.etc {
        for name in ["resolv.conf", "hostname", "hosts"] {
            let destination = format!("/etc/{name}");
            if inputs.mounts.iter().all(|mount| mount.record.point.destination != destination) {
                mounts.push(mount(&destination, "bind", &etc.join(name).to_string_lossy(), &["rbind", "rprivate"]));
            }
        }
    }
    let mut chosen: Vec<Mount> = inputs.mounts.iter().map(Attachment::mount).collect();
    chosen.extend(inputs.tmpfs.iter().map(|(path, options)| {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        mount(path, "tmpfs", "tmpfs", &options)
    }));
    // A mount below another must come after it, whatever the order they were asked in.
    chosen.sort_by_key(|mount| mount.destination.matches('/').count());
    for mount in chosen {
        mounts.retain(|base| base.destination != mount.destination);
        mounts.push(mount);
    }
    mounts
}

/// How mount events travel between the host and the container's whole tree: as far as any one of its mounts wants it.
fn propagation(mounts: &[Attachment]) -> &'static str {
    let any = |words: [&str; 2]| mounts.iter().any(|mount| words.contains(&mount.record.point.propagation.as_str()));
    match () {
        () if any(["shared", "rshared"]) => "shared",
        () if any(["slave", "rslave"]) => "rslave",
        () => "",
    }
}

/// Whether capabilities, options and limits have a meaning, before anything is made.
pub(crate) fn check(host: &HostConfig) -> Result<()> {
    capabilities(host)?;
    security(&host.security_opt)?;
    host.device_cgroup_rules.iter().try_for_each(|text| super::devices::rule(text).map(|_| ()))?;
    host.ulimits.iter().try_for_each(|limit| rlimit(limit).map(|_| ()))
}

/// The limits alone, for a container that runs: there a limit may also be taken away.
pub(crate) fn limits(host: &HostConfig) -> Result<Resources> {
    let all = resources(host, &[])?;
    let pids = host.pids_limit.map(|limit| Pids { limit: Some(if limit == 0 { -1 } else { limit }) });
    let quota = all.cpu.as_ref().and_then(|cpu| cpu.quota).or_else(|| (host.cpu_quota < 0).then_some(-1));
    Ok(Resources { devices: vec![], pids, cpu: all.cpu.map(|cpu| Cpu { quota, ..cpu }), ..all })
}

fn resources(host: &HostConfig, devices: &[(Device, String)]) -> Result<Resources> {
    let positive = |number: i64| (number > 0).then_some(number);
    let unsigned = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let (quota, period) = if host.nano_cpus > 0 {
        (Some(host.nano_cpus / 10_000), Some(100_000))
    } else {
        (positive(host.cpu_quota), unsigned(host.cpu_period))
    };
    let swap = match host.memory_swap {
        0 if host.memory > 0 => Some(host.memory.saturating_mul(2)),
        0 => None,
        other => Some(other),
    };
    let mut rules = device_rules(host.privileged, devices);
    for text in host.device_cgroup_rules.iter().filter(|_| !host.privileged) {
        rules.push(super::devices::rule(text)?);
    }
    Ok(Resources {
        devices: rules,
        memory: Some(Memory {
            limit: positive(host.memory),
            reservation: positive(host.memory_reservation),
            swap,
            swappiness: host.memory_swappiness.and_then(|number| u64::try_from(number).ok()),
            disable_oom_killer: host.oom_kill_disable.filter(|disable| *disable),
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: unsigned(host.cpu_shares),
            quota,
            period,
            cpus: host.cpuset_cpus.clone(),
            mems: host.cpuset_mems.clone(),
            realtime_period: unsigned(host.cpu_realtime_period),
            realtime_runtime: positive(host.cpu_realtime_runtime),
            ..Cpu::default()
        }),
        pids: host.pids_limit.filter(|limit| *limit != 0).map(|limit| Pids { limit: Some(limit) }),
        block_io: super::devices::block_io(host)?,
        ..Resources::default()
    })
}

fn device_rules(privileged: bool, devices: &[(Device, String)]) -> Vec<DeviceRule> {
    let rule = |allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| DeviceRule {
        allow,
        kind: kind.into(),
        major,
        minor,
        access: access.into(),
    };
    if privileged {
        return vec![rule(true, "a", None, None, "rwm")];
    }
    let mut rules = vec![rule(false, "a", None, None, "rwm")];
    rules.extend([rule(true, "c", None, None, "m"), rule(true, "b", None, None, "m")]);
    let nodes = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
    ];
    rules.extend(nodes.map(|(major, minor)| rule(true, "c", Some(major), minor, "rwm")));
    rules.push(rule(true, "c", Some(136), None, "rwm"));
    rules.extend(devices.iter().map(|(device, access)| {
        rule(true, &device.kind, Some(i64::from(device.major)), Some(i64::from(device.minor)), access)
    }));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities_of(add: &[&str], drop: &[&str]) -> Vec<String> {
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        capabilities(&HostConfig { cap_add: list(add), cap_drop: list(drop), ..HostConfig::default() }).unwrap()
    }

    #[test]
    fn capabilities_are_dockers_fourteen_unless_changed() {
        assert_eq!(capabilities_of(&[], &[]).len(), 14);
        assert_eq!(capabilities_of(&["net_admin"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert_eq!(capabilities_of(&["ALL"], &["CAP_SYS_ADMIN"]).len(), ALL_CAPABILITIES.len() - 1);
        let host = HostConfig { cap_add: vec!["FLY".into()], ..HostConfig::default() };
        assert!(capabilities(&host).is_err());
    }

    #[test]
    fn half_a_processor_is_half_of_each_period() {
        let host = HostConfig { nano_cpus: 500_000_000, memory: 64 << 20, ..HostConfig::default() };
        let resources = resources(&host, &[]).unwrap();
        let cpu = resources.cpu.unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(50_000), Some(100_000)));
        assert_eq!(resources.memory.unwrap().swap, Some(128 << 20));
    }
}
