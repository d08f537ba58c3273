//! YAML as far as specification files go: one document of lists, mappings and scalars.
//!
//! Every scalar is text, whatever it looks like; the field that takes it says what it means. So a device called `0` is a
//! name and a mode of `0660` is octal, as in the files' own library. Anchors, and documents behind the first, are refused.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// How deep lists and mappings may be in each other.
const DEPTH: usize = 32;

/// A list or mapping whose end has not come yet.
enum Open {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Mapping(Map<String, Value>, Option<String>),
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = vec![];
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let wrong = |why: &str| format!("line {}: {why}", span.start.line());
        let done = match event {
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() == DEPTH => {
                return Err(wrong("too many levels"));
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(vec![]));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Value::Array(list),
                Some(Open::Mapping(mapping, _)) => Value::Object(mapping),
                None => return Err(wrong("an end without a beginning")),
            },
            Event::Alias(_) => return Err(wrong("aliases are not supported")),
            Event::DocumentStart(_) if document.is_some() => return Err(wrong("more than one document")),
            _ => continue,
        };
        match open.last_mut() {
            None => document = Some(done),
            Some(Open::List(list)) => list.push(done),
            Some(Open::Mapping(mapping, key)) => match (key.take(), done) {
                (Some(key), _) if mapping.contains_key(&key) => {
                    return Err(wrong(&format!("\"{key}\" is there twice")));
                }
                (Some(key), value) => drop(mapping.insert(key, value)),
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => return Err(wrong("a key is not a text")),
            },
        }
    }
    Ok(document.unwrap_or_default())
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if null { Value::Null } else { Value::String(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_mappings_become_what_json_says_too() {
        let text = "# devices\na: 1\nb:\n- x: \"y\"\n  z: [p, 'q']\n- {k: v, n: ~}\nc: |\n  two\n  lines\nd:\n";
        let expected = serde_json::json!({
            "a": "1", "b": [{"x": "y", "z": ["p", "q"]}, {"k": "v", "n": null}], "c": "two\nlines\n", "d": null
        });
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse(""), Ok(Value::Null));
    }

    #[test]
    fn what_could_grow_or_mean_two_things_is_refused() {
        for text in ["a: &x 1\nb: *x\n", "a: 1\na: 2\n", "---\na: 1\n---\nb: 1\n", "[a: 1", "? [a]\n: b\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(100)).is_err());
    }
}
