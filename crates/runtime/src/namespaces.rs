//! Which namespaces are made, and which are joined and how, purely.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use teu_oci::runtime::{Linux, NamespaceKind};
use teu_sys::namespace;

use crate::Error;

/// The namespaces of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Namespaces {
    /// Kinds made when init is born.
    pub(crate) born: u64,
    /// Whether init makes a cgroup namespace. Later than the rest: its root is the cgroup that init is in just then.
    pub(crate) cgroup: bool,
    /// The pid namespace to be born in.
    pub(crate) pid: Option<PathBuf>,
    /// The mount namespace that the container's tree is built in, instead of a new one.
    pub(crate) mount: Option<PathBuf>,
    /// Whether it is in the runtime's mount namespace, see `shown`.
    pub(crate) shares_mounts: bool,
    /// What init enters, by kind.
    pub(crate) joined: Vec<(u64, PathBuf)>,
    /// The user namespace to be in.
    pub(crate) user: User,
    /// Whether init makes a time namespace: its clocks are set before anybody is in.
    pub(crate) time: bool,
}

/// The user namespace of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum User {
    /// The runtime's.
    #[default]
    Shared,
    /// A new one.
    Born,
    /// This one.
    Joined(PathBuf),
}

/// The bit of a kind.
pub(crate) fn flag(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::Pid => namespace::PID,
        NamespaceKind::Network => namespace::NETWORK,
        NamespaceKind::Mount => namespace::MOUNT,
        NamespaceKind::Ipc => namespace::IPC,
        NamespaceKind::Uts => namespace::UTS,
        NamespaceKind::User => namespace::USER,
        NamespaceKind::Cgroup => namespace::CGROUP,
        NamespaceKind::Time => namespace::TIME,
    }
}

/// Sorts the spec's list. A mount namespace that is not listed is inherited if that can be, and made otherwise.
pub(crate) fn plan(linux: &Linux, inherits_mounts: bool) -> Result<Namespaces, Error> {
    let mut plan = Namespaces::default();
    let mut seen = 0;
    for namespace in &linux.namespaces {
        let bit = flag(namespace.kind);
        if seen & bit != 0 {
            return Err(Error::refused(format!("use namespaces: {:?} is listed twice", namespace.kind)));
        }
        seen |= bit;
        match (namespace.kind, namespace.path.as_ref().filter(|path| !path.as_os_str().is_empty())) {
            (NamespaceKind::User, None) => {
                plan.born |= bit;
                plan.user = User::Born;
            }
            (NamespaceKind::User, Some(path)) => plan.user = User::Joined(path.clone()),
            (NamespaceKind::Time, None) => plan.time = true,
            (NamespaceKind::Mount, Some(path)) => plan.mount = Some(path.clone()),
            (NamespaceKind::Cgroup, None) => plan.cgroup = true,
            (NamespaceKind::Pid, Some(path)) => plan.pid = Some(path.clone()),
            (_, None) => plan.born |= bit,
            (_, Some(path)) => plan.joined.push((bit, path.clone())),
        }
    }
    if !linux.time_offsets.is_empty() && !plan.time {
        return Err(Error::refused("set clocks: the container has no time namespace of its own"));
    }
    let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    if plan.user == User::Born && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) {
        return Err(Error::refused("map ids: a user namespace needs user and group mappings"));
    }
    if plan.user == User::Shared && mapped {
        return Err(Error::refused("map ids: user namespace mappings specified, but there is no user namespace"));
    }
    if seen & namespace::MOUNT == 0 {
        // Its tree is built there in any case.
        plan.born |= namespace::MOUNT;
        plan.shares_mounts = inherits_mounts;
    }
    if plan.shares_mounts && plan.user != User::Shared {
        let what = "use namespaces: with a user namespace the container may not mount in the runtime's mount namespace, \
                    and needs one of its own";
        return Err(Error::refused(what));
    }
    Ok(plan)
}

impl Namespaces {
    /// Whether the container's ids are not the runtime's.
    pub(crate) fn maps_ids(&self) -> bool {
        self.user != User::Shared
    }

    /// Whether what is joined must be entered before the user namespace is: it may belong to the one above.
    pub(crate) fn needs_usher(&self) -> bool {
        matches!(self.user, User::Joined(_)) || (self.user == User::Born && !self.joined.is_empty())
    }
}

/// Whether a kind is listed, to be made or to be joined.
pub(crate) fn has(linux: &Linux, kind: NamespaceKind) -> bool {
    linux.namespaces.iter().any(|namespace| namespace.kind == kind)
}

/// Every kind that the container does not share with the host, but for pid: what an exec enters.
pub(crate) fn entered(linux: &Linux) -> u64 {
    linux.namespaces.iter().fold(namespace::MOUNT, |kinds, namespace| kinds | flag(namespace.kind)) & !namespace::PID
}

#[cfg(test)]
mod tests {
    use teu_oci::runtime::Namespace;

    use super::*;

    fn linux(kinds: &[(NamespaceKind, Option<&str>)]) -> Linux {
        let one =
            |(kind, path): &(NamespaceKind, Option<&str>)| Namespace { kind: *kind, path: path.map(PathBuf::from) };
        Linux { namespaces: kinds.iter().map(one).collect(), ..Linux::default() }
    }

    #[test]
    fn a_joined_namespace_is_not_made() {
        use NamespaceKind::{Cgroup, Mount, Network, Pid};
        let plan =
            plan(&linux(&[(Mount, None), (Pid, None), (Network, Some("/run/n")), (Cgroup, None)]), true).expect("plan");
        assert_eq!(plan.born, namespace::MOUNT | namespace::PID);
        assert_eq!(plan.joined, [(namespace::NETWORK, PathBuf::from("/run/n"))]);
        assert!(plan.cgroup);
    }

    #[test]
    fn a_mount_namespace_that_is_joined_is_not_made() {
        let plan =
            plan(&linux(&[(NamespaceKind::Mount, Some("/run/m")), (NamespaceKind::Pid, None)]), true).expect("plan");
        assert_eq!((plan.born, plan.mount), (namespace::PID, Some(PathBuf::from("/run/m"))));
    }

    #[test]
    fn a_mount_namespace_that_is_not_listed_is_inherited_where_it_can_be() {
        let without = linux(&[(NamespaceKind::Pid, None)]);
        for inherits in [false, true] {
            let plan = plan(&without, inherits).expect("plan");
            assert_eq!((plan.born, plan.shares_mounts), (namespace::MOUNT | namespace::PID, inherits));
        }
        let mapped = linux(&[(NamespaceKind::User, Some("/run/u"))]);
        assert!(plan(&mapped, false).is_ok() && plan(&mapped, true).is_err());
    }
}
