//! What a template computes with: JSON, and what Go would know of its type.

use serde_json::Value;
use teu_api::shape::{Member, Shape};

/// A value and its type. What has no type is told from its JSON.
#[derive(Clone, Debug)]
pub(super) struct Datum {
    /// The value.
    pub(super) json: Value,
    /// Its type.
    pub(super) shape: Shape,
}

impl From<Value> for Datum {
    fn from(json: Value) -> Self {
        Self { json, shape: Shape::Any }
    }
}

impl Datum {
    /// A value of a type.
    pub(super) fn new(json: Value, shape: Shape) -> Self {
        Self { json, shape }
    }

    /// A text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::from(Value::String(text.into()))
    }

    /// The members that an object of this type has, whether they are in the JSON or not.
    fn members(&self) -> Option<Vec<Member>> {
        match plain(self.shape) {
            Shape::Object(object) => Some((object.members)()),
            _ => None,
        }
    }

    /// The type of what a list or map holds.
    fn inner(&self) -> Shape {
        match plain(self.shape) {
            Shape::List(inner) | Shape::Map(inner) => inner(),
            Shape::Words => Shape::Text,
            _ => Shape::Any,
        }
    }

    /// The values of an object's members in the order of its type, when it has one.
    pub(super) fn fields(&self) -> Option<Vec<Datum>> {
        let members = self.members().filter(|_| self.json.is_object())?;
        let value = |member: Member| {
            let shape = (member.shape)();
            Datum::new(self.json.get(member.key).cloned().unwrap_or_else(|| nothing(shape)), shape)
        };
        Some(members.into_iter().map(value).collect())
    }

    /// A field by its name: as written, else whatever the case (Go's names and JSON's differ in that).
    ///
    /// # Errors
    /// There is no such field, or nothing to have it.
    pub(super) fn field(&self, name: &str) -> Result<Datum, String> {
        let map = match (&self.json, plain(self.shape)) {
            (Value::Null, Shape::Map(_)) => return Ok(Datum::from(Value::Null)),
            (Value::Object(map), Shape::Map(inner)) => {
                return Ok(map.get(name).map_or(Datum::from(Value::Null), |found| Datum::new(found.clone(), inner())));
            }
            (Value::Object(map), _) => map,
            (Value::Null, _) => return Err(format!("nil pointer evaluating {}.{name}", self.kind())),
            _ => return Err(format!("can't evaluate field {name} in type {}", self.kind())),
        };
        let alike = |key: &str| key.eq_ignore_ascii_case(name);
        let members = self.members().unwrap_or_default();
        let known = members.iter().find(|member| member.key == name);
        let known = known.or_else(|| members.iter().find(|member| alike(member.key)));
        let found = map.get(known.map_or(name, |member| member.key));
        let found = found.or_else(|| map.iter().find(|(key, _)| alike(key)).map(|(_, value)| value)).cloned();
        match (known.map(|member| (member.shape)()), found) {
            (Some(shape), found) => {
                Ok(Datum::new(found.filter(|found| !found.is_null()).unwrap_or_else(|| nothing(shape)), shape))
            }
            (None, Some(found)) => Ok(Datum::from(found)),
            (None, None) => Err(format!("map has no entry for key \"{name}\"")),
        }
    }

    /// What is at a place of a list, a text, or under a name of a map.
    ///
    /// # Errors
    /// There is no such place, or it is none of these.
    pub(super) fn index(&self, key: &Datum) -> Result<Datum, String> {
        match &self.json {
            Value::Array(items) => {
                let item = items.get(place(key, items.len())?).cloned();
                Ok(Datum::new(item.unwrap_or_default(), self.inner()))
            }
            Value::String(text) => Ok(Datum::from(Value::from(text.as_bytes()[place(key, text.len())?]))),
            Value::Object(map) => {
                let Value::String(name) = &key.json else {
                    return Err(format!("value has type {}; should be string", key.kind()));
                };
                let shape = match self.inner() {
                    // Maps without a type that hold texts only are those of labels and options.
                    Shape::Any if map.values().all(Value::is_string) => Shape::Text,
                    shape => shape,
                };
                Ok(Datum::new(map.get(name).cloned().unwrap_or_else(|| nothing(shape)), shape))
            }
            Value::Null => match plain(self.shape) {
                Shape::Map(inner) => Ok(Datum::new(nothing(inner()), inner())),
                Shape::List(_) | Shape::Words => Err(format!("index out of range: {}", key.json)),
                _ => Err("index of untyped nil".into()),
            },
            _ => Err(format!("can't index item of type {}", self.kind())),
        }
    }

    /// What `range` goes through: a list's places, a map's names in order, the numbers below a number.
    ///
    /// # Errors
    /// It is none of these.
    pub(super) fn items(self) -> Result<Vec<(Datum, Datum)>, String> {
        let shape = self.inner();
        let numbered = |at: usize| Datum::from(Value::from(at));
        Ok(match self.json {
            Value::Array(items) => {
                let items = items.into_iter().enumerate();
                items.map(|(at, item)| (numbered(at), Datum::new(item, shape))).collect()
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.into_iter().collect();
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                members.into_iter().map(|(key, value)| (Datum::text(key), Datum::new(value, shape))).collect()
            }
            Value::Null => Vec::new(),
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                let end = usize::try_from(number.as_i64().unwrap_or(i64::MAX)).unwrap_or(0);
                (0..end.min(MOST_TURNS)).map(|at| (numbered(at), numbered(at))).collect()
            }
            _ => return Err(format!("range can't iterate over {}", super::show::value(&self))),
        })
    }

    /// Whether it counts as true: not false, zero, empty or nothing; a struct always does.
    pub(super) fn truth(&self) -> bool {
        match &self.json {
            Value::Null => false,
            Value::Object(_) if self.members().is_some() => true,
            Value::Object(members) => !members.is_empty(),
            // What may be absent is a pointer in Go, which is true when it points to anything.
            Value::Bool(_) | Value::Number(_) if matches!(self.shape, Shape::Optional(_)) => true,
            Value::Bool(value) => *value,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
        }
    }

    /// Its type's name in Go.
    pub(super) fn kind(&self) -> String {
        match (&self.json, plain(self.shape)) {
            (Value::Null, Shape::Any) => "interface {}".into(),
            (_, Shape::Object(object)) => {
                format!("{}.{}", object.module.split("::").nth(1).unwrap_or_default(), object.name)
            }
            (Value::Null, Shape::Flag) | (Value::Bool(_), _) => "bool".into(),
            (Value::Null, Shape::Integer(..)) => "int".into(),
            (Value::Number(number), _) => if number.is_f64() { "float64" } else { "int" }.into(),
            (Value::Null, Shape::Text) | (Value::String(_), _) => "string".into(),
            (Value::Null, Shape::Map(_)) | (Value::Object(_), _) => match self.inner() {
                Shape::Text => "map[string]string".into(),
                _ => "map[string]interface {}".into(),
            },
            (Value::Null, _) | (Value::Array(_), _) => match self.inner() {
                Shape::Text => "[]string".into(),
                _ => "[]interface {}".into(),
            },
        }
    }
}

/// How often `range` goes round over a number.
const MOST_TURNS: usize = 1_000_000;

/// A type without the word that its value may be absent.
fn plain(shape: Shape) -> Shape {
    match shape {
        Shape::Optional(inner) => plain(inner()),
        other => other,
    }
}

/// The value that says nothing, as Go has it: only pointers and what has no type are nil.
fn nothing(shape: Shape) -> Value {
    match shape {
        Shape::Flag => Value::Bool(false),
        Shape::Integer(..) => 0.into(),
        Shape::Text => "".into(),
        Shape::Object(_) => Value::Object(serde_json::Map::new()),
        Shape::Optional(inner) if matches!(inner(), Shape::Text) => "".into(),
        Shape::Any | Shape::List(_) | Shape::Map(_) | Shape::Words | Shape::Optional(_) => Value::Null,
    }
}

/// What is printed where there is nothing: an empty list or map has its brackets, a pointer is nil.
pub(super) fn empty(shape: Shape) -> Option<&'static str> {
    match plain(shape) {
        Shape::List(_) | Shape::Words => Some("[]"),
        Shape::Map(_) => Some("map[]"),
        Shape::Any | Shape::Optional(_) => None,
        Shape::Text | Shape::Flag | Shape::Integer(..) | Shape::Object(_) => Some("<nil>"),
    }
}

/// A place in something of this length.
fn place(key: &Datum, length: usize) -> Result<usize, String> {
    let Value::Number(number) = &key.json else {
        return Err(format!(
            "cannot index slice/array with {}",
            match &key.json {
                Value::Null => "nil".to_owned(),
                _ => format!("type {}", key.kind()),
            }
        ));
    };
    let at = number.as_u64().and_then(|at| usize::try_from(at).ok()).filter(|at| *at < length);
    at.ok_or_else(|| format!("index out of range: {number}"))
}
