//! The client's `config.json`: what users have set for every command. Members that are not ours stay as they are.

mod credentials;
mod keychain;
mod settings;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::{Failure, Naming};

pub(crate) use credentials::{encode, header_for, registry_key};

/// A `config.json`.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    content: Map<String, Value>,
}

impl ConfigFile {
    /// Reads it from its folder; a missing file is empty.
    pub(crate) fn load(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("config.json");
        let text = match fs::read(&path) {
            Ok(text) if text.trim_ascii().is_empty() => b"{}".to_vec(),
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => b"{}".to_vec(),
            Err(error) => return Err(Failure::io(&format!("read {}", path.display()), &error)),
        };
        let content =
            serde_json::from_slice(&text).map_err(|error| Failure::new(format!("read {}: {error}", path.display())))?;
        Ok(Self { path, content })
    }

    /// An empty one for that folder.
    pub(crate) fn empty(folder: &Path) -> Self {
        Self { path: folder.join("config.json"), content: Map::new() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it, readable by its owner only; where it is a link, the file that the link leads to.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let what = format!("write {}", self.path.display());
        fs::create_dir_all(self.path.parent().unwrap_or(Path::new("."))).or_fail(&what)?;
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let draft = path.with_extension(format!("json.{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).or_fail(&what)?;
        let text = tabbed(&self.content);
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).or_fail(&what)?;
        fs::rename(&draft, &path).or_fail(&what)
    }
}

/// JSON with tabs, as the field's tools write this file.
pub(crate) fn tabbed(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    match value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter)) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => "{}".to_owned(),
    }
}

#[cfg(test)]
pub(crate) fn parsed(text: &str) -> ConfigFile {
    ConfigFile { path: PathBuf::from("/nowhere"), content: serde_json::from_str(text).unwrap() }
}
