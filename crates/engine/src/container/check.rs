//! Is a create request sound? Everything that can be said without touching the host, in Docker's words where it has them.

use teu_api::container::{CreateRequest, HostConfig};

use super::health::OnFailure;
use crate::error::{Error, Kind, Result};

/// The least memory limit: a sixth of Docker's, because nothing of the engine's own is charged to a container.
const LEAST_MEMORY: i64 = 1 << 20;

/// Refuses what cannot work, and by name what teu does not do yet.
pub(crate) fn check(request: &CreateRequest, processors: usize) -> Result<()> {
    let host = &request.host_config;
    limits(host, processors)?;
    restart(host)?;
    modes(host)?;
    unsupported(host)?;
    networks(request)?;
    super::storage::limit(host)?;
    super::mounts::parse::check(host)?;
    if host.annotations.contains_key("") {
        return Err(Error::bad("invalid Annotations: the empty string is not permitted as an annotation key"));
    }
    if !request.config.working_dir.is_empty() && !request.config.working_dir.starts_with('/') {
        let dir = &request.config.working_dir;
        return Err(Error::bad(format!("the working directory '{dir}' is invalid, it needs to be an absolute path")));
    }
    if request.config.hostname.len() > 63 || request.config.hostname.contains(['/', ' ', '\n', '\0']) {
        return Err(Error::bad(format!("invalid hostname: {}", request.config.hostname)));
    }
    super::health::check(request.config.healthcheck.as_ref())?;
    if OnFailure::parse(&host.health_on_failure).is_none() {
        let wrong = &host.health_on_failure;
        return Err(Error::bad(format!("invalid health-on-failure \"{wrong}\": choose none, restart, stop or kill")));
    }
    let signal = &request.config.stop_signal;
    if !signal.is_empty() && crate::signals::parse(signal).is_none() {
        return Err(Error::bad(format!("Invalid signal: {signal}")));
    }
    for entry in &request.config.env {
        if entry.is_empty() || entry.starts_with('=') || entry.contains('\0') {
            return Err(Error::bad(format!("invalid environment variable: {entry}")));
        }
    }
    Ok(())
}

/// Whoever has the host's network, another container's or none is on no other; name servers are addresses.
fn networks(request: &CreateRequest) -> Result<()> {
    let mode = request.host_config.network_mode.as_str();
    let alone = matches!(mode, "host" | "none") || mode.starts_with("container:");
    if alone && request.networking_config.endpoints_config.keys().any(|name| name != mode) {
        return Err(Error::bad(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ));
    }
    match request.host_config.dns.iter().find(|server| server.parse::<std::net::IpAddr>().is_err()) {
        Some(wrong) => Err(Error::bad(format!("IP address is not correctly formatted: {wrong}"))),
        None => Ok(()),
    }
}

fn limits(host: &HostConfig, processors: usize) -> Result<()> {
    if host.memory != 0 && host.memory < LEAST_MEMORY {
        return Err(Error::bad("Minimum memory limit allowed is 1MB"));
    }
    if host.memory_swap > 0 && host.memory == 0 {
        return Err(Error::bad("You should always set the Memory limit when using Memoryswap limit, see usage"));
    }
    if host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(Error::bad("Minimum memoryswap limit should be larger than memory limit, see usage"));
    }
    if host.memory_reservation != 0 && host.memory != 0 && host.memory < host.memory_reservation {
        return Err(Error::bad("Minimum memory limit can not be less than memory reservation limit, see usage"));
    }
    let most = i64::try_from(processors).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if host.nano_cpus < 0 || host.nano_cpus > most {
        return Err(Error::bad(format!(
            "range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        )));
    }
    if host.nano_cpus > 0 && (host.cpu_period > 0 || host.cpu_quota > 0) {
        return Err(Error::bad("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set"));
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return Err(Error::bad("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"));
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return Err(Error::bad("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    for (set, what) in [(&host.cpuset_cpus, "cpus"), (&host.cpuset_mems, "mems")] {
        if !is_set(set) {
            return Err(Error::bad(format!("Invalid value {set} for cpuset {what}")));
        }
    }
    if host.cpu_shares < 0 {
        let shares = host.cpu_shares;
        return Err(Error::bad(format!("invalid CPU shares ({shares}): value must be a positive integer")));
    }
    if host.shm_size < 0 {
        return Err(Error::bad("SHM size can not be less than 0"));
    }
    if host.blkio_weight != 0 && !(10..=1000).contains(&host.blkio_weight) {
        return Err(Error::bad("Range of blkio weight is from 10 to 1000"));
    }
    if let Some(wrong) = host.memory_swappiness.filter(|number| !(-1..=100).contains(number)) {
        return Err(Error::bad(format!("Invalid value: {wrong}, valid memory swappiness range is 0-100")));
    }
    if host.memory_reservation != 0 && host.memory_reservation < LEAST_MEMORY {
        return Err(Error::bad("Minimum memory reservation allowed is 1MB"));
    }
    if host.cpu_realtime_runtime != 0 && host.cpu_realtime_runtime > host.cpu_realtime_period {
        return Err(Error::bad("cpu real-time runtime cannot be higher than cpu real-time period"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        let score = host.oom_score_adj;
        return Err(Error::bad(format!("Invalid value {score}, range for oom score adj is [-1000, 1000]")));
    }
    Ok(())
}

/// Numbers and ranges up to 8191, joined by commas: parsed without ever making the set.
fn is_set(text: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < 8192);
    text.is_empty()
        || text.split(',').all(|part| match part.split_once('-') {
            Some((first, last)) => matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last),
            None => number(part).is_some(),
        })
}

fn restart(host: &HostConfig) -> Result<()> {
    let policy = &host.restart_policy;
    match policy.name.as_str() {
        "" | "no" | "always" | "unless-stopped" if policy.maximum_retry_count != 0 => {
            Err(Error::bad("invalid restart policy: maximum retry count can only be used with 'on-failure'"))
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            Err(Error::bad("invalid restart policy: maximum retry count cannot be negative"))
        }
        "always" | "unless-stopped" | "on-failure" if host.auto_remove => {
            Err(Error::bad("can't create 'AutoRemove' container with restart policy"))
        }
        "" | "no" | "always" | "unless-stopped" | "on-failure" => Ok(()),
        other => Err(Error::bad(format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ))),
    }
}

fn modes(host: &HostConfig) -> Result<()> {
    let known = |mode: &str, words: &[&str]| words.contains(&mode);
    let other = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    if !known(&host.pid_mode, &["", "private", "host"]) && !other(&host.pid_mode) {
        return Err(Error::bad(format!("invalid PID mode: {}", host.pid_mode)));
    }
    if !known(&host.ipc_mode, &["", "private", "shareable", "host", "none"]) && !other(&host.ipc_mode) {
        return Err(Error::bad(format!("invalid IPC mode: {}", host.ipc_mode)));
    }
    if !known(&host.uts_mode, &["", "private", "host"]) {
        return Err(Error::bad(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    if !known(&host.cgroupns_mode, &["", "private", "host"]) {
        return Err(Error::bad(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode)));
    }
    if host.cgroup_parent.split('/').any(|part| part == "..") || host.cgroup_parent.contains('\0') {
        return Err(Error::bad(format!("invalid cgroup parent: \"{}\"", host.cgroup_parent)));
    }
    if host.userns_mode == "keep-id" {
        return Err(Error::bad("invalid USER mode: whose ids? keep-id:uid=1000,gid=1000 says so"));
    }
    if super::users::Mode::parse(&host.userns_mode).is_none() {
        return Err(Error::bad("invalid USER mode"));
    }
    Ok(())
}

fn unsupported(host: &HostConfig) -> Result<()> {
    let refused: &[(&str, bool)] = &[
        ("--runtime", !matches!(host.runtime.as_str(), "" | "teu" | "runc" | "io.containerd.runc.v2")),
        ("--isolation", !matches!(host.isolation.as_str(), "" | "default")),
        ("--cpu-count", host.cpu_count != 0),
        ("--cpu-percent", host.cpu_percent != 0),
        ("--io-maxiops", host.io_maximum_iops != 0),
        ("--io-maxbandwidth", host.io_maximum_bandwidth != 0),
    ];
    for (name, value) in &host.sysctls {
        if name.is_empty() || value.contains(['\n', '+', '=', '\0']) || name.contains(['\n', '+', '=', '\0']) {
            return Err(Error::bad(format!("invalid sysctl: \"{name}={value}\"")));
        }
    }
    match refused.iter().find(|(_, used)| *used) {
        Some((flag, _)) => Err(not_yet(flag)),
        None => Ok(()),
    }
}

fn not_yet(what: &str) -> Error {
    Error::new(Kind::NotImplemented, format!("{what} is not supported by this version of teu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut CreateRequest)) -> String {
        let mut request = CreateRequest::default();
        change(&mut request);
        check(&request, 2).unwrap_err().message
    }

    #[test]
    fn a_plain_request_is_sound() {
        assert!(check(&CreateRequest::default(), 2).is_ok());
    }

    #[test]
    fn networks_that_do_not_go_together_and_name_servers_that_are_none_are_refused() {
        let both = |mode: &'static str| {
            refused(|request| {
                request.host_config.network_mode = mode.into();
                request.networking_config.endpoints_config.insert("n".into(), Default::default());
            })
        };
        for mode in ["host", "none", "container:x"] {
            assert!(both(mode).contains("cannot attach both"), "{mode}");
        }
        assert!(refused(|request| request.host_config.dns = vec!["x".into()]).contains("not correctly formatted: x"));
    }

    #[test]
    fn limits_that_mean_nothing_are_refused() {
        assert!(refused(|r| r.host_config.memory = (1 << 20) - 1).contains("1MB"));
        assert!(refused(|r| r.host_config.nano_cpus = 3_000_000_000).contains("only 2 CPUs"));
        assert!(refused(|r| r.host_config.cpu_shares = -1).contains("invalid CPU shares (-1)"));
        assert!(refused(|r| drop(r.host_config.annotations.insert(String::new(), "a".into()))).contains("Annotations"));
        assert!(refused(|r| r.host_config.cpuset_cpus = "0-4294967295".into()).contains("cpuset"));
        assert!(refused(|r| r.host_config.restart_policy.name = "sometimes".into()).contains("sometimes"));
    }

    #[test]
    fn what_is_not_there_yet_is_refused_by_name() {
        assert!(refused(|r| r.host_config.cpu_count = 1).contains("--cpu-count"));
    }
}
