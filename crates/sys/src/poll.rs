//! Waiting: for descriptors to become ready, and for a directory's files to change.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Descriptors to wait for, and afterwards what happened on each.
#[derive(Default)]
pub struct Interests<'fd>(Vec<PollFd<'fd>>);

impl<'fd> Interests<'fd> {
    /// None yet.
    pub fn new() -> Interests<'fd> {
        Interests(Vec::new())
    }

    /// Adds a wait for `fd` to become readable, writable, both, or (neither) only to hang up; returns its place.
    pub fn add(&mut self, fd: BorrowedFd<'fd>, readable: bool, writable: bool) -> usize {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, readable);
        flags.set(PollFlags::OUT, writable);
        self.0.push(PollFd::from_borrowed_fd(fd, flags));
        self.0.len() - 1
    }

    /// Waits until one is ready or `timeout` has passed (none waits for ever); returns how many are.
    ///
    /// An interrupting signal counts as nothing being ready.
    ///
    /// # Errors
    /// As poll(2), `EINTR` excepted.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        match rustix::event::poll(&mut self.0, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {
                self.0.iter_mut().for_each(PollFd::clear_revents);
                Ok(0)
            }
            result => Ok(result?),
        }
    }

    /// At `place`, a read would not block: there is data, the end of the file, or an error to collect.
    pub fn readable(&self, place: usize) -> bool {
        self.happened(place, PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
    }

    /// At `place`, a write would not block: there is room, or an error to collect.
    pub fn writable(&self, place: usize) -> bool {
        self.happened(place, PollFlags::OUT | PollFlags::HUP | PollFlags::ERR)
    }

    /// At `place`, the other side is gone.
    pub fn hung_up(&self, place: usize) -> bool {
        self.happened(place, PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }

    fn happened(&self, place: usize, flags: PollFlags) -> bool {
        self.0.get(place).is_some_and(|fd| fd.revents().intersects(flags))
    }
}

/// Changes of the files in one directory, by inotify: appended to, created, renamed, removed.
///
/// Its descriptor becomes readable when something has changed; [`Changes::take`] then says whether a file of interest
/// was concerned.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl std::os::fd::AsRawFd for Changes {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl Changes {
    /// Watches the entries of `directory`.
    ///
    /// # Errors
    /// As inotify_init(2) and inotify_add_watch(2): `EMFILE` and `ENOSPC` are the user's inotify limits.
    pub fn of(directory: &Path) -> io::Result<Changes> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let what =
            WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        inotify::add_watch(&fd, directory, what)?;
        Ok(Changes(fd))
    }

    /// Takes all pending changes; true when one concerned a file that `concerns` accepts, or when some were lost.
    ///
    /// # Errors
    /// As read(2), `EAGAIN` excepted.
    pub fn take(&self, concerns: impl Fn(&OsStr) -> bool) -> io::Result<bool> {
        use std::os::unix::ffi::OsStrExt;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut concerned = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    concerned |= name.is_none_or(&concerns);
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(concerned),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_is_ready_when_there_is_something_to_read_and_when_the_other_side_is_gone() {
        let (mut one, two) = UnixStream::pair().expect("pair");
        let mut interests = Interests::new();
        let place = interests.add(two.as_fd(), true, false);
        assert_eq!(interests.wait(Some(Duration::ZERO)).expect("wait"), 0);
        assert!(!interests.readable(place));
        one.write_all(b"x").expect("write");
        assert_eq!(interests.wait(None).expect("wait"), 1);
        assert!(interests.readable(place) && !interests.hung_up(place));
        drop(one);
        interests.wait(None).expect("wait");
        assert!(interests.hung_up(place));
    }

    #[test]
    fn a_change_of_a_file_is_told_from_a_change_of_its_neighbour() {
        let dir = std::env::temp_dir().join(format!("teu-changes-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("directory");
        let changes = Changes::of(&dir).expect("watch");
        std::fs::write(dir.join("other"), "x").expect("write");
        assert!(!changes.take(|name| name == "log").expect("take"));
        std::fs::write(dir.join("log"), "x").expect("write");
        assert!(changes.take(|name| name == "log").expect("take"));
        assert!(!changes.take(|_| true).expect("take"));
        std::fs::remove_dir_all(dir).expect("remove");
    }
}
