//! What a cgroup has used, in one shape whatever the version. Units: nanoseconds, bytes, counts.
//!
//! A file that is not there (a controller that is not) leaves its numbers at zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Cgroup;
use super::hierarchy::Version;

/// What a cgroup has used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Block devices, by number.
    pub block_io: Vec<BlockIoStats>,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// In all, nanoseconds.
    pub usage: u64,
    /// In user mode, nanoseconds.
    pub user: u64,
    /// In the kernel, nanoseconds.
    pub system: u64,
    /// Periods in which there was something to run.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting for quota, nanoseconds.
    pub throttled: u64,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// In use, the page cache included, bytes.
    pub usage: u64,
    /// The most that was in use, bytes.
    pub max_usage: u64,
    /// The limit; none where there is none.
    pub limit: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Cache that could go at once (`inactive_file`), bytes.
    pub inactive_file: u64,
    /// `memory.stat`, as the kernel has it.
    pub detail: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// How many there are.
    pub current: u64,
    /// The limit; none where there is none.
    pub limit: Option<u64>,
}

/// One block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIoStats {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes.
    pub read_bytes: u64,
    /// Bytes.
    pub write_bytes: u64,
    /// Operations.
    pub reads: u64,
    /// Operations.
    pub writes: u64,
}

/// What v1 says where there is no limit: the largest number of pages, in bytes.
const LEGACY_UNLIMITED: u64 = 1 << 62;

/// Reads everything.
pub(super) fn read(cgroup: &Cgroup) -> Stats {
    Stats { cpu: cpu(cgroup), memory: memory(cgroup), pids: pids(cgroup), block_io: block_io(cgroup) }
}

/// Processes killed for want of memory.
pub(super) fn oom_kills(cgroup: &Cgroup) -> u64 {
    let file = match cgroup.version("memory") {
        Some(Version::Legacy) => "memory.oom_control",
        _ => "memory.events",
    };
    let text = cgroup.read("memory", file).unwrap_or_default();
    pairs(&text).find(|(key, _)| *key == "oom_kill").map_or(0, |(_, count)| count)
}

fn cpu(cgroup: &Cgroup) -> CpuStats {
    let mut stats = CpuStats::default();
    // The v2 tree counts time in every cgroup, controller or not.
    let text = cgroup.read_unified("cpu.stat").unwrap_or_default();
    fill_cpu(&mut stats, &text);
    if text.is_empty() {
        let number = |file| cgroup.read("cpuacct", file).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        stats.usage = number("cpuacct.usage");
        stats.user = number("cpuacct.usage_user");
        stats.system = number("cpuacct.usage_sys");
    }
    if cgroup.version("cpu") == Some(Version::Legacy) {
        fill_cpu(&mut stats, &cgroup.read("cpu", "cpu.stat").unwrap_or_default());
    }
    stats
}

fn fill_cpu(stats: &mut CpuStats, text: &str) {
    for (key, value) in pairs(text) {
        match key {
            "usage_usec" => stats.usage = value * 1000,
            "user_usec" => stats.user = value * 1000,
            "system_usec" => stats.system = value * 1000,
            "nr_periods" => stats.periods = value,
            "nr_throttled" => stats.throttled_periods = value,
            "throttled_usec" => stats.throttled = value * 1000,
            "throttled_time" => stats.throttled = value,
            _ => {}
        }
    }
}

fn memory(cgroup: &Cgroup) -> MemoryStats {
    let legacy = cgroup.version("memory") == Some(Version::Legacy);
    let number = |old, new| {
        let text = cgroup.read("memory", if legacy { old } else { new });
        text.and_then(|text| text.trim().parse::<u64>().ok())
    };
    let mut stats = MemoryStats {
        usage: number("memory.usage_in_bytes", "memory.current").unwrap_or(0),
        max_usage: number("memory.max_usage_in_bytes", "memory.peak").unwrap_or(0),
        limit: number("memory.limit_in_bytes", "memory.max").filter(|limit| *limit < LEGACY_UNLIMITED),
        oom_kills: oom_kills(cgroup),
        ..MemoryStats::default()
    };
    stats.limit_hits = if legacy {
        number("memory.failcnt", "").unwrap_or(0)
    } else {
        let events = cgroup.read("memory", "memory.events").unwrap_or_default();
        pairs(&events).find(|(key, _)| *key == "max").map_or(0, |(_, count)| count)
    };
    let detail = cgroup.read("memory", "memory.stat").unwrap_or_default();
    stats.detail = pairs(&detail).map(|(key, value)| (key.to_owned(), value)).collect();
    let inactive = if legacy { "total_inactive_file" } else { "inactive_file" };
    stats.inactive_file = stats.detail.get(inactive).copied().unwrap_or(0);
    stats
}

fn pids(cgroup: &Cgroup) -> PidsStats {
    let number = |file| cgroup.read("pids", file).and_then(|text| text.trim().parse().ok());
    PidsStats { current: number("pids.current").unwrap_or(0), limit: number("pids.max") }
}

fn block_io(cgroup: &Cgroup) -> Vec<BlockIoStats> {
    let mut devices = BTreeMap::new();
    if let Some(text) = cgroup.read("io", "io.stat") {
        fill_io_unified(&mut devices, &text);
    } else {
        for (file, bytes) in [("blkio.throttle.io_service_bytes", true), ("blkio.throttle.io_serviced", false)] {
            fill_io_legacy(&mut devices, &cgroup.read("blkio", file).unwrap_or_default(), bytes);
        }
    }
    devices.into_values().collect()
}

type Devices = BTreeMap<(u32, u32), BlockIoStats>;

fn device<'a>(devices: &'a mut Devices, numbers: &str) -> Option<&'a mut BlockIoStats> {
    let (major, minor) = numbers.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    Some(devices.entry((major, minor)).or_insert(BlockIoStats { major, minor, ..BlockIoStats::default() }))
}

/// Lines like `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
fn fill_io_unified(devices: &mut Devices, text: &str) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(stats) = words.next().and_then(|numbers| device(devices, numbers)) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => stats.read_bytes = value,
                "wbytes" => stats.write_bytes = value,
                "rios" => stats.reads = value,
                "wios" => stats.writes = value,
                _ => {}
            }
        }
    }
}

/// Lines like `8:0 Read 4096`.
fn fill_io_legacy(devices: &mut Devices, text: &str, bytes: bool) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(numbers), Some(kind), Some(value)) = (words.next(), words.next(), words.next()) else { continue };
        let Some(stats) = device(devices, numbers) else { continue };
        let value = value.parse().unwrap_or(0);
        match (kind, bytes) {
            ("Read", true) => stats.read_bytes = value,
            ("Write", true) => stats.write_bytes = value,
            ("Read", false) => stats.reads = value,
            ("Write", false) => stats.writes = value,
            _ => {}
        }
    }
}

/// Lines of a key and a number.
fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| line.split_once(' ')).filter_map(|(key, value)| Some((key, value.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_of_block_io_read_the_same() {
        let expected = BlockIoStats { major: 8, minor: 16, read_bytes: 4096, write_bytes: 512, reads: 2, writes: 1 };
        let mut unified = Devices::new();
        fill_io_unified(&mut unified, "8:16 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n");
        assert_eq!(unified.into_values().collect::<Vec<_>>(), [expected]);
        let mut legacy = Devices::new();
        fill_io_legacy(&mut legacy, "8:16 Read 4096\n8:16 Write 512\n8:16 Total 4608\nTotal 4608\n", true);
        fill_io_legacy(&mut legacy, "8:16 Read 2\n8:16 Write 1\n", false);
        assert_eq!(legacy.into_values().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn processor_time_is_in_nanoseconds() {
        let mut stats = CpuStats::default();
        fill_cpu(&mut stats, "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 9\n");
        assert_eq!((stats.usage, stats.user, stats.system, stats.periods), (5000, 3000, 2000, 9));
    }
}
