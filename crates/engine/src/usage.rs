//! How much room a folder takes.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The bytes in the files below `dir`; a file with several names counts once. What goes away meanwhile does not count.
pub(crate) fn size(dir: &Path) -> u64 {
    let mut total = 0;
    let mut open = vec![dir.to_path_buf()];
    let mut seen = HashSet::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) if meta.nlink() > 1 && !seen.insert((meta.dev(), meta.ino())) => {}
                Ok(meta) => total += meta.len(),
                Err(_) => {}
            }
        }
    }
    total
}
