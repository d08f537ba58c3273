//! What a container uses, read from its cgroup and from proc(5); and how its files differ from its image's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use teu_api::container::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, Throttling,
};
use teu_runtime::Cgroup;

use super::{Container, Phase};
use crate::error::{Error, Result};

/// Where every container gets files and folders to mount something at: they are not its doing.
const MOUNT_POINTS: &[&str] = &[
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/sys/fs/cgroup",
];
/// And the folders they are in, with those that are mount points themselves.
const FOLDERS: &[&str] = &["/etc", "/dev", "/proc", "/sys"];

fn ours(change: &teu_store::Change) -> bool {
    let added = change.kind as u8 == 1;
    MOUNT_POINTS.iter().any(|path| change.path == Path::new(path))
        || (added && ["/dev", "/proc", "/sys"].iter().any(|path| change.path == Path::new(path)))
}

impl Container {
    pub(super) fn cgroup(&self) -> Result<Cgroup> {
        let path = super::spec::cgroup_path(&self.record().host, self.id());
        Cgroup::open(&path).map_err(|error| Error::io("open cgroup", &path, error))
    }

    /// One sample; of a container that does not run, an empty one.
    ///
    /// # Errors
    /// When its cgroup cannot be read.
    pub async fn stats_once(&self) -> Result<Stats> {
        let record = self.record();
        let now = jiff::Timestamp::now().to_string();
        let mut stats = Stats {
            name: format!("/{}", record.name),
            id: record.id.clone(),
            os_type: "linux".into(),
            read: now,
            preread: super::inspect::NEVER.into(),
            ..Stats::default()
        };
        if !matches!(record.state.phase, Phase::Running | Phase::Paused) {
            stats.read = super::inspect::NEVER.into();
            return Ok(stats);
        }
        let used =
            self.cgroup()?.stats().map_err(|error| Error::io("read the cgroup of", self.id().as_ref(), error))?;
        let facts = &self.shared.context.facts;
        stats.cpu_stats = CpuStats {
            cpu_usage: CpuUsage {
                total_usage: used.cpu.usage,
                usage_in_kernelmode: used.cpu.system,
                usage_in_usermode: used.cpu.user,
                percpu_usage: vec![],
            },
            system_cpu_usage: system_cpu(),
            online_cpus: u32::try_from(facts.processors).unwrap_or(1),
            throttling_data: Throttling {
                periods: used.cpu.periods,
                throttled_periods: used.cpu.throttled_periods,
                throttled_time: used.cpu.throttled,
            },
        };
        stats.memory_stats = MemoryStats {
            usage: used.memory.usage,
            max_usage: (used.memory.max_usage > 0).then_some(used.memory.max_usage),
            stats: used.memory.detail,
            failcnt: Some(used.memory.limit_hits),
            limit: used.memory.limit.unwrap_or_else(|| u64::try_from(facts.memory).unwrap_or(0)),
        };
        stats.pids_stats = PidsStats { current: used.pids.current, limit: used.pids.limit.unwrap_or(0) };
        stats.blkio_stats = blkio(&used.block_io);
        if !record.endpoints.is_empty() {
            stats.networks = network(record.state.pid);
        }
        Ok(stats)
    }

    /// How its files differ from its image's.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub async fn changes(&self) -> Result<Vec<teu_api::container::ChangeItem>> {
        let changes = self.shared.context.store.snapshots().changes(self.id())?;
        let item = |change: teu_store::Change| teu_api::container::ChangeItem {
            path: change.path.display().to_string(),
            kind: change.kind as u8,
        };
        let changes: Vec<_> = changes.into_iter().filter(|change| !ours(change)).collect();
        let modified = |change: &teu_store::Change| change.kind as u8 == 0;
        let inside = |folder: &Path| changes.iter().any(|one| one.path != folder && one.path.starts_with(folder));
        // A folder in which mount points are all that is new is not changed.
        let unchanged = |one: &teu_store::Change| {
            modified(one) && FOLDERS.iter().any(|f| one.path == Path::new(f)) && !inside(&one.path)
        };
        Ok(changes.iter().filter(|change| !unchanged(change)).cloned().map(item).collect())
    }
}

/// Time that all processors together were in use, nanoseconds: the first line of /proc/stat, in units of 1/100 s.
fn system_cpu() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    line.split_whitespace().skip(1).take(7).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10_000_000
}

fn blkio(devices: &[teu_runtime::cgroup::BlockIoStats]) -> BlkioStats {
    let mut stats = BlkioStats::default();
    for device in devices {
        let entry = |op: &str, value: u64| BlkioEntry {
            major: u64::from(device.major),
            minor: u64::from(device.minor),
            op: op.into(),
            value,
        };
        stats.io_service_bytes_recursive.extend([entry("read", device.read_bytes), entry("write", device.write_bytes)]);
        stats.io_serviced_recursive.extend([entry("read", device.reads), entry("write", device.writes)]);
    }
    stats
}

/// `/proc/<pid>/net/dev`, as the process sees its own network; the loopback interface is left out.
fn network(pid: i32) -> BTreeMap<String, NetworkStats> {
    let text = teu_sys::text::read(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let row = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, ..] =
            numbers[..]
        else {
            return None;
        };
        let stats =
            NetworkStats { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped };
        Some((name.trim().to_string(), stats)).filter(|(name, _)| name != "lo")
    };
    text.lines().filter_map(row).collect()
}
