//! The driver `local`: what its options mean. Pure; whoever applies it is `device`.
//!
//! ```text
//! no options                 a folder
//! size                       a folder with a limit: project quota, or a file system in a file
//! type, device, o            a folder of the host (o=bind), or a file system mounted while a container uses it
//! ```
//!
//! `o` is what mount(8) takes after `-o`, as far as the kernel understands it: helper programs (`mount.cifs`, `mount.nfs`)
//! are not run, so options that only they know are refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::size;

/// What a volume's data is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backing {
    /// A folder of its own.
    #[default]
    Folder,
    /// A folder of its own, in a project with a limit.
    Quota { project: u32, bytes: u64 },
    /// A file system in a file of that size.
    Image { bytes: u64 },
    /// A folder of the host, made by its owner.
    Bind { path: PathBuf, recursive: bool, attributes: u64 },
    /// A file system of the kernel.
    Mounted(FileSystem),
}

/// A file system that is mounted while somebody uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSystem {
    pub(crate) kind: String,
    pub(crate) device: String,
    /// Options of its own: `name=value`, or a name alone.
    pub(crate) data: Vec<String>,
    /// `MOUNT_ATTR_*`.
    pub(crate) attributes: u64,
}

/// What options ask for; where a size is to be enforced is decided when it is known what the disk can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) backing: Backing,
    pub(crate) size: Option<u64>,
}

const KNOWN: [&str; 4] = ["type", "device", "o", "size"];
/// An option, and those that it means nothing without; in the order in which Docker's driver misses them.
const NEEDS: [(&str, &[&str]); 3] = [("device", &["type"]), ("type", &["device"]), ("o", &["device", "type"])];
/// Options that helper programs take away before the kernel sees the rest.
const FOR_HELPERS: [&str; 5] = ["credentials", "cred", "mountport", "x-systemd.automount", "users"];

/// Reads a volume's options.
///
/// # Errors
/// When an option is unknown, lacks another, or is not for the kernel.
pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Wanted> {
    if let Some(unknown) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(Error::bad(format!("invalid option: \"{unknown}\"")));
    }
    let size = match options.get("size") {
        Some(text) => Some(size::binary(text)?).filter(|size| *size > 0),
        None => None,
    };
    for (option, needed) in NEEDS {
        if options.contains_key(option)
            && let Some(missing) = needed.iter().find(|needed| !options.contains_key(**needed))
        {
            return Err(Error::bad(format!("missing required option: \"{missing}\"")));
        }
    }
    let text = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let (kind, device) = (text("type"), text("device"));
    if kind.is_empty() && device.is_empty() {
        return Ok(Wanted { backing: Backing::Folder, size });
    }
    if size.is_some() {
        return Err(Error::bad("a size cannot be set together with a device: limit the device itself"));
    }
    let backing = mounted(kind, device, text("o"))?;
    Ok(Wanted { backing, size: None })
}

fn mounted(kind: &str, device: &str, options: &str) -> Result<Backing> {
    if kind.starts_with("fuse") {
        let what = format!("a volume of type \"{kind}\" needs a helper program, and teu runs none");
        return Err(Error::bad(what));
    }
    let (mut attributes, mut data, mut bind) = (0, Vec::new(), None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let name = option.split('=').next().unwrap_or(option);
        match name {
            "bind" | "rbind" => bind = Some(name == "rbind"),
            "defaults" | "loud" | "async" | "relatime" => {}
            "remount" | "move" => return Err(Error::bad(format!("invalid mount option: \"{name}\""))),
            _ if FOR_HELPERS.contains(&name) => {
                let what = format!("mount option \"{name}\" is for the helper mount.{kind}, and teu runs none");
                return Err(Error::bad(what));
            }
            _ if propagation(name) => {}
            _ => match teu_runtime::attribute_of(option) {
                Some((bits, true)) => attributes |= bits,
                Some((bits, false)) => attributes &= !bits,
                None => data.push(option.to_owned()),
            },
        }
    }
    if let Some(recursive) = bind {
        if !device.starts_with('/') {
            return Err(Error::bad(format!("invalid device \"{device}\": a folder of the host begins with a slash")));
        }
        if let Some(option) = data.first() {
            return Err(Error::bad(format!("invalid mount option: \"{option}\" does not go with bind")));
        }
        return Ok(Backing::Bind { path: device.into(), recursive, attributes });
    }
    if kind == "cifs" && port_in(device) {
        return Err(Error::bad("port not allowed in CIFS device URL, include 'port' in 'o='"));
    }
    Ok(Backing::Mounted(FileSystem { kind: kind.into(), device: device.into(), data, attributes }))
}

/// A volume's own mount is never a peer of others: what these would change is nothing.
fn propagation(name: &str) -> bool {
    matches!(name.strip_prefix('r').unwrap_or(name), "private" | "shared" | "slave" | "unbindable")
}

/// Whether `//host:port/share` has a port.
fn port_in(device: &str) -> bool {
    let host = device.trim_start_matches('/').split('/').next().unwrap_or_default();
    host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

impl FileSystem {
    /// The host whose address the kernel needs and only a name is given of, for file systems on a network.
    pub(crate) fn host(&self) -> Option<&str> {
        if !matches!(self.kind.as_str(), "nfs" | "nfs4" | "cifs" | "smb3") {
            return None;
        }
        let given = self.data.iter().find_map(|option| option.strip_prefix("addr=").or(option.strip_prefix("ip=")));
        let named = match self.kind.as_str() {
            "cifs" | "smb3" => self.device.strip_prefix("//").and_then(|rest| rest.split('/').next()),
            _ => self.device.split_once(":/").map(|(host, _)| host).filter(|host| !host.is_empty()),
        };
        let host = given.or(named)?;
        (given.is_none() || host.parse::<std::net::IpAddr>().is_err()).then_some(host)
    }

    /// The same with that host's address.
    pub(crate) fn at(mut self, address: &str) -> Self {
        let name = if matches!(self.kind.as_str(), "cifs" | "smb3") { "ip" } else { "addr" };
        self.data.retain(|option| !option.starts_with("addr=") && !option.starts_with("ip="));
        self.data.push(format!("{name}={address}"));
        self
    }

    /// Its options, to be shown: without passwords.
    pub(crate) fn shown(&self) -> String {
        let hide = |option: &String| match option.split_once('=') {
            Some((name @ ("password" | "pass" | "password2"), _)) => format!("{name}=********"),
            _ => option.clone(),
        };
        self.data.iter().map(hide).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use teu_sys::mount::attribute;

    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<Wanted> {
        read(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn options_say_what_the_data_is_on() {
        assert_eq!(options(&[]).unwrap().backing, Backing::Folder);
        assert_eq!(options(&[("size", "10m")]).unwrap().size, Some(10 << 20));
        let bind = options(&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")]).unwrap().backing;
        assert_eq!(bind, Backing::Bind { path: "/srv".into(), recursive: false, attributes: attribute::READ_ONLY });
        let tmpfs = options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=7,nosuid,exec")]).unwrap();
        let Backing::Mounted(tmpfs) = tmpfs.backing else { panic!("not mounted") };
        assert_eq!((tmpfs.kind.as_str(), tmpfs.data.join(","), tmpfs.attributes), ("tmpfs", "size=1m,uid=7".into(), 2));
    }

    #[test]
    fn what_means_nothing_is_refused_in_dockers_words() {
        for (pairs, why) in [
            (&[("colour", "red")][..], "invalid option: \"colour\""),
            (&[("type", "tmpfs")], "missing required option: \"device\""),
            (&[("device", "tmpfs")], "missing required option: \"type\""),
            (&[("o", "ro")], "missing required option: \"device\""),
            (&[("size", "many")], "invalid size: 'many'"),
            (&[("type", "cifs"), ("device", "//host:1234/share")], "port not allowed in CIFS device URL"),
            (&[("type", "cifs"), ("device", "//host/share"), ("o", "credentials=/x")], "helper mount.cifs"),
            (&[("type", "fuse.sshfs"), ("device", "host:/x")], "needs a helper program"),
            (&[("type", "none"), ("device", "srv"), ("o", "bind")], "begins with a slash"),
            (&[("type", "none"), ("device", "/srv"), ("o", "bind,colour=red")], "does not go with bind"),
        ] {
            let error = options(pairs).unwrap_err().message;
            assert!(error.contains(why), "{pairs:?}: {error}");
        }
    }

    #[test]
    fn a_host_that_has_only_a_name_is_to_be_looked_up() {
        let nfs = |device: &str, data: &[&str]| FileSystem {
            kind: "nfs".into(),
            device: device.into(),
            data: data.iter().map(ToString::to_string).collect(),
            attributes: 0,
        };
        assert_eq!(nfs(":/x", &["addr=10.0.0.1"]).host(), None);
        assert_eq!(nfs(":/x", &["addr=files"]).host(), Some("files"));
        assert_eq!(nfs("files:/x", &[]).host(), Some("files"));
        assert_eq!(nfs("files:/x", &["nolock"]).at("10.0.0.1").data, ["nolock", "addr=10.0.0.1"]);
        assert_eq!(nfs(":/x", &["addr=files", "password=a"]).shown(), "addr=files,password=********");
    }
}
