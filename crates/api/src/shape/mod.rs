//! What the wire types look like, as data.
//!
//! Every type that [`wire!`] defines says so itself, in the same lines that make it: the OpenAPI document is drawn from
//! that, and a request's member names are recognised whatever their case, as Go's decoder does. Shapes are functions
//! rather than values, so that a type may hold itself.

mod oci;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A type of the wire.
pub trait Shaped {
    /// What its values look like.
    fn shape() -> Shape;
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number, and the least and the greatest there may be.
    Integer(i64, u64),
    /// Any JSON.
    Any,
    /// A list of one kind.
    List(fn() -> Shape),
    /// An object whose names are data.
    Map(fn() -> Shape),
    /// `null`, or a value.
    Optional(fn() -> Shape),
    /// One word, or a list of words.
    Words,
    /// An object whose names are known.
    Object(&'static Object),
}

/// An object whose names are known.
#[derive(Debug)]
pub struct Object {
    /// The module it is in.
    pub module: &'static str,
    /// Its name in the module.
    pub name: &'static str,
    /// What it is, a line for each item.
    pub about: &'static [&'static str],
    /// Its members.
    pub members: fn() -> Vec<Member>,
}

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its name on the wire.
    pub key: &'static str,
    /// What it is, a line for each item.
    pub about: &'static [&'static str],
    /// What its values look like.
    pub shape: fn() -> Shape,
}

impl Object {
    /// Its name among all: `ContainerSummary`, `HostConfig`.
    #[must_use]
    pub fn full_name(&self) -> String {
        let room = self.module.split("::").nth(1).unwrap_or_default();
        let mut letters = room.chars();
        let room: String = letters.next().iter().flat_map(|first| first.to_uppercase()).chain(letters).collect();
        if self.name.starts_with(&room) { self.name.to_owned() } else { room + self.name }
    }
}

/// Gives the members of objects that are named in other letter cases the names they have here; what is not known stays.
///
/// # Errors
/// The name of the object in whose place there is a list: serde would take it for one.
pub fn name_members(value: &mut Value, shape: Shape) -> Result<(), &'static str> {
    match (value, shape) {
        (value, Shape::Optional(inner)) => name_members(value, inner()),
        (Value::Array(items), Shape::List(inner)) => items.iter_mut().try_for_each(|item| name_members(item, inner())),
        (Value::Object(map), Shape::Map(inner)) => map.values_mut().try_for_each(|item| {
            nothing_of(item, inner());
            name_members(item, inner())
        }),
        (Value::Object(map), Shape::Object(object)) => name_those_of(map, &(object.members)()),
        (Value::Array(_), Shape::Object(object)) => Err(object.name),
        _ => Ok(()),
    }
}

/// In a map `null` is the value that says nothing, as Go's decoder has it.
fn nothing_of(value: &mut Value, shape: Shape) {
    if !value.is_null() {
        return;
    }
    match shape {
        Shape::Text => *value = Value::String(String::new()),
        Shape::Flag => *value = Value::Bool(false),
        Shape::Integer(..) => *value = 0.into(),
        Shape::List(_) | Shape::Words => *value = Value::Array(vec![]),
        Shape::Map(_) | Shape::Object(_) => *value = Value::Object(Map::new()),
        Shape::Any | Shape::Optional(_) => {}
    }
}

fn name_those_of(map: &mut Map<String, Value>, members: &[Member]) -> Result<(), &'static str> {
    let known = |name: &str| members.iter().any(|member| member.key == name);
    let others: Vec<String> = map.keys().filter(|name| !known(name)).cloned().collect();
    for name in others {
        let Some(member) = members.iter().find(|member| member.key.eq_ignore_ascii_case(&name)) else { continue };
        // One that is spelt as it should be counts more.
        if let Some(value) = map.shift_remove(&name) {
            map.entry(member.key).or_insert(value);
        }
    }
    for member in members {
        if let Some(value) = map.get_mut(member.key) {
            name_members(value, (member.shape)())?;
        }
    }
    Ok(())
}

macro_rules! shaped {
    ($($type:ty => $shape:expr),* $(,)?) => {
        $(impl Shaped for $type {
            fn shape() -> Shape {
                $shape
            }
        })*
    };
}

shaped! {
    String => Shape::Text,
    bool => Shape::Flag,
    u8 => Shape::Integer(0, u8::MAX as u64),
    u16 => Shape::Integer(0, u16::MAX as u64),
    u32 => Shape::Integer(0, u32::MAX as u64),
    u64 => Shape::Integer(0, u64::MAX),
    i64 => Shape::Integer(i64::MIN, i64::MAX as u64),
    Value => Shape::Any,
}

impl<T: Shaped> Shaped for Vec<T> {
    fn shape() -> Shape {
        Shape::List(T::shape)
    }
}

impl<T: Shaped, const N: usize> Shaped for [T; N] {
    fn shape() -> Shape {
        Shape::List(T::shape)
    }
}

impl<T: Shaped> Shaped for BTreeMap<String, T> {
    fn shape() -> Shape {
        Shape::Map(T::shape)
    }
}

impl<T: Shaped> Shaped for Option<T> {
    fn shape() -> Shape {
        Shape::Optional(T::shape)
    }
}

impl<T: Shaped> Shaped for Box<T> {
    fn shape() -> Shape {
        T::shape()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::container::CreateRequest;

    #[test]
    fn names_are_recognised_whatever_their_case() {
        let mut body = json!({
            "image": "busybox", "CMD": ["true"], "labels": {"Image": "kept"}, "unknown": 1,
            "hostconfig": {"memory": 7, "Memory": 8, "mounts": [{"type": "bind", "bindoptions": {"propagation": "x"}}]},
        });
        name_members(&mut body, CreateRequest::shape()).expect("objects");
        let expected = json!({
            "Image": "busybox", "Cmd": ["true"], "Labels": {"Image": "kept"}, "unknown": 1,
            "HostConfig": {"Memory": 8, "Mounts": [{"Type": "bind", "BindOptions": {"Propagation": "x"}}]},
        });
        assert_eq!(body, expected);
        for list in [json!([]), json!({"HostConfig": []}), json!({"hostconfig": {"Mounts": [[]]}})] {
            assert!(name_members(&mut list.clone(), CreateRequest::shape()).is_err(), "{list}");
        }
    }

    #[test]
    fn nothing_in_a_map_is_the_value_that_says_nothing() {
        let mut body = json!({
            "Labels": {"a": null}, "ExposedPorts": {"80/tcp": null}, "Volumes": {"/v": null},
            "NetworkingConfig": {"EndpointsConfig": {"n": null}}, "HostConfig": {"PortBindings": {"80/tcp": null}},
        });
        name_members(&mut body, CreateRequest::shape()).expect("objects");
        let request: CreateRequest = serde_json::from_value(body).expect("a request");
        assert_eq!(request.config.labels.get("a").map(String::as_str), Some(""));
        assert!(request.networking_config.endpoints_config.contains_key("n"));
    }

    #[test]
    fn a_type_says_what_it_is() {
        let Shape::Object(object) = crate::container::Summary::shape() else { panic!("an object") };
        assert_eq!(
            (object.full_name().as_str(), object.about),
            ("ContainerSummary", &[" One row of `GET /containers/json`."][..])
        );
        let members = (object.members)();
        assert!(members.iter().any(|member| member.key == "Names" && matches!((member.shape)(), Shape::List(_))));
    }
}
