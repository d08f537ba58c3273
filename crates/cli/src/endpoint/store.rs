//! Contexts on disk: named daemons, in the layout that Docker's client reads and writes.
//!
//! ```text
//! <config>/contexts/meta/<sha256 of the name>/meta.json
//! <config>/contexts/tls/<sha256 of the name>/docker/{ca,cert,key}.pem
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::tls::Tls;
use crate::failure::{Failure, Naming};

/// The context that every user has: the daemon of this machine, or whatever `DOCKER_HOST` says.
pub(crate) const DEFAULT: &str = "default";

/// What a context is called and where it leads. Members that are not ours stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Meta {
    /// Its name.
    #[serde(default)]
    pub(crate) name: String,
    /// What is told about it; `Description` is ours.
    #[serde(default)]
    pub(crate) metadata: Map<String, Value>,
    /// Where it leads, by what is there; `docker` is ours.
    #[serde(default)]
    pub(crate) endpoints: Map<String, Value>,
}

impl Meta {
    /// A context that leads to a daemon.
    pub(crate) fn new(name: &str, description: &str, host: &str, skip_verify: bool) -> Self {
        let mut meta = Self { name: name.to_owned(), ..Self::default() };
        meta.describe(description);
        meta.lead_to(host, skip_verify);
        meta
    }

    /// Sets the description; an empty one leaves it as it is.
    pub(crate) fn describe(&mut self, description: &str) {
        if !description.is_empty() {
            self.metadata.insert("Description".into(), description.into());
        }
    }

    /// Sets where it leads.
    pub(crate) fn lead_to(&mut self, host: &str, skip_verify: bool) {
        let mut endpoint = Map::new();
        if !host.is_empty() {
            endpoint.insert("Host".into(), host.into());
        }
        endpoint.insert("SkipTLSVerify".into(), skip_verify.into());
        self.endpoints.insert("docker".into(), endpoint.into());
    }

    /// The description.
    pub(crate) fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }

    /// The daemon's address; empty is the default socket.
    pub(crate) fn host(&self) -> &str {
        self.endpoints.get("docker").and_then(|docker| docker.get("Host")).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the daemon's certificate is taken unseen.
    pub(crate) fn skips_verify(&self) -> bool {
        let skip = self.endpoints.get("docker").and_then(|docker| docker.get("SkipTLSVerify"));
        skip.and_then(Value::as_bool).unwrap_or(false)
    }
}

/// The contexts of a configuration folder.
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// Those of this configuration folder.
    pub(crate) fn new(config: &Path) -> Self {
        Self { root: config.join("contexts") }
    }

    /// Where a context's description is.
    pub(crate) fn meta_folder(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(key(name))
    }

    /// Where a context's certificates are.
    pub(crate) fn tls_folder(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(key(name))
    }

    /// All, by name.
    pub(crate) fn list(&self) -> Result<Vec<Meta>, Failure> {
        let folder = self.root.join("meta");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::io(&format!("read {}", folder.display()), &error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.or_fail(format!("read {}", folder.display()))?;
            all.extend(read(&entry.path().join("meta.json"))?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// One by name.
    pub(crate) fn get(&self, name: &str) -> Result<Meta, Failure> {
        let found = read(&self.meta_folder(name).join("meta.json"))?;
        found.ok_or_else(|| Failure::new(format!("context \"{name}\" does not exist")))
    }

    /// Whether there is one of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.meta_folder(name).join("meta.json").exists()
    }

    /// Writes one.
    pub(crate) fn put(&self, meta: &Meta) -> Result<(), Failure> {
        let folder = self.meta_folder(&meta.name);
        write(&folder, "meta.json", &serde_json::to_vec(meta).unwrap_or_default(), 0o755, 0o644)
    }

    /// Removes one with its certificates.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Failure> {
        for folder in [self.meta_folder(name), self.tls_folder(name)] {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Failure::io(&format!("remove {}", folder.display()), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Names of a context's certificate files, by what they are for.
    pub(crate) fn tls_files(&self, name: &str) -> Result<Vec<(String, Vec<String>)>, Failure> {
        let folder = self.tls_folder(name);
        let mut all = Vec::new();
        for endpoint in names(&folder)? {
            let files = names(&folder.join(&endpoint))?;
            all.push((endpoint, files));
        }
        Ok(all)
    }

    /// The content of a certificate file.
    pub(crate) fn tls_file(&self, name: &str, endpoint: &str, file: &str) -> Result<Vec<u8>, Failure> {
        let path = self.tls_folder(name).join(endpoint).join(file);
        fs::read(&path).or_fail(format!("read {}", path.display()))
    }

    /// Writes a certificate file, readable by its owner only.
    pub(crate) fn put_tls(&self, name: &str, endpoint: &str, file: &str, content: &[u8]) -> Result<(), Failure> {
        write(&self.tls_folder(name).join(endpoint), file, content, 0o700, 0o600)
    }

    /// Forgets the certificates for the daemon.
    pub(crate) fn clear_tls(&self, name: &str) -> Result<(), Failure> {
        let folder = self.tls_folder(name).join("docker");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Failure::io(&format!("remove {}", folder.display()), &error))
            }
            _ => Ok(()),
        }
    }

    /// What a context says of the encryption of its connection.
    pub(crate) fn tls(&self, meta: &Meta) -> Result<Option<Tls>, Failure> {
        let files = names(&self.tls_folder(&meta.name).join("docker"))?;
        if files.is_empty() && !meta.skips_verify() {
            return Ok(None);
        }
        let read = |file: &str| match files.iter().any(|known| known == file) {
            true => self.tls_file(&meta.name, "docker", file).map(Some),
            false => Ok(None),
        };
        let (ca, cert, key) = (read("ca.pem")?, read("cert.pem")?, read("key.pem")?);
        Ok(Some(Tls { ca, identity: cert.zip(key), verify: !meta.skips_verify() }))
    }
}

/// Refuses a name that a context cannot have.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    match name {
        "" => Err(Failure::new("context name cannot be empty")),
        DEFAULT => Err(Failure::new("\"default\" is a reserved context name")),
        _ if name.len() > 1 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(allowed) => Ok(()),
        _ => Err(Failure::new(format!(
            "context name \"{name}\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
        ))),
    }
}

/// The folder name of a context.
fn key(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path) -> Result<Option<Meta>, Failure> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(Failure::io(&format!("read {}", path.display()), &error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| Failure::new(format!("read {}: {error}", path.display())))
}

/// The names in a folder, sorted; none when it is not there.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let all = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    };
    match all() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other.or_fail(format!("read {}", folder.display())),
    }
}

/// Writes a file whole or not at all.
fn write(folder: &Path, name: &str, content: &[u8], folder_mode: u32, mode: u32) -> Result<(), Failure> {
    let path = folder.join(name);
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let put = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(folder_mode).create(folder)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, &path)
    };
    put().or_fail(format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_keyed_as_dockers_client_does() {
        assert!(check_name("far-away_1").is_ok());
        for bad in ["", "default", "a", "-x", "a b", "ü1"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(key("test"), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
    }

    #[test]
    fn a_context_is_kept_with_its_certificates() {
        let root = std::env::temp_dir().join(format!("teu-contexts-{}", std::process::id()));
        let store = Store::new(&root);
        assert_eq!(store.list().unwrap(), []);
        store.put(&Meta::new("far", "far away", "tcp://a:1", true)).unwrap();
        store.put_tls("far", "docker", "ca.pem", b"CA").unwrap();
        let meta = store.get("far").unwrap();
        assert_eq!((meta.description(), meta.host(), meta.skips_verify()), ("far away", "tcp://a:1", true));
        assert_eq!(store.tls_files("far").unwrap(), [("docker".to_owned(), vec!["ca.pem".to_owned()])]);
        let tls = store.tls(&meta).unwrap().unwrap();
        assert_eq!((tls.ca.as_deref(), tls.identity, tls.verify), (Some(&b"CA"[..]), None, false));
        store.remove("far").unwrap();
        assert!(!store.has("far") && store.get("far").unwrap_err().message.contains("\"far\""));
        fs::remove_dir_all(&root).unwrap();
    }
}
