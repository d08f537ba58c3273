//! `info`, `version` and `system df`.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use teu_api::Filters;
use teu_api::system::{
    Commit, Component, DeviceInfo, DiskUsage, FirewallInfo, IndexInfo, Info, Plugins, RegistryConfig, Runtime, Swarm,
    Version, VersionPlatform,
};

use crate::cdi;
use crate::container::{ListQuery, Phase, logging};
use crate::error::Result;
use crate::image::DOCKER_HUB;
use crate::{Context, Engine, Registries};

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Engine {
    fn context(&self) -> &Context {
        &self.containers.context
    }

    /// What the engine is and what it has.
    ///
    /// # Errors
    /// When the images cannot be listed.
    pub fn info(&self) -> Result<Info> {
        let context = self.context();
        let facts = &context.facts;
        let live = context.live.read().unwrap_or_else(PoisonError::into_inner).clone();
        let phases: Vec<Phase> = self.containers.all().iter().map(|container| container.record().state.phase).collect();
        let count =
            |wanted: &[Phase]| i64::try_from(phases.iter().filter(|phase| wanted.contains(phase)).count()).unwrap_or(0);
        Ok(Info {
            id: context.id.clone(),
            containers: i64::try_from(phases.len()).unwrap_or(0),
            containers_running: count(&[Phase::Running, Phase::Restarting]),
            containers_paused: count(&[Phase::Paused]),
            containers_stopped: count(&[Phase::Created, Phase::Exited, Phase::Removing]),
            images: i64::try_from(self.images.list(&Filters::default(), &self.containers)?.len()).unwrap_or(0),
            driver: "overlay2".into(),
            docker_root_dir: context.config.root.display().to_string(),
            plugins: Plugins {
                volume: words(&["local"]),
                network: words(&["bridge", "host", "ipvlan", "macvlan", "null"]),
                authorization: None,
                log: words(&logging::DRIVERS),
            },
            memory_limit: true,
            swap_limit: true,
            cpu_cfs_period: true,
            cpu_cfs_quota: true,
            cpu_shares: true,
            cpu_set: true,
            pids_limit: true,
            ipv4_forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|text| text.trim() == "1"),
            debug: live.debug,
            system_time: jiff::Timestamp::now().to_string(),
            logging_driver: logging::of_daemon(&context.config.defaults.log).into(),
            cgroup_driver: if context.config.defaults.systemd { "systemd" } else { "cgroupfs" }.into(),
            cgroup_version: facts.cgroup_version.into(),
            kernel_version: facts.kernel.clone(),
            operating_system: facts.system.clone(),
            os_version: facts.system_version.clone(),
            os_type: "linux".into(),
            architecture: facts.machine.clone(),
            n_cpu: i64::try_from(facts.processors).unwrap_or(1),
            mem_total: facts.memory,
            index_server_address: "https://index.docker.io/v1/".into(),
            name: facts.hostname.clone(),
            labels: live.labels.clone(),
            server_version: VERSION.into(),
            runtimes: BTreeMap::from([("teu".into(), Runtime { path: "teu".into(), ..Runtime::default() })]),
            default_runtime: "teu".into(),
            swarm: Swarm { local_node_state: "inactive".into(), ..Swarm::default() },
            registry_config: Some(registries(&live.registries)),
            n_events_listener: i64::try_from(self.events.listeners()).unwrap_or(0),
            n_fd: open_files(),
            n_goroutines: tasks(),
            firewall_backend: Some(FirewallInfo { driver: "nftables".into(), info: vec![] }),
            live_restore_enabled: true,
            init_binary: "teu".into(),
            runc_commit: Commit { id: VERSION.into() },
            ..self.surroundings()
        })
    }

    /// The devices that can be asked for by name, where they are described, and what is wrong there; and proxies.
    fn surroundings(&self) -> Info {
        let proxies = self.images.registries().proxies.shown();
        let directories = &self.context().config.cdi_spec_dirs;
        let registry = cdi::Registry::scan(directories);
        let device = |id: &String| DeviceInfo { source: "cdi".into(), id: id.clone() };
        let remapped = self.context().config.defaults.users.map(|_| "name=userns");
        let profile = self.context().config.defaults.seccomp_profile.as_ref();
        let seccomp = format!("name=seccomp,profile={}", profile.map_or("builtin", |profile| &profile.name));
        let security = [seccomp.as_str(), "name=cgroupns"].into_iter().chain(remapped);
        Info {
            security_options: security.map(String::from).collect(),
            cdi_spec_dirs: directories.iter().map(|dir| dir.display().to_string()).collect(),
            experimental_build: self.is_experimental(),
            http_proxy: proxies.http,
            https_proxy: proxies.https,
            no_proxy: proxies.none,
            discovered_devices: registry.names().map(device).collect(),
            warnings: registry.problems,
            ..Info::default()
        }
    }

    /// Whether clients are told that this is an experimental engine.
    #[must_use]
    pub fn is_experimental(&self) -> bool {
        self.context().config.experimental
    }

    /// Which version this is, in the words of the API.
    #[must_use]
    pub fn version(&self) -> Version {
        let facts = &self.context().facts;
        let architecture = teu_oci::Platform::host().architecture;
        let details = BTreeMap::from([
            ("ApiVersion".to_string(), teu_api::API_VERSION.to_string()),
            ("MinAPIVersion".to_string(), teu_api::MIN_API_VERSION.to_string()),
            ("Arch".to_string(), architecture.clone()),
            ("Os".to_string(), "linux".to_string()),
            ("KernelVersion".to_string(), facts.kernel.clone()),
            ("Experimental".to_string(), self.is_experimental().to_string()),
            ("GitCommit".to_string(), String::new()),
            ("GoVersion".to_string(), String::new()),
            ("BuildTime".to_string(), String::new()),
        ]);
        Version {
            platform: VersionPlatform { name: "teu".into() },
            components: vec![Component { name: "Engine".into(), version: VERSION.into(), details }],
            version: VERSION.into(),
            api_version: teu_api::API_VERSION.into(),
            min_api_version: teu_api::MIN_API_VERSION.into(),
            os: "linux".into(),
            arch: architecture,
            kernel_version: facts.kernel.clone(),
            experimental: self.is_experimental(),
            ..Version::default()
        }
    }

    /// What takes how much room.
    ///
    /// # Errors
    /// When something cannot be counted.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        let snapshots = self.store().snapshots();
        let mut layers = 0;
        for chain in snapshots.layers()? {
            layers += snapshots.size(&chain)?;
        }
        let mut images = self.images.list(&Filters::default(), &self.containers)?;
        self.images.tell_shared(&mut images)?;
        let query = ListQuery { all: true, size: true, ..ListQuery::default() };
        Ok(DiskUsage {
            layers_size: i64::try_from(layers).unwrap_or(i64::MAX),
            images,
            containers: self.containers.list(&query).await?,
            volumes: tokio::task::block_in_place(|| self.volumes.usage())?,
            build_cache: vec![],
            ..DiskUsage::default()
        })
    }
}

/// How registries are spoken to, in the words of the API.
fn registries(registries: &Registries) -> RegistryConfig {
    let index = |name: &str, secure, mirrors| {
        let info = IndexInfo { name: name.into(), mirrors, secure, official: name == DOCKER_HUB };
        (name.to_owned(), info)
    };
    // Docker's form of an address ends with a slash.
    let mirrors: Vec<String> =
        registries.mirrors.iter().map(|mirror| format!("{}/", mirror.trim_end_matches('/'))).collect();
    let hub = index(DOCKER_HUB, true, mirrors.clone());
    let is_network = |name: &&String| name.parse::<ipnet::IpNet>().is_ok();
    let (networks, names): (Vec<&String>, Vec<&String>) = registries.insecure.iter().partition(is_network);
    let own = ["::1/128", "127.0.0.0/8"].map(String::from);
    RegistryConfig {
        insecure_registry_cidrs: own.into_iter().chain(networks.into_iter().cloned()).collect(),
        index_configs: names.into_iter().map(|name| index(name, false, vec![])).chain([hub]).collect(),
        mirrors,
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Tasks of the daemon.
fn tasks() -> i64 {
    let alive = tokio::runtime::Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks());
    i64::try_from(alive).unwrap_or(i64::MAX)
}

/// Descriptors that the daemon has open.
fn open_files() -> i64 {
    let count = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    i64::try_from(count).unwrap_or(i64::MAX)
}
