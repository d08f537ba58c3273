//! What containers get that do not say otherwise, as the daemon's configuration has it.

use std::net::IpAddr;

use teu_api::container::{HostConfig, LogConfig, Ulimit};

/// The daemon's defaults for containers; what is empty or zero is the built-in default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// Parent of the containers' cgroups.
    pub cgroup_parent: String,
    /// systemd makes the cgroups.
    pub systemd: bool,
    /// `private` or `host`.
    pub cgroupns_mode: String,
    /// `private` or `shareable`.
    pub ipc_mode: String,
    /// The first of the host's ids that all containers have; each has its own, or the host's, if there is none.
    pub users: Option<u32>,
    /// `host` or `auto`.
    pub userns_mode: String,
    /// Size of /dev/shm in bytes.
    pub shm_size: i64,
    /// Limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// The first process only looks after the others.
    pub init: bool,
    /// No process gains privileges over execve(2).
    pub no_new_privileges: bool,
    /// The seccomp profile of containers that name none; the built-in one if there is none.
    pub seccomp_profile: Option<SeccompProfile>,
    /// Where output goes, and how.
    pub log: LogConfig,
    /// Options of the resolver.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// What `host-gateway` in an extra host means; the default bridge's gateway if empty.
    pub host_gateway: Vec<IpAddr>,
}

/// A seccomp profile, or none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeccompProfile {
    /// How clients are told of it: its path, or `unconfined`.
    pub name: String,
    /// In JSON, or `unconfined`.
    pub text: String,
}

impl Defaults {
    /// Fills in what the request left open.
    pub(crate) fn fill(&self, host: &mut HostConfig) {
        for (own, default) in [
            (&mut host.cgroup_parent, &self.cgroup_parent),
            (&mut host.cgroupns_mode, &self.cgroupns_mode),
            (&mut host.ipc_mode, &self.ipc_mode),
            (&mut host.userns_mode, &self.userns_mode),
        ] {
            if own.is_empty() {
                own.clone_from(default);
            }
        }
        if self.systemd && host.cgroup_parent.is_empty() {
            host.cgroup_parent = "system.slice".into();
        } else if !self.systemd && crate::container::spec::is_slice(&host.cgroup_parent) {
            // A folder like any other.
            host.cgroup_parent.insert(0, '/');
        }
        if self.init && host.init.is_none() {
            host.init = Some(true);
        }
        if host.shm_size == 0 {
            host.shm_size = self.shm_size;
        }
        for limit in &self.ulimits {
            if host.ulimits.iter().all(|own| own.name != limit.name) {
                host.ulimits.push(limit.clone());
            }
        }
        let says = |key: &str| host.security_opt.iter().any(|option| option.starts_with(key));
        let (privileges, seccomp) = (says("no-new-privileges"), says("seccomp"));
        if self.no_new_privileges && !privileges {
            host.security_opt.push("no-new-privileges".into());
        }
        if let Some(profile) = self.seccomp_profile.as_ref().filter(|_| !seccomp && !host.privileged) {
            host.security_opt.push(format!("seccomp={}", profile.text));
        }
        for (own, default) in [(&mut host.dns_options, &self.dns_options), (&mut host.dns_search, &self.dns_search)] {
            if own.is_empty() {
                own.clone_from(default);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_what_is_open_and_nothing_else() {
        let limit = |name: &str, soft| Ulimit { name: name.into(), soft, hard: 9 };
        let defaults = Defaults {
            cgroup_parent: "/pods".into(),
            shm_size: 7,
            ulimits: vec![limit("nofile", 1), limit("core", 2)],
            no_new_privileges: true,
            ..Defaults::default()
        };
        let mut host = HostConfig { ulimits: vec![limit("core", 5)], shm_size: 3, ..HostConfig::default() };
        defaults.fill(&mut host);
        assert_eq!((host.cgroup_parent.as_str(), host.shm_size), ("/pods", 3));
        assert_eq!(host.ulimits, [limit("core", 5), limit("nofile", 1)]);
        assert_eq!(host.security_opt, ["no-new-privileges"]);
        let mut own = HostConfig { security_opt: vec!["no-new-privileges=false".into()], ..HostConfig::default() };
        defaults.fill(&mut own);
        assert_eq!(own.security_opt, ["no-new-privileges=false"]);
    }
}
