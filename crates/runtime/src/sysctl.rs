//! Kernel parameters of a container: only those that belong to a namespace of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};
use teu_sys::namespace;

use crate::Error;
use crate::error::During;
use crate::namespaces::Namespaces;

/// Parameters of an IPC namespace.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Refuses every parameter that would be the host's.
pub(crate) fn check(parameters: &BTreeMap<String, String>, namespaces: &Namespaces) -> Result<(), Error> {
    let own = |bit| namespaces.born & bit != 0 || namespaces.joined.iter().any(|(kind, _)| *kind == bit);
    for name in parameters.keys() {
        let allowed = if IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
            own(namespace::IPC)
        } else if name.starts_with("net.") {
            own(namespace::NETWORK)
        } else {
            false
        };
        if !allowed || name.contains("..") {
            return Err(Error::refused(format!("set sysctl {name}: it is not in a namespace of the container")));
        }
    }
    Ok(())
}

/// Writes the parameters below `proc`, a mount of procfs that only its maker has seen.
pub(crate) fn apply(proc: BorrowedFd<'_>, parameters: &BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in parameters {
        // A dot within a part (an interface's name) is written as a slash, as sysctl(8) has it.
        let path: String = name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect();
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let set = || -> std::io::Result<()> {
            let file = rustix::fs::openat(proc, format!("sys/{path}"), flags, Mode::empty())?;
            std::fs::File::from(file).write_all(value.as_bytes())
        };
        set().during_with(|| format!("set sysctl {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_of_the_host_is_refused() {
        let namespaces = Namespaces { born: namespace::NETWORK, ..Namespaces::default() };
        let one = |name: &str| BTreeMap::from([(name.to_owned(), "1".to_owned())]);
        assert!(check(&one("net.ipv4.ip_forward"), &namespaces).is_ok());
        assert!(check(&one("kernel.core_pattern"), &namespaces).is_err());
        assert!(check(&one("kernel.shmmax"), &namespaces).is_err());
        assert!(check(&one("net/../kernel.core_pattern"), &namespaces).is_err());
    }
}
