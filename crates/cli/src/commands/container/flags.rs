//! The flags of a container, as a table.

use teu_api::container::{DeviceRequest, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice};

use crate::grammar::device::{self, Device};
use crate::grammar::{duration, environment, limits, network, size};

/// Flags of `run` and `create`, and the words after them.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ContainerFlags {
    /// Add a line to /etc/hosts (host:ip)
    #[arg(long)]
    pub(crate) add_host: Vec<String>,
    /// Add an annotation for the OCI runtime
    #[arg(long, value_name = "map")]
    pub(crate) annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long)]
    pub(crate) attach: Vec<String>,
    /// Block I/O weight, 10 to 1000, or 0 for none
    #[arg(long, value_name = "uint16")]
    pub(crate) blkio_weight: Option<u16>,
    /// Block I/O weight of a device (/dev/x:weight)
    #[arg(long, value_name = "list", value_parser = device::weight)]
    pub(crate) blkio_weight_device: Vec<WeightDevice>,
    /// Add Linux capabilities
    #[arg(long)]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long)]
    pub(crate) cap_drop: Vec<String>,
    /// Parent of the container's cgroup
    #[arg(long)]
    pub(crate) cgroup_parent: Option<String>,
    /// Cgroup namespace to use (host|private)
    #[arg(long)]
    pub(crate) cgroupns: Option<String>,
    /// Write the container's id to the file
    #[arg(long)]
    pub(crate) cidfile: Option<String>,
    /// Number of CPUs (Windows only)
    #[arg(long, value_name = "int", hide = true)]
    pub(crate) cpu_count: Option<i64>,
    /// Percent of CPUs (Windows only)
    #[arg(long, value_name = "int", hide = true)]
    pub(crate) cpu_percent: Option<i64>,
    /// Length of a CPU period in microseconds
    #[arg(long, value_name = "int")]
    pub(crate) cpu_period: Option<i64>,
    /// CPU time per period in microseconds
    #[arg(long, value_name = "int")]
    pub(crate) cpu_quota: Option<i64>,
    /// Length of a real-time CPU period in microseconds
    #[arg(long, value_name = "int")]
    pub(crate) cpu_rt_period: Option<i64>,
    /// Real-time CPU time per period in microseconds
    #[arg(long, value_name = "int")]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    pub(crate) cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = size::cpus)]
    pub(crate) cpus: Option<i64>,
    /// CPUs on which to run (0-3, 0,1)
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes to use (0-3, 0,1)
    #[arg(long)]
    pub(crate) cpuset_mems: Option<String>,
    /// Add a host device to the container (/dev/x[:path[:rwm]], vendor/class=name)
    #[arg(long, value_name = "list", value_parser = device::device)]
    pub(crate) device: Vec<Device>,
    /// Add a rule to the container's device cgroup
    #[arg(long)]
    pub(crate) device_cgroup_rule: Vec<String>,
    /// Limit reading from a device in bytes per second (/dev/x:1mb)
    #[arg(long, value_name = "list", value_parser = device::bytes_per_second)]
    pub(crate) device_read_bps: Vec<ThrottleDevice>,
    /// Limit reading from a device in operations per second (/dev/x:1000)
    #[arg(long, value_name = "list", value_parser = device::operations_per_second)]
    pub(crate) device_read_iops: Vec<ThrottleDevice>,
    /// Limit writing to a device in bytes per second (/dev/x:1mb)
    #[arg(long, value_name = "list", value_parser = device::bytes_per_second)]
    pub(crate) device_write_bps: Vec<ThrottleDevice>,
    /// Limit writing to a device in operations per second (/dev/x:1000)
    #[arg(long, value_name = "list", value_parser = device::operations_per_second)]
    pub(crate) device_write_iops: Vec<ThrottleDevice>,
    /// Content trust (no longer in use)
    #[arg(long, hide = true)]
    pub(crate) disable_content_trust: bool,
    /// Set DNS servers
    #[arg(long, value_name = "list", value_parser = network::server)]
    pub(crate) dns: Vec<std::net::IpAddr>,
    /// Set resolver options
    #[arg(long, alias = "dns-opt")]
    pub(crate) dns_option: Vec<String>,
    /// Set DNS search domains
    #[arg(long)]
    pub(crate) dns_search: Vec<String>,
    /// NIS domain name of the container
    #[arg(long)]
    pub(crate) domainname: Option<String>,
    /// Overwrite the image's ENTRYPOINT
    #[arg(long)]
    pub(crate) entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_parser = environment::named_variable)]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long)]
    pub(crate) env_file: Vec<String>,
    /// Expose a port or a range of ports
    #[arg(long)]
    pub(crate) expose: Vec<String>,
    /// GPU devices to add ('all', a number, or driver=…,count=…)
    #[arg(long, value_name = "gpu-request", value_parser = device::gpus, action = clap::ArgAction::Append)]
    pub(crate) gpus: Vec<DeviceRequest>,
    /// Add groups to join
    #[arg(long)]
    pub(crate) group_add: Vec<String>,
    /// Command that checks health
    #[arg(long)]
    pub(crate) health_cmd: Option<String>,
    /// Time between checks (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = duration::nanoseconds)]
    pub(crate) health_interval: Option<i64>,
    /// What happens when it is unhealthy ('none', 'restart', 'stop', 'kill')
    #[arg(long, value_name = "string", value_parser = ["none", "restart", "stop", "kill"])]
    pub(crate) health_on_failure: Option<String>,
    /// Failed checks in a row until unhealthy
    #[arg(long, value_name = "int")]
    pub(crate) health_retries: Option<i64>,
    /// Time between checks during the start period (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = duration::nanoseconds)]
    pub(crate) health_start_interval: Option<i64>,
    /// Time to start in which failures do not count (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = duration::nanoseconds)]
    pub(crate) health_start_period: Option<i64>,
    /// Longest time for one check (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = duration::nanoseconds)]
    pub(crate) health_timeout: Option<i64>,
    /// Host name of the container
    #[arg(short = 'h', long)]
    pub(crate) hostname: Option<String>,
    /// Run a small init that forwards signals and reaps processes
    #[arg(long, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub(crate) init: Option<bool>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Limit I/O of the system drive in bytes per second (Windows only)
    #[arg(long, value_name = "bytes", value_parser = size::bytes, hide = true)]
    pub(crate) io_maxbandwidth: Option<i64>,
    /// Limit I/O of the system drive in operations per second (Windows only)
    #[arg(long, value_name = "uint", hide = true)]
    pub(crate) io_maxiops: Option<u64>,
    /// IPv4 address on the network
    #[arg(long, value_name = "ip")]
    pub(crate) ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address on the network
    #[arg(long, value_name = "ip")]
    pub(crate) ip6: Option<std::net::Ipv6Addr>,
    /// IPC mode to use (none|private|shareable|host|container:NAME)
    #[arg(long)]
    pub(crate) ipc: Option<String>,
    /// Isolation technology of the container
    #[arg(long)]
    pub(crate) isolation: Option<String>,
    /// Kernel memory limit (no longer in use)
    #[arg(long, hide = true, value_name = "bytes", value_parser = size::bytes)]
    pub(crate) kernel_memory: Option<i64>,
    /// Set labels on the container
    #[arg(short, long, value_parser = environment::label)]
    pub(crate) label: Vec<String>,
    /// Read labels from a file
    #[arg(long)]
    pub(crate) label_file: Vec<String>,
    /// Link to another container (name[:alias])
    #[arg(long)]
    pub(crate) link: Vec<String>,
    /// Link-local addresses on the network
    #[arg(long)]
    pub(crate) link_local_ip: Vec<String>,
    /// Logging driver of the container
    #[arg(long)]
    pub(crate) log_driver: Option<String>,
    /// Options of the logging driver
    #[arg(long)]
    pub(crate) log_opt: Vec<String>,
    /// MAC address on the network
    #[arg(long)]
    pub(crate) mac_address: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = size::bytes)]
    pub(crate) memory: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = size::bytes)]
    pub(crate) memory_reservation: Option<i64>,
    /// Limit of memory plus swap: '-1' for unlimited swap
    #[arg(long, value_name = "bytes", value_parser = size::swap)]
    pub(crate) memory_swap: Option<i64>,
    /// How readily memory is swapped out (0 to 100)
    #[arg(long, value_name = "int", allow_negative_numbers = true, default_value = "-1")]
    pub(crate) memory_swappiness: i64,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "mount")]
    pub(crate) mount: Vec<String>,
    /// Name of the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Connect the container to a network
    #[arg(long, alias = "net", value_name = "network")]
    pub(crate) network: Vec<String>,
    /// Add a name on the network
    #[arg(long, alias = "net-alias")]
    pub(crate) network_alias: Vec<String>,
    /// Disable any health check of the image
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
    /// Do not let the kernel kill for memory
    #[arg(long, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub(crate) oom_kill_disable: Option<bool>,
    /// Tune the kernel's choice when memory runs out (-1000 to 1000)
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pub(crate) oom_score_adj: Option<i64>,
    /// PID namespace to use (host|container:NAME)
    #[arg(long)]
    pub(crate) pid: Option<String>,
    /// Limit the number of processes (-1 for unlimited)
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Set the platform (os/architecture)
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Give the container all capabilities and devices
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Publish a port to the host ([ip:][host:]container[/proto])
    #[arg(short, long)]
    pub(crate) publish: Vec<String>,
    /// Publish all exposed ports to free ones
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Pull the image before creating (always|missing|never)
    #[arg(long, default_value = "missing", value_parser = ["always", "missing", "never"])]
    pub(crate) pull: String,
    /// Say nothing while pulling
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Mount the root filesystem read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Restart policy to apply when the container exits
    #[arg(long, value_name = "string", value_parser = limits::restart, default_value = "no")]
    pub(crate) restart: RestartPolicy,
    /// Remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// OCI runtime to use for this container
    #[arg(long)]
    pub(crate) runtime: Option<String>,
    /// Security options
    #[arg(long)]
    pub(crate) security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = size::bytes)]
    pub(crate) shm_size: Option<i64>,
    /// Signal to stop the container
    #[arg(long)]
    pub(crate) stop_signal: Option<String>,
    /// Seconds to stop the container in before killing it
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pub(crate) stop_timeout: Option<i64>,
    /// Options of the storage driver
    #[arg(long)]
    pub(crate) storage_opt: Vec<String>,
    /// Kernel settings of the container's namespaces
    #[arg(long, value_name = "map")]
    pub(crate) sysctl: Vec<String>,
    /// Mount a tmpfs folder (path[:options])
    #[arg(long)]
    pub(crate) tmpfs: Vec<String>,
    /// Allocate a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Resource limits (name=soft[:hard])
    #[arg(long, value_name = "ulimit", value_parser = limits::ulimit)]
    pub(crate) ulimit: Vec<Ulimit>,
    /// Bind mount the API socket and the credentials of registries
    #[arg(long)]
    pub(crate) use_api_socket: bool,
    /// User name or id (name|uid[:group|gid])
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// User namespace to use (host|auto|keep-id)
    #[arg(long)]
    pub(crate) userns: Option<String>,
    /// UTS namespace to use (host)
    #[arg(long)]
    pub(crate) uts: Option<String>,
    /// Mount a volume or host folder ([source:]path[:options])
    #[arg(short, long)]
    pub(crate) volume: Vec<String>,
    /// Volume driver of the container's volumes
    #[arg(long)]
    pub(crate) volume_driver: Option<String>,
    /// Mount the volumes of other containers
    #[arg(long)]
    pub(crate) volumes_from: Vec<String>,
    /// Working folder inside the container
    #[arg(short, long)]
    pub(crate) workdir: Option<String>,
    /// Image to run
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) image: String,
    /// Command and its arguments, instead of the image's
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}
