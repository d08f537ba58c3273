//! Credentials of registries: in `config.json` itself, or with a helper that `credHelpers` (for one registry) or
//! `credsStore` (for all) names.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};
use teu_api::Reference;
use teu_api::system::AuthConfig;

use super::ConfigFile;
use super::keychain::{Helper, Kept, TOKEN};
use crate::failure::Failure;

/// The name Docker keeps the default registry's credentials by.
const DEFAULT_REGISTRY: &str = "https://index.docker.io/v1/";

impl ConfigFile {
    /// The credentials kept for a registry; empty when there are none.
    pub(crate) fn credentials(&self, registry: &str) -> Result<AuthConfig, Failure> {
        let mut auth = match self.helper(registry) {
            Some(helper) => helper.get(registry)?.map(from_helper).unwrap_or_default(),
            None => self.own(registry),
        };
        registry.clone_into(&mut auth.server_address);
        Ok(auth)
    }

    /// Keeps credentials; tells whether they are readable in the file.
    pub(crate) fn remember(&mut self, registry: &str, auth: &AuthConfig) -> Result<bool, Failure> {
        let (helper, plain) = (self.helper(registry), self.helper(registry).is_none());
        let mut kept = Map::new();
        match helper {
            Some(helper) => {
                let (username, secret) = match auth.identity_token.is_empty() {
                    true => (auth.username.clone(), auth.password.clone()),
                    false => (TOKEN.to_owned(), auth.identity_token.clone()),
                };
                helper.store(&Kept { server_url: registry.to_owned(), username, secret })?;
            }
            None if auth.identity_token.is_empty() => {
                let text = format!("{}:{}", auth.username, auth.password);
                kept.insert("auth".into(), json!(STANDARD.encode(text)));
            }
            None => {
                kept.insert("auth".into(), json!(STANDARD.encode(format!("{}:", auth.username))));
                kept.insert("identitytoken".into(), json!(auth.identity_token));
            }
        }
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.retain(|name, _| host_of(name) != host_of(registry));
            // A registry whose secret is elsewhere keeps an empty place, by which its name is known.
            auths.insert(registry.to_owned(), Value::Object(kept));
        }
        Ok(plain)
    }

    /// Forgets credentials; tells whether there were any.
    pub(crate) fn forget(&mut self, registry: &str) -> Result<bool, Failure> {
        let mut found = false;
        if let Some(helper) = self.helper(registry) {
            found = helper.get(registry)?.is_some();
            helper.erase(registry)?;
        }
        let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) else { return Ok(found) };
        let before = auths.len();
        auths.retain(|name, _| host_of(name) != host_of(registry));
        Ok(found || auths.len() < before)
    }

    /// All credentials by registry, as a build needs them; one that cannot be read is left out.
    pub(crate) fn all_credentials(&self) -> BTreeMap<String, AuthConfig> {
        let mut names: Vec<String> =
            self.content.get("auths").and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned().collect();
        let helpers = self.content.get("credHelpers").and_then(Value::as_object);
        names.extend(helpers.into_iter().flat_map(Map::keys).cloned());
        if let Some(store) = self.store() {
            names.extend(store.list().unwrap_or_default().into_keys());
        }
        let credentials = names.into_iter().filter_map(|name| self.credentials(&name).ok().map(|auth| (name, auth)));
        credentials.filter(|(_, auth)| !auth.username.is_empty() || !auth.identity_token.is_empty()).collect()
    }

    /// The helper in charge of a registry.
    fn helper(&self, registry: &str) -> Option<Helper> {
        let helpers = self.content.get("credHelpers").and_then(Value::as_object);
        let own = helpers.into_iter().flatten().find(|(name, _)| host_of(name) == host_of(registry));
        own.and_then(|(_, name)| name.as_str()).map(|name| Helper(name.to_owned())).or_else(|| self.store())
    }

    fn store(&self) -> Option<Helper> {
        let name = self.content.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty());
        name.map(|name| Helper(name.to_owned()))
    }

    /// What the file itself has for a registry.
    fn own(&self, registry: &str) -> AuthConfig {
        let auths = self.content.get("auths").and_then(Value::as_object);
        let entry = auths.and_then(|auths| auths.iter().find(|(name, _)| host_of(name) == host_of(registry)));
        let mut auth: AuthConfig =
            entry.and_then(|(_, value)| serde_json::from_value(value.clone()).ok()).unwrap_or_default();
        if let Some((user, password)) = decode(&auth.auth) {
            (auth.username, auth.password) = (user, password);
        }
        auth.auth = String::new();
        auth
    }
}

fn from_helper(kept: Kept) -> AuthConfig {
    match kept.username.as_str() {
        TOKEN => AuthConfig { identity_token: kept.secret, ..AuthConfig::default() },
        _ => AuthConfig { username: kept.username, password: kept.secret, ..AuthConfig::default() },
    }
}

/// The key a registry's credentials are kept by.
pub(crate) fn registry_key(server: Option<&str>) -> String {
    match server.filter(|server| !matches!(*server, "" | "docker.io" | "index.docker.io" | "registry-1.docker.io")) {
        Some(server) if server != DEFAULT_REGISTRY => host_of(server).to_owned(),
        _ => DEFAULT_REGISTRY.to_owned(),
    }
}

/// The `X-Registry-Auth` header for one image.
pub(crate) fn header_for(file: &ConfigFile, image: &str) -> Result<String, Failure> {
    let domain = image.parse::<Reference>().map(|reference| reference.domain().to_owned()).ok();
    Ok(encode(&file.credentials(&registry_key(domain.as_deref()))?))
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
    use super::super::parsed;
    use super::*;

    #[test]
    fn credentials_are_kept_and_found_by_host() {
        let mut file = parsed(r#"{"HttpHeaders":{"a":"b"},"auths":{"https://other/":{"auth":"YTpi"}}}"#);
        let auth = AuthConfig { username: "ann".into(), password: "p:w".into(), ..AuthConfig::default() };
        assert_eq!(file.remember("localhost:5000", &auth), Ok(true));
        let found = file.credentials("localhost:5000").unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("ann", "p:w"));
        assert_eq!(file.credentials("other").unwrap().username, "a");
        assert_eq!(file.content["HttpHeaders"]["a"], "b", "foreign members stay");
        assert!(file.forget("https://other").unwrap() && !file.forget("other").unwrap());
        assert_eq!(file.credentials("other").unwrap().username, "");
    }

    #[test]
    fn a_helper_that_is_missing_is_named() {
        let file = parsed(r#"{"credHelpers":{"a.example":"nowhere-to-be-found"}}"#);
        let failure = file.credentials("https://a.example/v2/").unwrap_err();
        assert!(failure.message.contains("docker-credential-nowhere-to-be-found"), "{failure:?}");
        assert_eq!(file.credentials("b.example").unwrap().username, "");
    }

    #[test]
    fn the_default_registry_has_its_old_key() {
        assert_eq!(registry_key(None), DEFAULT_REGISTRY);
        assert_eq!(registry_key(Some("docker.io")), DEFAULT_REGISTRY);
        assert_eq!(registry_key(Some("https://index.docker.io/v1/")), DEFAULT_REGISTRY);
        assert_eq!(registry_key(Some("https://localhost:5000/v2/")), "localhost:5000");
    }
}
