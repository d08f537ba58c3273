//! Pseudo-terminals: making a pair in a given devpts, its size, its session.
//!
//! The replica side is always opened through the master (`TIOCGPTPEER`), never by a path another tree could have
//! swapped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// Both sides of a pseudo-terminal.
#[derive(Debug)]
pub struct Pair {
    /// The side that plays the screen and keyboard.
    pub master: OwnedFd,
    /// The side that is some process' terminal.
    pub replica: OwnedFd,
}

/// Makes a terminal in the devpts that the caller sees at `/dev/pts`, with `/dev/ptmx` leading there.
///
/// # Errors
/// As openpty(3); `ENOSPC` when the devpts instance is full.
pub fn open() -> io::Result<Pair> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    finish(master)
}

/// Makes a terminal in the devpts instance mounted at `devpts`, by its own `ptmx`.
///
/// # Errors
/// As openpty(3); `ENOENT` when `devpts` is no devpts mount, `EACCES` when its `ptmxmode` forbids.
pub fn open_in(devpts: impl AsFd) -> io::Result<Pair> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    finish(rustix::fs::openat(devpts, "ptmx", flags, Mode::empty())?)
}

fn finish(master: OwnedFd) -> io::Result<Pair> {
    rustix::pty::unlockpt(&master)?;
    let replica =
        rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok(Pair { master, replica })
}

/// Sets the size of the terminal `side` belongs to; its foreground processes get `SIGWINCH` when it changed.
///
/// # Errors
/// As ioctl_tty(2); `ENOTTY` when `side` is no terminal, `EIO` when the other side is gone.
pub fn set_size(side: impl AsFd, rows: u16, cols: u16) -> io::Result<()> {
    Ok(rustix::termios::tcsetwinsize(side, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 })?)
}

/// Has a terminal put no carriage return before a line feed.
///
/// # Errors
/// As tcsetattr(3); `ENOTTY` when `side` is no terminal.
pub fn leave_line_feeds(side: impl AsFd) -> io::Result<()> {
    let mut modes = rustix::termios::tcgetattr(&side)?;
    modes.output_modes.remove(rustix::termios::OutputModes::ONLCR);
    Ok(rustix::termios::tcsetattr(side, rustix::termios::OptionalActions::Now, &modes)?)
}

/// The size of the terminal `side` belongs to, as rows and columns.
///
/// # Errors
/// As ioctl_tty(2); `ENOTTY` when `side` is no terminal.
pub fn size(side: impl AsFd) -> io::Result<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(side)?;
    Ok((size.ws_row, size.ws_col))
}

/// Makes `replica` the controlling terminal of the calling process, which must lead its session and have none yet.
///
/// # Errors
/// As ioctl_tty(2); `EPERM` when the caller leads no session or has a terminal.
pub fn make_controlling(replica: impl AsFd) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(replica)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_writes_the_other_side_reads() {
        let pair = open().expect("a terminal");
        rustix::io::write(&pair.master, b"hello\n").expect("write");
        let mut line = [0; 16];
        let n = rustix::io::read(&pair.replica, &mut line).expect("read");
        assert_eq!(&line[..n], b"hello\n");
    }

    #[test]
    fn both_sides_see_the_size() {
        let pair = open().expect("a terminal");
        set_size(&pair.master, 33, 77).expect("set");
        assert_eq!(size(&pair.replica).expect("get"), (33, 77));
    }
}
