//! What is kept of a container between commands, and what can be told of it.
//!
//! ```text
//! <root>/<id>/          0711
//!   state.json          who it is                    (the one who made it; update)
//!   config.json         the bundle's, as it was read
//!   filter              the compiled system call filter, from the first exec on
//!   gate                there until it is started: the socket at which its first process waits
//!   notify/             the socket of $NOTIFY_SOCKET
//! ```
//!
//! Whether it runs is never written down: the process is looked at.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::process::PidfdFlags;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use teu_oci::runtime::{Resources, Spec};

use super::Failure;
use crate::cgroup::Place;
use crate::hooks::Identity;
use crate::resctrl::Groups;
use crate::{Cgroup, Stock};

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const GATE: &str = "gate";
const FILTER: &str = "filter";

/// What is written down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) oci_version: String,
    pub(super) id: String,
    pub(super) pid: i32,
    /// When the kernel started the process, in its ticks: a number that is used again has another.
    pub(super) started: u64,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    /// RFC 3339.
    pub(super) created: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) cgroup: Place,
    /// What its descriptors 0, 1 and 2 were at its birth.
    pub(super) streams: Vec<String>,
    /// Under what name there is something of it in the runtime's mount namespace, if it has none of its own.
    pub(super) shown: Option<String>,
    /// Its groups in resctrl, if it has any.
    pub(super) groups: Option<Groups>,
    /// What `update` has changed.
    pub(super) updated: Resources,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(super) fn text(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container, looked at once.
pub(super) struct Sight {
    pub(super) status: Status,
    /// Its first process, unless it has ended.
    pub(super) process: Option<OwnedFd>,
    /// Its cgroup, if it could be opened.
    pub(super) cgroup: Option<Cgroup>,
}

/// A container that is known.
pub(super) struct Container {
    pub(super) directory: PathBuf,
    pub(super) record: Record,
}

/// Refuses an id that could not be a file's name, or would be another's.
pub(super) fn check_id(id: &str) -> Result<(), Failure> {
    if id.is_empty() {
        return Err(Failure::new("container id cannot be empty"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if !id.chars().all(allowed) || matches!(id, "." | "..") || id.len() > 255 {
        return Err(Failure::new("invalid container ID format"));
    }
    Ok(())
}

/// Makes the directory of a new container.
pub(super) fn make_directory(root: &Path, id: &str) -> Result<PathBuf, Failure> {
    check_id(id)?;
    let fail = |error: io::Error| Failure::new(format!("make state directory {}: {error}", root.display()));
    // Sticky: what sweeps users' directories of old files leaves it alone.
    DirBuilder::new().recursive(true).mode(0o1700).create(root).map_err(fail)?;
    let directory = root.join(id);
    match DirBuilder::new().mode(0o711).create(&directory) {
        Ok(()) => Ok(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::new("container with given ID already exists"))
        }
        Err(error) => Err(fail(error)),
    }
}

/// Writes a new container's files.
pub(super) fn save_new(directory: &Path, record: &Record, config: &[u8]) -> io::Result<()> {
    std::fs::write(directory.join(CONFIG), config)?;
    save(directory, record)
}

fn save(directory: &Path, record: &Record) -> io::Result<()> {
    let new = directory.join(".state.json");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    std::fs::rename(new, directory.join(STATE))
}

impl Container {
    /// Finds one by its id.
    pub(super) fn load(root: &Path, id: &str) -> Result<Container, Failure> {
        check_id(id)?;
        let directory = root.join(id);
        let text = match std::fs::read(directory.join(STATE)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(Failure::absent());
            }
            other => other.map_err(|error| Failure::new(format!("read state of {id}: {error}")))?,
        };
        let record = serde_json::from_slice(&text)
            .map_err(|error| Failure::new(format!("understand state of {id}: {error}")))?;
        Ok(Container { directory, record })
    }

    /// The configuration it was made from.
    pub(super) fn spec(&self) -> Result<Spec, Failure> {
        super::config::parse(&self.spec_text()?)
    }

    /// The text of that.
    pub(super) fn spec_text(&self) -> Result<Vec<u8>, Failure> {
        let path = self.directory.join(CONFIG);
        std::fs::read(&path).map_err(|error| Failure::new(format!("read {}: {error}", path.display())))
    }

    /// Writes down what has changed.
    pub(super) fn save(&self) -> Result<(), Failure> {
        save(&self.directory, &self.record).map_err(|error| Failure::new(format!("write state: {error}")))
    }

    /// Where its first process waits until it is started.
    pub(super) fn gate(&self) -> PathBuf {
        gate(&self.directory)
    }

    /// Its first process, if it is still there and still that one.
    pub(super) fn process(&self) -> Option<OwnedFd> {
        if self.record.pid <= 0 {
            return None;
        }
        let pid = rustix::process::Pid::from_raw(self.record.pid)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at with the descriptor in hand: the number cannot be another's meanwhile.
        let (started, alive) = look_at(self.record.pid)?;
        (alive && started == self.record.started).then_some(pidfd)
    }

    /// What it is doing.
    pub(super) fn status(&self) -> Status {
        self.look().status
    }

    /// What it is doing, and by what that was seen.
    pub(super) fn look(&self) -> Sight {
        let Some(process) = self.process() else {
            return Sight { status: Status::Stopped, process: None, cgroup: None };
        };
        let cgroup = self.record.cgroup.open().ok();
        let status = match &cgroup {
            Some(cgroup) if cgroup.is_frozen() => Status::Paused,
            _ if self.gate().exists() => Status::Created,
            _ => Status::Running,
        };
        Sight { status, process: Some(process), cgroup }
    }

    /// Its system call filter, ready to be loaded: compiled once, and kept.
    pub(super) fn filter(&self, spec: &Spec) -> Result<Stock, Failure> {
        let path = self.directory.join(FILTER);
        let kept = std::fs::read(&path).ok();
        let stock = Stock::of_filter(spec, kept.as_deref())?;
        if let (None, Some(filter)) = (kept, stock.kept()) {
            let new = self.directory.join(format!(".filter-{}", std::process::id()));
            // Where it cannot be kept it is compiled again.
            let _ = std::fs::write(&new, filter).and_then(|()| std::fs::rename(&new, &path));
        }
        Ok(stock)
    }

    pub(super) fn identity(&self) -> Identity {
        let Record { id, bundle, annotations, .. } = &self.record;
        Identity { id: id.clone(), bundle: bundle.clone(), annotations: annotations.clone() }
    }

    /// What `state` and `list` show.
    pub(super) fn describe(&self) -> Value {
        let status = self.status();
        let record = &self.record;
        let mut value = json!({
            "ociVersion": record.oci_version,
            "id": record.id,
            "pid": if status == Status::Stopped { 0 } else { record.pid },
            "status": status.text(),
            "bundle": record.bundle,
            "rootfs": record.rootfs,
            "created": record.created,
        });
        if !record.annotations.is_empty() {
            value["annotations"] = json!(record.annotations);
        }
        value
    }
}

/// Where a container's first process waits until it is started.
pub(super) fn gate(directory: &Path) -> PathBuf {
    directory.join(GATE)
}

/// When a process was started, and whether it still is one (a zombie is not).
pub(super) fn look_at(pid: i32) -> Option<(u64, bool)> {
    let stat = teu_sys::proc::Stat::of(pid).ok()?;
    Some((stat.started()?, !stat.has_ended()))
}

/// A path that a socket can be bound or connected by, however long: through a descriptor of its directory.
pub(super) fn with_short_path<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let directory = rustix::fs::open(above, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    act(&PathBuf::from(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_plain_name() {
        for good in ["a", "a.b", "A_1+2-3"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_process_is_known_by_when_it_was_started() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let (started, alive) = look_at(own).expect("ourselves");
        assert!(alive && started > 0);
    }
}
