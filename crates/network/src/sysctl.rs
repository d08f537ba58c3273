//! The few kernel settings that have no netlink message. `/proc/sys/net` shows the calling thread's namespace.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::Error;

/// Lets the host pass packets on between interfaces, without which no container reaches anything. Returns whether it
/// was off before: then the host has just become a router between *all* its interfaces, which is worth a line in the log.
pub fn enable_forwarding() -> Result<bool, Error> {
    let path = Path::new("/proc/sys/net/ipv4/ip_forward");
    if read(path)? == "1" {
        return Ok(false);
    }
    write(path, "1").map(|()| true)
}

/// The same for IPv6. The kernel of a router believes no router advertisements, so an uplink that lives by them is told
/// to go on believing (`accept_ra` 2) before the host becomes a router.
pub fn enable_ipv6_forwarding() -> Result<bool, Error> {
    let base = Path::new("/proc/sys/net/ipv6/conf");
    let all = base.join("all/forwarding");
    match read(&all) {
        Ok(value) if value == "0" => {}
        Ok(_) => return Ok(false),
        // A kernel without IPv6 has nothing to pass on.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let entries = std::fs::read_dir(base).map_err(|source| Error::io(format!("list {}", base.display()), source))?;
    for folder in entries.flatten().map(|entry| entry.path()) {
        let setting = folder.join("accept_ra");
        if read(&setting).is_ok_and(|value| value == "1") && !folder.ends_with("all") {
            // An interface that went away in this moment believes nothing.
            let _ = write(&setting, "2");
        }
    }
    write(&all, "1").map(|()| true)
}

/// Whether IPv6 can be had on this host at all.
#[must_use]
pub fn has_ipv6() -> bool {
    read(Path::new("/proc/sys/net/ipv6/conf/all/disable_ipv6")).is_ok_and(|value| value == "0")
}

/// No IPv6 on this interface, or some after all; fine where the kernel has none at all.
pub(crate) fn disable_ipv6(interface: &str, disable: bool) -> Result<(), Error> {
    let value = if disable { "1" } else { "0" };
    match write(&ipv6(interface, "disable_ipv6"), value) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Whoever is on this link does not get to say where packets go.
pub(crate) fn refuse_router_advertisements(interface: &str) -> Result<(), Error> {
    match write(&ipv6(interface, "accept_ra"), "0") {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Takes packets whose source is reached by another interface.
pub(crate) fn loose_source_check(interface: &str) -> Result<(), Error> {
    write(&Path::new("/proc/sys/net/ipv4/conf").join(interface).join("rp_filter"), "2")
}

/// A setting by its dotted name, `net.ipv4.conf.eth0.arp_ignore`; only below `net.`.
pub(crate) fn set(name: &str, value: &str) -> Result<(), Error> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.first() != Some(&"net") || parts.iter().any(|part| part.is_empty() || part.contains('/')) {
        return Err(Error::NotFound { what: format!("network setting {name}") });
    }
    write(&parts.iter().fold(PathBuf::from("/proc/sys"), |path, part| path.join(part)), value)
}

fn ipv6(interface: &str, name: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv6/conf").join(interface).join(name)
}

fn read(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path);
    text.map(|text| text.trim().to_owned()).map_err(|source| Error::io(format!("read {}", path.display()), source))
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    std::fs::write(path, value).map_err(|source| Error::io(format!("write {value} to {}", path.display()), source))
}
