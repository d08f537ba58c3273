//! When and where a process runs: from the spec's words to the kernel's numbers, and then applied.

use serde::{Deserialize, Serialize};
use teu_oci::runtime::{Linux, Process, Scheduler};
use teu_sys::scheduling::{self, Attributes};

use crate::Error;
use crate::error::During;

/// How a process is scheduled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    scheduler: Option<Scheduler>,
    io_priority: Option<i32>,
    /// The lists of processors for a process that enters a container.
    first: Vec<u32>,
    last: Vec<u32>,
    personality: Option<u64>,
    memory: Option<(u32, Vec<u32>)>,
}

const POLICIES: [(&str, u32); 6] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];
const CLASSES: [(&str, i32); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
/// Memory policies, set_mempolicy(2).
pub(crate) const MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];
/// Flags of a memory policy.
pub(crate) const MODE_FLAGS: [(&str, u32); 3] =
    [("MPOL_F_STATIC_NODES", 1 << 15), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_NUMA_BALANCING", 1 << 13)];

fn find<T: Copy>(table: &[(&str, T)], name: &str, what: &str) -> Result<T, Error> {
    let found = table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.ok_or_else(|| Error::refused(format!("invalid {what}: \"{name}\"")))
}

impl Schedule {
    /// Reads a process' own part.
    pub(crate) fn of(process: &Process) -> Result<Schedule, Error> {
        let mut schedule = Schedule::default();
        if let Some(scheduler) = &process.scheduler {
            check(scheduler)?;
            schedule.scheduler = Some(scheduler.clone());
        }
        if let Some(priority) = &process.io_priority {
            if !(0..=7).contains(&priority.priority) {
                return Err(Error::refused("invalid ioPriority.priority: it is from 0 to 7"));
            }
            let class = find(&CLASSES, &priority.class, "ioPriority.class")?;
            schedule.io_priority = Some(class << 13 | priority.priority);
        }
        if let Some(affinity) = &process.exec_cpu_affinity {
            schedule.first = list(&affinity.initial, "execCPUAffinity.initial")?;
            schedule.last = list(&affinity.r#final, "execCPUAffinity.final")?;
        }
        Ok(schedule)
    }

    /// Adds what concerns every process of a container.
    pub(crate) fn of_container(&mut self, linux: &Linux) -> Result<(), Error> {
        if let Some(personality) = &linux.personality {
            if !personality.flags.is_empty() {
                return Err(Error::refused("set the personality: additional flags are not supported"));
            }
            self.personality = Some(find(&[("LINUX", 0), ("LINUX32", 8)], &personality.domain, "personality domain")?);
        }
        if let Some(policy) = &linux.memory_policy {
            let flag = |name: &String| find(&MODE_FLAGS, name, "memory policy flag");
            let flags = policy.flags.iter().map(flag).try_fold(0, |all, one| one.map(|one| all | one))?;
            let mode = find(&MODES, &policy.mode, "memory policy mode")?;
            let nodes = list(&policy.nodes, "memory policy nodes")?;
            if matches!(mode, 0 | 4) && !nodes.is_empty() {
                let count = nodes.len();
                return Err(Error::refused(format!(
                    "invalid memory policy: {} mode requires 0 nodes but got {count}",
                    policy.mode
                )));
            }
            if !matches!(mode, 0 | 1 | 4) && nodes.is_empty() {
                return Err(Error::refused(format!(
                    "invalid memory policy: {} requires at least one node",
                    policy.mode
                )));
            }
            self.memory = Some((mode | flags, nodes));
        }
        let bound = linux.resources.as_ref().and_then(|resources| resources.cpu.as_ref());
        let deadline = self.scheduler.as_ref().is_some_and(|scheduler| scheduler.policy == "SCHED_DEADLINE");
        if deadline && bound.is_some_and(|cpu| !cpu.cpus.is_empty()) {
            return Err(Error::refused(
                "process scheduler can't be used together with AllowedCPUs (resources.cpu.cpus)",
            ));
        }
        if linux.intel_rdt.is_some() {
            // Its groups outlive the process: who keeps a record of them makes them, see `command`.
            return Err(Error::refused("use intelRdt: nobody here would remove the groups of resctrl"));
        }
        Ok(())
    }

    /// Until the process is in its cgroup.
    pub(crate) fn enter_first(&self) -> Result<(), Error> {
        go(&self.first)
    }

    /// From there on.
    pub(crate) fn enter_last(&self) -> Result<(), Error> {
        go(&self.last)
    }

    /// Sets everything but processors, while the process still may.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        if let Some(scheduler) = &self.scheduler {
            scheduling::set(attributes(scheduler)?).during("set the scheduler")?;
        }
        if let Some(value) = self.io_priority {
            scheduling::set_io_priority(value).during("set the I/O priority")?;
        }
        if let Some((mode, nodes)) = &self.memory {
            scheduling::set_memory_policy(*mode, nodes).during("set the memory policy")?;
        }
        if let Some(domain) = self.personality {
            scheduling::set_personality(domain).during("set the personality")?;
        }
        Ok(())
    }
}

fn go(processors: &[u32]) -> Result<(), Error> {
    if processors.is_empty() {
        return Ok(());
    }
    scheduling::set_processors(processors).during("set CPU affinity")
}

fn attributes(scheduler: &Scheduler) -> Result<Attributes, Error> {
    let flag = |name: &String| find(&FLAGS, name, "scheduler flag");
    let mut attributes = Attributes::default();
    attributes.policy = find(&POLICIES, &scheduler.policy, "scheduler policy")?;
    attributes.flags = scheduler.flags.iter().map(flag).try_fold(0, |all, one| one.map(|one| all | one))?;
    attributes.nice = scheduler.nice;
    attributes.priority = u32::try_from(scheduler.priority).unwrap_or(u32::MAX);
    attributes.runtime = scheduler.runtime;
    attributes.deadline = scheduler.deadline;
    attributes.period = scheduler.period;
    Ok(attributes)
}

/// As the spec has it: each number goes with its policies.
fn check(scheduler: &Scheduler) -> Result<(), Error> {
    attributes(scheduler)?;
    let policy = scheduler.policy.as_str();
    let shares = matches!(policy, "SCHED_OTHER" | "SCHED_BATCH");
    let wrong = |what: &str| Err(Error::refused(format!("invalid scheduler: {what}")));
    if shares && !(-20..=19).contains(&scheduler.nice) {
        return wrong(&format!("nice value {} is not from -20 to 19", scheduler.nice));
    }
    if scheduler.priority != 0 && !matches!(policy, "SCHED_FIFO" | "SCHED_RR") {
        return wrong("scheduler.priority can only be specified for SCHED_FIFO or SCHED_RR policy");
    }
    let timed = scheduler.runtime != 0 || scheduler.deadline != 0 || scheduler.period != 0;
    if timed && policy != "SCHED_DEADLINE" {
        return wrong("runtime, deadline and period can only be specified for SCHED_DEADLINE policy");
    }
    Ok(())
}

/// Reads a list like `0-2,7`; empty is no list.
pub(crate) fn list(text: &str, what: &str) -> Result<Vec<u32>, Error> {
    let wrong = || Error::refused(format!("invalid {what}: \"{text}\""));
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        if first > last || last >= 8192 {
            return Err(wrong());
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_numbers_is_read_as_the_kernel_writes_it() {
        assert_eq!(list("0-2,7", "x").expect("a list"), [0, 1, 2, 7]);
        assert_eq!(list("", "x").expect("a list"), Vec::<u32>::new());
        for wrong in ["3-1", "a", "0-4294967295", ",", "1,"] {
            assert!(list(wrong, "x").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_of_another_policy_is_refused() {
        let scheduler = Scheduler { policy: "SCHED_OTHER".into(), priority: 5, ..Scheduler::default() };
        assert!(check(&scheduler).is_err());
        let scheduler = Scheduler { policy: "SCHED_FIFO".into(), priority: 5, ..Scheduler::default() };
        assert!(check(&scheduler).is_ok());
        let scheduler = Scheduler { policy: "SCHED_LUCK".into(), ..Scheduler::default() };
        assert!(check(&scheduler).is_err());
    }
}
