//! Zip archives, as far as contexts are passed on in them: small, whole in memory, stored or deflated.
//!
//! ```text
//! file … file   directory: an entry for each file, with its place and sizes   end: where the directory is
//! ```
//!
//! The directory at the end says what there is; what the files say of themselves is not looked at. Anything newer than the
//! original format (64-bit sizes, encryption, other methods) is refused.

use std::io::Read;

use flate2::Crc;
use flate2::read::DeflateDecoder;

/// No context needs more.
const LARGEST: usize = 10 << 20;
const END: &[u8] = b"PK\x05\x06";
const ENTRY: &[u8] = b"PK\x01\x02";
const FILE: &[u8] = b"PK\x03\x04";
const END_LENGTH: usize = 22;

/// Whether it looks like one.
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(FILE) || bytes.starts_with(END)
}

/// The regular files of an archive, by path.
pub(crate) fn files(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
    let last = archive.len().checked_sub(END_LENGTH).ok_or("it ends too early")?;
    // A comment of up to 64 KiB may follow the end.
    let end = (last.saturating_sub(usize::from(u16::MAX))..=last).rev().find(|at| archive[*at..].starts_with(END));
    let end = Reader { archive, at: end.ok_or("it has no directory")? };
    let (count, mut at) = (end.short(10)?, end.long(16)?);
    let (mut files, mut room) = (Vec::new(), LARGEST);
    for _ in 0..count {
        let entry = Reader { archive, at };
        if !entry.starts_with(ENTRY) {
            return Err("its directory is broken");
        }
        let (name, extra, comment) = (entry.short(28)?, entry.short(30)?, entry.short(32)?);
        let path = std::str::from_utf8(entry.bytes(46, name)?).map_err(|_| "a name is no text")?;
        // Directories end with a slash; links and the like say so in the upper half of their attributes, as Unix does.
        let kind = entry.long(38)? >> 28;
        if !path.ends_with('/') && (kind == 0 || kind == 8) {
            let content = content(&entry, room)?;
            room -= content.len();
            files.push((path.to_owned(), content));
        }
        at += 46 + name + extra + comment;
    }
    Ok(files)
}

/// What a file holds, checked against its sum.
fn content(entry: &Reader<'_>, room: usize) -> Result<Vec<u8>, &'static str> {
    let (flags, method, sum) = (entry.short(8)?, entry.short(10)?, entry.long(16)?);
    let (packed, size) = (entry.long(20)?, entry.long(24)?);
    if flags & 1 != 0 {
        return Err("it is encrypted");
    }
    if size > room {
        return Err("it is larger than any context");
    }
    let file = Reader { archive: entry.archive, at: entry.long(42)? };
    if !file.starts_with(FILE) {
        return Err("a file is not where the directory says");
    }
    let packed = file.bytes(30 + file.short(26)? + file.short(28)?, packed)?;
    let mut content = Vec::new();
    match method {
        0 => content.extend(packed),
        8 => {
            let limit = u64::try_from(size).unwrap_or(u64::MAX).saturating_add(1);
            DeflateDecoder::new(packed).take(limit).read_to_end(&mut content).map_err(|_| "a file is broken")?;
        }
        _ => return Err("a file is packed by a method that is not known"),
    }
    let mut actual = Crc::new();
    actual.update(&content);
    let whole = content.len() == size && usize::try_from(actual.sum()) == Ok(sum);
    if whole { Ok(content) } else { Err("a file is broken") }
}

/// The archive from some place on.
struct Reader<'a> {
    archive: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&self, offset: usize, length: usize) -> Result<&'a [u8], &'static str> {
        let start = self.at.checked_add(offset);
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        range.and_then(|range| self.archive.get(range)).ok_or("it ends too early")
    }

    fn starts_with(&self, sign: &[u8]) -> bool {
        self.bytes(0, sign.len()) == Ok(sign)
    }

    /// 16 bits.
    fn short(&self, offset: usize) -> Result<usize, &'static str> {
        let bytes = self.bytes(offset, 2)?;
        Ok(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    }

    /// 32 bits.
    fn long(&self, offset: usize) -> Result<usize, &'static str> {
        let bytes = self.bytes(offset, 4)?;
        let number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        usize::try_from(number).map_err(|_| "it is too large")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    /// An archive of files, every second one deflated.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (index, (name, content)) in files.iter().enumerate() {
            let (mut packed, mut sum, method) = (content.to_vec(), Crc::new(), if index % 2 == 0 { 0_u16 } else { 8 });
            sum.update(content);
            if method == 8 {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(content).unwrap();
                packed = encoder.finish().unwrap();
            }
            let place = u32::try_from(out.len()).unwrap();
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
            let mut facts = vec![20, 0, 0, 0];
            facts.extend(method.to_le_bytes());
            facts.extend([0; 4]);
            facts.extend(sum.sum().to_le_bytes());
            facts.extend(length(&packed));
            facts.extend(length(content));
            facts.extend(&length(name.as_bytes())[..2]);
            facts.extend([0; 2]);
            out.extend(FILE);
            out.extend(&facts);
            out.extend(name.as_bytes());
            out.extend(packed);
            directory.extend(ENTRY);
            directory.extend([20, 3]);
            directory.extend(facts);
            directory.extend([0; 6]);
            directory.extend((0o100_644_u32 << 16).to_le_bytes());
            directory.extend(place.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (place, length) = (u32::try_from(out.len()).unwrap(), u32::try_from(directory.len()).unwrap());
        let count = u16::try_from(files.len()).unwrap().to_le_bytes();
        out.extend(directory);
        out.extend(END);
        out.extend([0; 4]);
        out.extend([count, count].concat());
        out.extend(length.to_le_bytes());
        out.extend(place.to_le_bytes());
        out.extend([3, 0]);
        out.extend(b"end");
        out
    }

    #[test]
    fn files_are_read_whatever_way_they_are_packed() {
        let long = [b'x'; 500];
        let found = files(&archive(&[("meta.json", b"{}"), ("tls/docker/ca.pem", &long), ("tls/", b"")])).unwrap();
        assert_eq!(found, [("meta.json".into(), b"{}".to_vec()), ("tls/docker/ca.pem".into(), long.to_vec())]);
    }

    #[test]
    fn what_is_broken_is_refused_wherever_it_is() {
        let whole = archive(&[("a", b"some text"), ("b", b"other text")]);
        assert!(is_zip(&whole) && !is_zip(b"tar"));
        for length in 0..whole.len() - b"end".len() {
            assert!(files(&whole[..length]).is_err(), "{length}");
        }
        // No byte changed makes it panic, whatever it means then.
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = files(&changed);
            }
        }
    }
}
