//! Unix sockets: one handed over by a parent process, descriptors sent from process to process, and what the other end
//! has not read yet.

#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// The most descriptors in one message.
pub const MOST_DESCRIPTORS: usize = 32;

/// Takes the listening Unix socket that the parent left at descriptor `fd`, close-on-exec from now on.
///
/// Once per descriptor, early in a program's life: whoever calls it says that nothing else in the process owns `fd`.
///
/// # Errors
/// `EBADF` when nothing is open there, `EINVAL` when it is no listening Unix socket, or as getsockopt(2).
pub fn inherited_listener(fd: RawFd) -> io::Result<UnixListener> {
    if fd <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (option, wanted) in [(libc::SO_DOMAIN, libc::AF_UNIX), (libc::SO_ACCEPTCONN, 1)] {
        if integer_option(fd, option)? != wanted {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
    }
    // SAFETY: `fd` is open, as getsockopt found; the caller says that it is nobody else's.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    Ok(UnixListener::from(owned))
}

/// Whether the other end of a Unix stream socket has not read yet all that was written to this one (`SIOCOUTQ`, unix(7)).
///
/// # Errors
/// As ioctl(2).
pub fn has_unread(socket: impl AsFd) -> io::Result<bool> {
    let mut bytes: i32 = 0;
    // SAFETY: the kernel writes one int into `bytes`.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(bytes != 0) } else { Err(io::Error::last_os_error()) }
}

fn integer_option(fd: RawFd, option: i32) -> io::Result<i32> {
    let mut value: i32 = 0;
    let mut len = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4);
    // SAFETY: the kernel writes at most `len` bytes into `value`.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, (&raw mut value).cast(), &raw mut len) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Sends one datagram with up to [`MOST_DESCRIPTORS`].
///
/// # Errors
/// As sendmsg(2); `EINVAL` for more descriptors.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from(rustix::io::Errno::INVAL));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one datagram and its descriptors, close-on-exec; a length of 0 is the end of file.
///
/// # Errors
/// As recvmsg(2).
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slice = [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(socket.as_fd(), &mut slice, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            // The other side went away with something of ours unread. That is told once; its last words come next.
            Err(rustix::io::Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((received.bytes, fds))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd as _, IntoRawFd};

    use super::*;

    #[test]
    fn last_words_are_heard_of_one_who_did_not_listen() {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let pair = || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (one, two) = pair().expect("pair");
        send(one.as_fd(), b"unread", &[]).expect("sent");
        send(two.as_fd(), b"farewell", &[]).expect("sent");
        drop(two);
        let mut bytes = [0; 16];
        assert_eq!(receive(one.as_fd(), &mut bytes).expect("received").0, 8);
        assert_eq!(receive(one.as_fd(), &mut bytes).expect("received").0, 0);
    }

    #[test]
    fn what_was_written_is_unread_until_the_other_end_reads_it() {
        use std::io::{Read, Write};
        let (mut one, mut two) = std::os::unix::net::UnixStream::pair().expect("pair");
        assert!(!has_unread(&one).expect("asked"));
        one.write_all(b"word").expect("written");
        assert!(has_unread(&one).expect("asked"));
        two.read_exact(&mut [0; 4]).expect("read");
        assert!(!has_unread(&one).expect("asked"));
    }

    #[test]
    fn only_a_listening_unix_socket_is_taken() {
        let dir = std::env::temp_dir().join(format!("teu-socket-{}", std::process::id()));
        let listener = UnixListener::bind(&dir).expect("bind");
        let taken = inherited_listener(listener.into_raw_fd()).expect("taken");
        assert!(taken.local_addr().expect("address").as_pathname().is_some());
        let (one, _two) = std::os::unix::net::UnixStream::pair().expect("pair");
        assert_eq!(inherited_listener(one.as_raw_fd()).expect_err("refused").raw_os_error(), Some(libc::EINVAL));
        let file = std::fs::File::open("/dev/null").expect("open");
        assert_eq!(inherited_listener(file.as_raw_fd()).expect_err("refused").raw_os_error(), Some(libc::ENOTSOCK));
        std::fs::remove_file(dir).expect("remove");
    }
}
