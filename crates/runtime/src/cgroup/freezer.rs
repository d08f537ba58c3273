//! Stopping all processes of a cgroup, and letting them go on: `cgroup.freeze` of the v2 tree, or v1's freezer.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::Cgroup;
use super::directory::{PATIENCE, wait_for_event, write};
use crate::Error;

impl Cgroup {
    /// Stops every process, and returns when all are stopped.
    ///
    /// # Errors
    /// `EOPNOTSUPP` without a freezer; `ETIMEDOUT` when a process would not stop (one that waits for a dead disk).
    pub fn freeze(&self) -> io::Result<()> {
        self.set_frozen(true)
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// As [`Cgroup::freeze`].
    pub fn thaw(&self) -> io::Result<()> {
        self.set_frozen(false)
    }

    /// Lets killed processes see it: v1's freezer holds them until it thaws.
    pub(crate) fn thaw_killed(&self) -> io::Result<()> {
        if self.hierarchies.unified.is_none() && self.is_frozen() { self.thaw() } else { Ok(()) }
    }

    fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        if let Some(directory) = self.unified() {
            write(&directory, "cgroup.freeze", if frozen { "1" } else { "0" })?;
            return wait_for_event(&directory, if frozen { "frozen 1" } else { "frozen 0" });
        }
        let directory = self.legacy("freezer").ok_or(io::Error::from(Errno::OPNOTSUPP))?;
        let state = if frozen { "FROZEN" } else { "THAWED" };
        let deadline = Instant::now() + PATIENCE;
        loop {
            // v1 freezes as far as it can on each write and says FREEZING until all have stopped.
            write(&directory, "freezer.state", state)?;
            if std::fs::read_to_string(directory.join("freezer.state"))?.trim() == state {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::from(Errno::TIMEDOUT));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A process born in a cgroup that is frozen would never say anything.
    pub(super) fn refuse_frozen(&self) -> Result<(), Error> {
        let legacy = self.legacy("freezer").and_then(|directory| std::fs::read(directory.join("freezer.state")).ok());
        if self.is_frozen() || legacy.is_some_and(|text| !text.starts_with(b"THAWED")) {
            return Err(Error::refused("make the cgroup: container's cgroup unexpectedly frozen"));
        }
        Ok(())
    }

    /// Whether its processes are stopped.
    pub fn is_frozen(&self) -> bool {
        match (self.unified(), self.legacy("freezer")) {
            (Some(directory), _) => std::fs::read(directory.join("cgroup.freeze")).is_ok_and(|text| text == b"1\n"),
            (None, Some(directory)) => {
                std::fs::read_to_string(directory.join("freezer.state")).is_ok_and(|text| text.trim() != "THAWED")
            }
            (None, None) => false,
        }
    }
}
