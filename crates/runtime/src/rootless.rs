//! What an ordinary user's runtime does otherwise, and how it is known that it is one.
//!
//! All its privileges are in the user namespaces that it makes. So init opens by itself what it mounts, once it is in its
//! namespaces; who enters a container enters its user namespace first; supplementary groups stay where setgroups(2) was
//! given up; and cgroups are what somebody has delegated, or none. See user_namespaces(7), cgroups(7).

use std::path::{Path, PathBuf};

use teu_oci::runtime::{IdMapping, Linux, NamespaceKind, Spec};

use crate::Error;
use crate::idmap::Maps;

/// Whether the caller is an ordinary user, who has no privileges but in user namespaces of their own.
pub(crate) fn is_ordinary() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Whether the caller is in a user namespace that is not the machine's first: root there is an ordinary user outside.
pub(crate) fn in_user_namespace() -> bool {
    // The first one maps every id to itself.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether the caller's privileges end at a user namespace.
pub(crate) fn lacks_privileges() -> bool {
    is_ordinary() || in_user_namespace()
}

/// Whether this map is only of the caller's own id, which takes nobody's help to write.
pub(crate) fn is_own(map: &[IdMapping], id: u32) -> bool {
    matches!(map, [one] if one.host_id == id && one.size == 1)
}

/// Refuses what an ordinary user cannot have, in words of what was asked for.
pub(crate) fn check(spec: &Spec) -> Result<(), Error> {
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let user = linux.namespaces.iter().find(|one| one.kind == NamespaceKind::User);
    let user = user.ok_or_else(|| Error::refused("rootless container requires user namespaces"))?;
    let groups = spec.process.as_ref().is_some_and(|process| !process.user.additional_gids.is_empty());
    if groups && is_own(&linux.gid_mappings, rustix::process::getegid().as_raw()) {
        return Err(Error::refused("cannot set any additional groups in a rootless container"));
    }
    if user.path.as_ref().is_some_and(|path| !path.as_os_str().is_empty()) {
        return Ok(());
    }
    let maps = Maps { users: linux.uid_mappings.clone(), groups: linux.gid_mappings.clone() };
    for option in spec.mounts.iter().flat_map(|mount| &mount.options) {
        let unmapped = match option.split_once('=') {
            Some(("uid", id)) => id.parse().is_ok_and(|id| maps.host_user(id).is_none()),
            Some(("gid", id)) => id.parse().is_ok_and(|id| maps.host_group(id).is_none()),
            _ => false,
        };
        if unmapped {
            let what = format!("cannot specify {option} mount option for rootless container: it is in no mapping");
            return Err(Error::refused(what));
        }
    }
    Ok(())
}

/// Where the cgroup `name` may be made beside the caller's own, in the v2 tree `mount`: the caller's has processes and
/// so can have none below.
pub(crate) fn beside_own_cgroup(mount: &Path, name: &Path) -> Option<PathBuf> {
    let table = teu_sys::text::read("/proc/self/cgroup").ok()?;
    let above = Path::new(table.lines().find_map(|line| line.strip_prefix("0::"))?).parent()?.to_owned();
    // Who moves a process writes here too, cgroups(7), "Cgroup v2 delegation: containment rules".
    let procs = mount.join(above.strip_prefix("/").ok()?).join("cgroup.procs");
    rustix::fs::access(procs, rustix::fs::Access::WRITE_OK).ok()?;
    Some(above.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Spec {
        serde_json::from_str(text).expect("a spec")
    }

    #[test]
    fn what_an_ordinary_user_cannot_have_is_refused_in_words() {
        let without = check(&spec(r#"{"ociVersion":"1.3.0","linux":{}}"#)).expect_err("no user namespace");
        assert_eq!(without.to_string(), "rootless container requires user namespaces");
        let mounts = |options: &str| {
            let text = format!(
                r#"{{"ociVersion":"1.3.0","mounts":[{{"destination":"/t","type":"tmpfs","options":{options}}}],
                "linux":{{"namespaces":[{{"type":"user"}}],"uidMappings":[{{"containerID":0,"hostID":7,"size":1}}],
                "gidMappings":[{{"containerID":0,"hostID":7,"size":6}}]}}}}"#
            );
            check(&spec(&text))
        };
        assert!(mounts(r#"["gid=5","uid=0","mode=0620"]"#).is_ok());
        assert!(
            mounts(r#"["gid=6"]"#).expect_err("unmapped").to_string().contains("cannot specify gid=6 mount option")
        );
    }
}
