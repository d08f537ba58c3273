//! A supervisor that does not answer.
//!
//! A process that enters a container is the supervisor's child, and the supervisor waits until it has executed its program.
//! Whoever is in the container may stop it at any moment before that, and would hold the supervisor, and so the whole
//! container, for as long as it likes:
//!
//! ```text
//! container    while :; do kill -STOP -1; done
//! supervisor   waits for its child     T, has executed nothing
//! engine       waits for an answer ──▶ after a while: ends that child, the supervisor answers
//! ```
//!
//! So does a program that is opened for ever: one that somebody has a lease on, or on a file server that is away.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

/// How long a supervisor may be silent before somebody looks what it waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a process may take to enter when nobody has stopped it.
const ENTRANCE: Duration = Duration::from_secs(10);

/// The process has executed no program since it was made: `PF_FORKNOEXEC` of the kernel's include/linux/sched.h.
const FORKED_ONLY: u64 = 0x40;

/// What proc_pid_stat(5) tells of a process.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    state: char,
    parent: i32,
    flags: u64,
    /// After the machine's start, in units of 1/100 s (`USER_HZ`).
    started: u64,
}

impl Look {
    fn at(pid: i32) -> Option<Look> {
        Look::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Look> {
        // The name may hold anything, also a parenthesis.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let flags = fields.nth(4)?.parse().ok()?;
        Some(Look { state, parent, flags, started: fields.nth(12)?.parse().ok()? })
    }

    /// A child of `supervisor` that has executed no program, and will not soon.
    fn is_held(&self, supervisor: i32, now: Duration) -> bool {
        let age = now.saturating_sub(Duration::from_millis(self.started * 10));
        self.parent == supervisor && self.flags & FORKED_ONLY != 0 && (self.state == 'T' || age > ENTRANCE)
    }
}

/// What is in no other cgroup than the supervisor does its work.
fn is_held(pid: i32, supervisor: i32) -> bool {
    let cgroups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let now = Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Boottime)).unwrap_or_default();
    Look::at(pid)
        .is_some_and(|look| look.is_held(supervisor, now) && (look.state == 'T' || cgroups(pid) != cgroups(supervisor)))
}

/// Ends what holds the supervisor that lives in `dir`: its children that do not come to execute their program. Not
/// the container's first process, which may be one that executes nothing (`--init`).
pub(crate) fn rescue(dir: &Path) {
    let first = fs::read_to_string(dir.join("pid")).ok().and_then(|text| text.trim().parse().ok());
    let Some(first) = first else { return };
    let Some(supervisor) = Look::at(first).map(|look| look.parent).filter(|parent| *parent > 1) else { return };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.filter(|pid| *pid != first) else { continue };
        if is_held(pid, supervisor) {
            end(pid, supervisor);
        }
    }
}

fn end(pid: i32, supervisor: i32) {
    let pidfd = Pid::from_raw(pid).and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    // The number may be another's by now.
    if let (Some(pidfd), true) = (pidfd, is_held(pid, supervisor)) {
        tracing::warn!(pid, supervisor, "ends a process that was held as it entered a container");
        let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_child_that_does_not_come_to_execute_anything_is_held() {
        let look = |text: &str| Look::parse(text).expect("fields");
        let rest = "69 0 0 0 0 0 0 0 20 0 1 0 5000 0";
        let child = look(&format!("9 (a) b) T 7 9 9 0 -1 4194368 {rest}"));
        assert_eq!(child, Look { state: 'T', parent: 7, flags: 0x40_0040, started: 5000 });
        let soon = Duration::from_secs(51);
        assert!(child.is_held(7, soon) && !child.is_held(8, soon));
        let child = look(&format!("9 (teu) S 7 9 9 0 -1 4194368 {rest}"));
        assert!(!child.is_held(7, soon) && child.is_held(7, Duration::from_secs(61)));
        let child = look(&format!("9 (sh) T 7 9 9 0 -1 4194304 {rest}"));
        assert!(!child.is_held(7, soon) && !child.is_held(7, Duration::from_secs(61)));
        assert_eq!(Look::parse("9 (sh"), None);
    }

    #[test]
    fn this_process_is_looked_at() {
        let own = i32::try_from(std::process::id()).expect("a process id");
        let parent = i32::try_from(std::os::unix::process::parent_id()).expect("a process id");
        let look = Look::at(own).expect("a look");
        assert_eq!((look.parent, look.flags & FORKED_ONLY), (parent, 0));
    }
}
