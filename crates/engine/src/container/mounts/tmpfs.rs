//! Memory file systems: options of both forms, checked before anything is made. Pure.

use std::collections::BTreeMap;

use teu_api::container::{HostConfig, Mount};

use crate::error::{Error, Result};
use teu_api::path::clean;

/// Options with a value that tmpfs takes, tmpfs(5).
const DATA: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
/// Options that stand alone: of mounts in general, and how mount events travel.
const FLAGS: [&str; 30] = [
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
];
/// What every one begins with; what the user says comes after, and wins.
const BASE: [&str; 4] = ["noexec", "nosuid", "nodev", "rprivate"];

/// Reads the options that follow the path in `--tmpfs`.
///
/// # Errors
/// When one is no option of a tmpfs.
pub(crate) fn options(text: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let name = option.split('=').next().unwrap_or(option);
        let known = FLAGS.contains(&option) || (option.contains('=') && DATA.contains(&name));
        if !known {
            return Err(Error::bad(format!("invalid tmpfs option [\"{option}\"]")));
        }
        all.push(option.to_owned());
    }
    Ok(all)
}

/// The same of a `--mount type=tmpfs`.
///
/// # Errors
/// When one of its further options is none that may be given.
pub(crate) fn long(mount: &Mount) -> Result<Vec<String>> {
    let asked = mount.tmpfs_options.clone().unwrap_or_default();
    let mut all = Vec::new();
    if mount.read_only {
        all.push("ro".to_owned());
    }
    if asked.mode > 0 {
        all.push(format!("mode={:o}", asked.mode));
    }
    if asked.size_bytes != 0 {
        all.push(format!("size={}", asked.size_bytes));
    }
    for option in &asked.options {
        match &option[..] {
            [word] if matches!(word.as_str(), "exec" | "noexec") => all.push(word.clone()),
            [word, _] if matches!(word.as_str(), "exec" | "noexec") => {
                return Err(Error::bad(format!("invalid option: {word} takes no value")));
            }
            [word] | [word, _] => return Err(Error::bad(format!("invalid option: {word}"))),
            _ => return Err(Error::bad("invalid option array length")),
        }
    }
    Ok(all)
}

/// Every tmpfs of both forms: path to all its options.
pub(crate) fn all(host: &HostConfig) -> Result<BTreeMap<String, Vec<String>>> {
    let with_base = |own: Vec<String>| BASE.iter().map(ToString::to_string).chain(own).collect();
    let mut mounts = BTreeMap::new();
    for (path, text) in &host.tmpfs {
        mounts.insert(clean(path), with_base(options(text)?));
    }
    for mount in host.mounts.iter().filter(|mount| mount.kind == "tmpfs") {
        mounts.insert(clean(&mount.target), with_base(long(mount)?));
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use teu_api::container::TmpfsOptions;

    use super::*;

    #[test]
    fn options_are_those_of_a_tmpfs() {
        assert_eq!(options("size=64m,mode=1770,exec,uid=7").unwrap().len(), 4);
        assert!(options("").unwrap().is_empty());
        for bad in ["wat", "size", "colour=red", "remount", "bind"] {
            assert_eq!(options(bad).unwrap_err().message, format!("invalid tmpfs option [\"{bad}\"]"));
        }
    }

    #[test]
    fn both_forms_become_one_list() {
        let asked = TmpfsOptions { size_bytes: 1 << 20, mode: 0o1770, options: vec![vec!["exec".into()]] };
        let mount = Mount {
            kind: "tmpfs".into(),
            target: "/b/".into(),
            read_only: true,
            tmpfs_options: Some(asked),
            ..Mount::default()
        };
        let host = HostConfig {
            tmpfs: BTreeMap::from([("/a".into(), "size=1k".into())]),
            mounts: vec![mount],
            ..HostConfig::default()
        };
        let all = all(&host).unwrap();
        assert_eq!(all["/a"], ["noexec", "nosuid", "nodev", "rprivate", "size=1k"]);
        assert_eq!(all["/b"][4..], ["ro", "mode=1770", "size=1048576", "exec"]);
    }
}
