//! A cgroup that systemd makes and takes away.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use teu_oci::runtime::Resources;

use super::Cgroup;
use super::directory::{PATIENCE, inherit_cpuset};
use super::hierarchy::Hierarchies;
use crate::Error;
use crate::error::During;
use crate::systemd::{self, Scope, Unit};

impl Cgroup {
    /// Has systemd make the cgroup, and makes a directory in each hierarchy that it does not know. It ends when it is empty
    /// and the scope is dropped.
    ///
    /// # Errors
    /// As [`Cgroup::create`], and what systemd says.
    pub(crate) fn create_scope(
        unit: &Unit,
        resources: &Resources,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(Cgroup, Scope), Error> {
        let hierarchies = Hierarchies::find().during("read /proc/self/mountinfo")?;
        let mut properties = systemd::limits(resources, hierarchies.v1.is_empty());
        properties.extend(systemd::of_annotations(annotations)?);
        let scope = Scope::start(unit, &properties)?;
        let (path, unit) = (scope.place.path.clone(), scope.place.unit.clone());
        let cgroup = Cgroup { path, hierarchies, everywhere: true, unit, unmade: Vec::new() };
        if let Some(directory) = cgroup.unified() {
            std::fs::create_dir_all(&directory).during_with(|| format!("make cgroup {}", directory.display()))?;
        }
        for legacy in &cgroup.hierarchies.v1 {
            let directory = legacy.mount.join(&cgroup.path);
            std::fs::create_dir_all(&directory).during_with(|| format!("make cgroup {}", directory.display()))?;
            if legacy.controllers.iter().any(|name| name == "cpuset") {
                inherit_cpuset(&legacy.mount, &cgroup.path)?;
            }
        }
        Ok((cgroup, scope))
    }

    /// Has systemd take a scope away, and waits: whoever uses the name next expects it to be free.
    pub(super) fn end_scope(&self) -> io::Result<()> {
        let Some(unit) = &self.unit else { return Ok(()) };
        self.kill()?;
        systemd::end(unit).map_err(io::Error::other)?;
        // A v2 tree beside v1 may be none of its business.
        let made = self.legacy("name=systemd").or_else(|| self.unified());
        let deadline = Instant::now() + PATIENCE;
        while made.as_ref().is_some_and(|directory| directory.exists()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
