//! `events`: what a container uses, from time to time, and a word when it runs out of memory; as JSON lines.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use teu_sys::poll::Interests;

use super::arguments::Given;
use super::state::{Container, Status};
use super::{Context, Failure};
use crate::{Cgroup, Stats};

/// How soon a shortage of memory is told.
const GLANCE: Duration = Duration::from_millis(200);

/// Shows statistics once, or again and again until the container ends.
pub(super) fn events(context: &Context, given: &Given) -> Result<(), Failure> {
    let container = Container::load(&context.root, given.argument(0))?;
    let interval = given.value("interval").map_or(Ok(Duration::from_secs(5)), duration)?;
    if interval.is_zero() {
        return Err(Failure::new("duration interval must be greater than 0"));
    }
    let id = container.record.id.clone();
    if container.status() == Status::Stopped {
        return Err(Failure::new(format!("container with id {id} is not running")));
    }
    let cgroup = container.record.cgroup.require()?;
    let stats = |cgroup: &Cgroup| -> Result<(), Failure> {
        let mut data = describe(&cgroup.stats()?, cgroup);
        if let Some(groups) = &container.record.groups {
            data["intel_rdt"] = groups.stats();
        }
        say(&json!({ "type": "stats", "id": id, "data": data }))
    };
    if given.has("stats") {
        return stats(&cgroup);
    }
    let Some(pidfd) = container.process() else { return Ok(()) };
    let mut killed = cgroup.oom_kills();
    let mut next = Instant::now() + interval;
    loop {
        let mut interests = Interests::new();
        let ended = interests.add(pidfd.as_fd(), true, false);
        let left = next.saturating_duration_since(Instant::now());
        interests.wait(Some(left.min(GLANCE)))?;
        let now = cgroup.oom_kills();
        if now > killed {
            say(&json!({ "type": "oom", "id": id }))?;
            killed = now;
        }
        if interests.readable(ended) {
            return Ok(());
        }
        if Instant::now() >= next {
            match stats(&cgroup) {
                // The container has ended between the wait and the look.
                Err(_) if container.process().is_none() => return Ok(()),
                other => other?,
            }
            next += interval;
        }
    }
}

fn say(event: &Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    Ok(writeln!(out, "{event}").and_then(|()| out.flush())?)
}

/// A time as Go writes it: `5s`, `100ms`, `1m30s`.
fn duration(text: &str) -> Result<Duration, Failure> {
    let wrong = || Failure::new(format!("invalid value for interval: \"{text}\""));
    teu_oci::time::duration(text).and_then(|span| u64::try_from(span).ok()).map(Duration::from_nanos).ok_or_else(wrong)
}

/// The names and units of runc's statistics.
fn describe(stats: &Stats, cgroup: &Cgroup) -> Value {
    let memory = &stats.memory;
    let limit = memory.limit.unwrap_or(u64::MAX);
    let detail = |name: &str| memory.detail.get(name).copied().unwrap_or(0);
    let entries = |pick: fn(&crate::cgroup::BlockIoStats) -> [(&'static str, u64); 2]| -> Vec<Value> {
        let one = |device: &crate::cgroup::BlockIoStats| {
            let (major, minor) = (device.major, device.minor);
            pick(device).map(|(op, value)| json!({ "major": major, "minor": minor, "op": op, "value": value }))
        };
        stats.block_io.iter().flat_map(one).collect()
    };
    let mut value = json!({
        "cpu": {
            "usage": { "total": stats.cpu.usage, "kernel": stats.cpu.system, "user": stats.cpu.user },
            "throttling": {
                "periods": stats.cpu.periods,
                "throttledPeriods": stats.cpu.throttled_periods,
                "throttledTime": stats.cpu.throttled,
            },
        },
        "cpuset": {
            "cpus": cgroup.processors("cpuset.cpus"), "cpu_exclusive": 0, "mems": cgroup.processors("cpuset.mems"),
            "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0, "memory_spread_page": 0,
            "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0, "sched_relax_domain_level": 0,
        },
        "memory": {
            "cache": detail("cache") + detail("file"),
            "usage": { "limit": limit, "usage": memory.usage, "max": memory.max_usage, "failcnt": memory.limit_hits },
            "swap": { "limit": cgroup.swap_limit(), "usage": cgroup.swap_usage(), "failcnt": 0 },
            "kernel": { "limit": 0, "failcnt": 0 },
            "kernelTCP": { "limit": 0, "failcnt": 0 },
            "raw": memory.detail,
        },
        "pids": { "current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0) },
        "blkio": {
            "ioServiceBytesRecursive": entries(|one| [("Read", one.read_bytes), ("Write", one.write_bytes)]),
            "ioServicedRecursive": entries(|one| [("Read", one.reads), ("Write", one.writes)]),
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": [],
    });
    for (part, file) in [("cpu", "cpu.pressure"), ("memory", "memory.pressure"), ("blkio", "io.pressure")] {
        if let Some(pressure) = cgroup.pressure(file) {
            value[part]["psi"] = describe_pressure(&pressure);
        }
    }
    value
}

/// Lines like `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn describe_pressure(text: &str) -> Value {
    let mut value = json!({});
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(kind) = words.next() else { continue };
        for (key, number) in words.filter_map(|word| word.split_once('=')) {
            value[kind][key] = if key == "total" {
                json!(number.parse::<u64>().unwrap_or(0))
            } else {
                json!(number.parse::<f64>().unwrap_or(0.0))
            };
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_does() {
        assert_eq!(duration("5s").expect("a time"), Duration::from_secs(5));
        assert_eq!(duration("100ms").expect("a time"), Duration::from_millis(100));
        assert_eq!(duration("1m30s").expect("a time"), Duration::from_secs(90));
        assert!(duration("5").is_err() && duration("fast").is_err());
    }

    #[test]
    fn pressure_has_numbers() {
        let value = describe_pressure("some avg10=0.50 avg60=0.00 avg300=0.00 total=7\n");
        assert_eq!(value["some"]["total"], 7);
        assert_eq!(value["some"]["avg10"], 0.5);
    }
}
