//! A container's file system as `cp` and `export` see it: root and mounts, whether it runs or not.
//!
//! A running container's is its first process' own. For another one the layers are put together for as long as somebody
//! looks, with its volumes, binds and images in their places, in a mount namespace that nothing else is in. Whoever looks
//! at the same time shares that; a start waits until it is gone, for two overlays must never have one upper directory.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountPropagationFlags;
use teu_sys::fs::Root;
use teu_sys::mount::{self, Change, Propagation, attribute};
use teu_sys::namespace;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::mounts::MountRecord;
use super::{Container, Phase, Record};
use crate::Context;
use crate::error::{Error, Result};
use crate::volume::Held;

/// Keeps starts and looks at a container that does not run apart.
#[derive(Default)]
pub(super) struct Gate {
    /// Read by those who look, written by a start.
    running: Arc<RwLock<()>>,
    shared: Mutex<Weak<Tree>>,
}

/// A container's file system.
pub(super) struct Tree {
    root: Root,
    first_id: u32,
    /// Holds the mounts; in this order they go.
    _namespace: Option<OwnedFd>,
    _volumes: Vec<Held>,
    _looking: Option<OwnedRwLockReadGuard<()>>,
}

impl Tree {
    /// The root: nothing leads out of it.
    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// The id that files of the container's root have here: those of one that runs in a user namespace are shifted.
    pub(super) fn first_id(&self) -> u32 {
        self.first_id
    }

    fn of_process(root: Root, first_id: u32) -> Arc<Self> {
        Arc::new(Self { root, first_id, _namespace: None, _volumes: vec![], _looking: None })
    }
}

impl Gate {
    /// Waits until nobody looks any more, and lets nobody look until the guard is gone.
    pub(super) async fn start(&self) -> OwnedRwLockWriteGuard<()> {
        self.running.clone().write_owned().await
    }
}

impl Container {
    /// Its file system, as long as the handle lives.
    pub(super) async fn tree(&self) -> Result<Arc<Tree>> {
        if let Some((root, first_id)) = self.running_root() {
            return Ok(Tree::of_process(root, first_id));
        }
        let gate = &self.shared.tree;
        let mut shared = gate.shared.lock().await;
        if let Some(tree) = shared.upgrade() {
            return Ok(tree);
        }
        let looking = gate.running.clone().read_owned().await;
        // It may have been started meanwhile.
        if let Some((root, first_id)) = self.running_root() {
            return Ok(Tree::of_process(root, first_id));
        }
        let (context, record) = (self.shared.context.clone(), self.record());
        let built = tokio::task::spawn_blocking(move || build(&context, &record)).await;
        let tree = built.map_err(|error| Error::internal(error.to_string()))??;
        let tree = Arc::new(Tree { _looking: Some(looking), ..tree });
        *shared = Arc::downgrade(&tree);
        Ok(tree)
    }

    /// The root that its first process has without what is mounted in it: a second overlay must not have its upper
    /// directory. None when it does not run.
    pub(super) fn own_root(&self) -> Option<(Root, u32)> {
        let (root, first_id) = self.running_root()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace =
            rustix::fs::open(format!("/proc/{}/ns/mnt", self.record().state.pid), flags, Mode::empty()).ok()?;
        // Only from within its namespace is the mount copied.
        let copy = move || {
            namespace::leave_files()?;
            namespace::enter(&namespace, namespace::MOUNT)?;
            mount::clone_at(&root, false)
        };
        let thread = std::thread::Builder::new().spawn(copy).ok()?;
        thread.join().ok()?.ok().map(|mounted| (Root::from_fd(mounted), first_id))
    }

    /// The root that its first process has, and the id of that root's owner.
    fn running_root(&self) -> Option<(Root, u32)> {
        let record = self.record();
        if !matches!(record.state.phase, Phase::Running | Phase::Paused) {
            return None;
        }
        let path = PathBuf::from(format!("/proc/{}/root", record.state.pid));
        let open = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        open.ok().map(|root| (Root::from_fd(root), record.users.unwrap_or(0)))
    }
}

/// Puts together the file system of a container that does not run.
fn build(context: &Context, record: &Record) -> Result<Tree> {
    let wrong = |error: io::Error| Error::io("mount the root of", record.id.as_ref(), error);
    let mut overlay = context.store.snapshots().renew(&record.id)?;
    context.ahead.give_mount_points(&mut overlay);
    let mounts: Vec<&MountRecord> = record.mounts.iter().filter(|mount| mount.point.kind != "tmpfs").collect();
    if mounts.is_empty() {
        let root = Root::from_fd(overlay.mount_detached().map_err(wrong)?);
        make_mount_points(&root);
        return Ok(Tree { root, first_id: 0, _namespace: None, _volumes: vec![], _looking: None });
    }
    let mut volumes = vec![];
    for name in mounts.iter().filter_map(|mount| mount.volume()) {
        volumes.push(context.volumes.hold(name)?);
    }
    let place = |name: &str| volumes.iter().find(|held| held.name() == name).map(|held| held.path().to_owned());
    let assemble = || -> Result<(Root, OwnedFd)> {
        namespace::unshare(namespace::MOUNT).map_err(wrong)?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).map_err(|error| wrong(error.into()))?;
        let mounted = overlay.mount_detached().map_err(wrong)?;
        mount::attach_over_root(&mounted).map_err(wrong)?;
        let root = Root::from_fd(mounted);
        make_mount_points(&root);
        for mount in &mounts {
            let source = source(context, mount, mount.volume().and_then(place));
            let attached = source.and_then(|source| source.map_or(Ok(()), |source| attach(&root, mount, &source)));
            attached.map_err(|error| Error::io("mount", mount.point.destination.as_ref(), error))?;
        }
        // What is mounted stays as long as somebody holds the namespace: this thread ends.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::open("/proc/thread-self/ns/mnt", flags, Mode::empty());
        Ok((root, namespace.map_err(|error| wrong(error.into()))?))
    };
    let (root, namespace) = std::thread::scope(|scope| {
        let broken = || Error::internal("the mounting thread ended early");
        let thread = std::thread::Builder::new().spawn_scoped(scope, assemble).map_err(wrong)?;
        thread.join().unwrap_or_else(|_| Err(broken()))
    })?;
    Ok(Tree { root, first_id: 0, _namespace: Some(namespace), _volumes: volumes, _looking: None })
}

/// The files that the engine's own come to lie on are there from the beginning, whether the container was ever started or
/// not. What cannot be made is made, or told of, by the start.
fn make_mount_points(root: &Root) {
    for name in super::etc::FILES.map(|name| format!("etc/{name}")) {
        if root.symlink_metadata(&name).is_err() && root.metadata("etc").is_ok_and(|etc| etc.is_dir()) {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOCTTY;
            let _ = root.open_with(&name, flags, 0o644);
        }
    }
}

/// What is mounted, attached to nothing; none when a folder of the host is gone.
fn source(context: &Context, mount: &MountRecord, volume: Option<PathBuf>) -> io::Result<Option<OwnedFd>> {
    let subpath = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
    match mount.point.kind.as_str() {
        "image" => {
            let chain = mount.image.as_ref().and_then(|image| image.chain.as_ref());
            let whole = context.store.snapshots().view(chain).map_err(io::Error::other)?.mount_detached()?;
            let options = mount.asked.image_options.clone().unwrap_or_default();
            match subpath(&options.subpath) {
                Some(part) => mount::part_of_detached(&whole, &part).map(Some),
                None => Ok(Some(whole)),
            }
        }
        "volume" => {
            let Some(path) = volume else { return Ok(None) };
            let options = mount.asked.volume_options.clone().unwrap_or_default();
            let tree = match subpath(&options.subpath) {
                Some(part) => mount::clone_part(&path, &part, true),
                None => mount::clone_tree(CWD, &path, true),
            };
            missing_is_none(tree)
        }
        _ if fs::symlink_metadata(&mount.point.source).is_err() => Ok(None),
        _ => {
            let recursive = !mount.asked.bind_options.as_ref().is_some_and(|options| options.non_recursive);
            missing_is_none(mount::clone_tree(CWD, Path::new(&mount.point.source), recursive))
        }
    }
}

fn missing_is_none(tree: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match tree {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Puts a source into its place, which is made in the container if it is missing, by descriptor.
fn attach(root: &Root, mount: &MountRecord, source: &OwnedFd) -> io::Result<()> {
    let set = if mount.point.rw { 0 } else { attribute::READ_ONLY };
    mount::set_attributes(source, true, Change { set, propagation: Some(Propagation::Private), ..Change::default() })?;
    let destination = mount.point.destination.as_str();
    let is_directory = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(source)?.st_mode).is_dir();
    let target = match root.open_path(destination) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_directory => {
            root.create_dir_all(destination, 0o755)?;
            root.open_path(destination)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(above) = Path::new(destination).parent() {
                root.create_dir_all(above, 0o755)?;
            }
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            root.open_with(destination, flags, 0o644)?;
            root.open_path(destination)?
        }
        other => other?,
    };
    mount::attach(source, target)
}
