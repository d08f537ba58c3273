//! Unix sockets handed over by a parent process.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

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

fn integer_option(fd: RawFd, option: i32) -> io::Result<i32> {
    let mut value: i32 = 0;
    let mut len = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4);
    // SAFETY: the kernel writes at most `len` bytes into `value`.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, (&raw mut value).cast(), &raw mut len) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

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
