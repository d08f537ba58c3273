//! Processes: making one in new namespaces, replacing its program, waiting for it and signalling it without pid races.
//!
//! Invariant: [`spawn`] and [`lend`] are for single-threaded callers. The child is a copy of the whole process with one
//! thread, so it may allocate and use the standard library, or has the caller's memory while the caller waits, with what
//! [`lend`] says of that; it ends by `execve` or by the code its closure returns, and never runs the parent's destructors.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};

/// The child becomes a child of the caller's own parent (`CLONE_PARENT`).
pub const PARENT: u64 = libc::CLONE_PARENT as u64;

/// The child is born in a cgroup v2 directory (`CLONE_INTO_CGROUP`; the C library crate has it too narrow).
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// What a child ends with when its closure panics.
pub const PANICKED: i32 = 101;

/// Whether this memory is a child's at the moment.
static LENT: AtomicBool = AtomicBool::new(false);

/// Whether the caller is a child that has another's memory ([`lend`]) until it executes its program.
#[must_use]
pub fn is_lent() -> bool {
    LENT.load(Ordering::Relaxed)
}

/// What a program does first that has no `fn main`: standard input, output and error are open (what is opened next must not
/// be taken for one of them), and who writes to a pipe that nobody reads hears of it as an error.
pub fn begin() {
    use rustix::event::{PollFd, PollFlags};
    let (input, output, error) = (rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr());
    let mut standard = [input, output, error].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()));
    let _ = rustix::event::poll(&mut standard, Some(&rustix::event::Timespec::default()));
    for _ in standard.iter().filter(|fd| fd.revents().contains(PollFlags::NVAL)) {
        // The lowest number that is free is taken, open(2), and never given back.
        match rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()) {
            Ok(null) => std::mem::forget(null),
            Err(_) => end(PANICKED),
        }
    }
    let _ = crate::signal::ignore(libc::SIGPIPE);
}

/// Lets go of the program's own code: it stays in the page cache, and what is executed again is mapped again, a few
/// microseconds for each piece. For who has done what is done only once and will live long.
///
/// # Errors
/// As proc_pid_maps(5) and madvise(2); nothing is lost then.
pub fn unmap_own_code() -> io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let own = std::fs::read_link("/proc/self/exe")?;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights, path) = (words.next(), words.next(), words.nth(3));
        // Code is never written to, so every page is the file's.
        if rights != Some("r-xp") || path.map(std::path::Path::new) != Some(&own) {
            continue;
        }
        let ends = range.and_then(|range| range.split_once('-'));
        let address = |text: &str| usize::from_str_radix(text, 16).ok();
        let Some((Some(start), Some(end))) = ends.map(|(start, end)| (address(start), address(end))) else { continue };
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: a private mapping of a file that nobody writes to: the pages come back as they were (madvise(2),
        // MADV_DONTNEED).
        if unsafe { libc::madvise(start, end - start.addr(), libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives the kernel what the heap has free (`malloc_trim(3)`), all of it but what the next allocations are made from.
pub fn trim_heap() {
    // SAFETY: takes no pointer, and locks what it walks.
    unsafe { libc::malloc_trim(0) };
}

/// A process that was made by [`spawn`].
#[derive(Debug)]
pub struct Child {
    /// Its id in the caller's pid namespace.
    pub pid: i32,
    /// The descriptor that stands for it, close-on-exec.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit status, or 128 + the signal.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
}

/// Makes a process that runs `child` and ends with the code it returns.
///
/// `flags` are the `CLONE_NEW*` bits of [`crate::namespace`] and [`PARENT`]; `cgroup` is a directory of the cgroup v2
/// tree in which the child is born. Descriptors are inherited as by fork(2).
///
/// # Errors
/// As clone3(2).
pub fn spawn(flags: u64, cgroup: Option<BorrowedFd<'_>>, child: impl FnOnce() -> i32) -> io::Result<Child> {
    let mut pidfd: libc::c_int = -1;
    let mut args = clone_args(flags, cgroup, &mut pidfd);
    // SAFETY: no stack is given and memory is not shared, so this is fork(2) with more flags; `args` outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => tell(child),
        pid => Ok(born(pid, pidfd)),
    }
}

/// The same for a child that soon executes a program: it gets the caller's memory, not a copy, and the caller waits until the
/// child has executed its program or ended, as vfork(2).
///
/// Where others may end the child it makes system calls and nothing else: whatever it was changing in memory at that moment
/// stays as it was then, and a heap half changed is the caller's. What it still owns when it executes its program is never
/// freed. Descriptors, signal actions, limits and identity are its own. Nobody may look into it who may not look into
/// the caller. It cannot enter a time namespace, setns(2).
///
/// # Errors
/// As clone3(2).
#[cfg(target_arch = "x86_64")]
pub fn lend<F: FnOnce() -> i32>(flags: u64, cgroup: Option<BorrowedFd<'_>>, child: F) -> io::Result<Child> {
    /// The child's first and last function. `story` is an `Option<F>` of the caller, who is waiting.
    extern "C" fn begin<F: FnOnce() -> i32>(story: *mut Option<F>) -> ! {
        LENT.store(true, Ordering::Relaxed);
        // SAFETY: the caller's frame stays as it is while it waits, and nobody else looks at the story.
        let story = unsafe { (*story).take() };
        tell(|| story.map_or(PANICKED, |story| story()))
    }
    let (mut pidfd, mut story): (libc::c_int, _) = (-1, Some(child));
    let mut args = clone_args(flags | (libc::CLONE_VM | libc::CLONE_VFORK) as u64, cgroup, &mut pidfd);
    let result: i64;
    // SAFETY: with CLONE_VFORK the kernel lets the caller go on only when the child has left its memory, so both can use one
    // stack: the child calls from here and does not come back, what it writes lies below this frame, and the kernel
    // restores the caller's registers. clone3(2) takes a null stack for the caller's. rcx and r11 are the kernel's.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw mut args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") &raw mut story,
            in("r13") begin::<F> as extern "C" fn(*mut Option<F>) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    LENT.store(false, Ordering::Relaxed);
    match result {
        ..0 => Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL))),
        pid => Ok(born(pid, pidfd)),
    }
}

/// Elsewhere it is not there.
///
/// # Errors
/// `ENOSYS`.
#[cfg(not(target_arch = "x86_64"))]
pub fn lend<F: FnOnce() -> i32>(_: u64, _: Option<BorrowedFd<'_>>, _: F) -> io::Result<Child> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

fn clone_args(flags: u64, cgroup: Option<BorrowedFd<'_>>, pidfd: &mut libc::c_int) -> libc::clone_args {
    // SAFETY: all zeroes is a valid `clone_args`.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut *pidfd) as u64;
    // A sibling ends with its parent's signal; naming another one is refused.
    args.exit_signal = if flags & PARENT == 0 { libc::SIGCHLD as u64 } else { 0 };
    if let Some(directory) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = directory.as_raw_fd() as u64;
    }
    args
}

/// The child's whole life, but for a program that it becomes.
fn tell(story: impl FnOnce() -> i32) -> ! {
    end(std::panic::catch_unwind(AssertUnwindSafe(story)).unwrap_or(PANICKED))
}

fn born(pid: i64, pidfd: libc::c_int) -> Child {
    // SAFETY: the kernel put a new descriptor there, and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Child { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd }
}

/// Ends the process at once: no destructor, no buffer flushed.
pub fn end(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// Texts as execve(2) takes them: arguments, or an environment.
#[derive(Debug)]
pub struct Texts {
    pointers: Vec<*const libc::c_char>,
    texts: Vec<CString>,
}

impl Texts {
    /// The texts.
    pub fn texts(&self) -> &[CString] {
        &self.texts
    }
}

impl From<Vec<CString>> for Texts {
    fn from(texts: Vec<CString>) -> Texts {
        let pointers = texts.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect();
        Texts { pointers, texts }
    }
}

impl Default for Texts {
    fn default() -> Texts {
        Vec::new().into()
    }
}

/// Replaces the program. Returns only the reason why it could not.
pub fn execute(program: &CStr, args: &Texts, env: &Texts) -> io::Error {
    // SAFETY: both arrays end with a null pointer and point to what lives as long as they do.
    unsafe { libc::execve(program.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Makes every descriptor from `first` on close when the program is replaced.
///
/// # Errors
/// As close_range(2).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: the flag changes no descriptor's meaning before the next execve.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
}

/// Closes every descriptor from `first` on.
///
/// For a child that will never again use, or drop, an owner of one of them: it ends by `execve` or [`end`].
///
/// # Errors
/// As close_range(2).
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: as the contract says, owners of these descriptors are never used or dropped in this process again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })
}

/// Puts a copy of `source` at the number `target`, close-on-exec or not, replacing what was there.
///
/// # Errors
/// As dup3(2).
pub fn place_descriptor(source: BorrowedFd<'_>, target: i32, close_on_exec: bool) -> io::Result<()> {
    if source.as_raw_fd() == target {
        let flags = if close_on_exec { rustix::io::FdFlags::CLOEXEC } else { rustix::io::FdFlags::empty() };
        return Ok(rustix::io::fcntl_setfd(source, flags)?);
    }
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: replacing `target` is what the caller asks for; it owns the table of a process it has just made.
    check(unsafe { libc::dup3(source.as_raw_fd(), target, flags) }.into())
}

/// The descriptor `number` of this process, which stays open until the program is replaced.
///
/// # Errors
/// `EBADF` when nothing is open there.
pub fn inherited(number: i32) -> io::Result<BorrowedFd<'static>> {
    // SAFETY: fcntl on any number is harmless.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    // SAFETY: it is open, as the kernel just said, and by contract stays so.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Whether the working directory has a path from the root: one outside of it (left open by somebody, say) has none,
/// getcwd(2). Takes no memory.
///
/// # Errors
/// As getcwd(2).
pub fn is_below_root() -> io::Result<bool> {
    let mut path = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes as many bytes as it is told at most.
    check(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })?;
    Ok(path[0] == b'/')
}

/// Sends a signal to the process behind `pidfd`.
///
/// # Errors
/// As pidfd_send_signal(2); `ESRCH` when it is gone.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: no siginfo is passed, and the descriptor is borrowed for the call.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) })
}

/// A copy of the descriptor `number` of the process behind `pidfd`, close-on-exec.
///
/// # Errors
/// As pidfd_getfd(2); `EPERM` without the right to trace that process.
pub fn take_descriptor(pidfd: impl AsFd, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), number, 0) };
    check(fd)?;
    // SAFETY: the kernel made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

/// Makes the caller the parent of its orphaned descendants.
///
/// # Errors
/// As prctl(2).
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: the call takes numbers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())
}

/// Reaps every child that has ended, but for the one of process id `but`.
pub fn reap_others(but: i32) {
    loop {
        // SAFETY: all zeroes is a valid `siginfo_t`, which the kernel fills.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::__WALL;
        // SAFETY: the kernel writes one `siginfo_t`; WNOWAIT only looks.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options | libc::WNOWAIT) };
        // SAFETY: for waitid the kernel fills the pid, and leaves it 0 when nothing ended.
        let pid = unsafe { info.si_pid() };
        if result != 0 || pid == 0 || pid == but {
            return;
        }
        // SAFETY: as above.
        unsafe { libc::waitid(libc::P_PID, pid.unsigned_abs(), &raw mut info, options) };
    }
}

/// Reaps one child that has ended: its id, and how. None when none has.
pub fn reap_next() -> Option<(i32, Exit)> {
    // SAFETY: all zeroes is a valid `siginfo_t`, which the kernel fills.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `siginfo_t`.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::__WALL) };
    // SAFETY: for waitid the kernel fills these fields, and leaves the pid 0 when nothing ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if result != 0 || pid == 0 {
        return None;
    }
    Some((pid, exit(info.si_code, status)))
}

/// Signals a child of the caller by its id; one that was not reaped yet cannot be another.
pub fn send_signal_to(child: i32, signal: i32) {
    // SAFETY: the call takes numbers. That the child has ended already is as good as told.
    unsafe { libc::kill(child, signal) };
}

/// Writes `title` over what the process was started with, and takes it as the thread's name: what ps(1) shows.
///
/// For a process that will never look at its arguments again.
///
/// # Errors
/// As prctl(2).
pub fn set_title(title: &str) -> io::Result<()> {
    // SAFETY: the C libraries of Linux have it with that type (program_invocation_name(3)).
    unsafe extern "C" {
        /// The C library's copy of the address of the first argument's text.
        static program_invocation_name: *mut libc::c_char;
    }
    let name = CString::new(title).map_err(io::Error::other)?;
    rustix::thread::set_name(&name)?;
    // The kernel puts the texts of the arguments one behind the other, each with its null byte.
    let length: usize = std::env::args_os().map(|arg| arg.len() + 1).sum();
    // SAFETY: the address was set before main and never moves; the memory behind it is the process' own, writable, and
    // `length` long. Nobody reads the arguments again, as the contract says.
    unsafe {
        let start = program_invocation_name.cast::<u8>();
        if !start.is_null() && length > 0 {
            std::ptr::write_bytes(start, 0, length);
            std::ptr::copy_nonoverlapping(title.as_ptr(), start, title.len().min(length - 1));
        }
    }
    Ok(())
}

/// Executes the program behind an open file, by execveat(2). Returns only the reason why it could not.
pub fn execute_file(program: impl AsFd, args: &Texts, env: &Texts) -> io::Error {
    let (argv, envp) = (args.pointers.as_ptr(), env.pointers.as_ptr());
    let fd = program.as_fd().as_raw_fd();
    // SAFETY: both arrays end with a null pointer and point to what lives as long as they do.
    unsafe { libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv, envp, libc::AT_EMPTY_PATH) };
    io::Error::last_os_error()
}

/// Waits until the child behind `pidfd` has ended, and reaps it.
///
/// # Errors
/// As waitid(2); `ECHILD` when it is not the caller's child or was reaped.
pub fn wait(pidfd: impl AsFd) -> io::Result<Exit> {
    loop {
        match wait_with(pidfd.as_fd(), libc::WEXITED) {
            Ok(Some(exit)) => return Ok(exit),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reaps the child behind `pidfd` if it has ended.
///
/// # Errors
/// As waitid(2); `ECHILD` when it is not the caller's child or was reaped.
pub fn try_wait(pidfd: impl AsFd) -> io::Result<Option<Exit>> {
    wait_with(pidfd.as_fd(), libc::WEXITED | libc::WNOHANG)
}

fn wait_with(pidfd: BorrowedFd<'_>, options: i32) -> io::Result<Option<Exit>> {
    // SAFETY: all zeroes is a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_raw_fd() as libc::id_t;
    // `__WALL`: a sibling made for us by another process may end with another signal than SIGCHLD.
    // SAFETY: the kernel writes one `siginfo_t`.
    check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, options | libc::__WALL) }.into())?;
    // SAFETY: for waitid the kernel fills these fields, and leaves the pid 0 when nothing ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some(exit(info.si_code, status)))
}

fn exit(code: i32, status: i32) -> Exit {
    match code {
        libc::CLD_EXITED => Exit { code: status, signal: None },
        _ => Exit { code: 128 + status, signal: Some(status) },
    }
}

/// Limits one resource of the calling process. `resource` is an `RLIMIT_*` number.
///
/// Without the privilege to raise the hard limit, both values stop at the present hard limit.
///
/// # Errors
/// As setrlimit(2).
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let wanted = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one `rlimit`.
    match check(unsafe { libc::setrlimit(resource, &raw const wanted) }.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
        other => return other,
    }
    let mut present = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit`.
    check(unsafe { libc::getrlimit(resource, &raw mut present) }.into())?;
    let hard = hard.min(present.rlim_max);
    let clamped = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(resource, &raw const clamped) }.into())
}

/// The number of an `RLIMIT_*` name.
pub fn limit_by_name(name: &str) -> Option<u32> {
    Some(match name {
        "RLIMIT_AS" => libc::RLIMIT_AS,
        "RLIMIT_CORE" => libc::RLIMIT_CORE,
        "RLIMIT_CPU" => libc::RLIMIT_CPU,
        "RLIMIT_DATA" => libc::RLIMIT_DATA,
        "RLIMIT_FSIZE" => libc::RLIMIT_FSIZE,
        "RLIMIT_LOCKS" => libc::RLIMIT_LOCKS,
        "RLIMIT_MEMLOCK" => libc::RLIMIT_MEMLOCK,
        "RLIMIT_MSGQUEUE" => libc::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => libc::RLIMIT_NICE,
        "RLIMIT_NOFILE" => libc::RLIMIT_NOFILE,
        "RLIMIT_NPROC" => libc::RLIMIT_NPROC,
        "RLIMIT_RSS" => libc::RLIMIT_RSS,
        "RLIMIT_RTPRIO" => libc::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => libc::RLIMIT_RTTIME,
        "RLIMIT_SIGPENDING" => libc::RLIMIT_SIGPENDING,
        "RLIMIT_STACK" => libc::RLIMIT_STACK,
        _ => return None,
    })
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_was_let_go_runs_all_the_same() {
        let before = std::fs::read_to_string("/proc/self/maps").expect("the maps");
        unmap_own_code().expect("let go");
        let after = std::fs::read_to_string("/proc/self/maps").expect("the maps");
        let own = |maps: &str| maps.lines().filter(|line| line.contains("r-xp")).count();
        assert_eq!(own(&before), own(&after));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn who_lends_memory_sees_what_the_child_did_and_goes_on() {
        let mut seen = Vec::new();
        let child = lend(0, None, || {
            seen.extend([rustix::process::getpid().as_raw_nonzero().get(), 2]);
            7
        })
        .expect("a child");
        assert_eq!(seen, [child.pid, 2]);
        assert_eq!(wait(&child.pidfd).expect("its end"), Exit { code: 7, signal: None });
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_child_with_lent_memory_executes_its_program() {
        let (args, none) = (Texts::from(vec![c"sh".into(), c"-c".into(), c"exit 3".into()]), Texts::default());
        let child = lend(0, None, || execute(c"/bin/sh", &args, &none).raw_os_error().unwrap_or(99)).expect("a child");
        assert_eq!(wait(&child.pidfd).expect("its end").code, 3);
        assert!(lend(u64::MAX, None, || 0).is_err());
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_panic_of_a_child_with_lent_memory_is_its_own() {
        let child = lend(0, None, || panic!("on purpose")).expect("a child");
        assert_eq!(wait(&child.pidfd).expect("its end").code, PANICKED);
    }
}
