//! How this host runs a container: limits, mounts, namespaces, restart.

use std::collections::BTreeMap;

use super::{Mount, PortMap};

wire! {
    /// The host's half of a create request (`HostConfig`).
    pub struct HostConfig {
        /// Bind mounts and named volumes, `source:target[:options]`.
        pub binds: Vec<String> = "Binds",
        /// File the client wrote the container id to.
        pub container_id_file: String = "ContainerIDFile",
        /// Where output goes.
        pub log_config: LogConfig = "LogConfig",
        /// `bridge`, `none`, `host`, `container:<id>` or a network's name.
        pub network_mode: String = "NetworkMode",
        /// Published ports, by `80/tcp`.
        pub port_bindings: PortMap = "PortBindings",
        /// What happens after exit.
        pub restart_policy: RestartPolicy = "RestartPolicy",
        /// What happens when the container becomes unhealthy: `none` (or empty), `restart`, `stop` or `kill`. An addition
        /// of teu's to Docker's fields.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub health_on_failure: String = "HealthOnFailure",
        /// Remove the container when it exits.
        pub auto_remove: bool = "AutoRemove",
        /// Driver of volumes made for `binds`.
        pub volume_driver: String = "VolumeDriver",
        /// Containers whose volumes are shared, `name[:ro|rw]`.
        pub volumes_from: Vec<String> = "VolumesFrom",
        /// Mounts in the long form.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub mounts: Vec<Mount> = "Mounts",
        /// First size of the terminal: height, width.
        pub console_size: [u32; 2] = "ConsoleSize",
        /// OCI annotations handed to the runtime.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub annotations: BTreeMap<String, String> = "Annotations",
        /// Capabilities added to the default set.
        pub cap_add: Vec<String> = "CapAdd",
        /// Capabilities taken from the default set.
        pub cap_drop: Vec<String> = "CapDrop",
        /// `host` or `private`; empty is the daemon's default.
        pub cgroupns_mode: String = "CgroupnsMode",
        /// Name servers.
        pub dns: Vec<String> = "Dns",
        /// Resolver options.
        pub dns_options: Vec<String> = "DnsOptions",
        /// Search domains.
        pub dns_search: Vec<String> = "DnsSearch",
        /// Lines for /etc/hosts, `host:ip`.
        pub extra_hosts: Vec<String> = "ExtraHosts",
        /// Further groups of the process.
        pub group_add: Vec<String> = "GroupAdd",
        /// `none`, `private`, `shareable`, `host` or `container:<id>`.
        pub ipc_mode: String = "IpcMode",
        /// Cgroup to share, `container:<id>`.
        pub cgroup: String = "Cgroup",
        /// Legacy links, `container:alias`.
        pub links: Vec<String> = "Links",
        /// Badness added for the kernel's choice when memory runs out.
        pub oom_score_adj: i64 = "OomScoreAdj",
        /// `host`, `container:<id>` or empty.
        pub pid_mode: String = "PidMode",
        /// All capabilities and devices.
        pub privileged: bool = "Privileged",
        /// Publish every exposed port to a free one.
        pub publish_all_ports: bool = "PublishAllPorts",
        /// Mount the root file system read-only.
        pub readonly_rootfs: bool = "ReadonlyRootfs",
        /// Security options, `seccomp=…`, `no-new-privileges`, ….
        pub security_opt: Vec<String> = "SecurityOpt",
        /// Storage driver options.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub storage_opt: BTreeMap<String, String> = "StorageOpt",
        /// Memory file systems, options by path.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub tmpfs: BTreeMap<String, String> = "Tmpfs",
        /// `host` or empty.
        pub uts_mode: String = "UTSMode",
        /// `host` or empty.
        pub userns_mode: String = "UsernsMode",
        /// Size of /dev/shm in bytes; 0 is the default.
        pub shm_size: i64 = "ShmSize",
        /// Kernel settings of the container's namespaces.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub sysctls: BTreeMap<String, String> = "Sysctls",
        /// Name of the OCI runtime.
        pub runtime: String = "Runtime",
        /// Isolation technology (Windows only).
        pub isolation: String = "Isolation",
        /// Paths hidden from the container; `None` is the default list.
        pub masked_paths: Option<Vec<String>> = "MaskedPaths",
        /// Paths made read-only; `None` is the default list.
        pub readonly_paths: Option<Vec<String>> = "ReadonlyPaths",
        /// Relative CPU weight; 0 is the default.
        pub cpu_shares: i64 = "CpuShares",
        /// Memory limit in bytes; 0 is none.
        pub memory: i64 = "Memory",
        /// CPU limit in billionths of a CPU; 0 is none.
        pub nano_cpus: i64 = "NanoCpus",
        /// Parent of the container's cgroup.
        pub cgroup_parent: String = "CgroupParent",
        /// Relative I/O weight, 10–1000; 0 is the default.
        pub blkio_weight: u16 = "BlkioWeight",
        /// I/O weights by device.
        pub blkio_weight_device: Vec<WeightDevice> = "BlkioWeightDevice",
        /// Read limits in bytes per second.
        pub blkio_device_read_bps: Vec<ThrottleDevice> = "BlkioDeviceReadBps",
        /// Write limits in bytes per second.
        pub blkio_device_write_bps: Vec<ThrottleDevice> = "BlkioDeviceWriteBps",
        /// Read limits in operations per second.
        pub blkio_device_read_iops: Vec<ThrottleDevice> = "BlkioDeviceReadIOps",
        /// Write limits in operations per second.
        pub blkio_device_write_iops: Vec<ThrottleDevice> = "BlkioDeviceWriteIOps",
        /// Length of a CFS period in microseconds.
        pub cpu_period: i64 = "CpuPeriod",
        /// CPU time per period in microseconds.
        pub cpu_quota: i64 = "CpuQuota",
        /// Length of a real-time period in microseconds.
        pub cpu_realtime_period: i64 = "CpuRealtimePeriod",
        /// Real-time CPU time per period in microseconds.
        pub cpu_realtime_runtime: i64 = "CpuRealtimeRuntime",
        /// CPUs to run on, `0-2,7`.
        pub cpuset_cpus: String = "CpusetCpus",
        /// Memory nodes to use.
        pub cpuset_mems: String = "CpusetMems",
        /// Host devices.
        pub devices: Vec<DeviceMapping> = "Devices",
        /// Rules for the device cgroup, `c 42:* rmw`.
        pub device_cgroup_rules: Vec<String> = "DeviceCgroupRules",
        /// Requests to device drivers, as for GPUs.
        pub device_requests: Vec<DeviceRequest> = "DeviceRequests",
        /// Soft memory limit in bytes.
        pub memory_reservation: i64 = "MemoryReservation",
        /// Limit of memory and swap together; -1 is unlimited swap.
        pub memory_swap: i64 = "MemorySwap",
        /// How readily memory is swapped out, 0–100.
        pub memory_swappiness: Option<i64> = "MemorySwappiness",
        /// Do not let the kernel kill for memory (cgroup v1 only).
        pub oom_kill_disable: Option<bool> = "OomKillDisable",
        /// Run a small init as the first process.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub init: Option<bool> = "Init",
        /// Most processes at once; 0 or -1 is unlimited.
        pub pids_limit: Option<i64> = "PidsLimit",
        /// Resource limits of processes.
        pub ulimits: Vec<Ulimit> = "Ulimits",
        /// Number of CPUs (Windows only).
        pub cpu_count: i64 = "CpuCount",
        /// Percent of CPUs (Windows only).
        pub cpu_percent: i64 = "CpuPercent",
        /// I/O operations per second (Windows only).
        pub io_maximum_iops: u64 = "IOMaximumIOps",
        /// I/O bytes per second (Windows only).
        pub io_maximum_bandwidth: u64 = "IOMaximumBandwidth",
    }

    /// Where a container's output goes.
    pub struct LogConfig {
        /// Driver's name; empty is the daemon's default.
        pub kind: String = "Type",
        /// Driver's options.
        pub config: BTreeMap<String, String> = "Config",
    }

    /// What happens when a container exits.
    pub struct RestartPolicy {
        /// `no` (or empty), `always`, `unless-stopped` or `on-failure`.
        pub name: String = "Name",
        /// Restarts before `on-failure` gives up; 0 is no bound.
        pub maximum_retry_count: i64 = "MaximumRetryCount",
    }

    /// A weight for one block device.
    pub struct WeightDevice {
        /// Path on the host.
        pub path: String = "Path",
        /// Weight, 10–1000.
        pub weight: u16 = "Weight",
    }

    /// A limit for one block device.
    pub struct ThrottleDevice {
        /// Path on the host.
        pub path: String = "Path",
        /// Bytes or operations per second.
        pub rate: u64 = "Rate",
    }

    /// A host device given to a container.
    pub struct DeviceMapping {
        /// Path on the host.
        pub path_on_host: String = "PathOnHost",
        /// Path inside.
        pub path_in_container: String = "PathInContainer",
        /// Any of `rwm`.
        pub cgroup_permissions: String = "CgroupPermissions",
    }

    /// A request to a device driver.
    pub struct DeviceRequest {
        /// Driver's name.
        pub driver: String = "Driver",
        /// How many devices; -1 is all.
        pub count: i64 = "Count",
        /// Devices by id.
        pub device_ids: Option<Vec<String>> = "DeviceIDs",
        /// Alternatives of capability sets.
        pub capabilities: Option<Vec<Vec<String>>> = "Capabilities",
        /// Driver's options.
        pub options: Option<BTreeMap<String, String>> = "Options",
    }

    /// A resource limit of the container's processes.
    pub struct Ulimit {
        /// Name without `RLIMIT_`, lower case.
        pub name: String = "Name",
        /// Hard limit; -1 is unlimited.
        pub hard: i64 = "Hard",
        /// Soft limit; -1 is unlimited.
        pub soft: i64 = "Soft",
    }

    /// Body of `POST /containers/{id}/update`: a zero or empty value leaves the setting as it is.
    pub struct UpdateRequest {
        /// Relative CPU weight.
        pub cpu_shares: i64 = "CpuShares",
        /// Memory limit in bytes.
        pub memory: i64 = "Memory",
        /// CPU limit in billionths of a CPU.
        pub nano_cpus: i64 = "NanoCpus",
        /// Relative I/O weight.
        pub blkio_weight: u16 = "BlkioWeight",
        /// Length of a CFS period in microseconds.
        pub cpu_period: i64 = "CpuPeriod",
        /// CPU time per period in microseconds.
        pub cpu_quota: i64 = "CpuQuota",
        /// Length of a real-time period in microseconds.
        pub cpu_realtime_period: i64 = "CpuRealtimePeriod",
        /// Real-time CPU time per period in microseconds.
        pub cpu_realtime_runtime: i64 = "CpuRealtimeRuntime",
        /// CPUs to run on.
        pub cpuset_cpus: String = "CpusetCpus",
        /// Memory nodes to use.
        pub cpuset_mems: String = "CpusetMems",
        /// Soft memory limit in bytes.
        pub memory_reservation: i64 = "MemoryReservation",
        /// Limit of memory and swap together.
        pub memory_swap: i64 = "MemorySwap",
        /// Most processes at once.
        pub pids_limit: Option<i64> = "PidsLimit",
        /// I/O weights by device; not there leaves them, none at all takes them away. So with the limits below.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub blkio_weight_device: Option<Vec<WeightDevice>> = "BlkioWeightDevice",
        /// Read limits in bytes per second.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub blkio_device_read_bps: Option<Vec<ThrottleDevice>> = "BlkioDeviceReadBps",
        /// Write limits in bytes per second.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub blkio_device_write_bps: Option<Vec<ThrottleDevice>> = "BlkioDeviceWriteBps",
        /// Read limits in operations per second.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub blkio_device_read_iops: Option<Vec<ThrottleDevice>> = "BlkioDeviceReadIOps",
        /// Write limits in operations per second.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub blkio_device_write_iops: Option<Vec<ThrottleDevice>> = "BlkioDeviceWriteIOps",
        /// What happens after exit; an empty name leaves it.
        pub restart_policy: RestartPolicy = "RestartPolicy",
        /// Published ports, by `80/tcp`: the ports named get these places on the host instead of theirs, an empty list
        /// withdraws one. Not in Docker's API.
        #[serde(skip_serializing_if = "PortMap::is_empty")]
        pub port_bindings: PortMap = "PortBindings",
    }

    /// Body of `POST /containers/{id}/checkpoints`.
    pub struct CheckpointRequest {
        /// Its name.
        pub checkpoint_id: String = "CheckpointID",
        /// The folder of checkpoints, other than the usual one.
        pub checkpoint_dir: String = "CheckpointDir",
        /// The container ends with it.
        pub exit: bool = "Exit",
    }

    /// One entry of `GET /containers/{id}/checkpoints`.
    pub struct CheckpointSummary {
        /// Its name.
        pub name: String = "Name",
    }

    /// Answer to `POST /containers/{id}/update`.
    pub struct UpdateResponse {
        /// What was accepted but will not work as asked.
        pub warnings: Vec<String> = "Warnings",
    }
}
