//! Create requests of older versions, in the newest shape.
//!
//! Each version's clients are given what they expect: a field that their version does not have is taken away, and what
//! was the default in their time is written out.

use serde_json::{Map, Value, json};

use super::Version;
use crate::failure::{Answer, Failure};

type Object = Map<String, Value>;

/// A create request in the newest shape, from whatever older one it came in.
///
/// # Errors
/// What a version cannot ask for and must not be ignored is refused, in Docker's words.
pub(crate) fn create_request(version: Version, mut body: Value) -> Answer<Value> {
    let before = |minor| version < Version::minor(minor);
    // Some clients write the runtime beside the container's own settings.
    let misplaced = body.get("Runtime").filter(|runtime| runtime.is_string()).cloned();
    if let (Some(runtime), Some(host)) = (misplaced, object(&mut body, "HostConfig"))
        && is_empty(host, "Runtime")
    {
        host.insert("Runtime".into(), runtime);
    }
    if before(44)
        && let Some(check) = body.get_mut("Healthcheck").and_then(Value::as_object_mut)
    {
        check.remove("StartInterval");
    }
    if !before(52)
        && let Some(members) = body.as_object_mut()
    {
        // Asked for with the network that it is on.
        members.remove("MacAddress");
    }
    networks(version, &mut body)?;
    if let Some(host) = object(&mut body, "HostConfig") {
        host_config(version, host);
        if let Some(mounts) = host.get_mut("Mounts").and_then(Value::as_array_mut) {
            mounts.iter_mut().filter_map(Value::as_object_mut).try_for_each(|one| mount(version, one))?;
        }
    }
    Ok(body)
}

fn host_config(version: Version, host: &mut Object) {
    let before = |minor| version < Version::minor(minor);
    if before(25) {
        // Its clients remove the container themselves.
        host.remove("AutoRemove");
    }
    if before(40) && is_empty(host, "IpcMode") {
        host.insert("IpcMode".into(), "shareable".into());
    }
    if before(41) && is_empty(host, "CgroupnsMode") {
        host.insert("CgroupnsMode".into(), "host".into());
    }
    if before(42) {
        host.remove("ConsoleSize");
    }
    if before(43) {
        host.remove("Annotations");
    }
    if host.get("MemorySwappiness") == Some(&Value::from(-1)) {
        host.remove("MemorySwappiness");
    }
    if host.get("PidsLimit").and_then(Value::as_i64).is_some_and(|limit| limit <= 0) {
        host.remove("PidsLimit");
    }
    if let Some(bindings) = host.get_mut("PortBindings").and_then(Value::as_object_mut) {
        // A port without a place is published somewhere, in every version so far.
        bindings.values_mut().filter(|places| is_nowhere(places)).for_each(|places| *places = json!([{}]));
    }
}

fn mount(version: Version, mount: &mut Object) -> Answer<()> {
    let before = |minor| version < Version::minor(minor);
    let kind = mount.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let bad = |text: &str| Err(Failure::bad(text));
    for (options, owner) in [("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs"), ("BindOptions", "bind")] {
        if kind == owner || mount.get(options).is_none_or(Value::is_null) {
            continue;
        }
        if !before(42) {
            return Err(Failure::bad(format!("{options} must not be specified on mount type \"{kind}\"")));
        }
        if owner != "bind" {
            mount.remove(options);
        }
    }
    if let Some(bind) = mount.get_mut("BindOptions").and_then(Value::as_object_mut) {
        if before(40) {
            bind.remove("NonRecursive");
        }
        if before(42) {
            bind.remove("CreateMountpoint");
        }
        if before(44) && bind.get("ReadOnlyForceRecursive") == Some(&Value::Bool(true)) {
            return bad("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
        }
    }
    if before(44) && kind == "bind" {
        // Read-only mounts were not recursive.
        if let Some(bind) = member(mount, "BindOptions") {
            bind.entry("ReadOnlyNonRecursive").or_insert(Value::Bool(true));
        }
    }
    let subpath = mount.get("VolumeOptions").and_then(|options| options.get("Subpath")?.as_str());
    if before(45) && subpath.is_some_and(|path| !path.is_empty()) {
        return bad("VolumeOptions.Subpath needs API v1.45 or newer");
    }
    if before(48) && kind == "image" {
        return bad("Mount type \"Image\" needs API v1.48 or newer");
    }
    Ok(())
}

fn networks(version: Version, body: &mut Value) -> Answer<()> {
    let before = |minor| version < Version::minor(minor);
    let address = body.get("MacAddress").and_then(Value::as_str).unwrap_or_default().to_owned();
    // The network card's address was the container's until 1.44, and is still taken there; it is the first network's.
    match (address.is_empty(), has_card(body)) {
        (true, _) if before(44) => forget_mac_addresses(body),
        (true, _) => {}
        (false, true) => mac_address(version, body, &address)?,
        (false, false) if before(44) => {
            return Err(Failure::bad("conflicting options: mac-address and the network mode"));
        }
        (false, false) => {}
    }
    let Some(endpoints) = body.pointer_mut("/NetworkingConfig/EndpointsConfig").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    if before(44) && endpoints.len() > 1 {
        let names = endpoints.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(Failure::bad(format!("Container cannot be created with multiple network endpoints: {names}")));
    }
    if before(48) {
        endpoints
            .values_mut()
            .filter_map(Value::as_object_mut)
            .for_each(|endpoint| drop(endpoint.remove("GwPriority")));
    }
    Ok(())
}

/// Whether the container will be on a network of its own.
fn has_card(body: &Value) -> bool {
    let mode = body.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).unwrap_or_default();
    !matches!(mode, "host" | "none") && !mode.starts_with("container:")
}

/// A network's own address was unheard of.
fn forget_mac_addresses(body: &mut Value) {
    let endpoints = body.pointer_mut("/NetworkingConfig/EndpointsConfig").and_then(Value::as_object_mut);
    for endpoint in endpoints.into_iter().flat_map(|all| all.values_mut()).filter_map(Value::as_object_mut) {
        endpoint.remove("MacAddress");
    }
}

/// What is said of a request that asks for things in ways that are going out of use.
pub(crate) fn create_warnings(version: Version, body: &Value) -> Vec<String> {
    [mac_address_warning(version, body), port_bindings_warning(version, body)].into_iter().flatten().collect()
}

/// Of an address where it no longer belongs.
fn mac_address_warning(version: Version, body: &Value) -> Option<String> {
    let given = body.get("MacAddress").and_then(Value::as_str).is_some_and(|address| !address.is_empty());
    let told = given && (Version::minor(44)..Version::minor(52)).contains(&version);
    told.then(|| {
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
            .into()
    })
}

/// Of ports that are published without a word where.
fn port_bindings_warning(version: Version, body: &Value) -> Option<String> {
    let bindings = body.pointer("/HostConfig/PortBindings")?.as_object()?;
    let bare: Vec<&str> =
        bindings.iter().filter(|(_, places)| is_nowhere(places)).map(|(port, _)| port.as_str()).collect();
    let told = version >= Version::minor(52) && !bare.is_empty();
    told.then(|| {
        format!(
            "Following container port(s) have an empty list of port-bindings: {}. Such bindings will be discarded in a \
             future version.",
            bare.join(", ")
        )
    })
}

fn is_nowhere(places: &Value) -> bool {
    places.is_null() || places.as_array().is_some_and(Vec::is_empty)
}

fn mac_address(version: Version, body: &mut Value, address: &str) -> Answer<()> {
    let mode = body.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).unwrap_or_default();
    let network = if mode.is_empty() { "default" } else { mode }.to_owned();
    let endpoint = object(body, "NetworkingConfig")
        .and_then(|networking| member(networking, "EndpointsConfig"))
        .and_then(|endpoints| member(endpoints, &network));
    let Some(endpoint) = endpoint else { return Ok(()) };
    let own = endpoint.get("MacAddress").and_then(Value::as_str).unwrap_or_default();
    if version >= Version::minor(44) && !own.is_empty() && !own.eq_ignore_ascii_case(address) {
        return Err(Failure::bad(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be \
             left empty",
        ));
    }
    endpoint.insert("MacAddress".into(), address.into());
    Ok(())
}

fn is_empty(object: &Object, key: &str) -> bool {
    object.get(key).and_then(Value::as_str).unwrap_or_default().is_empty()
}

/// The member of that name as an object, made if it is not there.
fn object<'a>(body: &'a mut Value, key: &str) -> Option<&'a mut Object> {
    member(body.as_object_mut()?, key)
}

fn member<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    let member = object.entry(key).or_insert(Value::Null);
    if member.is_null() {
        *member = Value::Object(Map::new());
    }
    member.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgraded(minor: u32, body: Value) -> Value {
        create_request(Version::minor(minor), body).expect("upgraded")
    }

    #[test]
    fn requests_of_old_clients_say_what_they_meant() {
        let old = json!({"Runtime": "runc", "MacAddress": "02:00:00:00:00:01", "HostConfig": null});
        let new = upgraded(39, old);
        let at = |path| new.pointer(path).expect("there");
        assert_eq!(at("/HostConfig/Runtime"), "runc");
        assert_eq!(at("/HostConfig/IpcMode"), "shareable");
        assert_eq!(at("/HostConfig/CgroupnsMode"), "host");
        assert_eq!(at("/NetworkingConfig/EndpointsConfig/default/MacAddress"), "02:00:00:00:00:01");
        let mount =
            json!({"HostConfig": {"Mounts": [{"Type": "bind", "VolumeOptions": {}}], "Annotations": {"a": "b"}}});
        let new = upgraded(41, mount);
        assert_eq!(
            new.pointer("/HostConfig/Mounts/0"),
            Some(&json!({"Type": "bind", "BindOptions": {"ReadOnlyNonRecursive": true}}))
        );
        assert!(new.pointer("/HostConfig/Annotations").is_none());
    }

    #[test]
    fn a_cards_address_is_where_its_version_has_it() {
        let (one, other) = ("02:00:00:00:00:0a", "02:00:00:00:00:0b");
        let body = |own: &str, of_network: &str, mode: &str| {
            let endpoints = json!({"n": {"MacAddress": of_network}});
            json!({"MacAddress": own, "HostConfig": {"NetworkMode": mode}, "NetworkingConfig": {"EndpointsConfig": endpoints}})
        };
        let is = |minor: u32, own: &str, of_network: &str| {
            let new = upgraded(minor, body(own, of_network, "n"));
            let at = new.pointer("/NetworkingConfig/EndpointsConfig/n/MacAddress").and_then(Value::as_str);
            at.unwrap_or_default().to_owned()
        };
        assert_eq!([is(43, "", one), is(43, one, other), is(43, one, "")], ["", one, one]);
        assert_eq!([is(44, "", one), is(44, one, ""), is(44, one, &one.to_uppercase())], [one; 3]);
        assert_eq!([is(52, one, other), is(56, other, one)], [other, one]);
        let why =
            |minor, mode| create_request(Version::minor(minor), body(one, other, mode)).expect_err("refused").message;
        assert!(why(44, "n").contains("must match the endpoint-specific MAC address"));
        assert_eq!(why(43, "host"), "conflicting options: mac-address and the network mode");
        assert!(create_request(Version::minor(44), body(one, "", "none")).is_ok());
        let warned = |minor| create_warnings(Version::minor(minor), &body(one, "", "n")).len();
        assert_eq!([warned(43), warned(44), warned(51), warned(52)], [0, 1, 1, 0]);
    }

    #[test]
    fn a_port_without_a_place_is_published_somewhere() {
        let place = json!([{"HostPort": "1"}]);
        let body = json!({"HostConfig": {"PortBindings": {"80/tcp": [], "81/tcp": null, "82/tcp": place}}});
        for minor in [24, 51, 56] {
            let new = upgraded(minor, body.clone());
            let bindings = new.pointer("/HostConfig/PortBindings");
            assert_eq!(bindings, Some(&json!({"80/tcp": [{}], "81/tcp": [{}], "82/tcp": place})));
        }
        assert!(create_warnings(Version::minor(51), &body).is_empty());
        let warnings = create_warnings(Version::minor(52), &body);
        assert!(
            warnings.len() == 1 && warnings[0].contains("an empty list of port-bindings: 80/tcp, 81/tcp."),
            "{warnings:?}"
        );
    }

    #[test]
    fn the_newest_shape_stays_as_it_is() {
        let plain = json!({"Image": "a", "HostConfig": {"IpcMode": "", "Mounts": [{"Type": "bind"}]}});
        assert_eq!(upgraded(51, plain.clone()), plain);
    }

    #[test]
    fn what_a_version_cannot_ask_for_is_refused() {
        let wrong = [
            (51, json!({"HostConfig": {"Mounts": [{"Type": "bind", "TmpfsOptions": {}}]}})),
            (43, json!({"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}})),
            (44, json!({"HostConfig": {"Mounts": [{"Type": "volume", "VolumeOptions": {"Subpath": "a"}}]}})),
            (47, json!({"HostConfig": {"Mounts": [{"Type": "image"}]}})),
        ];
        for (minor, body) in wrong {
            assert!(create_request(Version::minor(minor), body.clone()).is_err(), "{body}");
        }
    }
}
