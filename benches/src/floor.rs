//! The floor: what the kernel alone needs to start and end one fully isolated container.
//!
//! One process, direct system calls, no daemon, no store, no JSON: a clone into new mount, PID, IPC, UTS, cgroup and
//! network namespaces (and a cgroup v2 directory where one is writable), an overlay, proc, sysfs, dev with its nodes,
//! devpts, shm, mqueue, the new root, read-only and masked paths, `no_new_privs`, a filter of 64 leaves, `execve`, wait.
//! No engine can be faster than this on the same kernel in the same run: engines are quoted as a multiple of it.
//!
//! Invariant: the benchmark has one thread, as [`process::spawn`] asks.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};
use teu_sys::mount::{self, Change, Overlay, Propagation, attribute};
use teu_sys::process::Texts;
use teu_sys::seccomp::Instruction;
use teu_sys::{credentials, namespace, process, seccomp};

use crate::failure::{Failure, While};
use crate::process::rest;

const NAMESPACES: u64 =
    namespace::MOUNT | namespace::PID | namespace::IPC | namespace::UTS | namespace::CGROUP | namespace::NETWORK;
const SEALED: u64 = attribute::NO_SETUID | attribute::NO_EXEC | attribute::NO_DEVICES;
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const MASKED: [&str; 4] = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"];

/// How long one container took, from before the clone.
pub(crate) struct Times {
    /// Until the program was reached.
    pub(crate) exec: Duration,
    /// Until it had ended and was reaped.
    pub(crate) exit: Duration,
}

/// A place to run containers at, with everything prepared that an engine could prepare as well.
pub(crate) struct Floor {
    rootfs: PathBuf,
    program: CString,
    folder: PathBuf,
    cgroup: Option<(PathBuf, OwnedFd)>,
    filter: Vec<Instruction>,
    runs: usize,
}

impl Floor {
    /// Prepares to run `program` on `rootfs`, with write layers below `folder`.
    pub(crate) fn new(rootfs: &Path, program: &str, folder: PathBuf) -> Result<Self, Failure> {
        fs::create_dir_all(&folder).while_doing(format!("make {}", folder.display()))?;
        let program = CString::new(program).while_doing("name the program")?;
        Ok(Self { rootfs: rootfs.into(), program, folder, cgroup: cgroup(), filter: filter(), runs: 0 })
    }

    /// Runs one container.
    pub(crate) fn run(&mut self) -> Result<Times, Failure> {
        self.runs += 1;
        rest();
        let begin = Instant::now();
        let [upper, work] = ["upper", "work"].map(|name| self.folder.join(format!("{name}{}", self.runs)));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let overlay =
            Overlay { lowers: vec![self.rootfs.clone()], upper: Some(upper), work: Some(work), volatile: true };
        // Closed by the kernel when the program is reached.
        let (reached, open) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).while_doing("make a pipe")?;
        let cgroup = self.cgroup.as_ref().map(|(_, directory)| directory.as_fd());
        let child = process::spawn(NAMESPACES, cgroup, || match self.become_container(&overlay) {
            Ok(never) => match never {},
            Err(error) => {
                eprintln!("floor: {error}");
                100
            }
        })
        .while_doing("floor: clone")?;
        drop(open);
        let mut nothing = Vec::new();
        fs::File::from(reached).read_to_end(&mut nothing)?;
        let exec = begin.elapsed();
        let ended = process::wait(&child.pidfd).while_doing("floor: wait")?;
        let exit = begin.elapsed();
        if ended.code != 0 {
            return Err(Failure(format!("floor: the program ended with status {}", ended.code)));
        }
        Ok(Times { exec, exit })
    }

    /// Runs the program in the namespaces of the process `pid`: setns(2), fork, `execve`, wait.
    pub(crate) fn enter(&self, pid: u32) -> Result<Duration, Failure> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| Failure("no process id".into()))?;
        let target = rustix::process::pidfd_open(pid, PidfdFlags::empty()).while_doing("floor: open the process")?;
        rest();
        let begin = Instant::now();
        let failed = |error: io::Error| {
            eprintln!("floor: {error}");
            100
        };
        let (args, env) = (Texts::from(vec![self.program.clone()]), Texts::default());
        let inside = || Err::<i32, _>(process::execute(&self.program, &args, &env));
        // Only children of whoever entered a PID namespace are in it.
        let between = || {
            namespace::enter(&target, NAMESPACES)?;
            let child = process::spawn(0, None, || inside().unwrap_or_else(failed))?;
            Ok(process::wait(&child.pidfd)?.code)
        };
        let child = process::spawn(0, None, || between().unwrap_or_else(failed)).while_doing("floor: fork")?;
        let ended = process::wait(&child.pidfd).while_doing("floor: wait")?;
        match ended.code {
            0 => Ok(begin.elapsed()),
            code => Err(Failure(format!("floor: the program that entered ended with status {code}"))),
        }
    }

    /// The child's story; it comes back only to say what went wrong.
    fn become_container(&self, overlay: &Overlay) -> io::Result<std::convert::Infallible> {
        mount::set_propagation_of_all(Propagation::Private)?;
        let root = overlay.mount_detached()?;
        mount::attach_over_root(&root)?;
        mount_all(&root)?;
        mount::pivot_into(&root)?;
        protect()?;
        rustix::system::sethostname(b"floor")?;
        credentials::set_no_new_privileges()?;
        seccomp::load(&self.filter, 0)?;
        Err(process::execute(&self.program, &vec![self.program.clone()].into(), &Texts::default()))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.cgroup {
            let _ = fs::remove_dir(path);
        }
    }
}

/// proc, sysfs, and dev with what belongs in it.
fn mount_all(root: &OwnedFd) -> io::Result<()> {
    let put = |kind, options: &[(&str, Option<&str>)], attributes, place: &str| {
        mount::attach(mount::filesystem(kind, options, attributes)?, open(root, place)?)
    };
    put("proc", &[], SEALED, "proc")?;
    put("sysfs", &[], SEALED | attribute::READ_ONLY, "sys")?;
    put("tmpfs", &[("mode", Some("755")), ("size", Some("65536k"))], attribute::NO_SETUID, "dev")?;
    let dev = open(root, "dev")?;
    for folder in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&dev, folder, Mode::from_raw_mode(0o755))?;
    }
    let terminals = [("newinstance", None), ("ptmxmode", Some("0666")), ("mode", Some("0620"))];
    put("devpts", &terminals, attribute::NO_SETUID | attribute::NO_EXEC, "dev/pts")?;
    put("tmpfs", &[("mode", Some("1777")), ("size", Some("65536k"))], SEALED, "dev/shm")?;
    put("mqueue", &[], SEALED, "dev/mqueue")?;
    for (name, major, minor) in NODES {
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, mode, makedev(major, minor))?;
    }
    Ok(())
}

/// What of proc can be read only, and what not even that.
fn protect() -> io::Result<()> {
    let here = |path: &str| open(CWD, path);
    for path in READ_ONLY.iter().filter(|path| Path::new(path).exists()) {
        let copy = mount::clone_tree(CWD, Path::new(path), true)?;
        mount::set_attributes(&copy, false, Change { set: SEALED | attribute::READ_ONLY, ..Change::default() })?;
        mount::attach(copy, here(path)?)?;
    }
    for path in MASKED.iter().filter(|path| Path::new(path).exists()) {
        mount::attach(mount::clone_tree(CWD, Path::new("/dev/null"), false)?, here(path)?)?;
    }
    Ok(())
}

fn open(at: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(at, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// A directory of the cgroup v2 tree, where there is one: pure, or beside the v1 controllers.
fn cgroup() -> Option<(PathBuf, OwnedFd)> {
    let trees = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    let tree = trees.into_iter().find(|tree| tree.join("cgroup.procs").exists())?;
    let path = tree.join(format!("teu-bench-floor-{}", std::process::id()));
    fs::create_dir(&path).ok()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(&path, flags, Mode::empty()).ok()?;
    Some((path, directory))
}

/// A balanced search over system call numbers, as a compiled default profile is; every leaf allows.
fn filter() -> Vec<Instruction> {
    const LOAD_WORD: u16 = 0x20;
    const RETURN: u16 = 0x06;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const ALLOW: u32 = 0x7fff_0000;

    fn tree(filter: &mut Vec<Instruction>, low: u32, high: u32) {
        if high - low == 1 {
            filter.push(Instruction { code: RETURN, jt: 0, jf: 0, k: ALLOW });
            return;
        }
        let (middle, at) = (u32::midpoint(low, high), filter.len());
        filter.push(Instruction { code: JUMP_IF_AT_LEAST, jt: 0, jf: 0, k: middle * 8 });
        tree(filter, low, middle);
        // The left half of 64 leaves has 63 instructions: the jump fits.
        filter[at].jt = u8::try_from(filter.len() - at - 1).unwrap_or(u8::MAX);
        tree(filter, middle, high);
    }

    let mut filter = vec![Instruction { code: LOAD_WORD, jt: 0, jf: 0, k: 0 }];
    tree(&mut filter, 0, 64);
    filter
}
