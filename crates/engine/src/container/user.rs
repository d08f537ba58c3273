//! Who a process runs as: `user[:group]` looked up in the container's own passwd(5) and group(5), never the host's.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use teu_oci::runtime::User;
use teu_sys::fs::Root;
use teu_sys::mount::Overlay;

use crate::error::{Error, Result};

/// A file larger than this is no passwd of a container.
const LARGEST: u64 = 8 << 20;

/// The two files.
#[derive(Default)]
pub(crate) struct Accounts {
    passwd: String,
    group: String,
}

/// A process' ids and home.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: User,
    pub(crate) home: String,
}

impl Accounts {
    /// From a tree that is not mounted: each layer is looked into, highest first.
    pub(crate) fn of_overlay(overlay: &Overlay) -> Self {
        let layers: Vec<&Path> = overlay.upper.iter().chain(&overlay.lowers).map(AsRef::as_ref).collect();
        let read = |name: &str| match look(&layers, name) {
            Found::Text(text) => text,
            Found::Absent => String::new(),
            Found::Odd => merged(overlay, name).unwrap_or_default(),
        };
        Self { passwd: read("passwd"), group: read("group") }
    }

    /// From a tree that is mounted.
    pub(crate) fn of_root(root: &Root) -> Self {
        let read = |name: &str| read_in(root, name).unwrap_or_default();
        Self { passwd: read("passwd"), group: read("group") }
    }

    /// From the root of a running process.
    pub(crate) fn of_process(pid: i32) -> Self {
        let root = format!("/proc/{pid}/root");
        let open =
            || rustix::fs::open(root.as_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let read = |name: &str| open().ok().and_then(|root| read_in(root, name)).unwrap_or_default();
        Self { passwd: read("passwd"), group: read("group") }
    }

    /// Resolves `user[:group]` (empty is root) and the supplementary groups, the user's own and `more`.
    pub(crate) fn identify(&self, wanted: &str, more: &[String]) -> Result<Identity> {
        let (name, group) = wanted.split_once(':').map_or((wanted, None), |(user, group)| (user, Some(group)));
        let number = id(name);
        let row = self.passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|row| {
            row.len() >= 6
                && match number {
                    _ if name.is_empty() => row[2] == "0",
                    Some(number) => row[2].parse() == Ok(number),
                    None => row[0] == name,
                }
        });
        let uid = match (&row, number) {
            (_, Some(number)) => number,
            (_, None) if name.is_empty() => 0,
            (Some(row), None) => row[2].parse().map_err(|_| unknown_user(name))?,
            (None, None) => return Err(unknown_user(name)),
        };
        let gid = match group {
            Some(group) if !group.is_empty() => self.group_id(group)?,
            _ => row.as_ref().and_then(|row| row[3].parse().ok()).unwrap_or(0),
        };
        let mut additional: Vec<u32> = Vec::new();
        if let Some(row) = row.as_ref().filter(|_| group.is_none()) {
            additional = self.groups_of(row[0]).into_iter().filter(|member| *member != gid).collect();
        }
        additional.insert(0, gid);
        for group in more {
            additional.push(self.group_id(group)?);
        }
        additional.dedup();
        let home = row.map_or_else(|| "/".into(), |row| row[5].to_string());
        let home = if home.is_empty() { "/".into() } else { home };
        Ok(Identity { user: User { uid, gid, umask: None, additional_gids: additional }, home })
    }

    fn group_id(&self, wanted: &str) -> Result<u32> {
        if let Some(number) = id(wanted) {
            return Ok(number);
        }
        let row = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|row| row[0] == wanted);
        row.and_then(|row| row.get(2)?.parse().ok())
            .ok_or_else(|| Error::bad(format!("unable to find group {wanted}: no matching entries in group file")))
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        let rows = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>());
        rows.filter(|row| row.len() >= 4 && row[3].split(',').any(|member| member.trim() == user))
            .filter_map(|row| row[2].parse().ok())
            .collect()
    }
}

/// A number is always an id, whatever name a passwd entry carries; what does not fit 31 bits is no id.
fn id(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|number| i32::try_from(*number).is_ok())
}

fn unknown_user(name: &str) -> Error {
    Error::bad(format!("unable to find user {name}: no matching entries in passwd file"))
}

enum Found {
    Text(String),
    Absent,
    /// A symbolic link or worse: only the merged tree can tell.
    Odd,
}

fn look(layers: &[&Path], name: &str) -> Found {
    for layer in layers {
        let Ok(root) = rustix::fs::open(*layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        else {
            return Found::Odd;
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let etc = match rustix::fs::openat(&root, "etc", flags, Mode::empty()) {
            Ok(etc) => etc,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(_) => return Found::Odd,
        };
        match rustix::fs::statat(&etc, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                return rustix::fs::openat(
                    &etc,
                    name,
                    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .ok()
                .and_then(|file| text(File::from(file)))
                .map_or(Found::Odd, Found::Text);
            }
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice => return Found::Absent,
            Ok(_) => return Found::Odd,
            Err(_) => {}
        }
        let mut opaque = [0_u8; 1];
        if rustix::fs::fgetxattr(&etc, "trusted.overlay.opaque", &mut opaque).is_ok() && opaque == *b"y" {
            return Found::Absent;
        }
    }
    Found::Absent
}

fn merged(overlay: &Overlay, name: &str) -> Option<String> {
    let view = Overlay { upper: None, work: None, ..overlay.clone() };
    let lowers = overlay.upper.iter().chain(&overlay.lowers).cloned().collect();
    read_in(Overlay { lowers, ..view }.mount_detached().ok()?, name)
}

fn read_in(root: impl AsFd, name: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(root, format!("etc/{name}"), flags, Mode::empty(), resolve).ok()?;
    text(File::from(file))
}

fn text(file: File) -> Option<String> {
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\n1000:x:0:0::/evil:/bin/sh\n".into(),
            group: "root:x:0:\nwheel:x:10:root,web\nweb:x:34:\nextra:x:77:web\n".into(),
        }
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let identify = |text: &str| accounts().identify(text, &[]).unwrap();
        assert_eq!(identify("").user.additional_gids, [0, 10]);
        assert_eq!(identify("").home, "/root");
        let web = identify("web");
        assert_eq!((web.user.uid, web.user.gid, web.user.additional_gids), (33, 34, vec![34, 10, 77]));
        let both = identify("web:wheel");
        assert_eq!((both.user.uid, both.user.gid, both.user.additional_gids), (33, 10, vec![10]));
        assert_eq!(identify("5:6").user.gid, 6);
        assert_eq!(accounts().identify("5", &["wheel".into()]).unwrap().user.additional_gids, [0, 10]);
    }

    #[test]
    fn a_number_is_an_id_even_if_a_passwd_entry_is_named_so() {
        assert_eq!(accounts().identify("1000", &[]).unwrap().user.uid, 1000);
        for bad in ["nobody", "4294967296", "2147483648:1", "-1", "web:none"] {
            assert!(accounts().identify(bad, &[]).is_err(), "{bad}");
        }
    }
}
