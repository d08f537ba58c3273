//! One criu process that serves one request: `criu swrk`, spoken to over a pair of sockets.
//!
//! ```text
//!  we                                   criu
//!  clone, execve ─────────────────────▶ swrk
//!                    Request ─────────▶ works
//!        ◀───────── Answer(Notify, step), for as many steps as it has
//!                    Request(Notify, notified) ▶
//!        ◀───────── Answer(the request's kind, success)
//! ```

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use prost::Message;
use rustix::fs::Access;
use teu_sys::process::{self, Child};
use teu_sys::signal;

use super::message::{Answer, Features, Kind, Notice, Request};
use crate::error::During;
use crate::sync::{self, Report};
use crate::{Error, Stdio, create};

/// The longest answer.
const LONGEST: usize = 1 << 16;
/// Where the socket is for criu.
const SOCKET: i32 = 3;
/// Where its folders are, and then what else it inherits.
const KEPT: i32 = SOCKET + 1;
/// The oldest that knows all that is asked here.
const OLDEST: (i32, i32) = (3, 16);

/// Hears of each step, with the descriptors that came with it.
pub(super) type Listener<'a> = dyn FnMut(&Notice, Vec<OwnedFd>) -> Result<(), Error> + 'a;

/// A process of ours that waits for its request.
pub(super) struct Criu {
    child: Child,
    socket: OwnedFd,
}

/// What criu starts with.
#[derive(Default)]
pub(super) struct Setting<'a> {
    /// Kinds of namespaces that are made for it.
    pub(super) namespaces: u64,
    /// The v2 cgroup in which it is born.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    /// Its descriptors 0, 1 and 2; those of the restored container. None stands for the caller's own.
    pub(super) streams: Option<&'a Stdio>,
    /// Directories that it has open, as it sees them; see [`Setting::folder`].
    pub(super) folders: Vec<&'a Path>,
    /// Further descriptors, see [`Setting::inherited`].
    pub(super) inherited: Vec<BorrowedFd<'a>>,
}

impl Setting<'_> {
    /// The number by which criu knows a folder.
    pub(super) fn folder(&self, place: usize) -> i32 {
        KEPT + i32::try_from(place).unwrap_or(0)
    }

    /// The number by which criu knows an inherited descriptor.
    pub(super) fn inherited(&self, place: usize) -> i32 {
        self.folder(self.folders.len() + place)
    }
}

impl Criu {
    /// Starts criu, which does what is `first` before it is criu.
    pub(super) fn start(setting: &Setting<'_>, first: impl FnOnce() -> Result<(), Error>) -> Result<Criu, Error> {
        let program = find()?;
        let environment = std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec()).unwrap_or_default()
        });
        let environment = process::Texts::from(environment.collect::<Vec<_>>());
        let number = CString::new(SOCKET.to_string()).unwrap_or_default();
        let arguments = process::Texts::from(vec![c"criu".to_owned(), c"swrk".to_owned(), number]);
        let (child, socket) = spawn(setting, "start criu", |parent| {
            first()?;
            // It looks for directories in `/proc/<pid>/fd` of whoever made the socket: itself, in its own mount namespace.
            let (ours, theirs) = sync::pair().during("make a socket pair")?;
            sync::send(parent, b"s", &[theirs.as_fd()]).during("start criu")?;
            arrange(setting, ours.as_fd())?;
            Err(process::execute(&program, &arguments, &environment)).during("execute criu")
        })?;
        let socket = socket.ok_or_else(|| Error::refused("start criu: it ended early"))?;
        Ok(Criu { child, socket })
    }

    /// Its process.
    pub(super) fn pid(&self) -> i32 {
        self.child.pid
    }

    /// Makes the request and hears it out: every step goes to `notice`.
    pub(super) fn ask(self, request: &Request, notice: &mut Listener<'_>) -> Result<Answer, Error> {
        let answer = self.converse(request, notice);
        // One that hears no more from us undoes what it has begun, and ends.
        drop(self.socket);
        let exit = process::wait(&self.child.pidfd).during("wait for criu")?;
        let answer = answer?;
        // A criu that has made one early dump waits for the next.
        if exit.code != 0 && answer.kind() != Kind::PreDump {
            return Err(Error::refused(format!("criu ended with {}", exit.code)));
        }
        Ok(answer)
    }

    fn converse(&self, request: &Request, notice: &mut Listener<'_>) -> Result<Answer, Error> {
        let socket = self.socket.as_fd();
        let say = |request: &Request| sync::send(socket, &request.encode_to_vec(), &[]).during("speak to criu");
        say(request)?;
        let mut bytes = vec![0; LONGEST];
        loop {
            let (length, fds) = sync::take(socket, &mut bytes).during("hear from criu")?;
            if length == 0 {
                return Err(Error::refused("criu ended without an answer"));
            }
            let answer = Answer::decode(&bytes[..length])
                .map_err(|error| Error::refused(format!("understand criu: {error}")))?;
            if !answer.success {
                return Err(refusal(&answer));
            }
            if answer.kind() != Kind::Notify {
                return Ok(answer);
            }
            notice(&answer.notice.unwrap_or_default(), fds)?;
            say(&Request { kind: Kind::Notify.into(), notified: Some(true), ..Request::default() })?;
        }
    }
}

/// That criu cannot do it. Its message is whatever it logged as an error, of harmless things too: the log says more.
fn refusal(answer: &Answer) -> Error {
    let kind = format!("{:?}", answer.kind()).to_uppercase();
    Error::refused(format!("criu failed: type {kind} errno {}", answer.errno.unwrap_or(0)))
}

/// Makes a child that runs `story`, and returns when that has ended or become another program: with the descriptor that it
/// has sent to its parent, if any, or with its obstacle.
fn spawn(
    setting: &Setting<'_>,
    step: &str,
    story: impl FnOnce(BorrowedFd<'_>) -> Result<(), Error>,
) -> Result<(Child, Option<OwnedFd>), Error> {
    let (ours, theirs) = sync::pair().during("make a socket pair")?;
    let child = process::spawn(setting.namespaces, setting.cgroup, || {
        let Err(error) = story(theirs.as_fd()) else { return 0 };
        // When nobody hears it, nobody waits for it either.
        let _ = sync::report(theirs.as_fd(), &Report::Failed(error), None);
        1
    })
    .during(step)?;
    drop(theirs);
    let (mut sent, mut bytes) = (None, vec![0; LONGEST]);
    loop {
        let (length, mut fds) = sync::take(ours.as_fd(), &mut bytes).during(step)?;
        if length == 0 {
            return Ok((child, sent));
        }
        if let Some(fd) = fds.pop() {
            sent = Some(fd);
        } else if let Ok(Report::Failed(error)) = serde_json::from_slice(&bytes[..length]) {
            create::reap(&child);
            return Err(error);
        }
    }
}

/// Runs `story` in a child with namespaces of its own, to its end.
pub(super) fn apart(namespaces: u64, story: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let (child, _) = spawn(&Setting { namespaces, ..Setting::default() }, "make a process", |_| story())?;
    create::reap(&child);
    Ok(())
}

/// Puts descriptors where criu looks for them, and lets everything else end with execve.
///
/// Owners of descriptors must not be dropped after it.
fn arrange(setting: &Setting<'_>, socket: BorrowedFd<'_>) -> Result<(), Error> {
    let end = setting.inherited(setting.inherited.len());
    // Copies beyond the places that are about to be filled, whatever numbers the originals have.
    let aside = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, end);
    let open = |path: &&Path| -> io::Result<OwnedFd> { Ok(aside(File::open(path)?.as_fd())?) };
    let open = |path: &&Path| open(path).during_with(|| format!("open {}", path.display()));
    let mut kept = setting.folders.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut place = || -> io::Result<()> {
        signal::restore_defaults();
        signal::set_blocked(&signal::Set::empty())?;
        for fd in &setting.inherited {
            kept.push(aside(*fd)?);
        }
        let streams = setting.streams.map(Stdio::borrow);
        let streams = streams.into_iter().flatten().map(aside).collect::<Result<Vec<_>, _>>()?;
        let socket = aside(socket)?;
        for (number, fd) in (0..).zip(&streams).chain([(SOCKET, &socket)]).chain((KEPT..).zip(&kept)) {
            process::place_descriptor(fd.as_fd(), number, false)?;
        }
        process::close_on_exec_from(end.unsigned_abs())
    };
    place().during("arrange criu's descriptors")
}

/// The program, along our own PATH.
fn find() -> Result<CString, Error> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let candidates = std::env::split_paths(&path).map(|directory| directory.join("criu"));
    let found =
        candidates.into_iter().find(|one: &PathBuf| one.is_file() && rustix::fs::access(one, Access::EXEC_OK).is_ok());
    let missing = || Error::refused("criu is not installed: the package criu brings the program that saves processes");
    CString::new(found.ok_or_else(missing)?.as_os_str().as_bytes()).map_err(|_| missing())
}

/// Refuses a criu that is too old.
pub(super) fn check_version(null: &Stdio) -> Result<(), Error> {
    let request = Request { kind: Kind::Version.into(), ..Request::default() };
    let answer = simple(null, &request)?;
    let version = answer.version.unwrap_or_default();
    if (version.major, version.minor) >= OLDEST {
        return Ok(());
    }
    let (major, minor) = OLDEST;
    let own = format!("{}.{}.{}", version.major, version.minor, version.sublevel.unwrap_or(0));
    Err(Error::refused(format!("criu {own} is too old: {major}.{minor} or later is needed")))
}

/// Refuses what this criu or this kernel cannot do.
pub(super) fn check_features(null: &Stdio, wanted: Features) -> Result<(), Error> {
    let request = Request { kind: Kind::FeatureCheck.into(), features: Some(wanted), ..Request::default() };
    let found = simple(null, &request)?.features.unwrap_or_default();
    let missing = |wanted: Option<bool>, found: Option<bool>| wanted == Some(true) && found == Some(false);
    let mut names = Vec::new();
    if missing(wanted.memory_tracking, found.memory_tracking) {
        names.push("MemTrack");
    }
    if missing(wanted.lazy_pages, found.lazy_pages) {
        names.push("LazyPages");
    }
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!("criu or the kernel lacks a feature: {}", names.join(", "))))
}

fn simple(null: &Stdio, request: &Request) -> Result<Answer, Error> {
    let setting = Setting { streams: Some(null), ..Setting::default() };
    Criu::start(&setting, || Ok(()))?.ask(request, &mut |_, _| Ok(()))
}
