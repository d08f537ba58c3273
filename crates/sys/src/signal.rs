//! Signals of this process: blocked, ignored, restored, or read from a descriptor.
//!
//! Sending to others is `process`' business, by pidfd.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// A set of signals.
#[derive(Clone, Copy)]
pub struct Set(libc::sigset_t);

impl Set {
    /// No signal.
    pub fn empty() -> Set {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set and cannot fail on a valid pointer.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Set(set.assume_init())
        }
    }

    /// Every signal.
    pub fn full() -> Set {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set and cannot fail on a valid pointer.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Set(set.assume_init())
        }
    }

    /// These signals; a number that is none is left out.
    pub fn of(signals: &[i32]) -> Set {
        let mut set = Set::empty();
        for &signal in signals {
            // SAFETY: the set is initialised; an invalid number is refused with EINVAL and changes nothing.
            unsafe { libc::sigaddset(&raw mut set.0, signal) };
        }
        set
    }

    /// Whether `signal` is in the set.
    pub fn contains(&self, signal: i32) -> bool {
        // SAFETY: the set is initialised.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }
}

/// Adds `set` to the calling thread's blocked signals and returns what was blocked before.
///
/// # Errors
/// As sigprocmask(2).
pub fn block(set: &Set) -> io::Result<Set> {
    mask(libc::SIG_BLOCK, set)
}

/// Makes `set` the calling thread's blocked signals and returns what was blocked before.
///
/// # Errors
/// As sigprocmask(2).
pub fn set_blocked(set: &Set) -> io::Result<Set> {
    mask(libc::SIG_SETMASK, set)
}

fn mask(how: i32, set: &Set) -> io::Result<Set> {
    let mut old = Set::empty();
    // SAFETY: both sets are initialised and live during the call.
    match unsafe { libc::pthread_sigmask(how, &raw const set.0, &raw mut old.0) } {
        0 => Ok(old),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Ignores `signal` in the whole process; what is ignored stays so across execve.
///
/// # Errors
/// As signal(2): `EINVAL` for a number that is no signal, or one that cannot be ignored.
pub fn ignore(signal: i32) -> io::Result<()> {
    dispose(signal, libc::SIG_IGN)
}

/// Gives every signal the meaning it has in a fresh process. For a child before it executes its program: handlers of
/// this one would be gone then anyway, but what is ignored would stay so. It allocates nothing.
pub fn restore_defaults() {
    /// What the kernel itself takes: no handler (that is the default), no flags, no restorer, an empty mask.
    const DEFAULT: [u64; 4] = [0; 4];
    let none: *const u64 = std::ptr::null();
    for signal in 1..=64 {
        // Not through the C library, which keeps 32 and 33 for itself even when they were inherited as ignored. That
        // SIGKILL and SIGSTOP are refused is as it should be.
        // SAFETY: the kernel reads one `struct sigaction` of its own kind, all zeroes, and an 8-byte signal set's size.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), none, 8) };
    }
}

fn dispose(signal: i32, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: SIG_IGN and SIG_DFL install no handler, so no code of ours runs in signal context.
    if unsafe { libc::signal(signal, action) } == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A non-blocking descriptor that becomes readable when a signal of `set` is pending. Block them first.
///
/// # Errors
/// As signalfd(2).
pub fn descriptor(set: &Set) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised; a returned descriptor is new and ours alone.
    unsafe {
        match libc::signalfd(-1, &raw const set.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Whether a signal ends a process that does nothing about it.
pub fn ends(signal: i32) -> bool {
    let harmless = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    !harmless.contains(&signal)
}

/// Waits for a signal of `set`, which is blocked, and takes it.
///
/// # Errors
/// As sigwait(3).
pub fn wait(set: &Set) -> io::Result<i32> {
    let mut number = 0;
    // SAFETY: the set is initialised and the number is written only.
    match unsafe { libc::sigwait(&raw const set.0, &raw mut number) } {
        0 => Ok(number),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Takes one pending signal from a [`descriptor`]; none when none is pending.
///
/// # Errors
/// As read(2), `EAGAIN` excepted.
pub fn take(descriptor: impl AsFd) -> io::Result<Option<i32>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is as large as said and any bytes are a valid signalfd_siginfo.
    let (n, info) = unsafe {
        let n = libc::read(descriptor.as_fd().as_raw_fd(), info.as_mut_ptr().cast(), size);
        (n, info.assume_init())
    };
    if n < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    Ok((n.unsigned_abs() == size).then(|| i32::try_from(info.ssi_signo).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_from_its_descriptor() {
        let set = Set::of(&[libc::SIGUSR2]);
        let before = block(&set).expect("block");
        let fd = descriptor(&set).expect("descriptor");
        assert_eq!(take(&fd).expect("take"), None);
        // SAFETY: raises in this thread a signal that is blocked.
        unsafe { libc::raise(libc::SIGUSR2) };
        assert_eq!(take(&fd).expect("take"), Some(libc::SIGUSR2));
        assert!(!before.contains(libc::SIGUSR2));
        set_blocked(&before).expect("restore");
    }

    #[test]
    fn a_number_that_is_no_signal_is_left_out() {
        assert!(!Set::of(&[0, 9999]).contains(9));
        assert!(Set::full().contains(libc::SIGTERM));
        assert!(!Set::empty().contains(libc::SIGTERM));
    }
}
