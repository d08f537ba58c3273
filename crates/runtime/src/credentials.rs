//! From names to bits, purely, and then the one order in which a process can give its privileges up.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use teu_oci::runtime::{Capabilities, Process};
use teu_sys::credentials::{self, ProcessSets};
use teu_sys::seccomp::{self, Instruction};

use crate::Error;
use crate::error::errno;

/// Who a process is to be, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: u32,
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
    no_new_privileges: bool,
    /// Whether it is in a user namespace of the container's, whose first id it had before: no groups of the host's are left
    /// then that could be given up.
    without_groups: bool,
}

/// A compiled filter and the flags to load it with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) flags: u32,
}

impl Filter {
    /// The flags and the instructions, as this machine's kernel has them.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.instructions.len() * 8);
        bytes.extend(self.flags.to_ne_bytes());
        for Instruction { code, jt, jf, k } in &self.instructions {
            bytes.extend(code.to_ne_bytes());
            bytes.extend([*jt, *jf]);
            bytes.extend(k.to_ne_bytes());
        }
        bytes
    }

    /// The filter that became `bytes`; none for what is none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Filter> {
        let (flags, rest) = bytes.split_first_chunk::<4>()?;
        let (instructions, []) = rest.as_chunks::<8>() else { return None };
        let instruction = |[a, b, jt, jf, k @ ..]: &[u8; 8]| Instruction {
            code: u16::from_ne_bytes([*a, *b]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(*k),
        };
        let instructions = instructions.iter().map(instruction).collect();
        Some(Filter { instructions, flags: u32::from_ne_bytes(*flags) })
    }
}

impl Credentials {
    /// Reads a process' names. A capability that this kernel or this caller does not have, or that nobody knows, is left
    /// out, as nobody can grant it and the spec has it: see [`doubts`].
    pub(crate) fn new(process: &Process) -> Result<Credentials, Error> {
        let none = Capabilities::default();
        let names = process.capabilities.as_ref().unwrap_or(&none);
        let available = credentials::bounding();
        let bit = |name: &String| credentials::capability(name);
        let set = |list: &[String]| list.iter().filter_map(bit).fold(0, |set, bit| set | bit) & available;
        let permitted = set(&names.permitted);
        let inheritable = set(&names.inheritable);
        Ok(Credentials {
            uid: process.user.uid,
            gid: process.user.gid,
            groups: process.user.additional_gids.clone(),
            umask: process.user.umask.unwrap_or(0o022),
            bounding: set(&names.bounding),
            effective: set(&names.effective) & permitted,
            permitted,
            inheritable,
            ambient: set(&names.ambient) & permitted & inheritable,
            no_new_privileges: process.no_new_privileges,
            without_groups: false,
        })
    }

    /// The same for a process whose groups were given up when it entered the container's user namespace.
    pub(crate) fn in_user_namespace(mut self) -> Credentials {
        self.without_groups = true;
        self
    }

    fn take_ids(&self) -> std::io::Result<()> {
        match credentials::set_ids(self.uid, self.gid, &self.groups) {
            // An ordinary user's namespace where setgroups(2) was given up.
            Err(error)
                if self.without_groups
                    && self.groups.is_empty()
                    && error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                credentials::set_ids_only(self.uid, self.gid)
            }
            other => other,
        }
    }

    /// The user.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Takes the identity on. `enter` goes to the working directory: with the privileges of before if it can (a
    /// private directory may be the one the user is put in), otherwise as the user (a network's root may be nobody).
    /// `listen` is given the filter's listener, where it has one. Takes no memory, unless an error does.
    pub(crate) fn assume<E: Obstacle>(
        &self,
        filter: Option<&Filter>,
        enter: impl Fn() -> Result<(), E>,
        listen: impl Fn(OwnedFd) -> Result<(), E>,
    ) -> Result<(), E> {
        let load = |filter: &Filter| -> Result<(), E> {
            let listener = seccomp::load(&filter.instructions, filter.flags);
            listener.map_err(|error| E::at("load the seccomp filter", error))?.map_or(Ok(()), &listen)
        };
        let entered = enter();
        if self.no_new_privileges {
            credentials::set_no_new_privileges().map_err(|error| E::at("set no_new_privs", error))?;
        }
        credentials::limit_bounding(self.bounding).map_err(|error| E::at("limit the bounding set", error))?;
        if let Some(filter) = filter.filter(|_| !self.no_new_privileges) {
            // Without no_new_privs only CAP_SYS_ADMIN may load a filter, so it comes before what it might forbid.
            load(filter)?;
        }
        self.take_ids().map_err(|error| E::at("set user and groups", error))?;
        entered.or_else(|_| enter())?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(self.umask & 0o777));
        let Credentials { effective, permitted, inheritable, .. } = *self;
        credentials::set_capabilities(ProcessSets { effective, permitted, inheritable })
            .map_err(|error| E::at("set capabilities", error))?;
        credentials::set_ambient(self.ambient).map_err(|error| E::at("set ambient capabilities", error))?;
        if let Some(filter) = filter.filter(|_| self.no_new_privileges) {
            load(filter)?;
        }
        Ok(())
    }
}

/// What stops a process on its way: named, for who can tell of it, or the kernel's number alone.
pub(crate) trait Obstacle {
    /// That error in that step.
    fn at(step: &'static str, error: std::io::Error) -> Self;
}

impl Obstacle for Error {
    fn at(step: &'static str, error: std::io::Error) -> Error {
        Error::Step { step: step.to_owned(), errno: errno(&error) }
    }
}

impl Obstacle for std::io::Error {
    fn at(_: &'static str, error: std::io::Error) -> std::io::Error {
        error
    }
}

/// What of a process' capabilities cannot be as it was asked for, as sentences.
pub(crate) fn doubts(process: &Process) -> Vec<String> {
    let Some(names) = &process.capabilities else { return Vec::new() };
    let available = credentials::bounding();
    let sets = [&names.bounding, &names.effective, &names.inheritable, &names.permitted, &names.ambient];
    let missing = |name: &&String| credentials::capability(name).is_none_or(|bit| bit & available == 0);
    let mut unknown: Vec<_> = sets.into_iter().flatten().filter(missing).cloned().collect();
    unknown.sort_unstable();
    unknown.dedup();
    let mut doubts = Vec::new();
    if !unknown.is_empty() {
        doubts.push(format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
    let alone = names.ambient.iter().filter(|name| !unknown.contains(name));
    for name in alone.filter(|name| !names.inheritable.contains(name) || !names.permitted.contains(name)) {
        doubts.push(format!("can't raise ambient capability {name}: it is not both permitted and inheritable"));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_capabilities_has_none() {
        let credentials = Credentials::new(&Process::default()).expect("credentials");
        assert_eq!((credentials.bounding, credentials.effective, credentials.ambient), (0, 0, 0));
    }

    #[test]
    fn a_name_that_is_no_capability_is_doubted_and_not_given() {
        let capabilities = Capabilities { bounding: vec!["CAP_FLY".into()], ..Capabilities::default() };
        let process = Process { capabilities: Some(capabilities), ..Process::default() };
        assert_eq!(Credentials::new(&process).expect("credentials").bounding, 0);
        assert_eq!(doubts(&process), ["ignoring unknown or unavailable capabilities: [CAP_FLY]"]);
    }
}
