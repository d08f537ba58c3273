//! The few kernel settings that have no netlink message. `/proc/sys/net` shows the calling thread's namespace.

use std::io::ErrorKind;
use std::path::Path;

use crate::Error;

/// Lets the host pass packets on between interfaces, without which no container reaches anything. Returns whether it
/// was off before: then the host has just become a router between *all* its interfaces, which is worth a line in the log.
pub fn enable_forwarding() -> Result<bool, Error> {
    let path = Path::new("/proc/sys/net/ipv4/ip_forward");
    let before =
        std::fs::read_to_string(path).map_err(|source| Error::io(format!("read {}", path.display()), source))?;
    if before.trim() == "1" {
        return Ok(false);
    }
    write(path, "1").map(|()| true)
}

/// Lets answers to 127.0.0.0/8 come in by this interface.
pub(crate) fn route_localnet(interface: &str) -> Result<(), Error> {
    write(&Path::new("/proc/sys/net/ipv4/conf").join(interface).join("route_localnet"), "1")
}

/// No IPv6 on this interface; fine where the kernel has none at all.
pub(crate) fn disable_ipv6(interface: &str) -> Result<(), Error> {
    match write(&Path::new("/proc/sys/net/ipv6/conf").join(interface).join("disable_ipv6"), "1") {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    std::fs::write(path, value).map_err(|source| Error::io(format!("write {value} to {}", path.display()), source))
}
