//! Where a container's root file system comes from.

use std::io;
use std::os::fd::OwnedFd;
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
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        match self {
            Rootfs::Overlay(overlay) => overlay.mount_detached(),
            Rootfs::Directory(path) => {
                let tree = mount::clone_tree(CWD, path, true)?;
                let change = Change { propagation: Some(Propagation::Private), ..Change::default() };
                mount::set_attributes(&tree, true, change)?;
                Ok(tree)
            }
        }
    }
}
