//! What a container uses, and which processes it has: read from its cgroup and from proc(5).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use teu_api::container::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, Throttling, TopResponse,
};
use teu_runtime::Cgroup;

use super::{Container, Phase};
use crate::error::{Error, Result};

/// What `update` answers, what `changes` lists: the rest of what is asked of a container that is there.
impl Container {
    fn cgroup(&self) -> Result<Cgroup> {
        let path = Path::new("/teu").join(self.id());
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
            read: now,
            preread: super::inspect::NEVER.into(),
            ..Stats::default()
        };
        if !matches!(record.state.phase, Phase::Running | Phase::Paused) {
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
        if record.endpoint.is_some() {
            stats.networks = network(record.state.pid);
        }
        Ok(stats)
    }

    /// Its processes, with the columns of `ps -ef`.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn top(&self, _ps_args: &str) -> Result<TopResponse> {
        let record = self.record();
        if !matches!(record.state.phase, Phase::Running | Phase::Paused) {
            return Err(Error::conflict(format!("container {} is not running", record.id)));
        }
        let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(String::from).to_vec();
        let pids = self
            .cgroup()?
            .processes()
            .map_err(|error| Error::io("list the processes of", record.id.as_ref(), error))?;
        Ok(TopResponse { titles, processes: pids.iter().filter_map(|pid| process(*pid)).collect() })
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
        // The mount points of the files that every container gets are not the container's doing.
        let ours = |change: &teu_store::Change| {
            ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].iter().any(|path| change.path == Path::new(path))
        };
        Ok(changes.into_iter().filter(|change| !ours(change)).map(item).collect())
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
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
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

fn process(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so what follows is found from its end.
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.to_string();
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut command = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
    if command.is_empty() {
        command = format!("[{}]", head.split_once('(').map_or("", |(_, name)| name));
    }
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let seconds = (number(11) + number(12)) / 100;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let time = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    let terminal = if number(4) == 0 { "?".into() } else { format!("pts/{}", number(4) & 0xff) };
    let parent = fields.get(1)?.to_string();
    Some(vec![uid, pid.to_string(), parent, "0".into(), started(number(19)), terminal, time, command])
}

/// When a process was started, `HH:MM` UTC, from clock ticks since boot.
fn started(ticks: u64) -> String {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up: f64 = uptime.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "seconds are enough for a clock")]
    let age = (up - ticks as f64 / 100.0) as i64;
    let then = jiff::Timestamp::now().as_second() - age;
    format!("{:02}:{:02}", then / 3600 % 24, then / 60 % 60)
}
