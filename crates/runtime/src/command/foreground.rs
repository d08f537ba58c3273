//! A process in the foreground: signals go to it, a terminal is carried both ways, and its end is ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::{OptionalActions, OutputModes, Termios};
use teu_sys::poll::Interests;
use teu_sys::process::{self, Exit};
use teu_sys::{pty, signal};

use super::Failure;
use crate::Cgroup;

/// A process in the foreground.
pub(super) struct Foreground {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    /// The master side of its terminal.
    pub(super) terminal: Option<OwnedFd>,
    pub(super) signals: OwnedFd,
    /// What ends with it, if it is a container's first.
    pub(super) cgroup: Option<Cgroup>,
}

/// Blocks every signal and gives the descriptor that they are read from.
pub(super) fn take_signals() -> Result<OwnedFd, Failure> {
    let all = signal::Set::full();
    signal::block(&all)?;
    Ok(signal::descriptor(&all)?)
}

/// Our own terminal, taken out of its line mode until this is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Option<Raw> {
        let before = rustix::termios::tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        // What comes from the other terminal ends lines with a line feed alone.
        raw.output_modes |= before.output_modes & (OutputModes::OPOST | OutputModes::ONLCR);
        rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}

impl Foreground {
    /// Waits for the process' end.
    pub(super) fn wait(self) -> Result<Exit, Failure> {
        let _raw = self.terminal.as_ref().and_then(|_| Raw::enter());
        if let Some(terminal) = &self.terminal {
            let flags = rustix::fs::fcntl_getfl(terminal).map_err(io::Error::from)?;
            rustix::fs::fcntl_setfl(terminal, flags | rustix::fs::OFlags::NONBLOCK).map_err(io::Error::from)?;
            self.resize();
        }
        let mut input: Option<Vec<u8>> = self.terminal.as_ref().map(|_| Vec::new());
        loop {
            let mut interests = Interests::new();
            let ended = interests.add(self.pidfd.as_fd(), true, false);
            let signalled = interests.add(self.signals.as_fd(), true, false);
            let (mut typed, mut shown) = (None, None);
            if let Some(terminal) = &self.terminal {
                let unsent = input.as_ref().is_some_and(|bytes| !bytes.is_empty());
                shown = Some(interests.add(terminal.as_fd(), true, unsent));
                if input.is_some() && !unsent {
                    typed = Some(interests.add(rustix::stdio::stdin(), true, false));
                }
            }
            interests.wait(None)?;
            let ended = interests.readable(ended);
            if let Some(terminal) = &self.terminal {
                let ready = |place: Option<usize>| place.is_some_and(|place| interests.readable(place));
                if ready(shown) || ended {
                    while show(terminal.as_fd()) {}
                }
                if ready(typed) {
                    read_input(&mut input);
                }
                write_input(terminal.as_fd(), &mut input);
            }
            if interests.readable(signalled) {
                while let Some(number) = signal::take(&self.signals)? {
                    self.take_signal(number);
                }
            }
            if ended {
                return self.finish();
            }
        }
    }

    fn finish(&self) -> Result<Exit, Failure> {
        let exit = process::wait(&self.pidfd)?;
        // Without a pid namespace of its own, others of the container may still run.
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill();
        }
        process::reap_others(0);
        Ok(exit)
    }

    fn take_signal(&self, number: i32) {
        if number == Signal::CHILD.as_raw() {
            process::reap_others(self.pid);
        } else if number == Signal::WINCH.as_raw() {
            self.resize();
        } else if number != Signal::URG.as_raw() {
            // One that ended meanwhile gets nothing.
            let _ = process::send_signal(&self.pidfd, number);
        }
    }

    fn resize(&self) {
        let Some(terminal) = &self.terminal else { return };
        if let Ok((rows, columns)) = pty::size(rustix::stdio::stdin()) {
            // A terminal that is gone has no size.
            let _ = pty::set_size(terminal, rows, columns);
        }
    }
}

/// Passes on what the process has written. False when there was nothing.
fn show(terminal: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 8192];
    let Ok(length @ 1..) = rustix::io::read(terminal, &mut buffer) else { return false };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Nobody reads any more; the process goes on all the same.
            Err(_) => break,
        }
    }
    true
}

fn read_input(input: &mut Option<Vec<u8>>) {
    let mut buffer = [0; 4096];
    match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
        Ok(0) => *input = None,
        Ok(length) => {
            if let Some(bytes) = input {
                bytes.extend_from_slice(&buffer[..length]);
            }
        }
        Err(Errno::INTR | Errno::AGAIN) => {}
        Err(_) => *input = None,
    }
}

fn write_input(terminal: BorrowedFd<'_>, input: &mut Option<Vec<u8>>) {
    let Some(bytes) = input.as_mut().filter(|bytes| !bytes.is_empty()) else { return };
    match rustix::io::write(terminal, bytes) {
        Ok(written) => drop(bytes.drain(..written)),
        Err(Errno::INTR | Errno::AGAIN) => {}
        Err(_) => *input = None,
    }
}
