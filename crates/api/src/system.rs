//! The engine itself: version, info, disk usage, credentials, ping.

use std::collections::BTreeMap;

use crate::{build::BuildCache, container, image, volume::Volume};

/// Headers of the answer to `/_ping`, which clients negotiate by.
pub mod ping {
    /// Newest API version spoken.
    pub const API_VERSION: &str = "Api-Version";
    /// Builder clients should prefer: `1` classic, `2` BuildKit.
    pub const BUILDER_VERSION: &str = "Builder-Version";
    /// Whether experimental features are on.
    pub const EXPERIMENTAL: &str = "Docker-Experimental";
    /// `linux`.
    pub const OS_TYPE: &str = "Ostype";
    /// State of the swarm.
    pub const SWARM: &str = "Swarm";
}

/// Header with base64url JSON of one [`AuthConfig`].
pub const REGISTRY_AUTH: &str = "X-Registry-Auth";
/// Header with base64url JSON of a map from host to [`AuthConfig`].
pub const REGISTRY_CONFIG: &str = "X-Registry-Config";

/// Sums of nothing are left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes by reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

wire! {
    /// Answer to `GET /version`.
    pub struct Version {
        /// Whose engine it is.
        pub platform: VersionPlatform = "Platform",
        /// Its parts.
        pub components: Vec<Component> = "Components",
        /// Version of the engine.
        pub version: String = "Version",
        /// Newest API version spoken.
        pub api_version: String = "ApiVersion",
        /// Oldest API version spoken.
        pub min_api_version: String = "MinAPIVersion",
        /// Commit it was built from.
        pub git_commit: String = "GitCommit",
        /// Empty: there is no Go in it.
        pub go_version: String = "GoVersion",
        /// `linux`.
        pub os: String = "Os",
        /// `amd64`, ….
        pub arch: String = "Arch",
        /// Kernel's release.
        pub kernel_version: String = "KernelVersion",
        /// Whether experimental features are on.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub experimental: bool = "Experimental",
        /// When it was built, RFC 3339.
        pub build_time: String = "BuildTime",
    }

    /// Whose engine it is.
    pub struct VersionPlatform {
        /// Name.
        pub name: String = "Name",
    }

    /// One part of the engine.
    pub struct Component {
        /// Name.
        pub name: String = "Name",
        /// Version.
        pub version: String = "Version",
        /// Further facts.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub details: BTreeMap<String, String> = "Details",
    }

    /// Answer to `GET /info`.
    pub struct Info {
        /// Id of this engine.
        pub id: String = "ID",
        /// Containers in all.
        pub containers: i64 = "Containers",
        /// Running ones.
        pub containers_running: i64 = "ContainersRunning",
        /// Paused ones.
        pub containers_paused: i64 = "ContainersPaused",
        /// Stopped ones.
        pub containers_stopped: i64 = "ContainersStopped",
        /// Images.
        pub images: i64 = "Images",
        /// Storage driver.
        pub driver: String = "Driver",
        /// Facts about it, as pairs.
        pub driver_status: Vec<[String; 2]> = "DriverStatus",
        /// Resources that a swarm shares out; there are none.
        pub generic_resources: Option<Vec<serde_json::Value>> = "GenericResources",
        /// Data root.
        pub docker_root_dir: String = "DockerRootDir",
        /// Drivers on offer.
        pub plugins: Plugins = "Plugins",
        /// Memory can be limited.
        pub memory_limit: bool = "MemoryLimit",
        /// Swap can be limited.
        pub swap_limit: bool = "SwapLimit",
        /// CPU periods can be set.
        pub cpu_cfs_period: bool = "CpuCfsPeriod",
        /// CPU quotas can be set.
        pub cpu_cfs_quota: bool = "CpuCfsQuota",
        /// CPU weights can be set.
        pub cpu_shares: bool = "CPUShares",
        /// CPUs can be chosen.
        pub cpu_set: bool = "CPUSet",
        /// Processes can be limited.
        pub pids_limit: bool = "PidsLimit",
        /// The kernel's killing for memory can be turned off.
        pub oom_kill_disable: bool = "OomKillDisable",
        /// The kernel forwards IPv4.
        pub ipv4_forwarding: bool = "IPv4Forwarding",
        /// Legacy.
        pub bridge_nf_iptables: bool = "BridgeNfIptables",
        /// Legacy.
        pub bridge_nf_ip6tables: bool = "BridgeNfIp6tables",
        /// Debug logging is on.
        pub debug: bool = "Debug",
        /// Open file descriptors.
        pub n_fd: i64 = "NFd",
        /// Tasks.
        pub n_goroutines: i64 = "NGoroutines",
        /// Time on the host, RFC 3339.
        pub system_time: String = "SystemTime",
        /// Default log driver.
        pub logging_driver: String = "LoggingDriver",
        /// `cgroupfs`, `systemd` or `none`.
        pub cgroup_driver: String = "CgroupDriver",
        /// `1` or `2`.
        pub cgroup_version: String = "CgroupVersion",
        /// Clients of the event stream.
        pub n_events_listener: i64 = "NEventsListener",
        /// Kernel's release.
        pub kernel_version: String = "KernelVersion",
        /// Name of the distribution.
        pub operating_system: String = "OperatingSystem",
        /// Its version.
        pub os_version: String = "OSVersion",
        /// `linux`.
        pub os_type: String = "OSType",
        /// `x86_64`, ….
        pub architecture: String = "Architecture",
        /// CPUs.
        pub n_cpu: i64 = "NCPU",
        /// Memory in bytes.
        pub mem_total: i64 = "MemTotal",
        /// Registry of unqualified names.
        pub index_server_address: String = "IndexServerAddress",
        /// Registry settings.
        pub registry_config: Option<RegistryConfig> = "RegistryConfig",
        /// Proxy for HTTP.
        pub http_proxy: String = "HttpProxy",
        /// Proxy for HTTPS.
        pub https_proxy: String = "HttpsProxy",
        /// Hosts without proxy.
        pub no_proxy: String = "NoProxy",
        /// Host name.
        pub name: String = "Name",
        /// Labels of the engine.
        pub labels: Vec<String> = "Labels",
        /// Experimental features are on.
        pub experimental_build: bool = "ExperimentalBuild",
        /// Version of the engine.
        pub server_version: String = "ServerVersion",
        /// OCI runtimes by name.
        pub runtimes: BTreeMap<String, Runtime> = "Runtimes",
        /// The default one.
        pub default_runtime: String = "DefaultRuntime",
        /// State of the swarm.
        pub swarm: Swarm = "Swarm",
        /// Containers survive the daemon.
        pub live_restore_enabled: bool = "LiveRestoreEnabled",
        /// Isolation (Windows only).
        pub isolation: String = "Isolation",
        /// Program for `--init`.
        pub init_binary: String = "InitBinary",
        /// Legacy: commit of containerd.
        pub containerd_commit: Commit = "ContainerdCommit",
        /// Legacy: commit of runc.
        pub runc_commit: Commit = "RuncCommit",
        /// Legacy: commit of the init.
        pub init_commit: Commit = "InitCommit",
        /// `name=seccomp,profile=builtin`, ….
        pub security_options: Vec<String> = "SecurityOptions",
        /// Pools new networks take subnets from.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub default_address_pools: Vec<AddressPool> = "DefaultAddressPools",
        /// Firewall.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub firewall_backend: Option<FirewallInfo> = "FirewallBackend",
        /// Directories with CDI specifications.
        pub cdi_spec_dirs: Vec<String> = "CDISpecDirs",
        /// Devices that can be asked for by name.
        pub discovered_devices: Vec<DeviceInfo> = "DiscoveredDevices",
        /// What the host lacks.
        pub warnings: Vec<String> = "Warnings",
    }

    /// A device that can be asked for by name.
    pub struct DeviceInfo {
        /// The driver that knows it, `cdi`.
        pub source: String = "Source",
        /// Its full name.
        pub id: String = "ID",
    }

    /// Drivers on offer.
    pub struct Plugins {
        /// Of volumes.
        pub volume: Vec<String> = "Volume",
        /// Of networks.
        pub network: Vec<String> = "Network",
        /// Of authorisation.
        pub authorization: Option<Vec<String>> = "Authorization",
        /// Of logs.
        pub log: Vec<String> = "Log",
    }

    /// Registry settings.
    pub struct RegistryConfig {
        /// Networks whose registries may be insecure.
        pub insecure_registry_cidrs: Vec<String> = "InsecureRegistryCIDRs",
        /// Settings by host.
        pub index_configs: BTreeMap<String, IndexInfo> = "IndexConfigs",
        /// Mirrors of the default registry.
        pub mirrors: Vec<String> = "Mirrors",
    }

    /// Settings of one registry.
    pub struct IndexInfo {
        /// Host.
        pub name: String = "Name",
        /// Mirrors.
        pub mirrors: Vec<String> = "Mirrors",
        /// Certificates are checked.
        pub secure: bool = "Secure",
        /// The default registry.
        pub official: bool = "Official",
    }

    /// An OCI runtime.
    pub struct Runtime {
        /// Program.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub path: String = "path",
        /// Its arguments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub runtime_args: Vec<String> = "runtimeArgs",
    }

    /// State of the swarm.
    pub struct Swarm {
        /// Node's id.
        pub node_id: String = "NodeID",
        /// Node's address.
        pub node_addr: String = "NodeAddr",
        /// `inactive`.
        pub local_node_state: String = "LocalNodeState",
        /// Whether this node manages.
        pub control_available: bool = "ControlAvailable",
        /// What went wrong.
        pub error: String = "Error",
        /// Managers known.
        pub remote_managers: Option<Vec<serde_json::Value>> = "RemoteManagers",
    }

    /// Commit of a part.
    pub struct Commit {
        /// Its id.
        pub id: String = "ID",
    }

    /// A pool new networks take subnets from.
    pub struct AddressPool {
        /// Network of the pool.
        pub base: String = "Base",
        /// Prefix of each subnet.
        pub size: u32 = "Size",
    }

    /// Firewall.
    pub struct FirewallInfo {
        /// `nftables`, `iptables`.
        pub driver: String = "Driver",
        /// Facts, as pairs.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub info: Vec<[String; 2]> = "Info",
    }

    /// Answer to `GET /system/df`.
    pub struct DiskUsage {
        /// Bytes of all layers.
        pub layers_size: i64 = "LayersSize",
        /// Images.
        pub images: Vec<image::Summary> = "Images",
        /// Containers.
        pub containers: Vec<container::Summary> = "Containers",
        /// Volumes.
        pub volumes: Vec<Volume> = "Volumes",
        /// Build cache.
        pub build_cache: Vec<BuildCache> = "BuildCache",
        /// Bytes of the build cache.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub builder_size: Option<i64> = "BuilderSize",
        /// Images in sums.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_usage: Option<ImageUsage> = "ImageUsage",
        /// Containers in sums.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub container_usage: Option<ContainerUsage> = "ContainerUsage",
        /// Volumes in sums.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volume_usage: Option<VolumeUsage> = "VolumeUsage",
        /// Build cache in sums.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub build_cache_usage: Option<BuildCacheUsage> = "BuildCacheUsage",
    }

    /// What images take, in sums.
    pub struct ImageUsage {
        /// Those in use.
        #[serde(skip_serializing_if = "is_zero")]
        pub active_count: i64 = "ActiveCount",
        /// All.
        #[serde(skip_serializing_if = "is_zero")]
        pub total_count: i64 = "TotalCount",
        /// Bytes that would come free without those that nobody uses.
        #[serde(skip_serializing_if = "is_zero")]
        pub reclaimable: i64 = "Reclaimable",
        /// Bytes of all.
        #[serde(skip_serializing_if = "is_zero")]
        pub total_size: i64 = "TotalSize",
        /// Each of them, when asked for.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub items: Vec<image::Summary> = "Items",
    }

    /// What containers take, in sums.
    pub struct ContainerUsage {
        /// Those in use.
        #[serde(skip_serializing_if = "is_zero")]
        pub active_count: i64 = "ActiveCount",
        /// All.
        #[serde(skip_serializing_if = "is_zero")]
        pub total_count: i64 = "TotalCount",
        /// Bytes that would come free without those that nobody uses.
        #[serde(skip_serializing_if = "is_zero")]
        pub reclaimable: i64 = "Reclaimable",
        /// Bytes of all.
        #[serde(skip_serializing_if = "is_zero")]
        pub total_size: i64 = "TotalSize",
        /// Each of them, when asked for.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub items: Vec<container::Summary> = "Items",
    }

    /// What volumes take, in sums.
    pub struct VolumeUsage {
        /// Those in use.
        #[serde(skip_serializing_if = "is_zero")]
        pub active_count: i64 = "ActiveCount",
        /// All.
        #[serde(skip_serializing_if = "is_zero")]
        pub total_count: i64 = "TotalCount",
        /// Bytes that would come free without those that nobody uses.
        #[serde(skip_serializing_if = "is_zero")]
        pub reclaimable: i64 = "Reclaimable",
        /// Bytes of all.
        #[serde(skip_serializing_if = "is_zero")]
        pub total_size: i64 = "TotalSize",
        /// Each of them, when asked for.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub items: Vec<Volume> = "Items",
    }

    /// What records of the build cache take, in sums.
    pub struct BuildCacheUsage {
        /// Those in use.
        #[serde(skip_serializing_if = "is_zero")]
        pub active_count: i64 = "ActiveCount",
        /// All.
        #[serde(skip_serializing_if = "is_zero")]
        pub total_count: i64 = "TotalCount",
        /// Bytes that would come free without those that nobody uses.
        #[serde(skip_serializing_if = "is_zero")]
        pub reclaimable: i64 = "Reclaimable",
        /// Bytes of all.
        #[serde(skip_serializing_if = "is_zero")]
        pub total_size: i64 = "TotalSize",
        /// Each of them, when asked for.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub items: Vec<BuildCache> = "Items",
    }

    /// Credentials for a registry.
    pub struct AuthConfig {
        /// User.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub username: String = "username",
        /// Password.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub password: String = "password",
        /// `user:password` in base64.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub auth: String = "auth",
        /// Registry's host.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub server_address: String = "serveraddress",
        /// Token instead of a password, exchanged for access tokens.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub identity_token: String = "identitytoken",
        /// Access token, sent as it is.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub registry_token: String = "registrytoken",
    }

    /// Answer to `POST /auth`.
    pub struct AuthResponse {
        /// `Login Succeeded`.
        pub status: String = "Status",
        /// Token to keep instead of the password.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub identity_token: String = "IdentityToken",
    }
}
