//! The functions of templates: Go's own, and those Docker adds.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// All functions.
const NAMES: [&str; 27] = [
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne", "not", "or",
    "pad", "print", "printf", "println", "slice", "split", "table", "title", "truncate", "upper", "urlquery",
];

/// Whether there is a function of that name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let missing = || format!("wrong number of args for {name}: got {}", arguments.len());
    let at = |index: usize| arguments.get(index).ok_or_else(missing);
    let text = |index: usize| at(index).map(display);
    let count = |index: usize| at(index)?.as_u64().map(|n| n as usize).ok_or(format!("{name} wants a whole number"));
    Ok(match name {
        "and" => arguments.iter().find(|value| !truth(value)).or(arguments.last()).ok_or_else(missing)?.clone(),
        "or" => arguments.iter().find(|value| truth(value)).or(arguments.last()).ok_or_else(missing)?.clone(),
        "not" => Value::Bool(!truth(at(0)?)),
        "eq" => {
            let first = at(0)?;
            at(1)?;
            Value::Bool(arguments[1..].iter().any(|other| compare(first, other) == Some(Ordering::Equal)))
        }
        "ne" => Value::Bool(compare(at(0)?, at(1)?) != Some(Ordering::Equal)),
        "lt" => Value::Bool(order(at(0)?, at(1)?)?.is_lt()),
        "le" => Value::Bool(order(at(0)?, at(1)?)?.is_le()),
        "gt" => Value::Bool(order(at(0)?, at(1)?)?.is_gt()),
        "ge" => Value::Bool(order(at(0)?, at(1)?)?.is_ge()),
        "index" => index(at(0)?, &arguments[1..])?,
        "slice" => slice(at(0)?, &arguments[1..])?,
        "len" => Value::from(length(at(0)?)?),
        "json" => Value::from(serde_json::to_string(at(0)?).unwrap_or_default()),
        "join" => {
            let items = at(0)?.as_array().ok_or("join wants a list")?;
            Value::from(items.iter().map(display).collect::<Vec<_>>().join(&text(1)?))
        }
        "split" => Value::from(text(0)?.split(&text(1)?).map(str::to_owned).collect::<Vec<_>>()),
        "lower" => Value::from(text(0)?.to_lowercase()),
        "upper" => Value::from(text(0)?.to_uppercase()),
        "title" => Value::from(title(&text(0)?)),
        "pad" => match text(0)? {
            empty if empty.is_empty() => Value::from(empty),
            full => Value::from(format!("{}{full}{}", " ".repeat(count(1)?), " ".repeat(count(2)?))),
        },
        "truncate" => Value::from(text(0)?.chars().take(count(1)?).collect::<String>()),
        "print" => Value::from(arguments.iter().map(display).collect::<Vec<_>>().concat()),
        "println" => Value::from(arguments.iter().map(display).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => Value::from(format(&text(0)?, &arguments[1..])),
        "urlquery" => Value::from(crate::client::escape(&text(0)?)),
        "js" => Value::from(javascript(&text(0)?)),
        "html" => Value::from(text(0)?.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")),
        _ => at(0)?.clone(),
    })
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

/// The value of a label in a cell of labels, `a=1,b=2`.
pub(super) fn label(row: &Value, name: &str) -> String {
    let cell = row.get("Labels").map(display).unwrap_or_default();
    let mut pairs = cell.split(',').filter_map(|pair| pair.split_once('='));
    pairs.find(|(label, _)| *label == name).map_or(String::new(), |(_, value)| value.to_owned())
}

/// A column for templates alone: the JSON is that of Docker 28, which does not have it.
const NOT_IN_JSON: &str = "HealthStatus";

/// The JSON of a list's row: names in order, `<`, `>` and `&` as escapes.
pub(super) fn json_of_row(row: &Value) -> String {
    let shown = row.as_object().into_iter().flatten().filter(|(name, _)| *name != NOT_IN_JSON);
    let members: BTreeMap<&String, &Value> = shown.collect();
    let text = serde_json::to_string(&members).unwrap_or_default();
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Whether a value counts as true: not false, zero, empty or nothing.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// Members of the API that are maps, so that their names are data; the other objects are structs.
const MAPS: [&str; 18] = [
    "Annotations",
    "Attributes",
    "Config",
    "Containers",
    "Data",
    "Details",
    "DriverOpts",
    "ExposedPorts",
    "IndexConfigs",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Runtimes",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
];

/// A value as Go prints it.
pub(super) fn display(value: &Value) -> String {
    display_member(value, "")
}

/// The value of a member as Go prints it: a struct's values in their order, a map's with their names.
pub(super) fn display_member(value: &Value, name: &str) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(|item| inner(item, "")).collect::<Vec<_>>().join(" ")),
        Value::Object(members) if is_struct(members, name) => {
            let values = members.iter().map(|(name, value)| inner(value, name));
            format!("{{{}}}", values.collect::<Vec<_>>().join(" "))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            let pairs = members.into_iter().map(|(key, value)| format!("{key}:{}", inner(value, "")));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// Whether an object is a struct: no map by its name, and names that Go would export.
fn is_struct(members: &Map<String, Value>, name: &str) -> bool {
    // `Config` is a map in `LogConfig` only, where every name is lower case.
    let exported = |key: &String| {
        key.starts_with(|char: char| char.is_ascii_uppercase()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let is_map = MAPS.contains(&name) && name != "Config";
    !is_map && !members.is_empty() && members.keys().all(exported)
}

/// A value within another: Go's nil is an empty list more often than not.
fn inner(value: &Value, name: &str) -> String {
    match value {
        Value::Null if MAPS.contains(&name) => "map[]".to_owned(),
        Value::Null => "[]".to_owned(),
        _ => display_member(value, name),
    }
}

/// A value's kind, for errors.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "type bool",
        Value::Number(_) => "type number",
        Value::String(_) => "type string",
        Value::Array(_) => "type list",
        Value::Object(_) => "type map",
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => (a == b).then_some(Ordering::Equal),
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, String> {
    compare(a, b).ok_or_else(|| "incompatible types for comparison".to_owned())
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value;
    for key in keys {
        value = match value {
            Value::Array(items) => {
                let at = key.as_u64().ok_or("cannot index list with a key that is no number")?;
                items.get(at as usize).ok_or_else(|| format!("index out of range: {at}"))?
            }
            Value::Object(members) => members.get(&display(key)).unwrap_or(&Value::Null),
            Value::Null => return Err("index of untyped nil".into()),
            other => return Err(format!("can't index item of {}", kind(other))),
        };
    }
    Ok(value.clone())
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = length(value)?;
    let bound = |at: usize, default| bounds.get(at).map_or(Some(default), Value::as_u64);
    let (from, to) = (bound(0, 0), bound(1, length));
    let (Some(from), Some(to)) = (from, to) else { return Err("cannot slice by a key that is no number".into()) };
    if from > to || to > length {
        return Err(format!("slice bounds out of range: {from}:{to}"));
    }
    let range = from as usize..to as usize;
    match value {
        Value::Array(items) => Ok(Value::from(items[range].to_vec())),
        other => Ok(Value::from(display(other).get(range).unwrap_or_default())),
    }
}

fn length(value: &Value) -> Result<u64, String> {
    match value {
        Value::String(text) => Ok(text.len() as u64),
        Value::Array(items) => Ok(items.len() as u64),
        Value::Object(members) => Ok(members.len() as u64),
        other => Err(format!("len of {}", kind(other))),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    let raise = |char: char| {
        let raised = if start { char.to_uppercase().to_string() } else { char.to_string() };
        start = char.is_whitespace();
        raised
    };
    text.chars().map(raise).collect()
}

/// Go's `Sprintf`, for the verbs that templates use: `%s %d %v %q %x %t %f %%` with flags, width and precision.
fn format(pattern: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let mut spec = String::new();
        while let Some(char) = chars.next_if(|c| "-+0123456789.# ".contains(*c)) {
            spec.push(char);
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments.next() {
                Some(value) => out.push_str(&placed(&spec, verb, value)),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    out
}

/// One value by its verb, in its width.
fn placed(spec: &str, verb: char, value: &Value) -> String {
    let left = spec.contains('-');
    let digits = spec.trim_start_matches(['-', '+', '#', ' ']);
    let (width, precision) = digits.split_once('.').map_or((digits, None), |(width, rest)| (width, rest.parse().ok()));
    let zero = width.starts_with('0') && !left;
    let width: usize = width.trim_start_matches('0').parse().unwrap_or(0);
    let text = match (verb, value) {
        ('q', value) => serde_json::to_string(&display(value)).unwrap_or_default(),
        ('f', value) => format!("{:.*}", precision.unwrap_or(6), value.as_f64().unwrap_or(0.0)),
        ('x', Value::Number(number)) => format!("{:x}", number.as_i64().unwrap_or(0)),
        ('x', value) => display(value).bytes().map(|byte| format!("{byte:02x}")).collect(),
        (_, value) => match precision {
            Some(most) => display(value).chars().take(most).collect(),
            None => display(value),
        },
    };
    let fill = width.saturating_sub(text.chars().count());
    match (left, zero) {
        (true, _) => text + &" ".repeat(fill),
        (false, true) => "0".repeat(fill) + &text,
        (false, false) => " ".repeat(fill) + &text,
    }
}
