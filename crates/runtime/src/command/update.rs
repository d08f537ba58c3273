//! `update`: other limits for a container that is there.

use std::io::Read;
use std::path::Path;

use teu_oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources};

use super::arguments::Given;
use super::state::Container;
use super::{Context, Failure, log};
use crate::resctrl;

/// Changes limits; what is not named stays.
pub(super) fn update(context: &Context, given: &Given) -> Result<(), Failure> {
    let mut container = Container::load(&context.root, given.argument(0))?;
    let shares = shares(given, &container, resctrl::root().map(|root| root.place).as_deref())?;
    let mut resources = match given.value("resources").filter(|path| !path.is_empty()) {
        Some(path) => read(path)?,
        None => from_flags(given, &context.log)?,
    };
    let spec = container.spec()?;
    let old = spec.linux.and_then(|linux| linux.resources).unwrap_or_default();
    complete(&mut resources, &[&container.record.updated, &old]);
    let cgroup = container.record.cgroup.require()?;
    if resources.memory.as_ref().is_some_and(|memory| memory.check_before_update == Some(true)) {
        refuse_too_little(&resources, &cgroup)?;
    }
    if let Some(groups) = container.record.groups.as_ref().filter(|_| !shares.is_empty()) {
        groups.change(&shares)?;
    }
    cgroup.update(&resources)?;
    remember(&mut container.record.updated, resources);
    container.save()
}

/// The lines of resctrl's `schemata` that are changed.
fn shares(given: &Given, container: &Container, root: Option<&Path>) -> Result<String, Failure> {
    let kinds = [
        ("l3-cache-schema", "L3", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("mem-bw-schema", "MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ];
    let mut lines = String::new();
    for (name, kind, absent) in kinds {
        let Some(line) = given.value(name).filter(|line| !line.is_empty()) else { continue };
        if !root.is_some_and(|root| root.join("info").join(kind).is_dir()) {
            return Err(Failure::new(absent));
        }
        if container.record.groups.is_none() {
            return Err(Failure::new("updating a non-existent Intel RDT configuration is not supported"));
        }
        lines.push_str(line);
        lines.push('\n');
    }
    Ok(lines)
}

fn read(path: &str) -> Result<Resources, Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure::new(format!("read {path}: {error}"));
    let mut text = Vec::new();
    match path {
        "-" => drop(std::io::stdin().read_to_end(&mut text).map_err(|error| fail(&error))?),
        _ => text = std::fs::read(path).map_err(|error| fail(&error))?,
    }
    let mut resources: Resources = serde_json::from_slice(&text).map_err(|error| fail(&error))?;
    // Devices are not changed by this command.
    resources.devices.clear();
    Ok(resources)
}

fn from_flags(given: &Given, log: &log::Log) -> Result<Resources, Failure> {
    let text = |name: &str| given.value(name).unwrap_or_default().to_owned();
    if given.value("kernel-memory").is_some() || given.value("kernel-memory-tcp").is_some() {
        log.warn("Kernel memory settings are ignored and will be removed");
    }
    let cpu = Cpu {
        shares: given.number("cpu-share")?,
        quota: given.number("cpu-quota")?,
        burst: given.number("cpu-burst")?,
        period: given.number("cpu-period")?,
        realtime_runtime: given.number("cpu-rt-runtime")?,
        realtime_period: given.number("cpu-rt-period")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
        idle: given.number("cpu-idle")?,
    };
    let memory = Memory {
        limit: size(given, "memory")?,
        reservation: size(given, "memory-reservation")?,
        swap: size(given, "memory-swap")?,
        ..Memory::default()
    };
    let weight = given.number::<u16>("blkio-weight")?.filter(|weight| *weight != 0);
    Ok(Resources {
        cpu: Some(cpu),
        memory: Some(memory),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        pids: given.number("pids-limit")?.map(|limit| Pids { limit: Some(limit) }),
        ..Resources::default()
    })
}

/// Bytes, perhaps with a unit: `50M`, `1.5g`, `10kib`.
fn size(given: &Given, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = given.value(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text == "-1" {
        return Ok(Some(-1));
    }
    let size = teu_oci::size::binary(text.trim()).and_then(|size| i64::try_from(size).ok());
    size.map(Some).ok_or_else(|| Failure::new(format!("invalid value for {name}: invalid size: '{text}'")))
}

/// What belongs together is set together: what was not named keeps the value it had.
fn complete(new: &mut Resources, old: &[&Resources]) {
    let before = |get: &dyn Fn(&Resources) -> Option<i64>| old.iter().find_map(|resources| get(resources));
    if let Some(cpu) = &mut new.cpu
        && (cpu.quota.is_some_and(|quota| quota != 0) != cpu.period.is_some_and(|period| period != 0))
    {
        if cpu.quota.is_some_and(|quota| quota != 0) {
            let period = before(&|old| i64::try_from(old.cpu.as_ref()?.period?).ok());
            cpu.period = period.and_then(|period| u64::try_from(period).ok());
        } else {
            cpu.quota = before(&|old| old.cpu.as_ref()?.quota);
        }
    }
    if let Some(memory) = &mut new.memory {
        if memory.limit == Some(-1) && memory.swap.is_none() {
            memory.swap = Some(-1);
        }
        if memory.swap.is_some_and(|swap| swap > 0) && memory.limit.is_none() {
            memory.limit = before(&|old| old.memory.as_ref()?.limit);
        }
    }
}

fn refuse_too_little(new: &Resources, cgroup: &crate::Cgroup) -> Result<(), Failure> {
    let Some(limit) = new.memory.as_ref().and_then(|memory| memory.limit) else { return Ok(()) };
    let usage = cgroup.stats()?.memory.usage;
    if u64::try_from(limit).is_ok_and(|limit| limit < usage) {
        let what = format!("setting memory limit to {limit} rejected: it is below current usage ({usage})");
        return Err(Failure::new(what));
    }
    Ok(())
}

/// Keeps what a later update may have to know.
fn remember(known: &mut Resources, new: Resources) {
    if let Some(cpu) = new.cpu {
        let kept = known.cpu.get_or_insert_default();
        kept.quota = cpu.quota.or(kept.quota);
        kept.period = cpu.period.or(kept.period);
    }
    if let Some(memory) = new.memory {
        let kept = known.memory.get_or_insert_default();
        kept.limit = memory.limit.or(kept.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::arguments;

    fn bytes(text: &str) -> Option<i64> {
        let flags = arguments::VERBS.iter().find(|verb| verb.name == "update").expect("a verb").flags;
        let words = ["--memory".to_owned(), text.to_owned()];
        size(&arguments::parse(flags, &words, false).expect("parsed"), "memory").unwrap_or(None)
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("50M"), Some(50 << 20));
        assert_eq!(bytes("1.5g"), Some(3 << 29));
        assert_eq!(bytes("10kib"), Some(10 << 10));
        assert_eq!(bytes("67108864"), Some(64 << 20));
        assert_eq!(bytes("-1"), Some(-1));
        assert_eq!(bytes("5x"), None);
    }

    #[test]
    fn a_quota_keeps_its_period() {
        let cpu =
            |quota, period| Resources { cpu: Some(Cpu { quota, period, ..Cpu::default() }), ..Resources::default() };
        let mut new = cpu(Some(600_000), None);
        complete(&mut new, &[&cpu(None, None), &cpu(Some(500_000), Some(900_000))]);
        assert_eq!(new, cpu(Some(600_000), Some(900_000)));
    }
}
