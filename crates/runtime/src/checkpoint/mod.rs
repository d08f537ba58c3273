//! A container's processes saved to disk and brought back, by criu(8).
//!
//! ```text
//! checkpoint   criu dumps the tree of the first process; what is the host's stays outside (mounts)
//! restore      cgroup ─ mount targets ─ criu in a mount namespace of its own ─ hooks ─ the first process, our child
//! ```
//!
//! Beside criu's images lies `descriptors.json`, the names of descriptors 0, 1 and 2 as they were, as other runtimes write
//! it: pipes are put in the place of pipes.
//!
//! Invariant: as at a container's birth, nothing is mounted in the host's mount namespace. Deliberately absent: the
//! container's network interfaces, which whoever plugged them in plugs in again.

mod criu;
mod message;
mod mounts;

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::PidfdFlags;
use teu_oci::runtime::{NamespaceKind, Resources, Spec};
use teu_sys::namespace;

use criu::{Criu, Setting};
pub use message::CgroupMode;
use message::{CgroupRoot, Features, Inherited, JoinedNamespace, Kind, Notice, Options, PageServer, Request};
use mounts::Stage;

use crate::create::Process;
use crate::error::During;
use crate::hooks::{self, Identity};
use crate::orders::Orders;
use crate::sources::Sources;
use crate::{Cgroup, Error, Rootfs, Stdio, Stock};

/// The names of the streams.
const DESCRIPTORS: &str = "descriptors.json";
/// How much criu writes to its log: everything but its debugging.
const LOG_LEVEL: i32 = 4;
/// What is in criu's errors that stop nothing: it may not raise a limit of its own, there are no devices for tunnels, a
/// program that it tries first is not there.
const HARMLESS: [&str; 3] = ["RLIMIT_NOFILE", "(criu/tun.c:", "exited, status="];
/// The annotation that names a configuration of criu's for the container.
const CONFIG: &str = "org.criu.config";
/// The configuration otherwise, where those who know other runtimes have it.
const DEFAULT_CONFIG: &str = "/etc/criu/runc.conf";

/// What is to be saved or restored, and how; the defaults are the cautious ones.
#[derive(Debug, Default)]
pub struct Choices {
    /// Where the images are.
    pub images: PathBuf,
    /// Where criu has its log and other files of its work; the images' directory unless it is said.
    pub work: Option<PathBuf>,
    /// The images of an earlier dump, relative to these: only what has changed since is saved.
    pub parent: Option<String>,
    /// The container goes on after its checkpoint.
    pub leave_running: bool,
    /// Connections of TCP are saved too.
    pub tcp_established: bool,
    /// Those that are just being made are not.
    pub tcp_skip_in_flight: bool,
    /// Files that have no name any more get one for the time.
    pub link_remap: bool,
    /// Unix sockets may be connected to processes outside.
    pub external_sockets: bool,
    /// The first process may have its session and terminal from outside.
    pub shell_job: bool,
    /// File locks are saved too.
    pub file_locks: bool,
    /// Only the memory, ahead of the real dump; the container goes on.
    pub pre_dump: bool,
    /// What a later dump has too is punched out of the earlier.
    pub auto_dedup: bool,
    /// Pages follow when they are asked for.
    pub lazy_pages: bool,
    /// Where a page server listens: address and port.
    pub page_server: Option<(String, u16)>,
    /// Gets a null byte when the page server of lazy pages is ready.
    pub status: Option<OwnedFd>,
    /// What is done about cgroups.
    pub cgroups: Option<CgroupMode>,
    /// The network namespace is whoever's who plugs it in: it is left alone, and another one is given at the restore.
    pub leave_network: bool,
    /// Another profile of the security module, `type:name`.
    pub lsm_profile: Option<String>,
    /// Another label of the mounts.
    pub lsm_mount_context: Option<String>,
}

/// A container to be saved.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Its first process.
    pub pid: i32,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Its cgroup.
    pub cgroup: &'a Cgroup,
    /// What its descriptors 0, 1 and 2 were when it was made, see [`streams_of`].
    pub streams: &'a [String],
}

/// A container to be brought back.
#[derive(Debug)]
pub struct Revival<'a> {
    /// Its configuration.
    pub spec: &'a Spec,
    /// Its root file system.
    pub rootfs: &'a Rootfs,
    /// What hooks are told of it.
    pub identity: Identity,
    /// Its descriptors 0, 1 and 2; without them it inherits the caller's.
    pub stdio: Option<Stdio>,
    /// An empty directory of the host's that is a place for mounts, by its real path.
    pub place: &'a Path,
    /// The cgroup, empty and without limits.
    pub cgroup: Cgroup,
    /// The network namespace, of a container that was saved without its own.
    pub network: Option<OwnedFd>,
}

/// Is told of a process that is back and does not run yet.
pub type Known<'a> = dyn FnMut(i32) -> Result<(), Error> + 'a;

/// What the first three descriptors of a process are, as the links of its `/proc/<pid>/fd` say.
pub fn streams_of(pid: i32) -> Vec<String> {
    let name = |number| std::fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default();
    (0..3).map(|number| name(number).to_string_lossy().into_owned()).collect()
}

/// Whether a process has clocks of its own: criu gives them to all that it brings back.
pub fn has_own_clocks(pid: i32) -> bool {
    let namespace = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/time")).ok();
    let own = namespace("self");
    own.is_some() && namespace(&pid.to_string()).is_some_and(|theirs| Some(theirs) != own)
}

/// Saves a container. It has ended then, unless it was to be left running or this was ahead of time.
///
/// # Errors
/// [`Error::Refused`] when criu is missing, too old, or cannot do it, in its words; the container goes on then.
pub fn checkpoint(subject: &Subject<'_>, mut choices: Choices) -> Result<(), Error> {
    let null = null()?;
    criu::check_version(&null)?;
    if choices.pre_dump {
        criu::check_features(&null, Features { memory_tracking: Some(true), lazy_pages: None })?;
    }
    if choices.lazy_pages {
        criu::check_features(&null, Features { memory_tracking: None, lazy_pages: Some(true) })?;
    }
    let mut status = choices.status.take();
    let folders = Folders::make(&choices, true)?;
    let setting = Setting { streams: Some(&null), folders: folders.list(), ..Setting::default() };
    let mut options = Options {
        pid: Some(subject.pid),
        leave_running: Some(choices.leave_running),
        tcp_skip_in_flight: Some(choices.tcp_skip_in_flight),
        link_remap: Some(choices.link_remap),
        parent: choices.parent.clone(),
        track_memory: choices.parent.is_some().then_some(true),
        freezer: subject.cgroup.freezer().map(|path| path.to_string_lossy().into_owned()),
        external: external_namespaces(subject, choices.leave_network)?,
        page_server: choices.page_server.as_ref().map(page_server),
        ..common(&choices, &setting, subject.spec, subject.cgroup, "dump.log")
    };
    if !choices.pre_dump {
        options.mounts = mounts::at_checkpoint(subject.spec, subject.pid, subject.cgroup)?;
        let text = serde_json::to_vec(&subject.streams).unwrap_or_default();
        let path = choices.images.join(DESCRIPTORS);
        std::fs::write(&path, text).during_with(|| format!("write {}", path.display()))?;
    }
    let kind = if choices.pre_dump { Kind::PreDump } else { Kind::Dump };
    let request = Request { kind: kind.into(), options: Some(options), ..Request::default() };
    let notice = &mut |notice: &Notice, _| {
        if notice.step() == "status-ready"
            && let Some(status) = status.take()
        {
            // Whoever waited may be gone.
            let _ = File::from(status).write_all(&[0]);
        }
        Ok(())
    };
    let done = Criu::start(&setting, || Ok(()))?.ask(&request, notice);
    done.map(drop).map_err(|error| folders.explain(error, "dump.log"))
}

/// Brings a container back; its first process is a child of the caller, as at its birth. `known` is told of it before it
/// goes on.
///
/// # Errors
/// As [`checkpoint`]; nothing of the container is left then, its cgroup neither.
pub fn restore(revival: Revival<'_>, choices: &Choices, known: &mut Known<'_>) -> Result<Process, Error> {
    let cgroup = revival.cgroup.clone();
    bring_back(revival, choices, known).inspect_err(|_| {
        // The error that led here is the one to tell.
        let _ = cgroup.remove();
    })
}

fn bring_back(revival: Revival<'_>, choices: &Choices, known: &mut Known<'_>) -> Result<Process, Error> {
    let Revival { spec, rootfs, identity, stdio, place, cgroup, network } = revival;
    criu::check_version(&null()?)?;
    let folders = Folders::make(choices, false)?;
    let mut orders = Orders::new(&identity.id, spec, rootfs, &crate::Options::default())?;
    if orders.namespaces.mount.is_some() {
        return Err(Error::refused("restore: a mount namespace cannot be joined"));
    }
    let none = Resources::default();
    let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
    let shown = orders.show_cgroup(&cgroup);
    let stage = Stage::new(place, &orders);
    let sources = Sources::open(rootfs, &orders, &shown)?;
    criu::apart(namespace::MOUNT, || stage.make_targets(sources))?;
    let sources = Sources::open(rootfs, &orders, &shown)?;
    let joined = Joined::of(spec, network)?;
    let unified = cgroup.open_unified().during("open the cgroup")?;
    let setting = Setting {
        namespaces: namespace::MOUNT,
        cgroup: unified.as_ref().map(AsFd::as_fd),
        streams: stdio.as_ref(),
        folders: folders.list(),
        inherited: joined.files.iter().map(AsFd::as_fd).collect(),
    };
    let criu = Criu::start(&setting, || stage.attach(sources))?;
    enter(&cgroup, criu.pid(), resources)?;
    let options = Options {
        root: Some(stage.root()),
        as_sibling: Some(true),
        evasive_devices: Some(true),
        mounts: stage.external(),
        cgroup_roots: cgroup_roots(criu.pid()).during("read the cgroups of criu")?,
        inherited: joined.descriptors(&setting).chain(pipes(&choices.images)?).collect(),
        joined: joined.by_path.clone(),
        lsm_profile: choices.lsm_profile.clone(),
        lsm_mount_context: choices.lsm_mount_context.clone(),
        ..common(choices, &setting, spec, &cgroup, "restore.log")
    };
    let request = Request { kind: Kind::Restore.into(), options: Some(options), ..Request::default() };
    let (mut restored, mut terminal) = (None, None);
    let notice = &mut |notice: &Notice, mut fds: Vec<OwnedFd>| {
        match notice.step() {
            "setup-namespaces" => run_hooks(spec, &identity, notice.pid())?,
            "orphan-pts-master" => terminal = fds.pop(),
            "post-restore" => {
                restored = Some(open_process(notice.pid())?);
                known(notice.pid())?;
            }
            _ => {}
        }
        Ok(())
    };
    criu.ask(&request, notice).map_err(|error| folders.explain(error, "restore.log"))?;
    let (pid, pidfd) = restored.ok_or_else(|| Error::refused("restore: criu named no process"))?;
    Ok(Process { pid, pidfd, terminal, cgroup })
}

/// Puts criu into the cgroup, and with it what it brings back.
fn enter(cgroup: &Cgroup, pid: i32, resources: &Resources) -> Result<(), Error> {
    for mut join in cgroup.open_legacy_joins().during("open cgroup.procs")? {
        join.write_all(pid.to_string().as_bytes()).during("join the cgroup")?;
    }
    cgroup.limit(resources, &Stock::default())
}

fn open_process(pid: i32) -> Result<(i32, OwnedFd), Error> {
    let number = rustix::process::Pid::from_raw(pid).ok_or_else(|| Error::refused("restore: criu named no process"))?;
    Ok((pid, rustix::process::pidfd_open(number, PidfdFlags::empty()).during("open the restored process")?))
}

fn run_hooks(spec: &Spec, identity: &Identity, pid: i32) -> Result<(), Error> {
    let Some(all) = &spec.hooks else { return Ok(()) };
    let state = identity.state("creating", pid);
    hooks::run("prestart", &all.prestart, &state)?;
    hooks::run("createRuntime", &all.create_runtime, &state)
}

fn page_server((address, port): &(String, u16)) -> PageServer {
    PageServer { address: Some(address.clone()), port: Some((*port).into()) }
}

/// What both directions ask for.
fn common(choices: &Choices, setting: &Setting<'_>, spec: &Spec, cgroup: &Cgroup, log: &str) -> Options {
    // Of version 1 criu mounts every hierarchy of the machine, one that is about to go too, and makes others' cgroups again.
    let usual = if cgroup.has_legacy() { CgroupMode::Ignore } else { CgroupMode::Default };
    let config_file = match spec.annotations.get(CONFIG) {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.clone()),
        None => Some(DEFAULT_CONFIG.to_owned()),
    };
    Options {
        images: setting.folder(0),
        work: choices.work.is_some().then(|| setting.folder(1)),
        log_level: Some(LOG_LEVEL),
        log_file: Some(log.to_owned()),
        notify: Some(true),
        manage_cgroups: Some(true),
        cgroup_mode: Some(choices.cgroups.unwrap_or(usual).into()),
        external_sockets: Some(choices.external_sockets),
        tcp_established: Some(choices.tcp_established),
        shell_job: Some(choices.shell_job),
        file_locks: Some(choices.file_locks),
        auto_dedup: Some(choices.auto_dedup),
        lazy_pages: Some(choices.lazy_pages),
        // Interfaces, addresses and routes are those of whoever plugs them in.
        empty_namespaces: Some(u32::try_from(namespace::NETWORK).unwrap_or(0)),
        orphan_terminal: Some(true),
        config_file,
        ..Options::default()
    }
}

/// The directories of one call: they exist.
struct Folders<'a> {
    images: &'a Path,
    work: Option<&'a Path>,
}

impl Folders<'_> {
    fn make(choices: &Choices, images_too: bool) -> Result<Folders<'_>, Error> {
        let (images, work) = (choices.images.as_path(), choices.work.as_deref());
        for path in images_too.then_some(images).into_iter().chain(work) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.during_with(|| format!("make {}", path.display()))?;
        }
        Ok(Folders { images, work })
    }

    fn list(&self) -> Vec<&Path> {
        [self.images].into_iter().chain(self.work).collect()
    }

    /// The same error with the reason that criu's log has.
    fn explain(&self, error: Error, log: &str) -> Error {
        let path = self.work.unwrap_or(self.images).join(log);
        let text = std::fs::read(&path).unwrap_or_default();
        match reason(&String::from_utf8_lossy(&text)) {
            Some(reason) => Error::refused(format!("{error}: {reason} (more in {})", path.display())),
            None => error,
        }
    }
}

/// The first error of criu's log that stopped it: what it only finds out about this machine is one to it as well.
fn reason(log: &str) -> Option<&str> {
    let harmless = |line: &str| HARMLESS.iter().any(|source| line.contains(source));
    let (_, reason) = log.lines().filter(|line| !harmless(line)).find_map(|line| line.split_once(" Error "))?;
    Some(reason)
}

/// The namespaces of the container that are somebody else's, as criu names them: `net[<inode>]:<name>`.
fn external_namespaces(subject: &Subject<'_>, leave_network: bool) -> Result<Vec<String>, Error> {
    let mut external = Vec::new();
    let own = subject.spec.linux.iter().flat_map(|linux| &linux.namespaces);
    let own = own.filter(|one| leave_network && one.kind == NamespaceKind::Network && one.path.is_none());
    let left = PathBuf::from(format!("/proc/{}/ns/net", subject.pid));
    let left = own.map(|one| (one.kind, left.as_path()));
    for (kind, path) in joined_namespaces(subject.spec).chain(left) {
        let Some(name) = kept(kind) else { continue };
        let found = std::fs::metadata(path).during_with(|| format!("look at namespace {}", path.display()))?;
        external.push(format!("{}[{}]:{name}", short_name(kind), found.ino()));
    }
    Ok(external)
}

/// The namespaces that the container joins by a path.
fn joined_namespaces(spec: &Spec) -> impl Iterator<Item = (NamespaceKind, &Path)> {
    let all = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    all.filter_map(|one| Some((one.kind, one.path.as_deref().filter(|path| !path.as_os_str().is_empty())?)))
}

/// The name under which criu leaves a namespace alone; the others it only enters.
fn kept(kind: NamespaceKind) -> Option<&'static str> {
    match kind {
        NamespaceKind::Network => Some("extRootNetNS"),
        NamespaceKind::Pid => Some("extRootPidNS"),
        _ => None,
    }
}

fn short_name(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Network => "net",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Mount => "mnt",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::User => "user",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Time => "time",
    }
}

/// The namespaces that a restored container joins.
#[derive(Default)]
struct Joined {
    /// Those that criu leaves alone, and their names.
    files: Vec<File>,
    names: Vec<&'static str>,
    by_path: Vec<JoinedNamespace>,
}

impl Joined {
    /// Those of the spec, and the network of a container that was saved without its own.
    fn of(spec: &Spec, network: Option<OwnedFd>) -> Result<Joined, Error> {
        let mut joined = Joined::default();
        if let (Some(network), Some(name)) = (network, kept(NamespaceKind::Network)) {
            joined.names.push(name);
            joined.files.push(network.into());
        }
        for (kind, path) in joined_namespaces(spec) {
            match (kept(kind), kind) {
                (Some(name), _) => {
                    joined.names.push(name);
                    let file = File::open(path).during_with(|| format!("open namespace {}", path.display()))?;
                    joined.files.push(file);
                }
                (None, NamespaceKind::Cgroup) => {
                    return Err(Error::refused("restore: a cgroup namespace cannot be joined"));
                }
                (None, _) => joined.by_path.push(JoinedNamespace {
                    kind: short_name(kind).to_owned(),
                    path: path.to_string_lossy().into_owned(),
                }),
            }
        }
        Ok(joined)
    }
}

impl Joined {
    /// The descriptors of those that criu leaves alone.
    fn descriptors(&self, setting: &Setting<'_>) -> impl Iterator<Item = Inherited> {
        let named = self.names.iter().enumerate();
        named.map(|(place, name)| Inherited { key: (*name).to_owned(), number: setting.inherited(place) })
    }
}

/// The pipes among the streams of the image; our own stand for them.
fn pipes(images: &Path) -> Result<Vec<Inherited>, Error> {
    let path = images.join(DESCRIPTORS);
    let text = std::fs::read(&path).during_with(|| format!("read {}", path.display()))?;
    let names: Vec<String> = serde_json::from_slice(&text)
        .map_err(io::Error::from)
        .during_with(|| format!("understand {}", path.display()))?;
    let inherit = |(number, key)| Inherited { key, number };
    Ok((0..).zip(names).filter(|(_, name)| name.starts_with("pipe:")).map(inherit).collect())
}

/// The cgroup of a process in every hierarchy: what takes the place of those in the image.
fn cgroup_roots(pid: i32) -> io::Result<Vec<CgroupRoot>> {
    let text = teu_sys::text::read(format!("/proc/{pid}/cgroup"))?;
    Ok(text.lines().flat_map(roots_of_line).collect())
}

/// A line of proc_pid_cgroup(5): `number:controllers:path`.
fn roots_of_line(line: &str) -> Vec<CgroupRoot> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    let root = |name: &str| CgroupRoot { controller: Some(name.to_owned()), path: path.to_owned() };
    controllers.split(',').map(root).collect()
}

fn null() -> Result<Stdio, Error> {
    let open = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from).during("open /dev/null");
    Ok(Stdio { stdin: open()?, stdout: open()?, stderr: open()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_of_a_hierarchy_has_its_root() {
        let names = |line| {
            roots_of_line(line)
                .into_iter()
                .map(|root| (root.controller.unwrap_or_default(), root.path))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("4:cpu,cpuacct:/teu/a:b"),
            [("cpu".into(), "/teu/a:b".into()), ("cpuacct".into(), "/teu/a:b".into())]
        );
        assert_eq!(names("0::/teu/a"), [(String::new(), "/teu/a".into())]);
        assert!(names("what").is_empty());
    }

    #[test]
    fn the_reason_is_the_first_error_that_stopped_something() {
        let log = "(00.01) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self\n(00.02) Version: 4.2\n\
                   (00.03) Error (criu/pstree.c:2): Pid 7 does not match\n(00.04) Error (criu/cr-restore.c:3): Restoring FAILED.";
        assert_eq!(reason(log), Some("(criu/pstree.c:2): Pid 7 does not match"));
        assert_eq!(reason("all is well"), None);
    }

    #[test]
    fn pipes_are_put_in_the_place_of_pipes() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join(DESCRIPTORS), br#"["/dev/null","pipe:[7]","pipe:[8]"]"#).expect("written");
        let found = pipes(folder.path()).expect("read");
        let found: Vec<_> = found.iter().map(|one| (one.key.as_str(), one.number)).collect();
        assert_eq!(found, [("pipe:[7]", 1), ("pipe:[8]", 2)]);
        assert!(pipes(&folder.path().join("nowhere")).is_err());
    }
}
