//! What a container uses: one sample of `GET /containers/{id}/stats`.

use std::collections::BTreeMap;

wire! {
    /// One sample.
    pub struct Stats {
        /// Container's name, with a leading slash.
        pub name: String = "name",
        /// Container's id.
        pub id: String = "id",
        /// `linux`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub os_type: String = "os_type",
        /// When it was read, RFC 3339.
        pub read: String = "read",
        /// When the sample before was read.
        pub preread: String = "preread",
        /// Processes.
        pub pids_stats: PidsStats = "pids_stats",
        /// Block devices.
        pub blkio_stats: BlkioStats = "blkio_stats",
        /// Number of processes (Windows only).
        pub num_procs: u32 = "num_procs",
        /// Storage (Windows only).
        pub storage_stats: StorageStats = "storage_stats",
        /// CPU now.
        pub cpu_stats: CpuStats = "cpu_stats",
        /// CPU at the sample before.
        pub precpu_stats: CpuStats = "precpu_stats",
        /// Memory.
        pub memory_stats: MemoryStats = "memory_stats",
        /// Network cards by name.
        pub networks: BTreeMap<String, NetworkStats> = "networks",
    }

    /// Storage counters (Windows only).
    pub struct StorageStats {
        /// Bytes read.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub read_size_bytes: Option<u64> = "read_size_bytes",
        /// Bytes written.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub write_size_bytes: Option<u64> = "write_size_bytes",
    }

    /// Process counters.
    pub struct PidsStats {
        /// Processes now.
        pub current: u64 = "current",
        /// Most allowed; `u64::MAX` or 0 is unlimited.
        pub limit: u64 = "limit",
    }

    /// Block device counters.
    pub struct BlkioStats {
        /// Bytes by device and operation.
        pub io_service_bytes_recursive: Vec<BlkioEntry> = "io_service_bytes_recursive",
        /// Operations by device and operation.
        pub io_serviced_recursive: Vec<BlkioEntry> = "io_serviced_recursive",
    }

    /// One block device counter.
    pub struct BlkioEntry {
        /// Device's major number.
        pub major: u64 = "major",
        /// Device's minor number.
        pub minor: u64 = "minor",
        /// `read`, `write`, ….
        pub op: String = "op",
        /// The count.
        pub value: u64 = "value",
    }

    /// CPU counters.
    pub struct CpuStats {
        /// CPU time.
        pub cpu_usage: CpuUsage = "cpu_usage",
        /// CPU time of the whole host in nanoseconds.
        pub system_cpu_usage: u64 = "system_cpu_usage",
        /// CPUs of the host.
        pub online_cpus: u32 = "online_cpus",
        /// Throttling by the CPU limit.
        pub throttling_data: Throttling = "throttling_data",
    }

    /// CPU time in nanoseconds.
    pub struct CpuUsage {
        /// In all.
        pub total_usage: u64 = "total_usage",
        /// By CPU (cgroup v1 only).
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub percpu_usage: Vec<u64> = "percpu_usage",
        /// In the kernel.
        pub usage_in_kernelmode: u64 = "usage_in_kernelmode",
        /// In user space.
        pub usage_in_usermode: u64 = "usage_in_usermode",
    }

    /// Throttling counters.
    pub struct Throttling {
        /// Periods that passed.
        pub periods: u64 = "periods",
        /// Periods in which it was throttled.
        pub throttled_periods: u64 = "throttled_periods",
        /// Time it was throttled, nanoseconds.
        pub throttled_time: u64 = "throttled_time",
    }

    /// Memory counters in bytes.
    pub struct MemoryStats {
        /// Used now.
        pub usage: u64 = "usage",
        /// Most used (cgroup v1 only).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_usage: Option<u64> = "max_usage",
        /// The kernel's own counters.
        pub stats: BTreeMap<String, u64> = "stats",
        /// Times the limit was hit (cgroup v1 only).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub failcnt: Option<u64> = "failcnt",
        /// Limit; the host's memory when there is none.
        pub limit: u64 = "limit",
    }

    /// Counters of one network card.
    pub struct NetworkStats {
        /// Bytes received.
        pub rx_bytes: u64 = "rx_bytes",
        /// Packets received.
        pub rx_packets: u64 = "rx_packets",
        /// Receive errors.
        pub rx_errors: u64 = "rx_errors",
        /// Received packets dropped.
        pub rx_dropped: u64 = "rx_dropped",
        /// Bytes sent.
        pub tx_bytes: u64 = "tx_bytes",
        /// Packets sent.
        pub tx_packets: u64 = "tx_packets",
        /// Send errors.
        pub tx_errors: u64 = "tx_errors",
        /// Packets to send dropped.
        pub tx_dropped: u64 = "tx_dropped",
    }
}
