//! Archives as ADD and the context meet them: what a file is by its first bytes, and its plain stream.

use std::io::{self, BufRead, BufReader, Read};

/// Enough to see a tar header.
const BLOCK: usize = 512;

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A tar, plain.
    Tar,
    /// Compressed by gzip.
    Gzip,
    /// Compressed by zstd.
    Zstd,
    /// Compressed by a named program, which this builder does not read.
    Foreign(&'static str),
    /// None of these.
    Other,
}

/// Looks at the first bytes of a file.
pub(super) fn kind(start: &[u8]) -> Kind {
    match start {
        [0x1f, 0x8b, ..] => Kind::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Kind::Zstd,
        [b'B', b'Z', b'h', ..] => Kind::Foreign("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Kind::Foreign("xz"),
        start if is_header(start) => Kind::Tar,
        _ => Kind::Other,
    }
}

/// Whether a block is a tar header: its checksum says so (POSIX ustar, "chksum"), whatever the flavour.
fn is_header(block: &[u8]) -> bool {
    let Some(block) = block.get(..BLOCK) else { return false };
    let written = std::str::from_utf8(&block[148..156]).unwrap_or_default();
    let written = written.trim_matches(|c: char| c == '\0' || c == ' ');
    let spaces = 8 * u32::from(b' ');
    let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
    u32::from_str_radix(written, 8) == Ok(sum + spaces)
}

/// The plain stream behind gzip or zstd, or the stream itself.
pub(super) fn decompress<'r>(stream: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    let start = stream.fill_buf()?;
    Ok(match kind(start) {
        Kind::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
        Kind::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(stream)?),
        Kind::Foreign(program) => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("compression by {program} is not supported"),
            ));
        }
        Kind::Tar | Kind::Other => Box::new(stream),
    })
}

/// Whether a file is a tar, compressed or not: a compressed file that holds none is an ordinary file.
pub(super) fn is_archive(mut file: impl Read, name: &str) -> io::Result<bool> {
    let mut start = vec![0; BLOCK];
    let length = read_full(&mut file, &mut start)?;
    start.truncate(length);
    match kind(&start) {
        Kind::Tar => Ok(true),
        Kind::Other => Ok(false),
        Kind::Foreign(program) => {
            let lower = name.to_ascii_lowercase();
            let tars = [".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz"];
            match tars.iter().any(|end| lower.ends_with(end)) {
                true => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("unpacking {name}, compressed by {program}, is not supported yet"),
                )),
                false => Ok(false),
            }
        }
        Kind::Gzip | Kind::Zstd => {
            let mut plain = decompress(io::Cursor::new(start).chain(file))?;
            let mut block = [0; BLOCK];
            // A damaged stream is no archive.
            Ok(read_full(&mut plain, &mut block).is_ok_and(|length| is_header(&block[..length])))
        }
    }
}

fn read_full(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match stream.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        builder.append_data(&mut header, "a", &b"hi"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_tar_is_known_by_its_content() {
        assert!(is_archive(&tar()[..], "a").unwrap());
        assert!(is_archive(&gzip(&tar())[..], "a").unwrap());
        assert!(is_archive(&zstd::encode_all(&tar()[..], 1).unwrap()[..], "a").unwrap());
        assert!(!is_archive(&gzip(b"just text")[..], "a.tar.gz").unwrap());
        assert!(!is_archive(&b"text"[..], "a.tar").unwrap());
        assert!(!is_archive(&b""[..], "a.tar").unwrap());
        assert!(!is_archive(&[0x1f, 0x8b, 1][..], "a.gz").unwrap());
        assert!(!is_archive(&b"BZh91AY"[..], "a.bz2").unwrap());
        assert!(is_archive(&b"BZh91AY"[..], "a.tar.bz2").unwrap_err().to_string().contains("bzip2"));
    }

    #[test]
    fn a_stream_comes_out_plain() {
        for bytes in [tar(), gzip(&tar()), zstd::encode_all(&tar()[..], 1).unwrap()] {
            let mut plain = Vec::new();
            decompress(&bytes[..]).unwrap().read_to_end(&mut plain).unwrap();
            assert_eq!(plain, tar());
        }
        assert!(decompress(&[0xfd, b'7', b'z', b'X', b'Z', 0][..]).is_err());
    }
}
