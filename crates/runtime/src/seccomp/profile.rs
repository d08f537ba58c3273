//! The default profile: what a container may call when its user says nothing.
//!
//! A list of what is allowed; everything else gets `EPERM`. What is left out reaches kernel state that no namespace
//! divides (keyrings, modules, clocks, NUMA placement, io_uring) or makes namespaces. A capability in the container's
//! bounding set brings the calls that it exists for. `clone3` hides its flags behind a pointer that a filter cannot
//! follow, so it "does not exist" (`ENOSYS`) and programs fall back to `clone`, whose flags are seen.
//!
//! Conditions are written as masks over the 32 bits the kernel looks at: a comparison of the whole register would let
//! `socket` through with rubbish in its upper half.

use teu_oci::runtime::{Seccomp, SyscallArg, SyscallRule};

const ALLOW: &str = "SCMP_ACT_ALLOW";
const ERRNO: &str = "SCMP_ACT_ERRNO";
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Files, memory, time, processes, sockets: what every program may do.
const ALWAYS: &str = "
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
    epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
    exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2
    fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr file_getattr file_setattr flistxattr flock fork
    fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue
    futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents
    getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid
    getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
    io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
    lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek
    lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod
    mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync
    munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv
    preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64
    pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send
    sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32
    setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
    setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32
    setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signal signalfd signalfd4 sigprocmask sigreturn
    socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo
    tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill
    truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
    vmsplice wait4 waitid waitpid write writev";

/// What one kind of processor needs besides.
#[cfg(target_arch = "x86_64")]
const OF_PROCESSOR: &str = "arch_prctl modify_ldt";
#[cfg(not(target_arch = "x86_64"))]
const OF_PROCESSOR: &str = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";

/// The architectures whose programs can run on this machine.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
#[cfg(not(target_arch = "x86_64"))]
const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];

/// The calls that a capability brings.
const BY_CAPABILITY: [(&str, &str); 14] = [
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount \
         umount2 unshare",
    ),
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// Every flag of clone(2) that makes a namespace.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

/// Linux, 32-bit Linux, and each with an old time or address habit; and "say which one I am".
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

/// Address families 0 to 47 without `AF_ALG` (38) and `AF_VSOCK` (40), as (mask, value) over the low 32 bits.
const FAMILIES: [(u64, u64); 7] = [
    (0xFFFF_FFE0, 0),  // 0 to 31
    (0xFFFF_FFFC, 32), // 32 to 35
    (0xFFFF_FFFE, 36), // 36, 37
    (0xFFFF_FFFF, 39),
    (0xFFFF_FFFF, 41),
    (0xFFFF_FFFE, 42), // 42, 43
    (0xFFFF_FFFC, 44), // 44 to 47
];

/// The operations of i386's socketcall(2) besides `socket`, whose family it hides in memory: 2 to 20.
const SOCKET_OPERATIONS: [(u64, u64); 4] = [(0xFFFF_FFFE, 2), (0xFFFF_FFFC, 4), (0xFFFF_FFF8, 8), (0xFFFF_FFFC, 16)];

/// The default profile for a container with `capabilities` (`CAP_SYS_ADMIN`, …) in its bounding set.
pub fn default(capabilities: &[impl AsRef<str>]) -> Seccomp {
    let has = |name: &str| capabilities.iter().any(|c| c.as_ref().strip_prefix("CAP_").unwrap_or(c.as_ref()) == name);
    let mut syscalls = vec![allow(ALWAYS), allow(OF_PROCESSOR)];
    syscalls.extend(FAMILIES.map(|(mask, value)| allow_masked("socket", mask, value)));
    syscalls.extend(SOCKET_OPERATIONS.map(|(mask, value)| allow_masked("socketcall", mask, value)));
    syscalls.push(allow_masked("socketcall", 0xFFFF_FFFF, 20));
    syscalls.extend(PERSONALITIES.map(|value| allow_masked("personality", u64::MAX, value)));
    syscalls.extend(BY_CAPABILITY.iter().filter(|(name, _)| has(name)).map(|(_, calls)| allow(calls)));
    if !has("SYS_ADMIN") {
        syscalls.push(allow_masked("clone", NAMESPACE_FLAGS, 0));
        let names = vec!["clone3".to_owned()];
        syscalls.push(SyscallRule { names, action: ERRNO.into(), errno_ret: Some(ENOSYS), ..SyscallRule::default() });
    }
    Seccomp {
        default_action: ERRNO.into(),
        default_errno_ret: Some(EPERM),
        architectures: ARCHITECTURES.map(str::to_owned).to_vec(),
        syscalls,
        ..Seccomp::default()
    }
}

fn allow(names: &str) -> SyscallRule {
    let names = names.split_ascii_whitespace().map(str::to_owned).collect();
    SyscallRule { names, action: ALLOW.into(), ..SyscallRule::default() }
}

/// Allows a call whose first argument, under `mask`, is `value`.
fn allow_masked(name: &str, mask: u64, value: u64) -> SyscallRule {
    let arg = SyscallArg { index: 0, value: mask, value_two: value, op: "SCMP_CMP_MASKED_EQ".into() };
    SyscallRule { args: vec![arg], ..allow(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::numbers;

    #[test]
    fn every_name_is_a_system_call_of_some_architecture_we_know() {
        let tables = [numbers::X86_64, numbers::I386, numbers::AARCH64];
        let arm_only =
            ["arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush", "set_tls"];
        let absent = ["recv", "send"];
        let calls = BY_CAPABILITY.iter().map(|(_, calls)| *calls).chain([ALWAYS, OF_PROCESSOR]);
        for name in calls.flat_map(str::split_ascii_whitespace) {
            let known = tables.iter().any(|table| numbers::entries(table).any(|(_, known)| known == name));
            assert!(known || arm_only.contains(&name) || absent.contains(&name), "{name} is in no table");
        }
    }

    #[test]
    fn no_name_is_listed_twice_and_the_list_is_sorted() {
        let names: Vec<_> = ALWAYS.split_ascii_whitespace().collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{:?}", names.windows(2).find(|w| w[0] >= w[1]));
    }
}
