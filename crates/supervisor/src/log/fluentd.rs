//! Messages for Fluentd, in its Forward protocol: an array of tag, time, record and options, in MessagePack. Pure.

use jiff::Timestamp;

use super::Stream;
use super::journald::Partial;
use crate::protocol::Fluentd;

/// One message.
pub(crate) fn message(
    config: &Fluentd,
    stream: Stream,
    line: &[u8],
    time: Timestamp,
    partial: Option<&Partial>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + 256);
    out.push(0x94);
    text(&mut out, config.tag.as_bytes());
    let seconds = u32::try_from(time.as_second()).unwrap_or(u32::MAX);
    if config.sub_second {
        // The protocol's own kind of time: an extension of eight bytes, number 0.
        out.extend([0xd7, 0x00]);
        out.extend(seconds.to_be_bytes());
        out.extend(time.subsec_nanosecond().unsigned_abs().to_be_bytes());
    } else {
        out.push(0xce);
        out.extend(seconds.to_be_bytes());
    }
    let source = if stream == Stream::Stderr { "stderr" } else { "stdout" };
    let ordinal = partial.map(|partial| partial.ordinal.to_string()).unwrap_or_default();
    let parts = partial.map(|partial| {
        let last = if partial.last { "true" } else { "false" };
        [
            ("partial_message", "true"),
            ("partial_id", &partial.id),
            ("partial_ordinal", &ordinal),
            ("partial_last", last),
        ]
    });
    let own = config.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let pairs: Vec<(&str, &[u8])> = own
        .chain([("source", source.as_bytes()), ("log", line)])
        .chain(parts.into_iter().flatten().map(|(name, value)| (name, value.as_bytes())))
        .collect();
    map(&mut out, pairs.len());
    for (name, value) in pairs {
        text(&mut out, name.as_bytes());
        text(&mut out, value);
    }
    out.push(0x80);
    out
}

#[expect(clippy::cast_possible_truncation, reason = "each length is below the bound that it is matched with")]
fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..0x100 => out.extend([0xd9, length as u8]),
        length @ 0x100..0x1_0000 => {
            out.push(0xda);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend((length as u32).to_be_bytes());
        }
    }
    out.extend(bytes);
}

#[expect(clippy::cast_possible_truncation, reason = "no container has so many labels")]
fn map(out: &mut Vec<u8>, length: usize) {
    match length {
        0..16 => out.push(0x80 | length as u8),
        _ => {
            out.push(0xde);
            out.extend((length as u16).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_an_array_of_four() {
        let fields = [("container_name".to_owned(), "/box".to_owned())].into();
        let mut config = Fluentd { addresses: vec![], tag: "tag".into(), fields, sub_second: false, limit: None };
        let time = "1970-01-01T00:00:02.000000003Z".parse().expect("time");
        let whole = message(&config, Stream::Stdout, b"hello", time, None);
        let expected =
            b"\x94\xa3tag\xce\0\0\0\x02\x83\xaecontainer_name\xa4/box\xa6source\xa6stdout\xa3log\xa5hello\x80";
        assert_eq!(whole, expected);
        config.sub_second = true;
        let partial = Partial { id: "p".into(), ordinal: 1, last: false };
        let part = message(&config, Stream::Stderr, &[b'x'; 300], time, Some(&partial));
        assert_eq!(part[5..16], *b"\xd7\0\0\0\0\x02\0\0\0\x03\x87");
        let holds = |wanted: &[u8]| part.windows(wanted.len()).any(|window| window == wanted);
        assert!(holds(b"\xa3log\xda\x01\x2cxxx") && holds(b"\xacpartial_last\xa5false") && holds(b"stderr"));
    }
}
