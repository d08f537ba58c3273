//! Where a container's cgroup is, as it is written down and found again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Cgroup;
use crate::Error;

/// Where a container's cgroup is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The path from each hierarchy's root; empty where there is no cgroup.
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
        if self.path.as_os_str().is_empty() {
            return Ok(Cgroup::absent());
        }
        // What it says is a path, whatever it looks like.
        Ok(Cgroup { unit: self.unit.clone(), ..Cgroup::at(&Path::new("/").join(&self.path))? })
    }

    /// The same for what cannot be done without one.
    ///
    /// # Errors
    /// As [`Place::open`], and [`Error::Refused`] where there is none.
    pub fn require(&self) -> Result<Cgroup, Error> {
        let cgroup = self.open()?;
        if cgroup.is_absent() { Err(Error::refused("the container has no cgroup of its own")) } else { Ok(cgroup) }
    }
}
