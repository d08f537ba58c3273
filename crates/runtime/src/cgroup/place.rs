//! Where a container's cgroup is, as it is written down and found again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Cgroup;
use crate::Error;

/// Where a container's cgroup is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The path from each hierarchy's root.
    pub path: PathBuf,
    /// The scope that systemd made, if it did.
    pub unit: Option<String>,
}

impl Place {
    /// The cgroup.
    ///
    /// # Errors
    /// As reading the mount table; [`Error::Refused`] for a path that leaves the tree.
    pub fn open(&self) -> Result<Cgroup, Error> {
        // What it says is a path, whatever it looks like.
        Ok(Cgroup { unit: self.unit.clone(), ..Cgroup::at(&Path::new("/").join(&self.path))? })
    }
}
