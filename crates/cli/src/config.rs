//! The client's `config.json`: credentials of registries. Members that are not ours stay as they are.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};
use teu_api::Reference;
use teu_api::system::AuthConfig;

use crate::failure::{Failure, Naming};

/// The name Docker keeps the default registry's credentials by.
const DEFAULT_REGISTRY: &str = "https://index.docker.io/v1/";

/// A `config.json`.
pub(crate) struct ConfigFile {
    path: PathBuf,
    content: Map<String, Value>,
}

impl ConfigFile {
    /// Reads it from its folder; a missing file is empty.
    pub(crate) fn load(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("config.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => b"{}".to_vec(),
            Err(error) => return Err(Failure::io(&format!("read {}", path.display()), &error)),
        };
        let content =
            serde_json::from_slice(&text).map_err(|error| Failure::new(format!("read {}: {error}", path.display())))?;
        Ok(Self { path, content })
    }

    /// Writes it, readable by its owner only.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let what = format!("write {}", self.path.display());
        fs::create_dir_all(folder).or_fail(&what)?;
        let draft = self.path.with_extension(format!("json.{}", std::process::id()));
        let text = serde_json::to_string_pretty(&self.content).unwrap_or_default() + "\n";
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).or_fail(&what)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).or_fail(&what)?;
        fs::rename(&draft, &self.path).or_fail(&what)
    }

    /// The credentials kept for a registry; empty when there are none.
    pub(crate) fn credentials(&self, registry: &str) -> AuthConfig {
        let auths = self.content.get("auths").and_then(Value::as_object);
        let entry = auths.and_then(|auths| auths.iter().find(|(name, _)| host_of(name) == host_of(registry)));
        let mut auth: AuthConfig =
            entry.and_then(|(_, value)| serde_json::from_value(value.clone()).ok()).unwrap_or_default();
        if let Some((user, password)) = decode(&auth.auth) {
            (auth.username, auth.password) = (user, password);
        }
        auth.auth = String::new();
        registry.clone_into(&mut auth.server_address);
        auth
    }

    /// Keeps credentials.
    pub(crate) fn remember(&mut self, registry: &str, auth: &AuthConfig) {
        let mut kept = Map::new();
        kept.insert("auth".into(), json!(STANDARD.encode(format!("{}:{}", auth.username, auth.password))));
        if !auth.identity_token.is_empty() {
            kept.insert("auth".into(), json!(STANDARD.encode(format!("{}:", auth.username))));
            kept.insert("identitytoken".into(), json!(auth.identity_token));
        }
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.retain(|name, _| host_of(name) != host_of(registry));
            auths.insert(registry.to_owned(), Value::Object(kept));
        }
    }

    /// Forgets credentials; tells whether there were any.
    pub(crate) fn forget(&mut self, registry: &str) -> bool {
        let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let before = auths.len();
        auths.retain(|name, _| host_of(name) != host_of(registry));
        auths.len() < before
    }

    /// All credentials by registry, as a build needs them.
    pub(crate) fn all(&self) -> BTreeMap<String, AuthConfig> {
        let auths = self.content.get("auths").and_then(Value::as_object);
        auths.into_iter().flat_map(Map::keys).map(|name| (name.clone(), self.credentials(name))).collect()
    }
}

/// The key a registry's credentials are kept by.
pub(crate) fn registry_key(server: Option<&str>) -> String {
    match server.filter(|server| !matches!(*server, "" | "docker.io" | "index.docker.io" | "registry-1.docker.io")) {
        Some(server) => host_of(server).to_owned(),
        None => DEFAULT_REGISTRY.to_owned(),
    }
}

/// The `X-Registry-Auth` header for one image.
pub(crate) fn header_for(folder: &Path, image: &str) -> Result<String, Failure> {
    let domain = image.parse::<Reference>().map(|reference| reference.domain().to_owned()).ok();
    let auth = ConfigFile::load(folder)?.credentials(&registry_key(domain.as_deref()));
    Ok(encode(&auth))
}

/// A value as the API's headers carry it.
pub(crate) fn encode(value: &impl serde::Serialize) -> String {
    URL_SAFE.encode(serde_json::to_vec(value).unwrap_or_default())
}

/// The host of a registry that may be written as an URL.
fn host_of(registry: &str) -> &str {
    let rest = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> ConfigFile {
        ConfigFile { path: PathBuf::from("/nowhere"), content: serde_json::from_str(text).unwrap() }
    }

    #[test]
    fn credentials_are_kept_and_found_by_host() {
        let mut file = file(r#"{"credsStore":"x","auths":{"https://other/":{"auth":"YTpi"}}}"#);
        let auth = AuthConfig { username: "ann".into(), password: "p:w".into(), ..AuthConfig::default() };
        file.remember("localhost:5000", &auth);
        let found = file.credentials("localhost:5000");
        assert_eq!((found.username.as_str(), found.password.as_str()), ("ann", "p:w"));
        assert_eq!(file.credentials("other").username, "a");
        assert_eq!(file.content["credsStore"], "x", "foreign members stay");
        assert!(file.forget("https://other") && !file.forget("other"));
        assert_eq!(file.credentials("other").username, "");
    }

    #[test]
    fn the_default_registry_has_its_old_key() {
        assert_eq!(registry_key(None), DEFAULT_REGISTRY);
        assert_eq!(registry_key(Some("docker.io")), DEFAULT_REGISTRY);
        assert_eq!(registry_key(Some("https://localhost:5000/v2/")), "localhost:5000");
    }
}
