//! User namespaces of containers: which ranges of the host's ids they get, and who shares the host's.
//!
//! A range is 65536 ids long and one container's alone, from its making to its removal. On disk nothing is shifted: layers
//! and binds are shown through idmapped mounts.

use std::collections::HashSet;

use teu_api::container::HostConfig;
use teu_oci::runtime::{IdMapping, Mount};

/// What is asked of a container's ids, `HostConfig.UsernsMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are the host's.
    Host,
    /// It has some of its own.
    Own,
    /// The same, and its program runs as this user and group, whose files on the host are its own: podman's
    /// `keep-id:uid=1000,gid=1000`. What is on disk is not shifted, so nothing else tells it from the other.
    Keep(u32, u32),
}

impl Mode {
    /// Reads it; none when it is no mode. Whose ids to keep is for the client to say: the engine serves them all.
    pub(crate) fn parse(text: &str) -> Option<Mode> {
        if let "" | "host" = text {
            return Some(Mode::Host);
        }
        if text == "auto" {
            return Some(Mode::Own);
        }
        let (mut uid, mut gid) = (None, None);
        for pair in text.strip_prefix("keep-id:")?.split(',') {
            match pair.split_once('=')? {
                ("uid", value) => uid = Some(value.parse().ok()?),
                ("gid", value) => gid = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        uid.map(|uid| Mode::Keep(uid, gid.unwrap_or(uid)))
    }
}

/// How many ids a container has.
pub(crate) const RANGE: u32 = 1 << 16;
/// The slots of that size that are handed out: above what people, services and subuid(5) use, below the end.
const SLOTS: std::ops::Range<u32> = 0x4000..0xfff0;

/// A range for the container `id` that nobody in `taken` has; none when all are taken.
pub(crate) fn allocate(id: &str, taken: &HashSet<u32>) -> Option<u32> {
    let count = SLOTS.end - SLOTS.start;
    // Two made at the same time look in different places.
    let start = u32::from_str_radix(id.get(..7).unwrap_or("0"), 16).unwrap_or(0) % count;
    let slots = (0..count).map(|step| SLOTS.start + (start + step) % count);
    slots.map(|slot| slot * RANGE).find(|first| !taken.contains(first))
}

/// Whether a kernel of that release (uname(2)) shows layers with other owners: an overlay of idmapped layers, attached to
/// nothing yet, is taken from 6.15 on.
pub(crate) fn possible(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

/// The map of a range.
pub(crate) fn mapping(first: u32) -> IdMapping {
    IdMapping { container_id: 0, host_id: first, size: RANGE }
}

/// Whether a container must share the host's ids: it shares another of the host's namespaces, or is to act on the host.
pub(crate) fn needs_host(host: &HostConfig) -> bool {
    let modes = [&host.network_mode, &host.pid_mode, &host.ipc_mode, &host.uts_mode, &host.cgroupns_mode];
    let shares = |mode: &&String| mode.as_str() == "host" || mode.starts_with("container:");
    host.privileged || !host.devices.is_empty() || !host.device_requests.is_empty() || modes.iter().any(shares)
}

/// Whether a user, or its group, is none of a range.
pub(crate) fn are_beyond(user: &str) -> bool {
    user.split(':').any(|id| id.parse::<u64>().is_ok_and(|id| id >= u64::from(RANGE)))
}

/// The mounts of a container with a range of its own: what comes from the host is shown with the container's owners.
pub(crate) fn mapped(mut mounts: Vec<Mount>, users: Option<u32>) -> Vec<Mount> {
    if users.is_none() {
        return mounts;
    }
    for mount in &mut mounts {
        let has = |name: &str| mount.options.iter().any(|option| option == name);
        if has("rbind") {
            mount.options.push("ridmap".into());
        } else if has("bind") || matches!(mount.kind.as_str(), "bind" | "overlay") {
            mount.options.push("idmap".into());
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_containers_alone() {
        let id = "0123456789abcdef";
        let first = allocate(id, &HashSet::new()).expect("a range");
        let second = allocate(id, &HashSet::from([first])).expect("a range");
        assert_ne!(first, second);
        assert!(first >= SLOTS.start * RANGE && first.is_multiple_of(RANGE));
        let all = SLOTS.map(|slot| slot * RANGE).collect();
        assert_eq!(allocate(id, &all), None);
    }

    #[test]
    fn a_mode_is_known_or_none() {
        for (text, mode) in [
            ("", Some(Mode::Host)),
            ("host", Some(Mode::Host)),
            ("auto", Some(Mode::Own)),
            ("keep-id:uid=1000,gid=100", Some(Mode::Keep(1000, 100))),
            ("keep-id:uid=7", Some(Mode::Keep(7, 7))),
            ("keep-id", None),
            ("keep-id:gid=7", None),
            ("keep-id:uid=x", None),
            ("keep-id:uid=1,size=9", None),
            ("keep-id:uid=1,map", None),
            ("nomap", None),
        ] {
            assert_eq!(Mode::parse(text), mode, "{text}");
        }
    }

    #[test]
    fn a_kernel_is_as_new_as_its_release_says() {
        for (release, expected) in [("6.15.0", true), ("6.18.44-fc", true), ("7.0", true), ("6.1.0-49-amd64", false)] {
            assert_eq!(possible(release), expected, "{release}");
        }
        assert!(!possible("5.19") && !possible("") && !possible("6"));
    }

    #[test]
    fn who_shares_a_namespace_with_the_host_shares_its_ids() {
        assert!(!needs_host(&HostConfig::default()));
        assert!(needs_host(&HostConfig { privileged: true, ..HostConfig::default() }));
        assert!(needs_host(&HostConfig { network_mode: "host".into(), ..HostConfig::default() }));
    }

    #[test]
    fn only_what_is_the_hosts_is_mapped() {
        let mount = |kind: &str, options: &[&str]| Mount {
            kind: kind.into(),
            options: options.iter().map(ToString::to_string).collect(),
            ..Mount::default()
        };
        let mounts = mapped(vec![mount("tmpfs", &[]), mount("bind", &["rbind"])], Some(RANGE));
        assert!(mounts[0].options.is_empty());
        assert_eq!(mounts[1].options, ["rbind", "ridmap"]);
    }
}
