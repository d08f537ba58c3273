//! Entering a container in memory that is the caller's: system calls and nothing else.
//!
//! Whoever is in the container can end the new process at any moment, in the middle of what it does, and its memory is
//! the caller's ([`teu_sys::process::lend`]): a heap that is half changed would stay so. So it takes no memory and
//! gives none back, and it says nothing: where anything is not as it should be it ends, and who asked begins anew with a
//! process that has a copy and can tell.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicBool;

use teu_sys::{namespace, signal};

use crate::credentials::Filter;
use crate::launch::{self, Launch};
use crate::program::Program;
use crate::{birth, idmap};

/// Everything that it needs, made before.
pub(crate) struct Plan<'a> {
    pub(crate) init: BorrowedFd<'a>,
    /// What it enters.
    pub(crate) kinds: u64,
    /// Whether its ids are the container's.
    pub(crate) maps_ids: bool,
    pub(crate) joins: &'a [File],
    pub(crate) stdio: Option<[BorrowedFd<'a>; 3]>,
    pub(crate) launch: &'a Launch,
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) program: Program,
    pub(crate) directory: CString,
}

impl Plan<'_> {
    /// The process' story. It comes back when it cannot become the program; `executes` says whether it did.
    pub(crate) fn run(&self, executes: &AtomicBool) -> i32 {
        if self.prepare().is_ok() {
            self.program.attempt(executes);
        }
        1
    }

    fn prepare(&self) -> io::Result<()> {
        self.joins.iter().try_for_each(|mut join| join.write_all(b"0"))?;
        self.launch.go_everywhere();
        namespace::enter(self.init, self.kinds)?;
        if self.maps_ids {
            idmap::become_root()?;
            birth::hide_from_all()?;
        }
        signal::restore_defaults();
        signal::set_blocked(&signal::Set::empty())?;
        let free = 3_i32.saturating_add_unsigned(self.launch.descriptors());
        self.stdio.map_or(Ok(()), |stdio| launch::place_streams(stdio, free))?;
        // Refused to who leads one already.
        let _ = rustix::process::setsid();
        self.launch.take_lean(&self.directory, self.filter)
    }
}
