//! One line of the driver `json-file`, parsed: by hand where it is as we write it, by the JSON parser where it is not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::Stream;

/// What a line says. Its memory is used again by the next one.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) stream: Stream,
    pub(crate) time: Timestamp,
    pub(crate) bytes: Vec<u8>,
    pub(crate) attributes: Option<BTreeMap<String, String>>,
}

impl Default for Parsed {
    fn default() -> Parsed {
        Parsed { stream: Stream::Stdout, time: Timestamp::UNIX_EPOCH, bytes: Vec::new(), attributes: None }
    }
}

impl Parsed {
    /// Reads a line without its newline; false when it is no record.
    pub(crate) fn read(&mut self, line: &[u8]) -> bool {
        self.read_plain(line).is_some() || self.read_any(line)
    }

    fn read_plain(&mut self, line: &[u8]) -> Option<()> {
        self.bytes.clear();
        let rest = unescape(line.strip_prefix(b"{\"log\":\"")?, &mut self.bytes)?;
        let rest = rest.strip_prefix(b",\"stream\":\"std")?;
        let (stream, rest) = match rest.strip_prefix(b"out\",\"time\":\"") {
            Some(rest) => (Stream::Stdout, rest),
            None => (Stream::Stderr, rest.strip_prefix(b"err\",\"time\":\"")?),
        };
        let time = std::str::from_utf8(rest.strip_suffix(b"\"}")?).ok()?;
        (self.stream, self.time, self.attributes) = (stream, time.parse().ok()?, None);
        Some(())
    }

    fn read_any(&mut self, line: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Whole {
            #[serde(default)]
            log: String,
            stream: Stream,
            time: Timestamp,
            #[serde(default)]
            attrs: Option<BTreeMap<String, String>>,
        }
        let Ok(Whole { log, stream, time, attrs }) = serde_json::from_slice(line) else { return false };
        self.bytes.clear();
        self.bytes.extend_from_slice(log.as_bytes());
        (self.stream, self.time, self.attributes) = (stream, time, attrs);
        true
    }
}

/// Decodes the inside of a string up to its closing quote, and returns what follows that. None for an escape that we do
/// not write.
fn unescape<'l>(mut text: &'l [u8], out: &mut Vec<u8>) -> Option<&'l [u8]> {
    loop {
        let at = memchr::memchr2(b'"', b'\\', text)?;
        out.extend_from_slice(&text[..at]);
        if text[at] == b'"' {
            return Some(&text[at + 1..]);
        }
        let (byte, length) = match text.get(at + 1)? {
            b'n' => (b'\n', 2),
            b'r' => (b'\r', 2),
            b't' => (b'\t', 2),
            byte @ (b'"' | b'\\') => (*byte, 2),
            b'u' => {
                let digits = std::str::from_utf8(text.get(at + 2..at + 6)?).ok()?;
                (u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?, 6)
            }
            _ => return None,
        };
        out.push(byte);
        text = &text[at + length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_parsing_agree() {
        let time = "2026-01-02T03:04:05.123456789Z";
        for (log, plain) in [("a\\n", true), ("\\u001b[0m \\\"q\\\" \\\\ é", true), ("\\u00e9 \\/", false)] {
            let line = format!("{{\"log\":\"{log}\",\"stream\":\"stderr\",\"time\":\"{time}\"}}");
            let (mut one, mut other) = (Parsed::default(), Parsed::default());
            assert_eq!(one.read_plain(line.as_bytes()).is_some(), plain, "{line}");
            assert!(one.read(line.as_bytes()) && other.read_any(line.as_bytes()));
            assert_eq!((&one.bytes, one.time, one.stream), (&other.bytes, other.time, other.stream));
        }
    }

    #[test]
    fn details_are_read_and_what_is_no_record_is_not() {
        let mut parsed = Parsed::default();
        let line = br#"{"log":"x","stream":"stdout","attrs":{"a":"b"},"time":"2026-01-02T03:04:05Z"}"#;
        assert!(parsed.read(line));
        assert_eq!(parsed.attributes.as_ref().and_then(|all| all.get("a")).map(String::as_str), Some("b"));
        for bad in
            [&b""[..], b"{}", b"{\"log\":\"torn", b"{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"yesterday\"}"]
        {
            assert!(!parsed.read(bad));
        }
    }
}
