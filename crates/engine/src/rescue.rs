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

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

/// How long a supervisor may be silent before somebody looks what it waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The process has executed no program since it was made: `PF_FORKNOEXEC` of the kernel's include/linux/sched.h.
const FORKED_ONLY: u64 = 0x40;

/// What proc_pid_stat(5) tells of a process.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    state: char,
    parent: i32,
    flags: u64,
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
        Some(Look { state, parent, flags: fields.nth(4)?.parse().ok()? })
    }

    /// A child of `supervisor` that was stopped before it executed its program.
    fn is_held(&self, supervisor: i32) -> bool {
        self.parent == supervisor && self.state == 'T' && self.flags & FORKED_ONLY != 0
    }
}

/// Ends what holds the supervisor that lives in `dir`: its children that were stopped before they executed their program.
/// Not the container's first process, which may be one that executes nothing (`--init`).
pub(crate) fn rescue(dir: &Path) {
    let first = fs::read_to_string(dir.join("pid")).ok().and_then(|text| text.trim().parse().ok());
    let Some(first) = first else { return };
    let Some(supervisor) = Look::at(first).map(|look| look.parent).filter(|parent| *parent > 1) else { return };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.filter(|pid| *pid != first) else { continue };
        if Look::at(pid).is_some_and(|look| look.is_held(supervisor)) {
            end(pid, supervisor);
        }
    }
}

fn end(pid: i32, supervisor: i32) {
    let pidfd = Pid::from_raw(pid).and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    // The number may be another's by now.
    if let (Some(pidfd), true) = (pidfd, Look::at(pid).is_some_and(|look| look.is_held(supervisor))) {
        tracing::warn!(pid, supervisor, "ends a process that was stopped as it entered a container");
        let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stopped_child_that_has_executed_nothing_is_held() {
        let look = |text: &str| Look::parse(text).expect("fields");
        let child = look("9 (a) b) T 7 9 9 0 -1 4194368 69 0");
        assert_eq!(child, Look { state: 'T', parent: 7, flags: 0x40_0040 });
        assert!(child.is_held(7) && !child.is_held(8));
        assert!(!look("9 (teu) S 7 9 9 0 -1 4194368 69 0").is_held(7));
        assert!(!look("9 (sh) T 7 9 9 0 -1 4194304 69 0").is_held(7));
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
