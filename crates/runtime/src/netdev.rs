//! Network interfaces of the runtime's namespace that are given to a container.

use std::os::fd::AsFd;

use teu_oci::runtime::{NamespaceKind, Spec};

use crate::Error;
use crate::error::During;

/// Moves the spec's interfaces into the network namespace of process `pid`.
pub(crate) fn give(spec: &Spec, pid: i32) -> Result<(), Error> {
    let Some(linux) = spec.linux.as_ref().filter(|linux| !linux.net_devices.is_empty()) else { return Ok(()) };
    if !linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Network) {
        return Err(Error::refused("move network devices: the container has no network namespace of its own"));
    }
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).during("open the network namespace")?;
    for (name, device) in &linux.net_devices {
        let new = if device.name.is_empty() { name } else { &device.name };
        check(name)?;
        check(new)?;
        teu_sys::link::give(name, new, namespace.as_fd()).during_with(|| format!("move network device \"{name}\""))?;
    }
    Ok(())
}

fn check(name: &str) -> Result<(), Error> {
    let wrong = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if name.is_empty() || name.len() > 15 || matches!(name, "." | "..") || name.contains(wrong) {
        return Err(Error::refused(format!("move network device: invalid name \"{name}\"")));
    }
    Ok(())
}
