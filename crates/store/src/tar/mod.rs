//! Tar streams in both directions, through [`teu_sys::fs::Root`] only: no archive reaches outside its tree.
//!
//! One parser serves every way in (layers, `ADD`, `cp`, `load`): what is hashed, listed and extracted cannot differ.
//! It reads ustar, GNU long names and PAX. It refuses sparse files and multi-volume archives, rather than extract
//! something else than was archived. It writes ustar with PAX records where a value does not fit, always the same bytes
//! for the same tree: names sorted, no user names, no access times.

mod apply;
mod archive;
mod header;
mod pax;
mod read;
mod whiteout;
mod write;

use std::ffi::OsString;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use teu_sys::fs::Root;

use crate::Result;

pub(crate) use apply::{Applied, PendingLink, apply_layer};
pub(crate) use archive::write_layer;
pub(crate) use read::Reader;
pub(crate) use whiteout::{OPAQUE, carried, is_opaque, is_whiteout};

/// The longest path that an entry may have, in bytes: the kernel's own limit.
pub(crate) const PATH_LIMIT: usize = 4096;

/// Levels of directories that are walked into; each one costs a descriptor.
pub(crate) const DEPTH_LIMIT: usize = 256;

/// What is wrong with an archive, or with a tree that should become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A header's checksum is wrong: damaged, or no tar at all.
    #[error("no tar archive, or a broken one")]
    Checksum,
    /// The stream ends in the middle.
    #[error("archive ends too early")]
    Truncated,
    /// A single block of zeros with something after it.
    #[error("half an end of archive")]
    HalfEnd,
    /// A number that cannot be read, or is out of range.
    #[error("{0} is not a valid number")]
    Number(&'static str),
    /// An extended header that is not a list of PAX records.
    #[error("malformed extended header")]
    Pax,
    /// Something larger than is accepted.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// A name or link name that is empty or has a zero byte.
    #[error("invalid {0}")]
    Name(&'static str),
    /// The entry, or the file that it links to, would be outside the tree.
    #[error("leads outside the tree")]
    Outside,
    /// The entry for the tree itself must be a directory.
    #[error("the root of the tree must be a directory")]
    Root,
    /// A sparse file.
    #[error("sparse files are not supported")]
    Sparse,
    /// An entry of a kind that nothing is known about.
    #[error("entries of type {:?} are not supported", char::from(*.0))]
    Type(u8),
    /// A hard link to a file that is nowhere.
    #[error("hard link to {0:?}, which is not there")]
    Link(String),
    /// A directory is in the way of something else; it, and where the archive is extracted to, in Docker's words.
    #[error("cannot overwrite directory {0:?} with non-directory {1:?}")]
    OverDirectory(String, String),
    /// Something else is in the way of a directory; likewise.
    #[error("cannot overwrite non-directory {0:?} with directory {1:?}")]
    OverFile(String, String),
    /// A file whose name means "removed" in a layer.
    #[error("names that begin with .wh. cannot be kept in a layer")]
    Reserved,
    /// A tree with too many levels.
    #[error("more than {DEPTH_LIMIT} levels of directories")]
    Depth,
}

/// How [`extract`] treats what it finds.
#[derive(Clone, Debug, Default)]
pub struct ExtractOptions {
    /// Everything gets this owner and group instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// Refuse to replace a directory by something else, or the reverse.
    pub keep_directories: bool,
    /// The archive's entry for its own top gives the directory owner, mode, attributes and time.
    pub with_root: bool,
    /// Files belong to whoever extracts them.
    pub own: bool,
    /// Another name for the top of the archive.
    pub rename: Option<Rename>,
    /// The id that the archive's 0 is in the tree, as whoever extracts sees it.
    pub first_id: u32,
}

/// How entries are called otherwise: as Docker's clients ask for it when a copy has another name than its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The first component of each name; of none if it is empty, and then the new one is put in front.
    pub from: OsString,
    /// What it becomes.
    pub to: OsString,
}

impl Rename {
    fn apply(&self, path: &Path) -> PathBuf {
        let mut components = path.components();
        if self.from.is_empty() {
            return Path::new(&self.to).join(path);
        }
        match components.next() {
            Some(first) if first.as_os_str() == self.from => Path::new(&self.to).join(components.as_path()),
            _ => path.to_path_buf(),
        }
    }
}

/// How [`archive`] presents what it finds.
#[derive(Clone, Debug, Default)]
pub struct ArchiveOptions {
    /// The name of the top entry. Empty: no top entry, only what is in the directory. By default the last component of
    /// the path, and empty for the root.
    pub rename: Option<OsString>,
    /// The id that is the archive's 0.
    pub first_id: u32,
}

/// Extracts an uncompressed tar into the directory `at` of `root`, making it if need be; reads to the stream's end.
///
/// Entries are resolved in `root`, so links on the way may lead anywhere in it; a name with `..` may not leave `at`.
/// Whiteout names are ordinary names here. What was extracted before an error stays.
pub fn extract(root: &Root, at: &Path, tar: impl Read, options: &ExtractOptions) -> Result<()> {
    let mut reader = Reader::new(tar, false);
    apply::extract(root, at, &mut reader, options)?;
    reader.finish().map(drop)
}

/// Writes `path` of `root`, with all below it, as a tar. A link in the last component is archived as a link.
pub fn archive(root: &Root, path: &Path, out: &mut dyn Write, options: &ArchiveOptions) -> Result<()> {
    // Headers are small; the stream may be a file or a socket.
    let mut out = BufWriter::with_capacity(1 << 16, out);
    archive::archive(root, path, &mut out, options)
}
