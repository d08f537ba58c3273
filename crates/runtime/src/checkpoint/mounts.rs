//! The mounts of a container that are not criu's to save: parts of the host's tree, cgroups, covers.
//!
//! At a checkpoint criu is told where each of them is, and a name for it. At a restore each is made again as at the
//! container's birth, attached where criu finds it (in a mount namespace of criu's own, which goes with it), and criu is
//! told the name and that path.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use teu_oci::runtime::{Linux, Spec};
use teu_sys::fs::Root;
use teu_sys::mount::{self, Propagation};

use super::message::ExternalMount;
use crate::error::{During, at};
use crate::mounts::apply::{hierarchy_name, is_directory, target};
use crate::mounts::mask::{self, Mask};
use crate::mounts::plan::{self, Planned, Source};
use crate::orders::Orders;
use crate::sources::Sources;
use crate::{Cgroup, Error};

/// The names that covers have in an image.
const MASKED_FILE: &str = "masked file";
const MASKED_DIRECTORY: &str = "masked directory";

/// Where criu finds the root, below the place.
const ROOT: &str = "root";
const MASKS: &str = "masks";

/// What criu leaves alone in the container whose first process is `pid`.
pub(super) fn at_checkpoint(spec: &Spec, pid: i32, cgroup: &Cgroup) -> Result<Vec<ExternalMount>, Error> {
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let there = mount_points(pid).during("read the container's mount table")?;
    let tree = Root::open(&root).during("open the container's root")?;
    let mut external = Vec::new();
    let mut add = |destination: &str, name: &str| {
        // What the container has taken off is not there to be left alone.
        let real = tree.real_path(destination).unwrap_or_else(|_| destination.into());
        let real = Path::new("/").join(real);
        if there.contains(&real) {
            external.push(ExternalMount { key: real.to_string_lossy().into_owned(), value: name.to_owned() });
        }
    };
    for planned in plan::plan(&spec.mounts, linux)? {
        let destination = planned.destination.as_str();
        match planned.source {
            Source::Bind { .. } | Source::Layers(_) => add(destination, destination),
            Source::Cgroup => {
                for place in cgroup_places(destination, cgroup) {
                    add(&place, &place);
                }
            }
            Source::Filesystem { .. } | Source::Remount { .. } => {}
        }
    }
    for path in &linux.masked_paths {
        let directory = tree.metadata(path).is_ok_and(|metadata| metadata.is_dir());
        add(path, if directory { MASKED_DIRECTORY } else { MASKED_FILE });
    }
    // Where ids are mapped, nodes are the host's.
    crate::devices::paths(&linux.devices).iter().for_each(|path| add(path, path));
    Ok(external)
}

/// The places of the cgroup hierarchies that a mount at `destination` shows.
fn cgroup_places(destination: &str, cgroup: &Cgroup) -> Vec<String> {
    let names: Vec<_> = cgroup.named_directories().into_iter().map(|(name, _)| name).collect();
    match names.as_slice() {
        [None] => vec![destination.to_owned()],
        names => names.iter().map(|name| format!("{destination}/{}", hierarchy_name(name.as_deref()))).collect(),
    }
}

/// Where something is mounted in the mount namespace of a process, as it sees it.
fn mount_points(pid: i32) -> io::Result<HashSet<PathBuf>> {
    let text = std::fs::read(format!("/proc/{pid}/mountinfo"))?;
    Ok(mount::table(&text).map(|mount| mount.place()).collect())
}

/// What of the host's tree a restored container gets, at a place where only its criu looks.
pub(super) struct Stage<'a> {
    place: &'a Path,
    orders: &'a Orders,
}

impl<'a> Stage<'a> {
    /// At `place`, an empty directory by its real path.
    pub(super) fn new(place: &'a Path, orders: &'a Orders) -> Stage<'a> {
        Stage { place, orders }
    }

    /// The path of the root file system.
    pub(super) fn root(&self) -> String {
        self.path(ROOT)
    }

    fn path(&self, name: &str) -> String {
        self.place.join(name).to_string_lossy().into_owned()
    }

    /// What criu is told: each name and where it is.
    pub(super) fn external(&self) -> Vec<ExternalMount> {
        let mut external = Vec::new();
        let mut add = |key: &str, value: String| external.push(ExternalMount { key: key.to_owned(), value });
        for (place, planned) in self.orders.mounts.iter().enumerate() {
            let destination = planned.destination.as_str();
            match &planned.source {
                Source::Bind { path, .. } if self.orders.later.contains(&place) => {
                    add(destination, path.to_string_lossy().into_owned());
                }
                Source::Bind { .. } | Source::Layers(_) => add(destination, self.path(&place.to_string())),
                Source::Cgroup => {
                    for (number, name) in self.orders.hierarchies.iter().enumerate() {
                        let key = match self.orders.hierarchies.as_slice() {
                            [None] => destination.to_owned(),
                            _ => format!("{destination}/{}", hierarchy_name(name.as_deref())),
                        };
                        add(&key, self.path(&format!("{place}.{number}")));
                    }
                }
                Source::Filesystem { .. } | Source::Remount { .. } => {}
            }
        }
        add(MASKED_FILE, self.path(&format!("{MASKS}/{}", mask::FILE)));
        add(MASKED_DIRECTORY, self.path(&format!("{MASKS}/{}", mask::DIRECTORY)));
        for path in crate::devices::paths(&self.orders.devices) {
            add(&path, path.clone());
        }
        external
    }

    /// Makes what mounts are mounted on, as at the container's birth. In a mount namespace that goes with the caller.
    pub(super) fn make_targets(&self, mut sources: Sources) -> Result<(), Error> {
        mount::set_propagation_of_all(Propagation::Private).during("part from the host's mounts")?;
        let tree = sources.next()?;
        mount::attach(&tree, open(self.place)?).during("attach the root file system")?;
        let root = Root::from_fd(tree);
        if self.orders.read_only_root {
            // Where criu puts the old root for a moment; otherwise it makes a place, which it cannot by then.
            root.create_dir_all("tmp", 0o1777).during("make /tmp")?;
        }
        for (place, planned) in self.orders.mounts.iter().enumerate() {
            let tree = match &planned.source {
                Source::Bind { .. } if self.orders.later.contains(&place) => None,
                Source::Bind { .. } | Source::Layers(_) => Some(sources.next()?),
                Source::Cgroup => {
                    self.orders.hierarchies.iter().try_for_each(|_| sources.next().map(drop))?;
                    continue;
                }
                Source::Filesystem { .. } => None,
                Source::Remount { .. } => continue,
            };
            // What lies in a file system of the container's own is saved with it.
            if self.is_inside_another(planned) {
                continue;
            }
            let destination = planned.destination.as_str();
            let directory =
                tree.as_ref().map_or(Ok(true), is_directory).map_err(at(destination, "look at the source"))?;
            let there = target(&root, destination, directory)?;
            if let Some(tree) = tree {
                mount::attach(tree, there).map_err(at(destination, "attach"))?;
            }
        }
        Ok(())
    }

    fn is_inside_another(&self, planned: &Planned) -> bool {
        let inside = |other: &Planned| {
            let below = Path::new(&planned.destination).strip_prefix(&other.destination);
            matches!(other.source, Source::Filesystem { .. }) && below.is_ok_and(|rest| !rest.as_os_str().is_empty())
        };
        self.orders.mounts.iter().any(inside)
    }

    /// Attaches everything where criu is told it is. In a mount namespace that becomes criu's.
    pub(super) fn attach(&self, mut sources: Sources) -> Result<(), Error> {
        mount::set_propagation_of_all(Propagation::Private).during("part from the host's mounts")?;
        let cover = mount::filesystem("tmpfs", &[("source", Some("teu")), ("mode", Some("700"))], 0);
        mount::attach(cover.during("make a place for mounts")?, open(self.place)?).during("make a place for mounts")?;
        self.attach_one(ROOT, &sources.next()?)?;
        for (place, planned) in self.orders.mounts.iter().enumerate() {
            match &planned.source {
                Source::Bind { .. } if self.orders.later.contains(&place) => {}
                Source::Bind { .. } | Source::Layers(_) => self.attach_one(&place.to_string(), &sources.next()?)?,
                Source::Cgroup => {
                    for number in 0..self.orders.hierarchies.len() {
                        self.attach_one(&format!("{place}.{number}"), &sources.next()?)?;
                    }
                }
                Source::Filesystem { .. } | Source::Remount { .. } => {}
            }
        }
        self.attach_one(MASKS, &Mask::filesystem().during("make a mask")?)
    }

    fn attach_one(&self, name: &str, tree: &OwnedFd) -> Result<(), Error> {
        let path = self.place.join(name);
        let attach = || -> io::Result<()> {
            if is_directory(tree)? {
                std::fs::create_dir(&path)?;
            } else {
                std::fs::write(&path, b"")?;
            }
            mount::attach(tree, rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
        };
        attach().during_with(|| format!("attach {}", path.display()))
    }
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .during_with(|| format!("open {}", path.display()))
}
