//! The cgroup of a container about to be made: ours to make, or systemd's.

use std::path::{Path, PathBuf};

use teu_oci::runtime::Spec;

use super::{Context, Failure};
use crate::Cgroup;
use crate::cgroup::Place;
use crate::systemd::{Scope, Unit};

/// A cgroup for a container that is not in it yet.
pub(super) struct Home {
    pub(super) place: Place,
    pub(super) cgroup: Cgroup,
    /// What keeps a scope from ending while it is empty.
    _scope: Option<Scope>,
}

impl Home {
    /// Makes it where the spec says, and lets the spec know.
    pub(super) fn make(context: &Context, id: &str, spec: &mut Spec) -> Result<Home, Failure> {
        let linux = spec.linux.get_or_insert_default();
        let path = linux.cgroups_path.take().filter(|path| !path.as_os_str().is_empty());
        let resources = linux.resources.clone().unwrap_or_default();
        let home = if context.systemd {
            let unit = Unit::parse(path.as_deref(), id, context.rootless)?;
            let (cgroup, scope) = Cgroup::create_scope(&unit, &resources, &spec.annotations)?;
            Home { place: scope.place.clone(), cgroup, _scope: Some(scope) }
        } else {
            let path = path.map_or_else(|| Path::new("/teu").join(id), |path| Path::new("/").join(path));
            let cgroup = Cgroup::create_everywhere(&path, &resources)?;
            Home { place: Place { path, unit: None }, cgroup, _scope: None }
        };
        let path: PathBuf = Path::new("/").join(&home.place.path);
        spec.linux.get_or_insert_default().cgroups_path = Some(path);
        Ok(home)
    }
}
