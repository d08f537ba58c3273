//! Messages for the journal, in its native protocol: one datagram of fields, systemd's "Native Journal Protocol". Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Stream;

const INFO: &str = "6";
const ERROR: &str = "3";

/// Where a piece stands in a line that is longer than one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) id: String,
    pub(crate) ordinal: u32,
    pub(crate) last: bool,
}

/// One entry: the fields of the container, and those of this message.
pub(crate) fn message(
    fields: &BTreeMap<String, String>,
    (epoch, ordinal): (&str, u64),
    stream: Stream,
    line: &[u8],
    time: Timestamp,
    partial: Option<&Partial>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + 512);
    field(&mut out, "PRIORITY", if stream == Stream::Stderr { ERROR } else { INFO }.as_bytes());
    field(&mut out, "MESSAGE", line);
    for (name, value) in fields {
        field(&mut out, name, value.as_bytes());
    }
    field(&mut out, "CONTAINER_LOG_EPOCH", epoch.as_bytes());
    field(&mut out, "CONTAINER_LOG_ORDINAL", ordinal.to_string().as_bytes());
    field(&mut out, "SYSLOG_TIMESTAMP", time.to_string().as_bytes());
    if let Some(partial) = partial {
        field(&mut out, "CONTAINER_PARTIAL_ID", partial.id.as_bytes());
        field(&mut out, "CONTAINER_PARTIAL_ORDINAL", partial.ordinal.to_string().as_bytes());
        field(&mut out, "CONTAINER_PARTIAL_LAST", if partial.last { b"true" } else { b"false" });
        if !partial.last {
            field(&mut out, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
    }
    out
}

/// A value with a line end is preceded by its length instead of an equals sign.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_list_of_fields() {
        let fields = BTreeMap::from([("CONTAINER_NAME".to_owned(), "box".to_owned())]);
        let time = "2026-01-02T03:04:05Z".parse().expect("time");
        let partial = Partial { id: "p".into(), ordinal: 1, last: false };
        let entry = message(&fields, ("e", 4), Stream::Stderr, b"a\nb", time, Some(&partial));
        let expected = b"PRIORITY=3\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nCONTAINER_NAME=box\nCONTAINER_LOG_EPOCH=e\n\
            CONTAINER_LOG_ORDINAL=4\nSYSLOG_TIMESTAMP=2026-01-02T03:04:05Z\nCONTAINER_PARTIAL_ID=p\n\
            CONTAINER_PARTIAL_ORDINAL=1\nCONTAINER_PARTIAL_LAST=false\nCONTAINER_PARTIAL_MESSAGE=true\n";
        assert_eq!(String::from_utf8_lossy(&entry), String::from_utf8_lossy(expected));
    }
}
