//! Where a container's root file system comes from.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::CWD;
use serde::{Deserialize, Serialize};
use teu_sys::mount::{self, Change, Overlay, Propagation};

/// The root file system, as data: it is mounted in the container's own mount namespace only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// A directory, used as it is.
    Directory(PathBuf),
    /// Layers and a place for changes.
    Overlay(Overlay),
}

impl Rootfs {
    /// Mounts it, attached to nothing yet.
    ///
    /// An overlay's owners are shown as a user namespace maps them, whose root has the given ids outside: its layers are an engine's, shared by containers with other
    /// maps. A directory is somebody else's, who has given it the owners it is to have.
    pub(crate) fn open(&self, users: Option<(BorrowedFd<'_>, (u32, u32))>) -> io::Result<OwnedFd> {
        match (self, users) {
            (Rootfs::Overlay(overlay), Some((users, root))) => overlay.mount_mapped(users, root),
            (Rootfs::Overlay(overlay), None) => overlay.mount_detached(),
            (Rootfs::Directory(path), _) => {
                let tree = mount::clone_tree(CWD, path, true)?;
                let change = Change { propagation: Some(Propagation::Private), ..Change::default() };
                mount::set_attributes(&tree, true, change)?;
                Ok(tree)
            }
        }
    }
}
