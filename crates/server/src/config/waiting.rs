//! Which keys of a configuration that is read again wait for the daemon's next start.

use super::Config;

impl Config {
    /// The keys, by their names in daemon.json, that say something else here than in the configuration the daemon runs with,
    /// and that it takes only when it starts.
    pub(crate) fn waiting(&self, running: &Self) -> Vec<&'static str> {
        // Taken apart by name, so that whoever adds a setting has to say here what it is called.
        let Self {
            hosts,
            tls,
            data_root,
            exec_root,
            pid_file,
            log_json,
            group,
            remaps_to_default,
            bridge,
            subnets,
            bridge_options,
            network_options,
            address_pools,
            dns,
            cdi_spec_dirs,
            experimental,
            buildkit,
            metrics,
            defaults,
            live: _,
        } = running;
        let own = [
            ("hosts", self.hosts == *hosts),
            ("tls", self.tls == *tls),
            ("data-root", self.data_root == *data_root),
            ("exec-root", self.exec_root == *exec_root),
            ("pidfile", self.pid_file == *pid_file),
            ("log-format", self.log_json == *log_json),
            ("group", self.group == *group),
            ("bridge", self.bridge == *bridge),
            ("bip, fixed-cidr or default-gateway", self.subnets == *subnets),
            ("icc, ip, ip-masq or mtu", self.bridge_options == *bridge_options),
            ("default-network-opts", self.network_options == *network_options),
            ("default-address-pools", self.address_pools == *address_pools),
            ("dns", self.dns == *dns),
            ("cdi-spec-dirs", self.cdi_spec_dirs == *cdi_spec_dirs),
            ("experimental", self.experimental == *experimental),
            ("features", self.buildkit == *buildkit),
            ("metrics-addr", self.metrics == *metrics),
            ("userns-remap", self.remaps_to_default == *remaps_to_default && self.defaults.users == defaults.users),
        ];
        own.into_iter().chain(self.waiting_defaults(running)).filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }

    fn waiting_defaults(&self, running: &Self) -> [(&'static str, bool); 13] {
        let (own, running) = (&self.defaults, &running.defaults);
        [
            ("cgroup-parent", own.cgroup_parent == running.cgroup_parent),
            ("exec-opts", own.systemd == running.systemd),
            ("default-cgroupns-mode", own.cgroupns_mode == running.cgroupns_mode),
            ("default-ipc-mode", own.ipc_mode == running.ipc_mode),
            ("default-userns-mode", own.userns_mode == running.userns_mode),
            ("default-shm-size", own.shm_size == running.shm_size),
            ("default-ulimits", own.ulimits == running.ulimits),
            ("init", own.init == running.init),
            ("no-new-privileges", own.no_new_privileges == running.no_new_privileges),
            ("seccomp-profile", own.seccomp_profile == running.seccomp_profile),
            ("log-driver or log-opts", own.log == running.log),
            (
                "dns-opts or dns-search",
                (&own.dns_options, &own.dns_search) == (&running.dns_options, &running.dns_search),
            ),
            ("host-gateway-ip", own.host_gateway == running.host_gateway),
        ]
    }
}
