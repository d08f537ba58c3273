//! Flags become a create request.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use teu_api::container::{
    Config, CreateRequest, DeviceMapping, DeviceRequest, EndpointIpamConfig, EndpointSettings, HostConfig, LogConfig,
    NetworkingConfig, PortMap,
};
use teu_api::{Empty, Healthcheck};

use super::flags::ContainerFlags;
use crate::grammar::device::Device;
use crate::grammar::volume::{self, Volume};
use crate::grammar::{environment, mount, network, port};

/// What reading flags needs of the surroundings.
pub(crate) struct Surroundings<'a> {
    /// The value of an environment variable.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub(crate) read: &'a dyn Fn(&str) -> Result<String, String>,
    /// The working folder.
    pub(crate) folder: &'a Path,
    /// Proxies of containers.
    pub(crate) proxies: BTreeMap<String, String>,
}

/// Builds the request; an error is one sentence.
pub(crate) fn build(flags: &ContainerFlags, around: &Surroundings<'_>) -> Result<CreateRequest, String> {
    if flags.rm && flags.restart.name != "no" {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    let mut request = CreateRequest {
        config: config(flags, around)?,
        host_config: host_config(flags)?,
        networking_config: NetworkingConfig::default(),
    };
    volumes(flags, around.folder, &mut request)?;
    ports(flags, &mut request)?;
    networks(flags, &mut request)?;
    security(flags, around, &mut request.host_config)?;
    Ok(request)
}

fn config(flags: &ContainerFlags, around: &Surroundings<'_>) -> Result<Config, String> {
    let attached = |name: &str| flags.attach.iter().any(|stream| stream.eq_ignore_ascii_case(name));
    if let Some(bad) = flags.attach.iter().find(|s| !["stdin", "stdout", "stderr"].contains(&s.to_lowercase().as_str()))
    {
        return Err(format!(
            "invalid argument \"{bad}\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
        ));
    }
    let implied = flags.attach.is_empty();
    let stdin = attached("stdin") || (implied && flags.interactive);
    Ok(Config {
        hostname: flags.hostname.clone().unwrap_or_default(),
        domainname: flags.domainname.clone().unwrap_or_default(),
        user: flags.user.clone().unwrap_or_default(),
        attach_stdin: stdin,
        attach_stdout: attached("stdout") || implied,
        attach_stderr: attached("stderr") || implied,
        tty: flags.tty,
        open_stdin: flags.interactive,
        stdin_once: flags.interactive && stdin,
        env: variables(flags, around)?,
        cmd: (!flags.command.is_empty()).then(|| flags.command.clone()),
        healthcheck: healthcheck(flags)?,
        image: flags.image.clone(),
        working_dir: flags.workdir.clone().unwrap_or_default(),
        // An empty entrypoint clears the image's: the API's sign for that is one empty word.
        entrypoint: flags.entrypoint.clone().map(|program| vec![program]),
        labels: labels(flags, around)?,
        stop_signal: flags.stop_signal.clone().unwrap_or_default(),
        stop_timeout: flags.stop_timeout,
        ..Config::default()
    })
}

fn variables(flags: &ContainerFlags, around: &Surroundings<'_>) -> Result<Vec<String>, String> {
    let mut variables = Vec::new();
    for file in &flags.env_file {
        let text = (around.read)(file)?;
        variables.extend(environment::file(&text, around.variable).map_err(|why| format!("env file {file}: {why}"))?);
    }
    for text in &flags.env {
        variables.extend(environment::variable(text, around.variable)?);
    }
    // What `config.json` says of proxies, unless a flag says otherwise.
    let named = |name: &str| flags.env.iter().any(|text| text.split('=').next() == Some(name));
    let proxies = around.proxies.iter().filter(|(name, _)| !named(name));
    variables.extend(proxies.map(|(name, value)| format!("{name}={value}")));
    Ok(variables)
}

fn labels(flags: &ContainerFlags, around: &Surroundings<'_>) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for file in &flags.label_file {
        let text = (around.read)(file)?;
        let lines = environment::file(&text, |_| Some(String::new()));
        labels.extend(environment::pairs(&lines.map_err(|why| format!("label file {file}: {why}"))?));
    }
    labels.extend(environment::pairs(&flags.label));
    Ok(labels)
}

fn healthcheck(flags: &ContainerFlags) -> Result<Option<Healthcheck>, String> {
    let given = flags.health_cmd.is_some()
        || flags.health_retries.is_some()
        || flags.health_interval.is_some()
        || flags.health_timeout.is_some()
        || flags.health_start_period.is_some()
        || flags.health_start_interval.is_some();
    if flags.no_healthcheck {
        if given {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() }));
    }
    if !given {
        return Ok(None);
    }
    let test = flags.health_cmd.iter().flat_map(|command| ["CMD-SHELL".to_owned(), command.clone()]).collect();
    Ok(Some(Healthcheck {
        test,
        interval: flags.health_interval.unwrap_or(0),
        timeout: flags.health_timeout.unwrap_or(0),
        start_period: flags.health_start_period.unwrap_or(0),
        start_interval: flags.health_start_interval.unwrap_or(0),
        retries: flags.health_retries.unwrap_or(0),
    }))
}

fn host_config(flags: &ContainerFlags) -> Result<HostConfig, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let pair = |what: &str, texts: &[String]| environment::full_pairs(texts).map_err(|why| format!("{what}: {why}"));
    let tmpfs = flags.tmpfs.iter().map(|text| volume::tmpfs(text)).collect::<Result<_, String>>()?;
    Ok(HostConfig {
        container_id_file: text(&flags.cidfile),
        log_config: LogConfig { kind: text(&flags.log_driver), config: pair("--log-opt", &flags.log_opt)? },
        restart_policy: flags.restart.clone(),
        auto_remove: flags.rm,
        volumes_from: flags.volumes_from.clone(),
        annotations: environment::pairs(&flags.annotation),
        cap_add: flags.cap_add.clone(),
        cap_drop: flags.cap_drop.clone(),
        cgroupns_mode: text(&flags.cgroupns),
        dns: flags.dns.iter().map(ToString::to_string).collect(),
        dns_options: flags.dns_option.clone(),
        dns_search: flags.dns_search.clone(),
        extra_hosts: flags.add_host.iter().map(|text| environment::extra_host(text)).collect::<Result<_, _>>()?,
        group_add: flags.group_add.clone(),
        ipc_mode: text(&flags.ipc),
        oom_score_adj: flags.oom_score_adj.unwrap_or(0),
        pid_mode: text(&flags.pid),
        privileged: flags.privileged,
        publish_all_ports: flags.publish_all,
        readonly_rootfs: flags.read_only,
        tmpfs,
        uts_mode: text(&flags.uts),
        userns_mode: whose_ids(&text(&flags.userns)),
        shm_size: flags.shm_size.unwrap_or(0),
        sysctls: pair("--sysctl", &flags.sysctl)?,
        isolation: text(&flags.isolation),
        links: flags.link.clone(),
        runtime: text(&flags.runtime),
        health_on_failure: text(&flags.health_on_failure),
        storage_opt: pair("--storage-opt", &flags.storage_opt)?,
        volume_driver: text(&flags.volume_driver),
        init: flags.init,
        ..limits(flags)
    })
}

/// What the container may use of the machine.
fn limits(flags: &ContainerFlags) -> HostConfig {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    HostConfig {
        cpu_shares: flags.cpu_shares.unwrap_or(0),
        cpu_period: flags.cpu_period.unwrap_or(0),
        cpu_quota: flags.cpu_quota.unwrap_or(0),
        memory: flags.memory.unwrap_or(0),
        nano_cpus: flags.cpus.unwrap_or(0),
        cpuset_cpus: text(&flags.cpuset_cpus),
        cpuset_mems: text(&flags.cpuset_mems),
        memory_reservation: flags.memory_reservation.unwrap_or(0),
        memory_swap: flags.memory_swap.unwrap_or(0),
        pids_limit: flags.pids_limit,
        ulimits: flags.ulimit.clone(),
        blkio_weight: flags.blkio_weight.unwrap_or(0),
        blkio_weight_device: flags.blkio_weight_device.clone(),
        blkio_device_read_bps: flags.device_read_bps.clone(),
        blkio_device_write_bps: flags.device_write_bps.clone(),
        blkio_device_read_iops: flags.device_read_iops.clone(),
        blkio_device_write_iops: flags.device_write_iops.clone(),
        cgroup_parent: text(&flags.cgroup_parent),
        cpu_realtime_period: flags.cpu_rt_period.unwrap_or(0),
        cpu_realtime_runtime: flags.cpu_rt_runtime.unwrap_or(0),
        cpu_count: flags.cpu_count.unwrap_or(0),
        cpu_percent: flags.cpu_percent.unwrap_or(0),
        io_maximum_bandwidth: flags.io_maxbandwidth.unwrap_or(0).unsigned_abs(),
        io_maximum_iops: flags.io_maxiops.unwrap_or(0),
        memory_swappiness: (flags.memory_swappiness >= 0).then_some(flags.memory_swappiness),
        oom_kill_disable: flags.oom_kill_disable,
        devices: paths(&flags.device),
        device_requests: requests(flags),
        device_cgroup_rules: flags.device_cgroup_rule.clone(),
        ..HostConfig::default()
    }
}

/// The devices that are files.
fn paths(devices: &[Device]) -> Vec<DeviceMapping> {
    let path = |device: &Device| match device {
        Device::Path(mapping) => Some(mapping.clone()),
        Device::Cdi(_) => None,
    };
    devices.iter().filter_map(path).collect()
}

/// The devices that a driver makes: GPUs, and those known by their CDI names.
fn requests(flags: &ContainerFlags) -> Vec<DeviceRequest> {
    let mut requests = flags.gpus.clone();
    let name = |device: &Device| match device {
        Device::Path(_) => None,
        Device::Cdi(name) => Some(name.clone()),
    };
    let device_ids: Vec<String> = flags.device.iter().filter_map(name).collect();
    if !device_ids.is_empty() {
        requests.push(DeviceRequest { driver: "cdi".into(), device_ids: Some(device_ids), ..DeviceRequest::default() });
    }
    requests
}

fn volumes(flags: &ContainerFlags, folder: &Path, request: &mut CreateRequest) -> Result<(), String> {
    for text in &flags.volume {
        match volume::volume(text, folder)? {
            Volume::Anonymous(path) => {
                request.config.volumes.insert(path, Empty {});
            }
            Volume::Bind(bind) => request.host_config.binds.push(bind),
        }
    }
    for text in &flags.mount {
        let why = |why| format!("invalid argument \"{text}\" for \"--mount\" flag: {why}");
        request.host_config.mounts.push(mount::mount(text).map_err(why)?);
    }
    Ok(())
}

fn ports(flags: &ContainerFlags, request: &mut CreateRequest) -> Result<(), String> {
    let mut bindings = PortMap::new();
    for text in &flags.publish {
        for (port, binding) in port::publish(text)? {
            request.config.exposed_ports.insert(port.clone(), Empty {});
            bindings.entry(port).or_default().get_or_insert_default().push(binding);
        }
    }
    for text in &flags.expose {
        request.config.exposed_ports.extend(port::expose(text)?.into_iter().map(|port| (port, Empty {})));
    }
    request.host_config.port_bindings = bindings;
    Ok(())
}

fn networks(flags: &ContainerFlags, request: &mut CreateRequest) -> Result<(), String> {
    let mut endpoints: Vec<(String, EndpointSettings)> = Vec::new();
    for text in &flags.network {
        let (name, endpoint) = network::network(text).map_err(|why| format!("invalid network '{text}': {why}"))?;
        if endpoints.iter().any(|(known, _)| *known == name) {
            return Err(format!("network \"{name}\" is specified multiple times"));
        }
        endpoints.push((name, endpoint));
    }
    let mode = endpoints.first().map_or_else(|| "default".to_owned(), |(name, _)| name.clone());
    let given = flags.ip.is_some()
        || flags.ip6.is_some()
        || flags.mac_address.is_some()
        || !flags.network_alias.is_empty()
        || !flags.link_local_ip.is_empty();
    if given {
        if endpoints.is_empty() {
            endpoints.push((mode.clone(), EndpointSettings::default()));
        }
        let endpoint = &mut endpoints[0].1;
        if let Some(ip) = flags.ip {
            let ipam = endpoint.ipam_config.get_or_insert_with(EndpointIpamConfig::default);
            ipam.ipv4_address = ip.to_string();
        }
        if let Some(ip) = flags.ip6 {
            let ipam = endpoint.ipam_config.get_or_insert_with(EndpointIpamConfig::default);
            ipam.ipv6_address = ip.to_string();
        }
        if !flags.link_local_ip.is_empty() {
            let ipam = endpoint.ipam_config.get_or_insert_with(EndpointIpamConfig::default);
            ipam.link_local_ips.clone_from(&flags.link_local_ip);
        }
        if !flags.network_alias.is_empty() {
            endpoint.aliases.get_or_insert_default().extend(flags.network_alias.iter().cloned());
        }
        if let Some(address) = &flags.mac_address {
            endpoint.mac_address.clone_from(address);
        }
    }
    // A mode that is no network has no place beside one.
    let alone = |name: &String| matches!(name.as_str(), "host" | "none") || name.starts_with("container:");
    if endpoints.len() > 1 && endpoints.iter().any(|(name, _)| alone(name)) {
        return Err("conflicting options: cannot attach both user-defined and non-user-defined network-modes".into());
    }
    request.host_config.network_mode = mode;
    // A mode that is no network has no endpoint.
    let is_network = |name: &String| !matches!(name.as_str(), "host" | "none") && !name.starts_with("container:");
    let named =
        endpoints.into_iter().filter(|(name, endpoint)| is_network(name) || *endpoint != EndpointSettings::default());
    request.networking_config.endpoints_config = named.collect();
    Ok(())
}

/// A seccomp profile's text goes along; the daemon cannot read the user's files.
fn security(flags: &ContainerFlags, around: &Surroundings<'_>, host: &mut HostConfig) -> Result<(), String> {
    for option in &flags.security_opt {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (key, value) {
            ("systempaths", "unconfined") => {
                host.masked_paths = Some(Vec::new());
                host.readonly_paths = Some(Vec::new());
            }
            ("seccomp", file) if !matches!(file, "unconfined" | "builtin") => {
                let text = (around.read)(file).map_err(|why| format!("seccomp profile: {why}"))?;
                let profile: Value = serde_json::from_str(&text)
                    .map_err(|error| format!("seccomp profile {file} is not JSON: {error}"))?;
                host.security_opt.push(format!("seccomp={profile}"));
            }
            ("no-new-privileges" | "writable-cgroups", _) => host.security_opt.push(option.clone()),
            (_, "") => return Err(format!("invalid --security-opt: \"{option}\"")),
            _ => host.security_opt.push(format!("{key}={value}")),
        }
    }
    Ok(())
}

/// The engine serves many users: the ids to keep are those of whoever asks.
fn whose_ids(mode: &str) -> String {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    match mode {
        "keep-id" => format!("keep-id:uid={uid},gid={gid}"),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn request(words: &[&str]) -> Result<CreateRequest, String> {
        let command = ContainerFlags::augment_args(clap::Command::new("run").disable_help_flag(true));
        let words = std::iter::once("run").chain(words.iter().copied());
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let flags = ContainerFlags::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let around = Surroundings {
            variable: &|name| (name == "HOME").then(|| "/root".to_owned()),
            read: &|file| match file {
                "vars" => Ok("A=1\nHOME\n".to_owned()),
                "profile" => Ok("{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }".to_owned()),
                _ => Err(format!("open {file}: no such file or directory")),
            },
            folder: Path::new("/work"),
            proxies: BTreeMap::from([("HTTP_PROXY".to_owned(), "p".to_owned())]),
        };
        build(&flags, &around)
    }

    #[test]
    fn a_plain_run_attaches_output_only() {
        let request = request(&["busybox"]).unwrap();
        let config = &request.config;
        assert!(config.attach_stdout && config.attach_stderr && !config.attach_stdin && !config.open_stdin);
        assert_eq!((config.cmd.as_ref(), config.entrypoint.as_ref()), (None, None));
        assert_eq!(request.host_config.network_mode, "default");
        assert!(request.networking_config.endpoints_config.is_empty());
    }

    #[test]
    fn flags_land_where_the_api_wants_them() {
        let mut words: Vec<&str> = "-it -e X=1 --env-file vars -v ./d:/d:ro -v /anon -p 8080:80 --expose 9 -m 64m \
             --cpus 0.5 --pids-limit 9 --network name=n,alias=a --ip 10.0.0.7 --restart on-failure:2 \
             --security-opt seccomp=profile --security-opt systempaths=unconfined --health-cmd true \
             --health-interval 2s -l k=v --init --entrypoint"
            .split_whitespace()
            .collect();
        words.extend(["", "img", "a", "b"]);
        let request = request(&words).unwrap();
        let (config, host) = (&request.config, &request.host_config);
        assert!(config.attach_stdin && config.open_stdin && config.stdin_once && config.tty);
        assert_eq!(config.env, ["A=1", "HOME=/root", "X=1", "HTTP_PROXY=p"]);
        assert_eq!(config.cmd.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(config.entrypoint.as_deref(), Some(&[String::new()][..]));
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp", "9/tcp"]);
        assert_eq!(config.healthcheck.as_ref().unwrap().interval, 2_000_000_000);
        assert_eq!(host.binds, ["/work/d:/d:ro"]);
        assert!(config.volumes.contains_key("/anon"));
        assert_eq!((host.memory, host.nano_cpus, host.pids_limit), (64 << 20, 500_000_000, Some(9)));
        assert_eq!(host.restart_policy.maximum_retry_count, 2);
        assert_eq!(host.security_opt, ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]);
        assert_eq!(host.masked_paths.as_deref(), Some(&[][..]));
        assert_eq!(host.network_mode, "n");
        let endpoint = &request.networking_config.endpoints_config["n"];
        assert_eq!(endpoint.aliases.as_deref(), Some(&["a".to_owned()][..]));
        assert_eq!(endpoint.ipam_config.as_ref().unwrap().ipv4_address, "10.0.0.7");
    }

    #[test]
    fn contradictions_and_mistakes_are_refused() {
        for (words, why) in [
            (&["--rm", "--restart", "always", "x"][..], "both --restart and --rm"),
            (&["--no-healthcheck", "--health-cmd", "x", "x"], "conflicts with --health-*"),
            (&["-a", "stdwat", "x"], "valid streams are"),
            (&["-p", "a:b:c:d", "x"], "invalid"),
            (&["-v", "a:b:c:d", "x"], "too many colons"),
            (&["--env-file", "nope", "x"], "no such file"),
            (&["--security-opt", "wat", "x"], "invalid --security-opt"),
            (&["--net", "a", "--net", "a", "x"], "specified multiple times"),
            (&["--mount", "type=bind", "x"], "--mount"),
        ] {
            let error = request(words).unwrap_err();
            assert!(error.contains(why), "{words:?}: {error}");
        }
    }
}
