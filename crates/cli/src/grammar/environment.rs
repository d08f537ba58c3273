//! `--env`, `--env-file`, `--label`, `--label-file` and other pairs.

use std::collections::BTreeMap;

/// Reads one `--env`: `NAME=value`, or `NAME` to take the value over; one that has none is left out.
pub(crate) fn variable(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, _)) => (name, Some(text.to_owned())),
        None => (text, lookup(text).map(|value| format!("{text}={value}"))),
    };
    if name.is_empty() { Err(format!("invalid environment variable: {text}")) } else { Ok(value) }
}

/// Reads a file of variables: a line each, `#` begins a comment line.
pub(crate) fn file(content: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let mut variables = Vec::new();
    for (number, line) in content.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!("line {}: '{name}' is no variable's name", number + 1));
        }
        variables.extend(variable(line, &lookup)?);
    }
    Ok(variables)
}

/// Reads `key=value`s; a key alone has an empty value.
pub(crate) fn pairs<'a>(texts: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, String> {
    let split = |text: &'a String| text.split_once('=').unwrap_or((text, ""));
    texts.into_iter().map(split).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Whether a text is a label: a name without blanks, and a value if there is a `=`.
pub(crate) fn label(text: &str) -> Result<String, String> {
    let name = text.split('=').next().unwrap_or_default().trim_start_matches([' ', '\t']);
    match name {
        "" => Err(format!("invalid label '{text}': empty name")),
        _ if name.contains([' ', '\t']) => Err(format!("label '{name}' contains whitespaces")),
        _ => Ok(text.to_owned()),
    }
}

/// Whether a text is a filter, `name=value`; an empty one filters nothing.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains('=') {
        true => Ok(text.to_owned()),
        false => Err("bad format of filter (expected name=value)".into()),
    }
}

/// Whether a text is a variable: one with a name.
pub(crate) fn named_variable(text: &str) -> Result<String, String> {
    variable(text, |_| None).map(|_| text.to_owned())
}

/// Reads `key=value`s of a flag where a value must be there.
pub(crate) fn full_pairs(texts: &[String]) -> Result<BTreeMap<String, String>, String> {
    let split = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not key=value"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    texts.iter().map(split).collect()
}

/// Reads `--add-host`: `name:ip`, `name=ip`, `name:host-gateway`; gives `name:ip`.
pub(crate) fn extra_host(text: &str) -> Result<String, String> {
    let wrong = || format!("bad format for add-host: \"{text}\"");
    let (name, address) = match text.split_once('=') {
        Some(pair) => pair,
        None => text.split_once(':').ok_or_else(wrong)?,
    };
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if name.is_empty() {
        return Err(wrong());
    }
    if bare != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: \"{address}\""));
    }
    Ok(format!("{name}:{bare}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn variables_are_read_and_taken_over() {
        assert_eq!(variable("A=b=c", lookup).unwrap().as_deref(), Some("A=b=c"));
        assert_eq!(variable("A=", lookup).unwrap().as_deref(), Some("A="));
        assert_eq!(variable("HOME", lookup).unwrap().as_deref(), Some("HOME=/root"));
        assert_eq!(variable("NOPE", lookup).unwrap(), None);
        assert!(variable("=x", lookup).is_err() && variable("", lookup).is_err());
    }

    #[test]
    fn files_of_variables_are_read() {
        let content = "\u{feff}# a comment\n\n  A=1 # not a comment\nHOME\nNOPE\r\nB=\"x\"\n";
        assert_eq!(file(content, lookup).unwrap(), ["A=1 # not a comment", "HOME=/root", "B=\"x\""]);
        assert!(file("A=1\nA B=2\n", lookup).unwrap_err().starts_with("line 2"));
    }

    #[test]
    fn extra_hosts_are_read() {
        for (text, wanted) in [
            ("db:10.0.0.1", "db:10.0.0.1"),
            ("db=10.0.0.1", "db:10.0.0.1"),
            ("db:::1", "db:::1"),
            ("db=[::1]", "db:::1"),
            ("h:host-gateway", "h:host-gateway"),
        ] {
            assert_eq!(extra_host(text).as_deref(), Ok(wanted), "{text}");
        }
        for bad in ["", "db", "db:", "db:nope", ":10.0.0.1"] {
            assert!(extra_host(bad).is_err(), "{bad}");
        }
    }
}
