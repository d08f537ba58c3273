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
use teu_sys::proc::Stat;
use teu_sys::text;

/// How long a supervisor may be silent before somebody looks what it waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a process may take to enter when nobody has stopped it.
const ENTRANCE: Duration = Duration::from_secs(10);

/// The process has executed no program since it was made: `PF_FORKNOEXEC` of the kernel's include/linux/sched.h.
const FORKED_ONLY: u64 = 0x40;
/// Where proc_pid_stat(5) has these.
const PARENT: usize = 4;
const FLAGS: usize = 9;

/// A child of `supervisor` that has executed no program, and will not soon.
fn holds(child: &Stat, supervisor: i32, now: Duration) -> bool {
    let age = now.saturating_sub(Duration::from_millis(child.started().unwrap_or(u64::MAX / 10) * 10));
    let only_forked = child.number(FLAGS).is_some_and(|flags: u64| flags & FORKED_ONLY != 0);
    child.number(PARENT) == Some(supervisor) && only_forked && (child.state() == 'T' || age > ENTRANCE)
}

/// What is in no other cgroup than the supervisor does its work.
fn is_held(pid: i32, supervisor: i32) -> bool {
    let cgroups = |pid: i32| text::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let now = Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Boottime)).unwrap_or_default();
    Stat::of(pid).is_ok_and(|child| {
        holds(&child, supervisor, now) && (child.state() == 'T' || cgroups(pid) != cgroups(supervisor))
    })
}

/// Ends what holds the supervisor that lives in `dir`: its children that do not come to execute their program. Not
/// the container's first process, which may be one that executes nothing (`--init`).
pub(crate) fn rescue(dir: &Path) {
    let first = fs::read_to_string(dir.join("pid")).ok().and_then(|text| text.trim().parse().ok());
    let Some(first) = first else { return };
    let parent = Stat::of(first).ok().and_then(|stat| stat.number(PARENT));
    let Some(supervisor) = parent.filter(|parent| *parent > 1) else { return };
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
        let stat = |text: String| Stat::parse(text).expect("fields");
        let rest = "69 0 0 0 0 0 0 0 20 0 1 0 5000 0";
        let child = stat(format!("9 (a) b) T 7 9 9 0 -1 4194368 {rest}"));
        let soon = Duration::from_secs(51);
        assert!(holds(&child, 7, soon) && !holds(&child, 8, soon));
        let child = stat(format!("9 (teu) S 7 9 9 0 -1 4194368 {rest}"));
        assert!(!holds(&child, 7, soon) && holds(&child, 7, Duration::from_secs(61)));
        let child = stat(format!("9 (sh) T 7 9 9 0 -1 4194304 {rest}"));
        assert!(!holds(&child, 7, soon) && !holds(&child, 7, Duration::from_secs(61)));
    }
}
