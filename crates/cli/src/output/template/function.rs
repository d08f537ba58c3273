//! The functions of templates: Go's own, and those Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::show::{action, sprint, sprintf};
use super::value::Datum;

/// What a function takes.
#[derive(Clone, Copy)]
enum Takes {
    /// Anything.
    Any,
    /// A text.
    Text,
    /// A whole number.
    Whole,
    /// A list of texts.
    Texts,
}

use Takes::{Any, Text, Texts, Whole};

/// A function: its name, what it must be given, and what it may be given besides, as often as one likes.
type Function = (&'static str, &'static [Takes], Option<Takes>);

/// All functions. `call` has nothing to call: no value here is a function.
const FUNCTIONS: [Function; 27] = [
    ("and", &[Any], Some(Any)),
    ("call", &[Any], Some(Any)),
    ("eq", &[Any], Some(Any)),
    ("ge", &[Any, Any], None),
    ("gt", &[Any, Any], None),
    ("html", &[], Some(Any)),
    ("index", &[Any], Some(Any)),
    ("join", &[Texts, Text], None),
    ("js", &[], Some(Any)),
    ("json", &[Any], None),
    ("le", &[Any, Any], None),
    ("len", &[Any], None),
    ("lower", &[Text], None),
    ("lt", &[Any, Any], None),
    ("ne", &[Any, Any], None),
    ("not", &[Any], None),
    ("or", &[Any], Some(Any)),
    ("pad", &[Text, Whole, Whole], None),
    ("print", &[], Some(Any)),
    ("printf", &[Text], Some(Any)),
    ("println", &[], Some(Any)),
    ("slice", &[Any], Some(Any)),
    ("split", &[Text, Text], None),
    ("title", &[Text], None),
    ("truncate", &[Text, Whole], None),
    ("upper", &[Text], None),
    ("urlquery", &[], Some(Any)),
];

/// Whether there is a function of that name.
pub(super) fn exists(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Whether a function may be given as many arguments.
///
/// # Errors
/// It may not.
pub(super) fn count(name: &str, count: usize) -> Result<(), String> {
    let Some((_, wanted, more)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else { return Ok(()) };
    let least = if more.is_some() { "at least " } else { "" };
    match count < wanted.len() || (count > wanted.len() && more.is_none()) {
        true => Err(format!("wrong number of args for {name}: want {least}{} got {count}", wanted.len())),
        false => Ok(()),
    }
}

/// Whether an argument is what the function takes in its place.
///
/// # Errors
/// It is not.
pub(super) fn accepts(name: &str, at: usize, argument: &Datum) -> Result<(), String> {
    let Some((_, wanted, more)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else { return Ok(()) };
    let shown = match &argument.json {
        Value::String(text) => format!("\"{text}\""),
        _ => super::show::value(argument),
    };
    match (wanted.get(at).copied().or(*more), &argument.json) {
        (Some(Text), json) if !json.is_string() => Err(format!("expected string; found {shown}")),
        (Some(Whole), json) if !json.is_i64() && !json.is_u64() => Err(format!("expected integer; found {shown}")),
        (Some(Texts), Value::Array(items)) if items.iter().all(Value::is_string) => Ok(()),
        (Some(Texts), Value::Null) if argument.kind() == "[]string" => Ok(()),
        (Some(Texts), _) => Err(format!("can't handle {shown} for arg of type []string")),
        _ => Ok(()),
    }
}

/// Calls a function with arguments that are as many as it takes, and what it takes.
///
/// # Errors
/// It cannot do it with these.
pub(super) fn call(name: &str, arguments: &[Datum]) -> Result<Datum, String> {
    let nothing = Datum::from(Value::Null);
    let at = |index: usize| arguments.get(index).unwrap_or(&nothing);
    let text = |index: usize| at(index).json.as_str().unwrap_or_default();
    let whole = |index: usize| usize::try_from(at(index).json.as_i64().unwrap_or(0).min(1 << 16)).unwrap_or(0);
    let flag = |flag: bool| Ok(Datum::from(Value::Bool(flag)));
    Ok(Datum::text(match name {
        "not" => return flag(!at(0).truth()),
        "eq" => return flag(equals_any(at(0), arguments.get(1..).unwrap_or_default())?),
        "ne" => return flag(!equal(at(0), at(1))?),
        "lt" => return flag(order(at(0), at(1))?.is_lt()),
        "le" => return flag(order(at(0), at(1))?.is_le()),
        "gt" => return flag(order(at(0), at(1))?.is_gt()),
        "ge" => return flag(order(at(0), at(1))?.is_ge()),
        "index" => {
            let mut keys = arguments.iter().skip(1);
            return keys.try_fold(at(0).clone(), |value, key| value.index(key));
        }
        "slice" => return slice(at(0), arguments.get(1..).unwrap_or_default()),
        "len" => return length(at(0)).map(|length| Datum::from(Value::from(length))),
        "split" => return Ok(split(text(0), text(1))),
        "call" => return Err(format!("non-function of type {}", at(0).kind())),
        "json" => serde_json::to_string(&at(0).json).unwrap_or_default(),
        "join" => {
            let items = at(0).json.as_array().into_iter().flatten();
            items.filter_map(Value::as_str).collect::<Vec<_>>().join(text(1))
        }
        "lower" => text(0).to_lowercase(),
        "upper" => text(0).to_uppercase(),
        "title" => title(text(0)),
        "pad" if text(0).is_empty() => String::new(),
        "pad" => format!("{}{}{}", " ".repeat(whole(1)), text(0), " ".repeat(whole(2))),
        "truncate" => {
            let ends = text(0).char_indices().map(|(at, char)| at + char.len_utf8());
            let end = ends.take_while(|end| *end <= whole(1)).last();
            text(0)[..end.unwrap_or(0)].to_owned()
        }
        "print" => sprint(arguments),
        "println" => arguments.iter().map(super::show::value).collect::<Vec<_>>().join(" ") + "\n",
        "printf" => sprintf(text(0), arguments.get(1..).unwrap_or_default()),
        "urlquery" => query(&shown(arguments)),
        "js" => javascript(&shown(arguments)),
        "html" => html(&shown(arguments)),
        _ => return Ok(at(0).clone()),
    }))
}

/// What a function makes of a table's heading: those that would change it pass it through.
pub(super) fn call_for_heading(name: &str, arguments: &[Datum]) -> Result<Datum, String> {
    match (name, arguments) {
        ("json" | "title" | "lower" | "upper" | "truncate", [heading, ..]) => Ok(heading.clone()),
        ("join", [heading, ..]) if heading.json.is_string() => Ok(heading.clone()),
        _ => call(name, arguments),
    }
}

/// Values as an action would print them, for what writes them in another way.
fn shown(arguments: &[Datum]) -> String {
    let shown = |datum: &Datum| if datum.json.is_null() { Datum::text(action(datum)) } else { datum.clone() };
    sprint(&arguments.iter().map(shown).collect::<Vec<_>>())
}

/// A text as it stands in a script's string.
fn javascript(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '\\' | '\'' | '"' => out.extend(['\\', char]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(char))),
            char if char < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(char))),
            char => out.push(char),
        }
    }
    out
}

/// A text as it stands in HTML.
fn html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('\'', "&#39;").replace('"', "&#34;").replace('\0', "\u{fffd}")
}

/// A text as it stands in a query of a URL.
fn query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The value of a label in a cell of labels, `a=1,b=2`.
pub(super) fn label(row: &Value, name: &str) -> String {
    let cell = row.get("Labels").and_then(Value::as_str).unwrap_or_default();
    let mut pairs = cell.split(',').filter_map(|pair| pair.split_once('='));
    pairs.find(|(label, _)| *label == name).map_or(String::new(), |(_, value)| value.to_owned())
}

fn equals_any(first: &Datum, others: &[Datum]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    let mut found = Ok(false);
    for other in others {
        if found == Ok(false) {
            found = equal(first, other);
        }
    }
    found
}

fn equal(a: &Datum, b: &Datum) -> Result<bool, String> {
    for datum in [a, b] {
        if datum.json.is_array() || (datum.json.is_object() && datum.fields().is_none()) {
            return Err(format!("non-comparable type {}: {}", super::show::value(datum), datum.kind()));
        }
    }
    match (&a.json, &b.json) {
        (Value::Null, _) | (_, Value::Null) => Ok(a.json == b.json),
        _ => Ok(compare(&a.json, &b.json)? == Ordering::Equal),
    }
}

fn order(a: &Datum, b: &Datum) -> Result<Ordering, String> {
    match (&a.json, &b.json) {
        (Value::Number(_) | Value::String(_), _) => compare(&a.json, &b.json),
        _ => Err("invalid type for comparison".into()),
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    let incompatible = || "incompatible types for comparison".to_owned();
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() != b.is_f64() => Err(incompatible()),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            _ => a.as_f64().partial_cmp(&b.as_f64()).ok_or_else(incompatible),
        },
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Object(a), Value::Object(b)) => Ok(if a == b { Ordering::Equal } else { Ordering::Less }),
        _ => Err(incompatible()),
    }
}

fn slice(datum: &Datum, bounds: &[Datum]) -> Result<Datum, String> {
    let length = match &datum.json {
        Value::String(_) if bounds.len() > 2 => return Err("cannot 3-index slice a string".into()),
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Null if datum.kind().starts_with('[') => 0,
        Value::Null if datum.kind() == "interface {}" => return Err("slice of untyped nil".into()),
        _ => return Err(format!("can't slice item of type {}", datum.kind())),
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let bound = |at: usize, default: usize| match bounds.get(at).map(|bound| &bound.json) {
        None => Ok(default),
        Some(Value::Number(number)) => {
            let at = number.as_u64().and_then(|at| usize::try_from(at).ok()).filter(|at| *at <= length);
            at.ok_or_else(|| format!("index out of range: {number}"))
        }
        Some(_) => Err(format!("cannot index slice/array with type {}", bounds[at].kind())),
    };
    let (from, to, capacity) = (bound(0, 0)?, bound(1, length)?, bound(2, length)?);
    for (low, high) in [(from, to), (to, capacity)] {
        if low > high {
            return Err(format!("invalid slice index: {low} > {high}"));
        }
    }
    match &datum.json {
        Value::Array(items) => Ok(Datum::new(Value::from(items[from..to].to_vec()), datum.shape)),
        Value::String(text) => Ok(Datum::text(String::from_utf8_lossy(&text.as_bytes()[from..to]))),
        _ => Ok(datum.clone()),
    }
}

fn length(datum: &Datum) -> Result<usize, String> {
    match &datum.json {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(members) if datum.fields().is_none() => Ok(members.len()),
        Value::Null if datum.kind().contains('[') => Ok(0),
        Value::Null => Err("len of nil pointer".into()),
        _ => Err(format!("len of type {}", datum.kind())),
    }
}

fn split(text: &str, at: &str) -> Datum {
    let parts: Vec<String> = match at {
        "" => text.chars().map(String::from).collect(),
        at => text.split(at).map(str::to_owned).collect(),
    };
    Datum::from(Value::from(parts))
}

/// Raises the first letter of each word; whatever is neither letter, digit nor `_` ends one.
fn title(text: &str) -> String {
    let mut before = ' ';
    let raise = |char: char| {
        let starts =
            if before.is_ascii() { !before.is_ascii_alphanumeric() && before != '_' } else { before.is_whitespace() };
        before = char;
        if starts { char.to_uppercase().to_string() } else { char.to_string() }
    };
    text.chars().map(raise).collect()
}
