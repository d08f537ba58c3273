//! Archives that come compressed.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

/// The plain stream behind gzip or zstd, told by its first bytes, or the stream itself.
///
/// # Errors
/// When the stream cannot be read, or is compressed in another way.
pub(crate) fn plain<'a>(input: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut input = BufReader::with_capacity(256 << 10, input);
    let broken = |error: io::Error| Error::bad(format!("read the archive: {error}"));
    let foreign = |name: &str| Error::bad(format!("read the archive: compression by {name} is not supported"));
    Ok(match input.fill_buf().map_err(broken)? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(input)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(input).map_err(broken)?),
        [b'B', b'Z', b'h', ..] => return Err(foreign("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(foreign("xz")),
        _ => Box::new(input),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_unpacked_by_their_first_bytes() {
        let text = b"some bytes".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::copy(&mut &text[..], &mut gzip).expect("written");
        for input in [text.clone(), gzip.finish().expect("written"), zstd::encode_all(&text[..], 1).expect("written")] {
            let mut out = Vec::new();
            plain(&input[..]).expect("plain").read_to_end(&mut out).expect("read");
            assert!(out == text);
        }
        assert!(plain(&b"BZh91AY"[..]).err().expect("refused").message.contains("bzip2"));
    }
}
