//! PAX extended headers: `length key=value` records that override a header's fields (POSIX pax).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use teu_sys::fs::Time;

use super::{Fault, PATH_LIMIT};

/// The prefix under which every archiver puts extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The overrides of one entry.
#[derive(Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
    pub(crate) sparse: bool,
}

impl Pax {
    /// Adds the records of one extended header; a later record of the same key wins.
    pub(crate) fn add(&mut self, mut records: &[u8]) -> Result<(), Fault> {
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or(Fault::Pax)?;
            let length = usize::try_from(decimal(&records[..space]).ok_or(Fault::Pax)?).map_err(|_| Fault::Pax)?;
            if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
                return Err(Fault::Pax);
            }
            let record = &records[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(Fault::Pax)?;
            self.set(&record[..equals], &record[equals + 1..])?;
            records = &records[length..];
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let id = |name| if value.is_empty() { Ok(None) } else { decimal(value).map(Some).ok_or(Fault::Number(name)) };
        match key {
            b"path" => self.path = name(value, "name")?,
            b"linkpath" => self.link = name(value, "link name")?,
            b"size" => self.size = id("size")?,
            b"uid" => self.uid = id("uid")?,
            b"gid" => self.gid = id("gid")?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or(Fault::Number("mtime"))?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {
                if let Some(attribute) = key.strip_prefix(XATTR).filter(|name| !name.is_empty() && !name.contains(&0)) {
                    let attribute = OsString::from_vec(attribute.to_vec());
                    self.xattrs.retain(|(other, _)| *other != attribute);
                    self.xattrs.push((attribute, value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// An empty value takes the override back.
fn name(value: &[u8], what: &'static str) -> Result<Option<Vec<u8>>, Fault> {
    match value {
        [] => Ok(None),
        _ if value.contains(&0) => Err(Fault::Name(what)),
        _ if value.len() > PATH_LIMIT => Err(Fault::TooLong(what)),
        _ => Ok(Some(value.to_vec())),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Seconds with an optional sign and fraction; digits beyond nanoseconds are dropped.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    let mut nanoseconds = 0;
    for place in 0..9 {
        nanoseconds *= 10;
        match fraction.get(place) {
            Some(digit @ b'0'..=b'9') => nanoseconds += u32::from(digit - b'0'),
            Some(_) => return None,
            None => {}
        }
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// Renders a time the way that [`time`] reads it.
pub(crate) fn render_time(time: Time) -> String {
    let (sign, seconds, nanoseconds) = match time {
        Time { seconds, nanoseconds: 0 } => (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs(), 0),
        Time { seconds: 0.., .. } => ("", time.seconds.unsigned_abs(), time.nanoseconds),
        _ => ("-", (time.seconds + 1).unsigned_abs(), 1_000_000_000 - time.nanoseconds),
    };
    if nanoseconds == 0 {
        return format!("{sign}{seconds}");
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
}

/// Appends a record; its length counts its own digits.
pub(crate) fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The key of an extended attribute.
pub(crate) fn xattr_key(attribute: &[u8]) -> Vec<u8> {
    [XATTR, attribute].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_both_ways() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1700000000.5", 1_700_000_000, 500_000_000),
            ("-1", -1, 0),
            ("-1.25", -2, 750_000_000),
            ("-0.000000001", -1, 999_999_999),
        ] {
            let value = Time { seconds, nanoseconds };
            assert_eq!(time(text.as_bytes()), Some(value));
            assert_eq!(render_time(value), text);
        }
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [1, 5, 88, 89, 90, 91, 92, 93, 990, 991, 9985, 9990] {
            let mut records = Vec::new();
            push_record(&mut records, b"path", &vec![b'x'; length.min(4000)]);
            push_record(&mut records, b"uid", b"7");
            let mut pax = Pax::default();
            assert_eq!(pax.add(&records), Ok(()));
            assert_eq!((pax.path.map(|path| path.len()), pax.uid), (Some(length.min(4000)), Some(7)));
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for records in [&b"5 a=b"[..], b"x a=b\n", b"99 a=b\n", b"6 ab\nX", b"0 \n", b"6 path=\0\n", b"\0\0"] {
            assert!(Pax::default().add(records).is_err(), "{records:?}");
        }
    }
}
