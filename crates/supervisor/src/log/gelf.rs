//! Messages for Graylog, in its Extended Log Format 1.1: one JSON object, over TCP ended by a null byte, over UDP compressed
//! and in pieces that fit a packet.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Stream;
use crate::protocol::{Gelf, GelfCompression};

const INFO: u8 = 6;
const ERROR: u8 = 3;
/// A piece with its head fits into an Ethernet frame.
const PIECE: usize = 1420;
const HEAD: usize = 12;
/// The receiver takes no more pieces of one message.
const MOST_PIECES: usize = 128;

/// The datagrams or the one message on a stream that say a line. What is too large for any number of pieces is none.
pub(crate) fn messages(config: &Gelf, stream: Stream, line: &[u8], time: Timestamp) -> Vec<Vec<u8>> {
    let mut json = json(config, stream, line, time);
    let packed = match config.compression {
        None => {
            json.push(0);
            return vec![json];
        }
        Some(GelfCompression::Plain) => Ok(json),
        Some(GelfCompression::Gzip(level)) => {
            pack(GzEncoder::new(vec![], self::level(level)), &json, GzEncoder::finish)
        }
        Some(GelfCompression::Zlib(level)) => {
            pack(ZlibEncoder::new(vec![], self::level(level)), &json, ZlibEncoder::finish)
        }
    };
    // Memory is all that is written to.
    let packed = packed.unwrap_or_default();
    if packed.len() <= PIECE { vec![packed] } else { pieces(&packed) }
}

fn level(level: i8) -> Compression {
    u32::try_from(level).map_or_else(|_| Compression::default(), Compression::new)
}

fn pack<E: Write>(mut encoder: E, bytes: &[u8], finish: fn(E) -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    encoder.write_all(bytes)?;
    finish(encoder)
}

fn json(config: &Gelf, stream: Stream, line: &[u8], time: Timestamp) -> Vec<u8> {
    let mut object = Map::new();
    object.insert("version".into(), "1.1".into());
    object.insert("host".into(), config.hostname.as_str().into());
    object.insert("short_message".into(), String::from_utf8_lossy(line).into_owned().into());
    // A number of seconds with milliseconds, which a float of 53 bits tells exactly enough.
    let seconds = format!("{}.{:03}", time.as_second(), time.subsec_millisecond());
    object.insert("timestamp".into(), seconds.parse::<f64>().map_or(Value::Null, Value::from));
    object.insert("level".into(), if stream == Stream::Stderr { ERROR } else { INFO }.into());
    object.extend(config.fields.iter().map(|(name, value)| (format!("_{name}"), value.as_str().into())));
    serde_json::to_vec(&object).unwrap_or_default()
}

/// `0x1e 0x0f`, eight bytes that name the message, number and count of the piece.
fn pieces(packed: &[u8]) -> Vec<Vec<u8>> {
    let count = packed.len().div_ceil(PIECE - HEAD);
    let Some(told) = u8::try_from(count).ok().filter(|_| count <= MOST_PIECES) else { return vec![] };
    let mut name = [0_u8; 8];
    let _ = rustix::rand::getrandom(&mut name, rustix::rand::GetRandomFlags::empty());
    let piece = |(number, part): (u8, &[u8])| {
        let mut piece = vec![0x1e, 0x0f];
        piece.extend(name);
        piece.extend([number, told]);
        piece.extend(part);
        piece
    };
    (0..told).zip(packed.chunks(PIECE - HEAD)).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn config(compression: Option<GelfCompression>) -> Gelf {
        let fields = [("container_name".to_owned(), "box".to_owned())].into();
        Gelf { addresses: vec![], hostname: "host".into(), compression, fields }
    }

    fn said(compression: Option<GelfCompression>, line: &[u8]) -> Vec<Vec<u8>> {
        messages(&config(compression), Stream::Stderr, line, "2026-01-02T03:04:05.678Z".parse().expect("time"))
    }

    #[test]
    fn a_line_is_an_object() {
        let plain = said(Some(GelfCompression::Plain), b"hello");
        let expected = r#"{"version":"1.1","host":"host","short_message":"hello","timestamp":1767323045.678,"level":3,"_container_name":"box"}"#;
        assert_eq!(String::from_utf8_lossy(&plain[0]), expected);
        assert_eq!(said(None, b"hello")[0].last(), Some(&0));
        let packed = said(Some(GelfCompression::Gzip(1)), b"hello");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[0][..]).read_to_string(&mut text).expect("gzip");
        assert_eq!(text, expected);
        assert_eq!(said(Some(GelfCompression::Zlib(-1)), b"hello")[0][0], 0x78);
    }

    #[test]
    fn a_long_line_goes_in_pieces() {
        let pieces = said(Some(GelfCompression::Plain), &[b'x'; 5000]);
        assert_eq!(pieces.len(), 4);
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE && piece[..10] == pieces[0][..10] && piece[11] == 4));
        let whole: Vec<u8> = pieces.iter().flat_map(|piece| &piece[HEAD..]).copied().collect();
        assert_eq!(
            serde_json::from_slice::<Value>(&whole).expect("JSON")["short_message"].as_str().map(str::len),
            Some(5000)
        );
        assert!(said(Some(GelfCompression::Plain), &[b'x'; 400_000]).is_empty());
    }
}
