//! Labels of AppArmor and SELinux: written where the kernel reads them at the next execve.
//!
//! The file is reached through a procfs that only this process has seen (a fake one would swallow the label), and the
//! label is read back.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use teu_oci::runtime::Process;

use crate::Error;
use crate::error::During;

/// A label to take at execve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Label {
    /// An AppArmor profile.
    AppArmor(String),
    /// An SELinux context.
    SeLinux(String),
}

/// Whether the kernel has AppArmor switched on.
pub(crate) fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Whether the kernel has SELinux switched on.
pub(crate) fn has_selinux() -> bool {
    std::path::Path::new("/sys/fs/selinux/status").exists()
}

impl Label {
    /// The labels of a process; refuses those that this kernel cannot give.
    pub(crate) fn of(process: &Process) -> Result<Vec<Label>, Error> {
        let mut labels = Vec::new();
        if !process.apparmor_profile.is_empty() {
            if !has_apparmor() {
                let what =
                    format!("take AppArmor profile \"{}\": this kernel has no AppArmor", process.apparmor_profile);
                return Err(Error::refused(what));
            }
            labels.push(Label::AppArmor(process.apparmor_profile.clone()));
        }
        if !process.selinux_label.is_empty() {
            if !has_selinux() {
                let what = format!("take SELinux label \"{}\": this kernel has no SELinux", process.selinux_label);
                return Err(Error::refused(what));
            }
            labels.push(Label::SeLinux(process.selinux_label.clone()));
        }
        Ok(labels)
    }

    /// Writes it, below a procfs of one's own.
    pub(crate) fn take(&self, proc: BorrowedFd<'_>) -> Result<(), Error> {
        let (files, text, name): (&[&str], String, &str) = match self {
            Label::AppArmor(name) => (&["attr/apparmor/exec", "attr/exec"], format!("exec {name}"), name),
            Label::SeLinux(label) => (&["attr/exec"], label.clone(), label),
        };
        let write = || -> std::io::Result<String> {
            let file = open(proc, files)?;
            (&file).write_all(text.as_bytes())?;
            let mut taken = String::new();
            open(proc, files)?.read_to_string(&mut taken)?;
            Ok(taken)
        };
        let taken = write().during_with(|| format!("take label \"{name}\""))?;
        // AppArmor adds the mode: "name (enforce)".
        let taken = taken.trim_end_matches(['\0', '\n']).split(" (").next().unwrap_or_default();
        if taken != name {
            return Err(Error::refused(format!("take label \"{name}\": the kernel has \"{taken}\"")));
        }
        Ok(())
    }
}

fn open(proc: BorrowedFd<'_>, files: &[&str]) -> std::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut error = rustix::io::Errno::NOENT;
    for file in files {
        match rustix::fs::openat(proc.as_fd(), format!("thread-self/{file}"), flags, Mode::empty()) {
            Ok(file) => return Ok(file.into()),
            Err(other) => error = other,
        }
    }
    Err(error.into())
}
