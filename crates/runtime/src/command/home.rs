//! The cgroup of a container about to be made: ours to make, or systemd's.

use std::path::{Path, PathBuf};

use teu_oci::runtime::{Resources, Spec};

use super::{Context, Failure};
use crate::cgroup::Place;
use crate::systemd::{Scope, Unit};
use crate::{Cgroup, Error};

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
        let mut home = Home::begin(context, id, spec)?;
        home.cgroup.complete().inspect_err(|_| home.abandon())?;
        Ok(home)
    }

    /// Takes it away, when nothing has come to live in it.
    pub(super) fn abandon(&self) {
        // The error that led here is the one to tell.
        match &self.place.unit {
            Some(_) => drop(self.cgroup.remove()),
            None => self.cgroup.discard(),
        }
    }

    /// The same, but for its directories of cgroup v1, which may still be to make.
    pub(super) fn begin(context: &Context, id: &str, spec: &mut Spec) -> Result<Home, Failure> {
        let linux = spec.linux.get_or_insert_default();
        let path = linux.cgroups_path.take().filter(|path| !path.as_os_str().is_empty());
        let resources = linux.resources.clone().unwrap_or_default();
        let home = if context.systemd {
            let unit = Unit::parse(path.as_deref(), id, context.rootless)?;
            let (cgroup, scope) = Cgroup::create_scope(&unit, &resources, &spec.annotations)?;
            Home { place: scope.place.clone(), cgroup, _scope: Some(scope) }
        } else {
            let (path, cgroup) = if context.rootless {
                as_far_as_delegated(context, path, id, &resources)?
            } else {
                let path = path.map_or_else(|| Path::new("/teu").join(id), |path| Path::new("/").join(path));
                let cgroup = Cgroup::begin_everywhere(&path, &resources)?;
                (path, cgroup)
            };
            Home { place: Place { path, unit: None }, cgroup, _scope: None }
        };
        let path: PathBuf = Path::new("/").join(&home.place.path);
        spec.linux.get_or_insert_default().cgroups_path = Some(path);
        Ok(home)
    }
}

/// Makes the cgroup where `path` says. Where nothing is said it is beside the caller's own, or there is none if nobody has
/// given the caller that place and no limit needs one.
fn as_far_as_delegated(
    context: &Context,
    path: Option<PathBuf>,
    id: &str,
    resources: &Resources,
) -> Result<(PathBuf, Cgroup), Failure> {
    if let Some(path) = path {
        let path = Cgroup::beside_own(&path).unwrap_or_else(|| Path::new("/").join(&path));
        let cgroup = Cgroup::create_everywhere(&path, resources)?;
        return Ok((path, cgroup));
    }
    let nobody_gave = || Error::refused("nobody has delegated the cgroup above the caller's own");
    let path = Cgroup::beside_own(Path::new(id)).ok_or_else(nobody_gave);
    match path.and_then(|path| Cgroup::create_everywhere(&path, resources).map(|cgroup| (path, cgroup))) {
        Err(error) if Cgroup::is_needed(resources) => Err(Failure::new(format!(
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: {error}"
        ))),
        Err(error) => {
            context.log.debug(&format!("go without a cgroup: {error}"));
            Ok((PathBuf::new(), Cgroup::absent()))
        }
        made => Ok(made?),
    }
}
