//! The little languages of flag values, as pure functions: text in, API types out.
//!
//! An error is one sentence without a prefix; whoever reads the flag adds which flag it was.

pub(crate) mod device;
pub(crate) mod duration;
pub(crate) mod environment;
pub(crate) mod limits;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod secret;
pub(crate) mod size;
pub(crate) mod time;
pub(crate) mod volume;

/// Splits one line of comma-separated values; a field in double quotes may hold commas.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                push(&mut fields, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => push(&mut fields, char),
        }
    }
    if quoted { Err(format!("'{text}' has a quote that does not end")) } else { Ok(fields) }
}

fn push(fields: &mut [String], char: char) {
    if let Some(last) = fields.last_mut() {
        last.push(char);
    }
}

/// Reads a boolean as Go does.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_commas() {
        assert_eq!(
            fields(r#"type=volume,"volume-opt=o=a,b",dst=/x"#).unwrap(),
            ["type=volume", "volume-opt=o=a,b", "dst=/x"]
        );
        assert_eq!(fields(r#""a""b""#).unwrap(), ["a\"b"]);
        assert!(fields("\"a").is_err());
    }
}
