//! From the spec's mounts to what is to be called, purely: options sorted into attributes, propagation and data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use teu_oci::runtime::{Linux, Mount};
use teu_sys::mount::{Overlay, Propagation, attribute};

use crate::Error;
use crate::idmap::Maps;

/// One mount to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    /// Where, in the container.
    pub(crate) destination: String,
    pub(crate) source: Source,
    /// Attributes of the mount itself.
    pub(crate) own: Attributes,
    /// Attributes of it and of all that is mounted below it.
    pub(crate) all: Attributes,
    /// How events travel, and whether for all that is mounted below it too.
    pub(crate) propagation: Option<(Propagation, bool)>,
    /// How owners are shown; empty maps stand for the container's.
    pub(crate) owners: Option<Maps>,
    /// Whether for all that is mounted below it too.
    pub(crate) owners_below: bool,
    /// Whether what is at the destination is copied into it.
    pub(crate) copy_up: bool,
    /// What of the source; all of it if none. Never anything outside of it.
    pub(crate) subpath: Option<PathBuf>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    /// Part of the host's tree.
    Bind { path: PathBuf, recursive: bool },
    /// Layers, seen as one tree that cannot be written.
    Layers(Overlay),
    /// A file system with its options.
    Filesystem { kind: String, data: Vec<(String, Option<String>)> },
    /// What is there already, changed: all its attributes, and the file system's options if there are any.
    Remount { data: Vec<(String, Option<String>)> },
    /// The container's own cgroup, in every hierarchy.
    Cgroup,
}

/// Attributes to set and to clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Attributes {
    fn set(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    fn clear(&mut self, bits: u64) {
        self.clear |= bits;
        self.set &= !bits;
    }
}

/// Attributes by option, and whether the option sets or clears them. With an `r` in front: for mounts below too.
const ATTRIBUTES: [(&str, u64, bool); 17] = [
    ("ro", attribute::READ_ONLY, true),
    ("rw", attribute::READ_ONLY, false),
    ("nosuid", attribute::NO_SETUID, true),
    ("suid", attribute::NO_SETUID, false),
    ("nodev", attribute::NO_DEVICES, true),
    ("dev", attribute::NO_DEVICES, false),
    ("noexec", attribute::NO_EXEC, true),
    ("exec", attribute::NO_EXEC, false),
    ("noatime", attribute::NO_ACCESS_TIME, true),
    ("atime", attribute::NO_ACCESS_TIME, false),
    ("strictatime", attribute::STRICT_ACCESS_TIME, true),
    ("nostrictatime", attribute::STRICT_ACCESS_TIME, false),
    ("norelatime", 0, false),
    ("nodiratime", attribute::NO_DIRECTORY_ACCESS_TIME, true),
    ("diratime", attribute::NO_DIRECTORY_ACCESS_TIME, false),
    ("nosymfollow", attribute::NO_SYMLINK_FOLLOW, true),
    ("symfollow", attribute::NO_SYMLINK_FOLLOW, false),
];

/// All of them.
const ALL: u64 = attribute::READ_ONLY
    | attribute::NO_SETUID
    | attribute::NO_DEVICES
    | attribute::NO_EXEC
    | attribute::ACCESS_TIME
    | attribute::NO_DIRECTORY_ACCESS_TIME
    | attribute::NO_SYMLINK_FOLLOW;

/// Every option that is no file system's own.
pub(crate) fn known_options() -> Vec<String> {
    let others = [
        "async",
        "bind",
        "defaults",
        "idmap",
        "loud",
        "private",
        "rbind",
        "remount",
        "relatime",
        "ridmap",
        "rprivate",
        "rrelatime",
        "rshared",
        "rslave",
        "runbindable",
        "shared",
        "slave",
        "sync",
        "tmpcopyup",
        "unbindable",
    ];
    let attributes = ATTRIBUTES.iter().flat_map(|(name, ..)| [(*name).to_owned(), format!("r{name}")]);
    let mut names: Vec<_> = attributes.chain(others.map(str::to_owned)).collect();
    names.sort_unstable();
    names
}

/// The option that names one layer of an overlay, overlayfs documentation, "Multiple lower layers".
const LOWER: &str = "lowerdir+";

/// Plans every mount, in the spec's order.
pub(crate) fn plan(mounts: &[Mount], linux: &Linux) -> Result<Vec<Planned>, Error> {
    let label = &linux.mount_label;
    if !label.is_empty() && !crate::labels::has_selinux() {
        return Err(Error::refused(format!("label mounts \"{label}\": this kernel has no SELinux")));
    }
    let one = |mount: &Mount| {
        let mut planned = plan_one(mount)?;
        if let Source::Filesystem { kind, data } = &mut planned.source
            && !label.is_empty()
            && !matches!(kind.as_str(), "proc" | "sysfs")
        {
            data.push(("context".to_owned(), Some(label.clone())));
        }
        Ok(planned)
    };
    mounts.iter().map(one).collect()
}

/// The ids of a mount. Both maps are given or none.
fn maps(mount: &Mount) -> Result<Option<Maps>, Error> {
    let maps = Maps { users: mount.uid_mappings.clone(), groups: mount.gid_mappings.clone() };
    if maps.is_empty() {
        return Ok(None);
    }
    if maps.users.is_empty() || maps.groups.is_empty() {
        let what =
            format!("mount {}: both uidMappings and gidMappings are needed for an idmapped mount", mount.destination);
        return Err(Error::refused(what));
    }
    Ok(Some(maps))
}

fn plan_one(mount: &Mount) -> Result<Planned, Error> {
    let mut destination = mount.destination.clone();
    if !destination.starts_with('/') {
        // The spec asks for an absolute path; what engines of old wrote is from the root too.
        destination.insert(0, '/');
    }
    let mut planned = Planned {
        destination,
        source: Source::Cgroup,
        own: Attributes::default(),
        all: Attributes::default(),
        propagation: None,
        owners: maps(mount)?,
        owners_below: false,
        copy_up: false,
        subpath: mount.subpath.clone(),
    };
    let mut bind = (mount.kind == "bind").then_some(false);
    let (mut data, mut remount) = (Vec::new(), false);
    for option in &mount.options {
        match option.as_str() {
            "bind" => bind = Some(bind.unwrap_or(false)),
            "rbind" => bind = Some(true),
            "defaults" | "async" | "relatime" | "rrelatime" | "loud" => {}
            "tmpcopyup" => planned.copy_up = true,
            "idmap" | "ridmap" => {
                planned.owners.get_or_insert_default();
                planned.owners_below = option == "ridmap";
            }
            "remount" => remount = true,
            other => {
                if !take_propagation(&mut planned, other) && !take_attribute(&mut planned, other) {
                    data.push(split(other));
                }
            }
        }
    }
    planned.source = if remount { Source::Remount { data } } else { source(mount, bind, data)? };
    if remount {
        // As mount(2) has it: what is not said again is gone.
        planned.own.clear |= ALL & !planned.own.set;
    }
    if planned.owners.is_some() && !matches!(planned.source, Source::Bind { .. } | Source::Layers(_)) {
        return Err(Error::refused(format!("mount {}: only a bind can be idmapped", mount.destination)));
    }
    if planned.copy_up && !matches!(&planned.source, Source::Filesystem { kind, .. } if kind == "tmpfs") {
        return Err(Error::refused(format!("mount {}: only a tmpfs can have tmpcopyup", mount.destination)));
    }
    if mount.subpath.is_some() && !matches!(planned.source, Source::Bind { .. } | Source::Layers(_)) {
        return Err(Error::refused(format!("mount {}: only a bind has parts", mount.destination)));
    }
    Ok(planned)
}

fn source(mount: &Mount, bind: Option<bool>, mut data: Vec<(String, Option<String>)>) -> Result<Source, Error> {
    let path = mount.source.as_ref();
    match (bind, mount.kind.as_str()) {
        (Some(recursive), _) => match path {
            Some(path) if path.is_absolute() => Ok(Source::Bind { path: path.clone(), recursive }),
            _ => Err(Error::refused(format!("mount {}: the source is not an absolute path", mount.destination))),
        },
        (None, "") => Err(Error::refused(format!("mount {}: neither a type nor a bind", mount.destination))),
        (None, "cgroup" | "cgroup2") => Ok(Source::Cgroup),
        (None, "overlay") if data.iter().any(|(key, _)| key == LOWER) => layers(mount, data),
        (None, kind) => {
            let name = path.map_or(kind.to_owned(), |path| path.to_string_lossy().into_owned());
            data.insert(0, ("source".to_owned(), Some(name)));
            Ok(Source::Filesystem { kind: kind.to_owned(), data })
        }
    }
}

/// An overlay whose layers are named one by one, topmost first: the only form without a limit to their number.
fn layers(mount: &Mount, data: Vec<(String, Option<String>)>) -> Result<Source, Error> {
    let mut overlay = Overlay::default();
    for (key, value) in data {
        match (key.as_str(), value) {
            (LOWER, Some(layer)) => overlay.lowers.push(layer.into()),
            ("upperdir", Some(upper)) => overlay.upper = Some(upper.into()),
            ("workdir", Some(work)) => overlay.work = Some(work.into()),
            ("volatile", None) => overlay.volatile = true,
            (other, _) => {
                let what = format!("mount {}: option \"{other}\" does not go with {LOWER}", mount.destination);
                return Err(Error::refused(what));
            }
        }
    }
    Ok(Source::Layers(overlay))
}

fn take_propagation(planned: &mut Planned, option: &str) -> bool {
    let recursive = option.starts_with('r');
    let propagation = match if recursive { &option[1..] } else { option } {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "private" => Propagation::Private,
        "unbindable" => Propagation::Unbindable,
        _ => return false,
    };
    planned.propagation = Some((propagation, recursive));
    true
}

/// The mount attribute that an option sets (`true`) or clears, none when it is about something else (the OCI runtime
/// spec, "Linux mount options"; mount_setattr(2)).
#[must_use]
pub fn attribute_of(option: &str) -> Option<(u64, bool)> {
    ATTRIBUTES.iter().find(|(known, ..)| *known == option).map(|(_, bits, set)| (*bits, *set))
}

fn take_attribute(planned: &mut Planned, option: &str) -> bool {
    let nested = option.strip_prefix('r').and_then(attribute_of);
    let (attributes, (bits, set)) = match (attribute_of(option), nested) {
        (Some(found), _) => (&mut planned.own, found),
        (None, Some(found)) => (&mut planned.all, found),
        _ => return false,
    };
    // The access time modes are one field: the kernel takes a new one only with the whole field cleared.
    if bits & attribute::ACCESS_TIME != 0 {
        attributes.set &= !attribute::ACCESS_TIME;
        attributes.clear |= attribute::ACCESS_TIME;
        attributes.set |= if set { bits } else { 0 };
    } else if set {
        attributes.set(bits);
    } else {
        attributes.clear(bits);
    }
    true
}

fn split(option: &str) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (option.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Planned {
        let mount = Mount {
            destination: "/x".into(),
            source: Some("/src".into()),
            kind: kind.into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Mount::default()
        };
        plan_one(&mount).expect("a plan")
    }

    #[test]
    fn options_are_sorted_into_attributes_and_data() {
        let planned = mount("tmpfs", &["nosuid", "noexec", "mode=755", "size=64k"]);
        assert_eq!(planned.own.set, attribute::NO_SETUID | attribute::NO_EXEC);
        let Source::Filesystem { kind, data } = planned.source else { panic!("not a file system") };
        assert_eq!(kind, "tmpfs");
        assert_eq!(data[0], ("source".to_owned(), Some("/src".to_owned())));
        assert_eq!(data[1], ("mode".to_owned(), Some("755".to_owned())));
        assert_eq!(data.len(), 3);
    }

    #[test]
    fn a_recursive_read_only_bind_is_read_only_all_the_way_down() {
        let planned = mount("bind", &["rbind", "rro", "rslave"]);
        assert_eq!(planned.source, Source::Bind { path: "/src".into(), recursive: true });
        assert_eq!((planned.own.set, planned.all.set), (0, attribute::READ_ONLY));
        assert_eq!(planned.propagation, Some((Propagation::Slave, true)));
    }

    #[test]
    fn the_last_of_two_contrary_options_counts() {
        let planned = mount("bind", &["ro", "rw"]);
        assert_eq!(planned.own, Attributes { set: 0, clear: attribute::READ_ONLY });
    }

    #[test]
    fn an_access_time_mode_replaces_the_whole_field() {
        let planned = mount("bind", &["noatime"]);
        let (set, clear) = (attribute::NO_ACCESS_TIME, attribute::ACCESS_TIME);
        assert_eq!(planned.own, Attributes { set, clear });
    }

    #[test]
    fn an_overlay_of_layers_named_one_by_one_is_a_read_only_tree() {
        let planned = mount("overlay", &["lowerdir+=/top", "lowerdir+=/bottom", "nosuid"]);
        let Source::Layers(overlay) = planned.source else { panic!("not layers") };
        assert_eq!((overlay.lowers.len(), overlay.upper), (2, None));
        assert_eq!(planned.own.set, attribute::NO_SETUID);
        let upper = Mount {
            destination: "/x".into(),
            kind: "overlay".into(),
            options: vec!["lowerdir+=/a".into(), "upperdir=/b".into(), "workdir=/c".into(), "volatile".into()],
            ..Mount::default()
        };
        let Source::Layers(overlay) = plan_one(&upper).unwrap().source else { panic!("not layers") };
        assert_eq!((overlay.upper, overlay.work, overlay.volatile), (Some("/b".into()), Some("/c".into()), true));
        let other = Mount { options: vec!["lowerdir+=/a".into(), "metacopy=on".into()], ..upper };
        assert!(plan_one(&other).is_err());
    }

    #[test]
    fn a_remount_says_all_attributes_anew() {
        let planned = mount("", &["remount", "nosuid", "noatime", "size=1m"]);
        assert_eq!(planned.source, Source::Remount { data: vec![("size".to_owned(), Some("1m".to_owned()))] });
        assert_eq!(planned.own.set, attribute::NO_SETUID | attribute::NO_ACCESS_TIME);
        assert_eq!(planned.own.clear & attribute::READ_ONLY, attribute::READ_ONLY);
        assert_eq!(planned.own.clear & (attribute::NO_SETUID | attribute::ACCESS_TIME), attribute::ACCESS_TIME);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let part =
            Mount { kind: "tmpfs".into(), destination: "/x".into(), subpath: Some("a".into()), ..Mount::default() };
        assert!(plan_one(&part).is_err());
        let no_source = Mount { destination: "/x".into(), kind: "bind".into(), ..Mount::default() };
        assert!(plan_one(&no_source).is_err());
    }
}
