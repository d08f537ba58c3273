//! API versions: which ones are spoken, and the few shapes that differ between them.
//!
//! A request's prefix `/v1.41` is taken off before the routes see it and becomes a [`Version`]; without a prefix it is
//! the newest. Handlers speak the newest shapes; where an older client needs another one, the change is here.

mod create;
mod names;

use std::fmt;
use std::sync::LazyLock;

use axum::extract::{FromRequestParts, Request};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::Value;
use teu_api::container::UpdateRequest;
use teu_api::system::ping;
use teu_api::{API_VERSION, MIN_API_VERSION};

use crate::failure::Failure;

pub(crate) use create::{create_request, create_warnings};

/// A version of the Engine API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// `1.minor`.
    pub(crate) const fn minor(minor: u32) -> Self {
        Self { major: 1, minor }
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

static NEWEST: LazyLock<Version> = LazyLock::new(|| Version::parse(API_VERSION).unwrap_or(Version::minor(0)));
static OLDEST: LazyLock<Version> = LazyLock::new(|| Version::parse(MIN_API_VERSION).unwrap_or(Version::minor(0)));

impl<S: Sync> FromRequestParts<S> for Version {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(parts.extensions.get().copied().unwrap_or(*NEWEST))
    }
}

/// `/v1.41/info` is version 1.41 and `/info`; `None` without a prefix.
pub(crate) fn split_version(path: &str) -> Option<(Version, &str)> {
    let rest = path.strip_prefix("/v")?;
    let end = rest.find('/').unwrap_or(rest.len());
    Some((Version::parse(&rest[..end])?, &rest[end..]))
}

/// Takes the version off the path and into the request's extensions, and makes one segment of a name.
pub(crate) fn negotiate(request: &mut Request) -> Result<(), Failure> {
    let Some((version, path)) = split_version(request.uri().path()) else {
        return match names::folded(request.method(), request.uri().path()) {
            Some(path) => ask_for(request, &path),
            None => Ok(()),
        };
    };
    if version > *NEWEST {
        let message = format!("client version {version} is too new. Maximum supported API version is {API_VERSION}");
        return Err(Failure::bad(message));
    }
    if version < *OLDEST {
        let message = format!(
            "client version {version} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade \
             your client to a newer version"
        );
        return Err(Failure::bad(message));
    }
    let path = if path.is_empty() { "/" } else { path };
    let path = names::folded(request.method(), path).unwrap_or_else(|| path.to_owned());
    ask_for(request, &path)?;
    request.extensions_mut().insert(version);
    Ok(())
}

/// Replaces the request's path.
fn ask_for(request: &mut Request, path: &str) -> Result<(), Failure> {
    let whole = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(whole).ok();
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Failure::new(StatusCode::NOT_FOUND, "page not found"))?;
    Ok(())
}

/// What every answer tells about who answers.
pub(crate) fn identify(headers: &mut HeaderMap) {
    let server = HeaderValue::from_static(concat!("Teu/", env!("CARGO_PKG_VERSION"), " (linux)"));
    headers.insert(header::SERVER, server);
    headers.insert(ping::API_VERSION, HeaderValue::from_static(API_VERSION));
    headers.insert(ping::OS_TYPE, HeaderValue::from_static("linux"));
    headers.entry(ping::EXPERIMENTAL).or_insert(HeaderValue::from_static("false"));
}

/// Whether frames are announced by a media type of their own (since 1.42), or the terminal's is used for both.
pub(crate) fn names_multiplexed_streams(version: Version) -> bool {
    version >= Version::minor(42)
}

/// A container as an older version tells of it.
pub(crate) fn container(version: Version, mut container: Value) -> Value {
    if version < Version::minor(45) {
        short_names(&mut container);
    }
    if version < Version::minor(46) {
        remove(&mut container, &["HostConfig", "Annotations"]);
    }
    if version < Version::minor(48) {
        remove(&mut container, &["ImageManifestDescriptor"]);
    }
    if version < Version::minor(52) {
        remove(&mut container, &["Health"]);
        return container;
    }
    // The default bridge's addresses are told with those of the other networks.
    if let Some(settings) = container.get_mut("NetworkSettings").and_then(Value::as_object_mut) {
        settings.retain(|name, _| ["SandboxID", "SandboxKey", "Ports", "Networks"].contains(&name.as_str()));
    }
    remove(&mut container, &["Config", "MacAddress"]);
    drop_empty(container.get_mut("Config"), &["OnBuild"]);
    container
}

/// Whether containers have been told in this shape since 1.48, so that nothing is to be done.
pub(crate) fn is_usual(version: Version) -> bool {
    (Version::minor(48)..Version::minor(52)).contains(&version)
}

/// Whether objects are told with their legacy fields, `status`, `id` and `from` of events, lists of all that `df` counts.
pub(crate) fn has_legacy_fields(version: Version) -> bool {
    version < Version::minor(52)
}

/// Takes members away that are empty.
fn drop_empty(value: Option<&mut Value>, names: &[&str]) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if let Some(members) = value.and_then(Value::as_object_mut) {
        members.retain(|name, value| !names.contains(&name.as_str()) || !is_empty(value));
    }
}

/// What an update asks for, in the newest shape. Since 1.40 the limit of processes can be changed; 0 and whatever is below
/// take it away.
pub(crate) fn update_request(version: Version, request: &mut UpdateRequest) {
    if version < Version::minor(40) {
        request.pids_limit = None;
    }
    if version < Version::minor(55) {
        request.blkio_weight_device = None;
        request.blkio_device_read_bps = None;
        request.blkio_device_write_bps = None;
        request.blkio_device_read_iops = None;
        request.blkio_device_write_iops = None;
    }
    request.pids_limit = request.pids_limit.map(|limit| limit.max(0));
}

/// The engine as an older version tells of it.
pub(crate) fn info(version: Version, mut info: Value) -> Value {
    if version < Version::minor(49) {
        remove(&mut info, &["FirewallBackend"]);
        // A commit that was expected was told beside the one that is.
        for program in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(commit) = info.get_mut(program).and_then(Value::as_object_mut) {
                let found = commit.get("ID").cloned().unwrap_or_default();
                commit.insert("Expected".into(), found);
            }
        }
    }
    if version >= Version::minor(50) {
        remove(&mut info, &["BridgeNfIptables"]);
        remove(&mut info, &["BridgeNfIp6tables"]);
    }
    info
}

/// Docker's library for Python reads the output only of containers whose log driver it has heard of, and `local` it has not.
pub(crate) fn name_log_driver(headers: &HeaderMap, driver: &mut String) {
    let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    if driver == "local" && agent.starts_with(b"docker-sdk-python/") {
        *driver = "json-file".into();
    }
}

/// Before 1.45 a container's short id and host name were among its aliases on every network that has names.
fn short_names(container: &mut Value) {
    let id = container.get("Id").and_then(Value::as_str).unwrap_or_default().chars().take(12).collect::<String>();
    let host = container.pointer("/Config/Hostname").and_then(Value::as_str).unwrap_or_default().to_owned();
    let networks = container.pointer_mut("/NetworkSettings/Networks").and_then(Value::as_object_mut);
    for (name, endpoint) in networks.into_iter().flatten() {
        if ["bridge", "host", "none", "default"].contains(&name.as_str()) || name.starts_with("container:") {
            continue;
        }
        let mut aliases = endpoint.get("Aliases").and_then(Value::as_array).cloned().unwrap_or_default();
        for name in [&id, &host] {
            if !name.is_empty() && !aliases.iter().any(|alias| alias == name) {
                aliases.push(name.as_str().into());
            }
        }
        endpoint["Aliases"] = aliases.into();
    }
}

fn remove(value: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(value, |value, key| value.get_mut(key));
    if let Some(parent) = parent.and_then(Value::as_object_mut) {
        parent.remove(*last);
    }
}

/// Before 1.42 a prune of volumes was of all that nobody uses, not only of those without a name.
pub(crate) fn prunes_every_volume(version: Version) -> bool {
    version < Version::minor(42)
}

/// Before 1.44 an image had a `VirtualSize`, long since the same as its `Size`.
pub(crate) fn image(version: Version, mut image: Value) -> Value {
    if version < Version::minor(44)
        && let Some(size) = image.get("Size").cloned()
    {
        image["VirtualSize"] = size;
    }
    if version >= Version::minor(52) {
        drop_empty(Some(&mut image), &["Parent", "Comment", "DockerVersion", "Author"]);
        let names = ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir"];
        drop_empty(image.get_mut("Config"), &names);
    }
    image
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn negotiated(uri: &str) -> Result<(String, Option<Version>), String> {
        let mut request = Request::builder().uri(uri).body(Body::empty()).expect("request");
        negotiate(&mut request).map_err(|failure| failure.message)?;
        Ok((request.uri().to_string(), request.extensions().get().copied()))
    }

    #[test]
    fn the_prefix_is_taken_off() {
        assert_eq!(negotiated("/v1.41/info?a=b"), Ok(("/info?a=b".into(), Some(Version::minor(41)))));
        assert_eq!(negotiated("/info"), Ok(("/info".into(), None)));
        assert_eq!(negotiated("/volumes/v1.2"), Ok(("/volumes/v1.2".into(), None)));
        assert_eq!(negotiated("/v1.24"), Ok(("/".into(), Some(Version::minor(24)))));
    }

    #[test]
    fn too_new_and_too_old_are_refused_in_dockers_words() {
        assert_eq!(
            negotiated("/v1.99/info"),
            Err(format!("client version 1.99 is too new. Maximum supported API version is {API_VERSION}"))
        );
        assert_eq!(
            negotiated("/v1.9/info"),
            Err("client version 1.9 is too old. Minimum supported API version is 1.24, please upgrade your client to a \
                 newer version"
                .into())
        );
        assert!(negotiated("/v2.0/info").is_err());
    }

    #[test]
    fn old_clients_find_a_containers_short_names_among_its_aliases() {
        let container = serde_json::json!({
            "Id": "0123456789abcdef", "Config": {"Hostname": "web"},
            "NetworkSettings": {"Networks": {"bridge": {"Aliases": null}, "mine": {"Aliases": ["web"]}}}
        });
        let old = super::container(Version::minor(44), container.clone());
        assert_eq!(old["NetworkSettings"]["Networks"]["mine"]["Aliases"], serde_json::json!(["web", "0123456789ab"]));
        assert_eq!(old["NetworkSettings"]["Networks"]["bridge"]["Aliases"], Value::Null);
        assert_eq!(super::container(Version::minor(51), container.clone()), container);
    }

    #[test]
    fn what_an_update_says_of_processes_is_read_by_its_version() {
        let asked = |version, limit| {
            let mut request = UpdateRequest { pids_limit: Some(limit), ..UpdateRequest::default() };
            update_request(version, &mut request);
            request.pids_limit
        };
        assert_eq!(asked(Version::minor(39), 7), None);
        assert_eq!([asked(Version::minor(51), 7), asked(Version::minor(51), -2)], [Some(7), Some(0)]);
    }

    #[test]
    fn the_engine_is_told_of_in_the_clients_version() {
        let info = serde_json::json!({"RuncCommit": {"ID": "a"}, "BridgeNfIptables": false});
        let old = super::info(Version::minor(48), info.clone());
        assert_eq!(old["RuncCommit"]["Expected"], "a");
        assert_eq!(old["BridgeNfIptables"], false);
        let new = super::info(Version::minor(50), info);
        assert!(new["RuncCommit"].get("Expected").is_none() && new.get("BridgeNfIptables").is_none());
    }

    #[test]
    fn new_clients_are_not_told_things_twice() {
        let container = serde_json::json!({
            "Health": {"Status": "none"}, "Config": {"OnBuild": null, "Env": []},
            "NetworkSettings": {"Ports": {}, "Networks": {}, "IPAddress": "10.0.0.1", "Bridge": ""}
        });
        let new = super::container(Version::minor(52), container.clone());
        let expected = serde_json::json!({
            "Health": {"Status": "none"}, "Config": {"Env": []}, "NetworkSettings": {"Ports": {}, "Networks": {}}
        });
        assert_eq!(new, expected);
        let old = super::container(Version::minor(51), container);
        assert_eq!((old.get("Health"), &old["NetworkSettings"]["IPAddress"]), (None, &Value::from("10.0.0.1")));
        let image = serde_json::json!({"Author": "", "Config": {"Cmd": ["sh"], "Env": null}});
        assert_eq!(super::image(Version::minor(52), image), serde_json::json!({"Config": {"Cmd": ["sh"]}}));
    }

    #[test]
    fn old_clients_find_the_virtual_size() {
        let image = serde_json::json!({"Size": 7});
        assert_eq!(super::image(Version::minor(43), image.clone())["VirtualSize"], 7);
        assert!(super::image(Version::minor(44), image).get("VirtualSize").is_none());
    }
}
