//! What is told about containers: inspect, list rows, wait, top, changes.

use std::collections::BTreeMap;

use super::{Config, EndpointSettings, HostConfig, MountPoint, NetworkSettings};
use teu_oci::Descriptor;

wire! {
    /// Answer to `GET /containers/{id}/json`.
    pub struct Inspect {
        /// Id, 64 hexadecimal digits.
        pub id: String = "Id",
        /// When it was created, RFC 3339.
        pub created: String = "Created",
        /// Program that runs.
        pub path: String = "Path",
        /// Its arguments.
        pub args: Vec<String> = "Args",
        /// State.
        pub state: State = "State",
        /// Image's id.
        pub image: String = "Image",
        /// Path of its resolv.conf on the host.
        pub resolv_conf_path: String = "ResolvConfPath",
        /// Path of its hostname file on the host.
        pub hostname_path: String = "HostnamePath",
        /// Path of its hosts file on the host.
        pub hosts_path: String = "HostsPath",
        /// Path of its log on the host.
        pub log_path: String = "LogPath",
        /// Name, with a leading slash.
        pub name: String = "Name",
        /// Restarts by its policy.
        pub restart_count: i64 = "RestartCount",
        /// Storage driver.
        pub driver: String = "Driver",
        /// Operating system.
        pub platform: String = "Platform",
        /// Manifest of the image.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_manifest_descriptor: Option<Descriptor> = "ImageManifestDescriptor",
        /// SELinux label of mounts.
        pub mount_label: String = "MountLabel",
        /// SELinux label of processes.
        pub process_label: String = "ProcessLabel",
        /// AppArmor profile.
        pub app_armor_profile: String = "AppArmorProfile",
        /// Execs that run.
        pub exec_ids: Option<Vec<String>> = "ExecIDs",
        /// How this host runs it.
        pub host_config: HostConfig = "HostConfig",
        /// Where its layers are.
        pub graph_driver: GraphDriver = "GraphDriver",
        /// Bytes written; only when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64> = "SizeRw",
        /// Bytes in all; only when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64> = "SizeRootFs",
        /// Mounts.
        pub mounts: Vec<MountPoint> = "Mounts",
        /// What runs.
        pub config: Config = "Config",
        /// Its networks.
        pub network_settings: NetworkSettings = "NetworkSettings",
    }

    /// A container's state.
    pub struct State {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
        pub status: String = "Status",
        /// Runs (a paused one does too).
        pub running: bool = "Running",
        /// Is frozen.
        pub paused: bool = "Paused",
        /// Waits for its next start.
        pub restarting: bool = "Restarting",
        /// The kernel killed a process of it for memory.
        pub oom_killed: bool = "OOMKilled",
        /// Could not be removed entirely.
        pub dead: bool = "Dead",
        /// First process on the host; 0 when not running.
        pub pid: i64 = "Pid",
        /// Last exit code.
        pub exit_code: i64 = "ExitCode",
        /// Why the last start went wrong.
        pub error: String = "Error",
        /// Last start, RFC 3339.
        pub started_at: String = "StartedAt",
        /// Last exit, RFC 3339.
        pub finished_at: String = "FinishedAt",
        /// Health, when there is a check.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub health: Option<Health> = "Health",
    }

    /// A container's health.
    pub struct Health {
        /// `none`, `starting`, `healthy`, `unhealthy`.
        pub status: String = "Status",
        /// Failed checks in a row.
        pub failing_streak: i64 = "FailingStreak",
        /// The last results.
        pub log: Vec<HealthResult> = "Log",
    }

    /// Result of one health check.
    pub struct HealthResult {
        /// Start, RFC 3339.
        pub start: String = "Start",
        /// End, RFC 3339.
        pub end: String = "End",
        /// Exit code; 0 is healthy.
        pub exit_code: i64 = "ExitCode",
        /// What the check printed.
        pub output: String = "Output",
    }

    /// Where layers are.
    pub struct GraphDriver {
        /// Driver-specific facts.
        pub data: Option<BTreeMap<String, String>> = "Data",
        /// Driver's name.
        pub name: String = "Name",
    }

    /// One row of `GET /containers/json`.
    pub struct Summary {
        /// Id.
        pub id: String = "Id",
        /// Names, with a leading slash.
        pub names: Vec<String> = "Names",
        /// Image as the user named it.
        pub image: String = "Image",
        /// Image's id.
        pub image_id: String = "ImageID",
        /// Manifest of the image.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_manifest_descriptor: Option<Descriptor> = "ImageManifestDescriptor",
        /// Command line.
        pub command: String = "Command",
        /// Creation, in seconds since 1970.
        pub created: i64 = "Created",
        /// Ports.
        pub ports: Vec<Port> = "Ports",
        /// Bytes written; only when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64> = "SizeRw",
        /// Bytes in all; only when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64> = "SizeRootFs",
        /// Labels.
        pub labels: BTreeMap<String, String> = "Labels",
        /// State's word, `running`.
        pub state: String = "State",
        /// State's sentence, `Up 3 minutes (healthy)`.
        pub status: String = "Status",
        /// Health, `none` without a check.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub health: Option<HealthSummary> = "Health",
        /// The few host settings shown here.
        pub host_config: SummaryHostConfig = "HostConfig",
        /// Its networks.
        pub network_settings: SummaryNetworks = "NetworkSettings",
        /// Mounts.
        pub mounts: Vec<MountPoint> = "Mounts",
    }

    /// Health in a list row.
    pub struct HealthSummary {
        /// `none`, `starting`, `healthy` or `unhealthy`.
        pub status: String = "Status",
        /// Failures in a row.
        pub failing_streak: i64 = "FailingStreak",
    }

    /// Host settings in a list row.
    pub struct SummaryHostConfig {
        /// Network mode.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub network_mode: String = "NetworkMode",
        /// Annotations.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub annotations: BTreeMap<String, String> = "Annotations",
    }

    /// Networks in a list row.
    pub struct SummaryNetworks {
        /// Endpoints by network name.
        pub networks: BTreeMap<String, EndpointSettings> = "Networks",
    }

    /// A port in a list row.
    pub struct Port {
        /// Address on the host.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub ip: String = "IP",
        /// Port inside.
        pub private_port: u16 = "PrivatePort",
        /// Port on the host.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub public_port: Option<u16> = "PublicPort",
        /// `tcp`, `udp`, `sctp`.
        pub kind: String = "Type",
    }

    /// Answer to `POST /containers/{id}/wait`.
    pub struct WaitResponse {
        /// Exit code.
        pub status_code: i64 = "StatusCode",
        /// Why waiting went wrong.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<WaitError> = "Error",
    }

    /// Why waiting went wrong.
    pub struct WaitError {
        /// One sentence.
        pub message: String = "Message",
    }

    /// Answer to `GET /containers/{id}/top`.
    pub struct TopResponse {
        /// Column names.
        pub titles: Vec<String> = "Titles",
        /// One list of columns for each process.
        pub processes: Vec<Vec<String>> = "Processes",
    }

    /// One item of `GET /containers/{id}/changes`.
    pub struct ChangeItem {
        /// Path inside.
        pub path: String = "Path",
        /// 0 modified, 1 added, 2 deleted.
        pub kind: u8 = "Kind",
    }

    /// Answer to `POST /containers/prune`.
    pub struct PruneReport {
        /// Ids removed.
        pub containers_deleted: Vec<String> = "ContainersDeleted",
        /// Bytes freed.
        pub space_reclaimed: u64 = "SpaceReclaimed",
    }

    /// What `HEAD /containers/{id}/archive` says of a path, base64 in the header `X-Docker-Container-Path-Stat`.
    pub struct PathStat {
        /// File's name.
        pub name: String = "name",
        /// Size in bytes.
        pub size: i64 = "size",
        /// Go's `os.FileMode` bits.
        pub mode: u32 = "mode",
        /// Last change, RFC 3339.
        pub mtime: String = "mtime",
        /// Target of a symbolic link.
        pub link_target: String = "linkTarget",
    }
}
