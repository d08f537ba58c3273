//! Keys as file names: any text becomes a path that stays below its directory, and back.
//!
//! Letters, digits and `-_.:@+=,` stand for themselves (a dot not at the start), every other byte is `%XX`. A name too
//! long for one component is cut into directories whose names end in `~`, which no encoded text does.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Leaves room for a suffix and for a temporary name within the 255 bytes of a component.
const COMPONENT: usize = 200;

/// What an empty key is called.
const EMPTY: &str = "%";

/// The path of `key` below its directory.
pub(crate) fn encode(key: &str, suffix: &str) -> PathBuf {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(key.len() + suffix.len());
    for (index, byte) in key.bytes().enumerate() {
        match byte {
            b'.' if index == 0 => text.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(byte)),
            b'-' | b'_' | b'.' | b':' | b'@' | b'+' | b'=' | b',' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    if text.is_empty() {
        text.push_str(EMPTY);
    }
    let mut path = PathBuf::new();
    let mut rest = text.as_str();
    while rest.len() > COMPONENT {
        let (chunk, after) = rest.split_at(COMPONENT);
        path.push(format!("{chunk}~"));
        rest = after;
    }
    path.push(format!("{rest}{suffix}"));
    path
}

/// The key that a name stands for, or `None` when it is not one of ours.
fn decode(text: &str) -> Option<String> {
    if text == EMPTY {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// All keys below `dir` with their paths, sorted by key. What has another suffix or a leading dot is not a key.
pub(crate) fn list(dir: &Path, suffix: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    collect(dir, "", suffix, &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn collect(dir: &Path, prefix: &str, suffix: &str, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(|error| Error::io(dir, error))? {
        let entry = entry.map_err(|error| Error::io(dir, error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        if let Some(chunk) = name.strip_suffix('~') {
            collect(&entry.path(), &format!("{prefix}{chunk}"), suffix, found)?;
        } else if let Some(key) = name.strip_suffix(suffix).and_then(|last| decode(&format!("{prefix}{last}"))) {
            found.push((key, entry.path()));
        }
    }
    Ok(())
}

/// Makes the directories that a long key needs.
pub(crate) fn make_parents(dir: &Path, path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if parent != dir => {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(parent).map_err(|error| Error::io(parent, error))
        }
        _ => Ok(()),
    }
}

/// Removes the directories that a long key needed, as far as they are empty now.
pub(crate) fn remove_parents(dir: &Path, path: &Path) {
    let parents = path.ancestors().skip(1).take_while(|parent| *parent != dir);
    for parent in parents.filter(|parent| parent.as_os_str().as_bytes().ends_with(b"~")) {
        if fs::remove_dir(parent).is_err() {
            return;
        }
    }
}

/// Removes a file, telling whether there was one.
pub(crate) fn remove_file(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// The names in a directory, in no order; none when it is missing.
pub(crate) fn entries(dir: &Path) -> Result<Vec<String>> {
    let listing = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| Error::io(dir, error))?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let name = entry.map_err(|error| Error::io(dir, error))?.file_name();
        names.extend(OsStr::to_str(&name).map(str::to_owned));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_keys_stay_below_their_directory_and_come_back() {
        let long = "x/é".repeat(400);
        for key in ["", ".", "..", "../../etc", "a/b:c", "%", "~", "a~", "nul\0", ".hidden", "naïve", &long] {
            let path = encode(key, ".json");
            assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))), "{path:?}");
            assert!(path.components().all(|part| part.as_os_str().len() < 240));
            let dir = tempfile::tempdir().expect("a directory");
            let file = dir.path().join(&path);
            make_parents(dir.path(), &file).expect("parents");
            fs::write(&file, "").expect("a file");
            let keys: Vec<_> = list(dir.path(), ".json").expect("a listing");
            assert_eq!(keys, [(key.to_owned(), file.clone())]);
            fs::remove_file(&file).expect("removed");
            remove_parents(dir.path(), &file);
            assert_eq!(fs::read_dir(dir.path()).expect("a listing").count(), 0);
        }
    }

    #[test]
    fn an_image_name_stays_readable() {
        assert_eq!(
            encode("docker.io/library/busybox:latest", ".json"),
            Path::new("docker.io%2Flibrary%2Fbusybox:latest.json")
        );
    }
}
