//! How a cgroup comes to be: its directories, all at once or in two halves.
//!
//! The directory of the v2 tree is there before init, who is born in it. Those of v1, up to a dozen, are made while init
//! builds its root: they are joined later anyway.

use std::io;
use std::path::Path;

use teu_oci::runtime::Resources;

use super::directory::{inherit_cpuset, make_directory, make_unified};
use super::hierarchy::{Legacy, Version};
use super::settings::Setting;
use super::{COUNTING, Cgroup, UNIFIED, WITHOUT_UNIFIED};
use crate::error::During;
use crate::{Error, Stock};

impl Cgroup {
    /// Makes the cgroup `path` (like `/teu/<id>`) with its limits, empty.
    ///
    /// # Errors
    /// [`Error::NoCgroupController`] where a limit has none; [`Error::Refused`] for a path that leaves the tree, or a
    /// cgroup that has processes; otherwise the step that failed. What was made is removed again.
    pub fn create(path: &Path, resources: &Resources) -> Result<Cgroup, Error> {
        let cgroup = Cgroup::begin(path, resources)?.whole()?;
        if let Err(error) = cgroup.limit(resources, &Stock::default()) {
            cgroup.discard();
            return Err(error);
        }
        Ok(cgroup)
    }

    /// Makes the cgroup `path`, empty and without limits, in every hierarchy of the machine.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub fn create_everywhere(path: &Path, resources: &Resources) -> Result<Cgroup, Error> {
        Cgroup::begin_everywhere(path, resources)?.whole()
    }

    /// Begins to make the cgroup `path`, empty and without limits: [`Cgroup::complete`] makes its v1 directories.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub(crate) fn begin(path: &Path, resources: &Resources) -> Result<Cgroup, Error> {
        Cgroup::at(path)?.begun(resources)
    }

    /// The same, in every hierarchy of the machine.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub(crate) fn begin_everywhere(path: &Path, resources: &Resources) -> Result<Cgroup, Error> {
        Cgroup { everywhere: true, ..Cgroup::at(path)? }.begun(resources)
    }

    fn begun(mut self, resources: &Resources) -> Result<Cgroup, Error> {
        self.refuse_frozen()?;
        let settings = self.plan(resources)?;
        if let Err(error) = self.make_unified(&settings) {
            self.discard();
            return Err(error);
        }
        let asked = |legacy: &&Legacy| legacy.controllers.iter().any(|name| asked(&settings, name, Version::Legacy));
        let joined = self.hierarchies.v1.iter().filter(|legacy| self.joined_by_all(legacy) || asked(legacy));
        self.unmade = joined.cloned().collect();
        Ok(self)
    }

    /// Makes the v1 directories, if that is still to be done. When it fails, who has been born in it is to end before it
    /// is discarded.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub(crate) fn complete(&mut self) -> Result<(), Error> {
        for legacy in &self.unmade {
            make_directory(&legacy.mount.join(&self.path))?;
            if legacy.controllers.iter().any(|name| name == "cpuset") {
                inherit_cpuset(&legacy.mount, &self.path)?;
            }
        }
        self.unmade.clear();
        Ok(())
    }

    /// Whether all of it is made, and nobody else's.
    pub(crate) fn is_complete(&self) -> bool {
        self.unmade.is_empty()
    }

    /// Complete, or nothing of it is left.
    fn whole(mut self) -> Result<Cgroup, Error> {
        match self.complete() {
            Ok(()) => Ok(self),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    /// Gives the v1 directories of `from`, a sibling, this cgroup's name, and makes the v2 one. Without limits yet.
    pub(crate) fn adopt(&self, from: &Cgroup, resources: &Resources) -> Result<(), Error> {
        if from.path.parent() != self.path.parent() {
            return Err(Error::refused("adopt a cgroup: it has another parent"));
        }
        for legacy in &self.hierarchies.v1 {
            match std::fs::rename(legacy.mount.join(&from.path), legacy.mount.join(&self.path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).during("rename cgroup"),
                _ => {}
            }
        }
        self.make_unified(&self.plan(resources)?)
    }

    /// Makes the v1 directories that every container joins; false when there is none.
    pub(crate) fn make_legacy(&self) -> Result<bool, Error> {
        let counting = |legacy: &&Legacy| self.joined_by_all(legacy);
        let directories: Vec<_> =
            self.hierarchies.v1.iter().filter(counting).map(|v1| v1.mount.join(&self.path)).collect();
        directories.iter().try_for_each(|directory| make_directory(directory))?;
        Ok(!directories.is_empty())
    }

    /// Whether the limits need no v1 hierarchy but those that every container joins.
    pub(crate) fn joined_for(&self, resources: &Resources) -> bool {
        let joined = |setting: &Setting| {
            setting.version == Version::Unified
                || self.hierarchies.legacy(&setting.controller).is_some_and(|legacy| self.joined_by_all(legacy))
        };
        self.plan(resources).is_ok_and(|settings| settings.iter().all(joined))
    }

    /// Whether every container joins a v1 hierarchy.
    pub(super) fn joined_by_all(&self, legacy: &Legacy) -> bool {
        let alone = self.hierarchies.unified.is_none();
        let wanted = |name: &str| COUNTING.contains(&name) || alone && WITHOUT_UNIFIED.contains(&name);
        self.everywhere || legacy.controllers.iter().any(|name| wanted(name))
    }

    /// Makes the directory of the v2 tree, with the controllers that count and those of the limits.
    fn make_unified(&self, settings: &[Setting]) -> Result<(), Error> {
        let Some(mount) = &self.hierarchies.unified else { return Ok(()) };
        let wanted = |name: &String| UNIFIED.contains(&name.as_str()) || asked(settings, name, Version::Unified);
        let controllers = self.hierarchies.unified_controllers().into_iter().filter(wanted).collect::<Vec<_>>();
        make_unified(mount, &self.path, &controllers)
    }
}

/// Whether one of the settings needs a controller.
fn asked(settings: &[Setting], controller: &str, version: Version) -> bool {
    settings.iter().any(|setting| setting.version == version && setting.controller == controller)
}
