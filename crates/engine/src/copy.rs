//! Copying a tree, with owners, modes, links and attributes: the archive writer into the archive reader.

use std::fs;
use std::io;
use std::path::Path;

use teu_store::tar::{ArchiveOptions, ExtractOptions, archive, extract};
use teu_sys::fs::Root;

use crate::error::{Error, Result};

/// Copies `path` of `from` into the folder `to`.
pub(crate) fn tree(from: &Root, path: &Path, to: &Path) -> Result<()> {
    let target = Root::open(to).map_err(|error| Error::io("open", to, error))?;
    let (read, mut write) = io::pipe().map_err(|error| Error::io("make a pipe to", to, error))?;
    let options = ArchiveOptions { rename: Some(".".into()) };
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || archive(from, path, &mut write, &options));
        let extracted = extract(&target, Path::new("/"), read, &ExtractOptions::default());
        let archived = writer.join().unwrap_or(Ok(()));
        extracted.map_err(Error::from).and_then(|()| Ok(archived?))
    })
}

/// The bytes in the regular files below `dir`.
pub(crate) fn size(dir: &Path) -> u64 {
    let mut total = 0;
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) => total += meta.len(),
                Err(_) => {}
            }
        }
    }
    total
}
