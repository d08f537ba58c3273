//! User namespaces: writing the maps of one, and making one that only serves to idmap a mount.
//!
//! The maps are written from outside, by whoever has the right to: the runtime as root, or newuidmap(1) for an ordinary
//! user whose ranges are in subuid(5).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use teu_oci::runtime::IdMapping;
use teu_sys::{namespace, process};

use crate::error::During;
use crate::{Error, rootless};

/// Both maps of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Maps {
    /// Users.
    pub users: Vec<IdMapping>,
    /// Groups.
    pub groups: Vec<IdMapping>,
}

impl Maps {
    /// What a user of the namespace is outside.
    pub fn host_user(&self, id: u32) -> Option<u32> {
        outside(&self.users, id)
    }

    /// What a group of the namespace is outside.
    pub fn host_group(&self, id: u32) -> Option<u32> {
        outside(&self.groups, id)
    }

    /// Whether there is nothing in them.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// The text of one map, as the kernel takes it.
    fn text(map: &[IdMapping]) -> String {
        map.iter().map(|one| format!("{} {} {}\n", one.container_id, one.host_id, one.size)).collect()
    }

    /// Writes the maps of the user namespace that process `pid` was born in.
    pub(crate) fn write(&self, pid: i32) -> Result<(), Error> {
        // A range is at least one long, and the kernel takes a page of text.
        let users = Maps::text(&self.users);
        let groups = Maps::text(&self.groups);
        if users.len() > 4000 || groups.len() > 4000 {
            return Err(Error::refused("map ids: the kernel takes at most a page of ranges"));
        }
        let put = |file: &str, text: &str| {
            // The kernel takes a map in one write only.
            File::options().write(true).open(format!("/proc/{pid}/{file}"))?.write_all(text.as_bytes())
        };
        if !rootless::is_ordinary() {
            put("uid_map", &users).during("map users")?;
            return put("gid_map", &groups).during("map groups");
        }
        if rootless::is_own(&self.groups, rustix::process::getegid().as_raw()) {
            put("setgroups", "deny").during("give up setgroups")?;
            put("gid_map", &groups).during("map groups")?;
        } else {
            helper("newgidmap", pid, &self.groups)?;
        }
        if rootless::is_own(&self.users, rustix::process::geteuid().as_raw()) {
            return put("uid_map", &users).during("map users");
        }
        helper("newuidmap", pid, &self.users)
    }
}

fn outside(map: &[IdMapping], id: u32) -> Option<u32> {
    let range = map.iter().find(|one| id >= one.container_id && id - one.container_id < one.size)?;
    range.host_id.checked_add(id - range.container_id)
}

/// Asks the set-user-id helper that knows which ranges a user may use.
fn helper(name: &str, pid: i32, map: &[IdMapping]) -> Result<(), Error> {
    let numbers = map.iter().flat_map(|one| [one.container_id, one.host_id, one.size]).map(|n| n.to_string());
    let output = Command::new(name).arg(pid.to_string()).args(numbers).output().during(name)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::refused(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// A user namespace with these maps and nobody in it, for idmapped mounts.
///
/// # Errors
/// As making a process and writing its maps. The caller is single-threaded.
pub fn user_namespace(maps: &Maps) -> Result<OwnedFd, Error> {
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .during("make a socket pair")?;
    let ours = std::cell::Cell::new(Some(ours));
    let wait = || {
        drop(ours.take());
        let _ = rustix::io::read(&theirs, &mut [0; 1]);
        0
    };
    let child = process::spawn(namespace::USER, None, wait).during("make a user namespace")?;
    let result = maps.write(child.pid).and_then(|()| {
        let file = File::open(format!("/proc/{}/ns/user", child.pid)).during("open the user namespace")?;
        Ok(OwnedFd::from(file))
    });
    drop(ours.take());
    process::wait(child.pidfd.as_fd()).during("reap the user namespace's process")?;
    result
}

/// The calling process becomes the root of its user namespace, with no groups but its own.
pub(crate) fn become_root() -> io::Result<()> {
    match teu_sys::credentials::set_ids(0, 0, &[]) {
        // An ordinary user's namespace where setgroups was given up.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => teu_sys::credentials::set_ids_only(0, 0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_its_range() {
        let one = |container_id, host_id, size| IdMapping { container_id, host_id, size };
        let maps = Maps { users: vec![one(0, 100_000, 10), one(10, 5, 1)], groups: vec![] };
        assert_eq!(maps.host_user(9), Some(100_009));
        assert_eq!(maps.host_user(10), Some(5));
        assert_eq!(maps.host_user(11), None);
        assert_eq!(maps.host_group(0), None);
        assert_eq!(Maps::text(&maps.users), "0 100000 10\n10 5 1\n");
    }
}
