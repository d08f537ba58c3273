//! Zip archives, as far as contexts are passed on in them: small, whole in memory.

use std::io::{Cursor, Read};

use zip::ZipArchive;

/// No context needs more.
const LARGEST: u64 = 10 << 20;

/// Whether it looks like one.
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// The regular files of an archive, by path.
pub(crate) fn files(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut archive = ZipArchive::new(Cursor::new(archive)).map_err(|error| error.to_string())?;
    let (mut files, mut room) = (Vec::new(), LARGEST);
    for place in 0..archive.len() {
        let file = archive.by_index(place).map_err(|error| error.to_string())?;
        if !file.is_file() {
            continue;
        }
        let path = file.name().map_err(|error| error.to_string())?.into_owned();
        let mut content = Vec::new();
        // What it says of its size counts for nothing.
        let read = file.take(room + 1).read_to_end(&mut content).map_err(|error| format!("{path}: {error}"))?;
        room =
            u64::try_from(read).ok().and_then(|read| room.checked_sub(read)).ok_or("it is larger than any context")?;
        files.push((path, content));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// An archive of files, every second one deflated, and a folder.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (index, (name, content)) in files.iter().enumerate() {
            let method = if index % 2 == 0 { CompressionMethod::Stored } else { CompressionMethod::Deflated };
            writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.add_directory("tls", SimpleFileOptions::default()).unwrap();
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn files_are_read_whatever_way_they_are_packed() {
        let long = [b'x'; 500];
        let found = files(&archive(&[("meta.json", b"{}"), ("tls/docker/ca.pem", &long)])).unwrap();
        assert_eq!(found, [("meta.json".into(), b"{}".to_vec()), ("tls/docker/ca.pem".into(), long.to_vec())]);
    }

    #[test]
    fn what_is_cut_off_or_too_large_is_refused() {
        let whole = archive(&[("a", b"some text"), ("b", b"other text")]);
        assert!(is_zip(&whole) && !is_zip(b"tar"));
        for length in 0..whole.len() {
            assert!(files(&whole[..length]).is_err(), "{length}");
        }
        let large = vec![0; usize::try_from(LARGEST).unwrap() + 1];
        assert_eq!(files(&archive(&[("a", b""), ("b", &large)])).unwrap_err(), "it is larger than any context");
    }
}
