//! What a COPY or ADD brings: the sources resolved in their tree, patterns and exclusions applied, in a fixed order, and
//! the digest that names the content.
//!
//! The digest covers names, kinds, modes, owners where they are kept, link targets and bytes, and not times: a fresh
//! checkout of the same files is the same content.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use teu_oci::{Digest, DigestHasher};
use teu_sys::fs::{FileKind, Metadata, Root};

use crate::Error;
use crate::dockerfile::glob;
use crate::dockerfile::ignore::Ignore;
use crate::plan::CopyStep;

/// A source that was named, matched by a pattern, or found below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it is in the source tree, without a leading slash.
    pub(super) path: PathBuf,
    /// Where it goes below the destination: empty for a directory that was named itself, the last name for a file.
    pub(super) target: PathBuf,
    /// What it is.
    pub(super) metadata: Metadata,
    /// The target of a symbolic link.
    pub(super) link: Option<PathBuf>,
    /// Whether it was named or matched, not found below.
    pub(super) top: bool,
}

/// A tree to copy from.
pub(super) struct Tree<'t> {
    pub(super) root: &'t Root,
    /// What is not there.
    pub(super) ignore: &'t Ignore,
    /// Whether owners count: they do in another stage, and not in a context, where everything is root's.
    pub(super) keep_owner: bool,
    /// What is known of the contents of its files.
    pub(super) known: Option<&'t Known>,
}

/// Digests of files' contents, by their paths in a tree that does not change.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<PathBuf, Digest>>);

impl Known {
    /// Takes over what another tree knows of files that are the same in both.
    pub(super) fn inherit(&self, other: &Self, paths: impl Iterator<Item = PathBuf>) {
        let (mut own, other) = (self.lock(), other.lock());
        own.extend(paths.filter_map(|path| other.get(&path).cloned().map(|digest| (path, digest))));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree<'_> {
    /// Everything that `step` brings.
    pub(super) fn gather(&self, step: &CopyStep) -> Result<Vec<Entry>, Error> {
        let exclude =
            Ignore::new(step.exclude.iter().map(String::as_str)).map_err(|error| refuse(step, error.to_string()))?;
        let mut tops: Vec<(PathBuf, PathBuf)> = Vec::new();
        for source in &step.sources {
            let (path, base) = (clean(source), pivot(source));
            if glob::has_wildcard(&path) {
                let found = self.matching(&path).map_err(|reason| refuse(step, reason))?;
                tops.extend(found.into_iter().map(|path| (base.of(&path), path)));
            } else {
                let path: PathBuf = glob::unescape(&path).into();
                tops.push((base.of(&path), path));
            }
        }
        if tops.is_empty() && !step.sources.is_empty() {
            return Err(refuse(step, "no source files were specified"));
        }
        if tops.len() + step.files.len() > 1 && !step.destination.ends_with('/') {
            let keyword = keyword(step);
            return Err(refuse(
                step,
                format!(
                    "When using {keyword} with more than one source file, the destination must be a directory and end with a /"
                ),
            ));
        }
        let mut entries = Vec::new();
        let mut parents = HashSet::new();
        for (base, top) in tops {
            if step.parents {
                self.gather_parents(&base, &top, &mut parents, &mut entries)?;
            }
            self.gather_top(step, &exclude, (&base, top), &mut entries)?;
        }
        Ok(entries)
    }

    /// The directories between a source and what is left out of its path, once each.
    fn gather_parents(
        &self,
        base: &Path,
        top: &Path,
        known: &mut HashSet<PathBuf>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Error> {
        let above = top.ancestors().skip(1).filter(|path| path.starts_with(base) && *path != base);
        let above: Vec<&Path> = above.take_while(|path| !path.as_os_str().is_empty()).collect();
        for path in above.into_iter().rev() {
            let target = path.strip_prefix(base).unwrap_or(path).to_path_buf();
            if known.insert(target.clone())
                && let Ok(metadata) = self.root.metadata(path)
            {
                entries.push(Entry { path: path.into(), target, metadata, link: None, top: false });
            }
        }
        Ok(())
    }

    fn gather_top(
        &self,
        step: &CopyStep,
        exclude: &Ignore,
        (base, path): (&Path, PathBuf),
        entries: &mut Vec<Entry>,
    ) -> Result<(), Error> {
        let text = path.to_string_lossy();
        let missing = || {
            let place = if self.keep_owner {
                "file not found"
            } else {
                "file not found in build context or excluded by .dockerignore"
            };
            refuse(step, format!("{place}: stat {text}: file does not exist"))
        };
        // What is named is followed if it is a link; what is found below is not.
        let metadata = match self.root.metadata(&path) {
            Err(error) if is_missing(&error) => return Err(missing()),
            other => other.map_err(Error::io(format!("look at {text}")))?,
        };
        let left_out = self.ignore.excludes(&text);
        if left_out && !(metadata.is_dir() && self.ignore.may_hold_exceptions(&text)) {
            return Err(missing());
        }
        if metadata.is_dir() {
            return self
                .walk(exclude, if step.parents { base } else { &path }, &path, metadata, entries)
                .map_err(|(path, error)| Error::io(format!("read the source {}", path.display()))(error));
        }
        let target = match step.parents {
            true => path.strip_prefix(base).unwrap_or(&path).to_path_buf(),
            false => path.file_name().map(PathBuf::from).unwrap_or_default(),
        };
        if !exclude.excludes(&target.to_string_lossy()) {
            entries.push(Entry { path, target, metadata, link: None, top: true });
        }
        Ok(())
    }

    /// A directory and all below it, each directory before what it holds, names sorted.
    fn walk(
        &self,
        exclude: &Ignore,
        base: &Path,
        top: &Path,
        metadata: Metadata,
        entries: &mut Vec<Entry>,
    ) -> Result<(), (PathBuf, std::io::Error)> {
        let first = entries.len();
        // Directories that are left out themselves and stay only if something below them does not.
        let mut doubtful: HashMap<PathBuf, usize> = HashMap::new();
        let target = top.strip_prefix(base).unwrap_or(top).to_path_buf();
        entries.push(Entry { path: top.into(), target, metadata, link: None, top: true });
        let mut pending = vec![top.to_path_buf()];
        while let Some(path) = pending.pop() {
            let at = |error| (path.clone(), error);
            let dir = self.root.dir(&path).map_err(at)?;
            let mut below = Vec::new();
            for found in dir.entries().map_err(at)? {
                let path = path.join(&found.name);
                let target = path.strip_prefix(base).unwrap_or(&path).to_path_buf();
                let metadata = dir.metadata(&found.name).map_err(at)?;
                let out = |ignore: &Ignore, path: &Path| ignore.excludes(&path.to_string_lossy());
                if out(self.ignore, &path) || out(exclude, &target) {
                    let hidden = |ignore: &Ignore, path: &Path| {
                        out(ignore, path) && !ignore.may_hold_exceptions(&path.to_string_lossy())
                    };
                    if !metadata.is_dir() || hidden(self.ignore, &path) || hidden(exclude, &target) {
                        continue;
                    }
                    doubtful.insert(path.clone(), entries.len() + below.len());
                }
                let link = match metadata.is_symlink() {
                    true => Some(dir.read_link(&found.name).map_err(at)?),
                    false => None,
                };
                below.push(Entry { path, target, metadata, link, top: false });
            }
            pending.extend(below.iter().rev().filter(|entry| entry.metadata.is_dir()).map(|entry| entry.path.clone()));
            entries.append(&mut below);
        }
        if !doubtful.is_empty() {
            drop_empty(entries, first, &doubtful);
        }
        Ok(())
    }

    /// The paths that a pattern matches, component by component, sorted.
    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let mut found = vec![PathBuf::new()];
        for part in pattern.split('/') {
            glob::matches(part, "").map_err(|error| format!("{error}: {pattern}"))?;
            let mut next = Vec::new();
            for base in &found {
                if !glob::has_wildcard(part) {
                    let path = base.join(glob::unescape(part));
                    next.extend(self.root.symlink_metadata(&path).is_ok().then_some(path));
                    continue;
                }
                // What is no directory has nothing below it.
                let names = self.root.dir(base).and_then(|dir| dir.entries()).unwrap_or_default();
                let matching = names
                    .iter()
                    .filter(|entry| entry.name.to_str().is_some_and(|name| glob::matches(part, name) == Ok(true)));
                next.extend(matching.map(|entry| base.join(&entry.name)));
            }
            found = next;
        }
        found.retain(|path| !self.ignore.excludes(&path.to_string_lossy()) && self.root.metadata(path).is_ok());
        Ok(found)
    }

    /// Names the content of `entries`.
    pub(super) fn digest(&self, entries: &[Entry]) -> Result<Digest, Error> {
        let mut hasher = DigestHasher::new();
        let mut buffer = vec![0; 64 << 10];
        for entry in entries {
            self.describe(entry, &mut hasher);
            if entry.metadata.is_file() {
                let content = self.content(&entry.path, &mut buffer);
                let content = content.map_err(Error::io(format!("read the source {}", entry.path.display())))?;
                hasher.update(content.as_str().as_bytes());
            }
        }
        Ok(hasher.finish())
    }

    fn describe(&self, entry: &Entry, hasher: &mut DigestHasher) {
        let metadata = &entry.metadata;
        let kind = match metadata.kind {
            FileKind::Regular => b'f',
            FileKind::Directory => b'd',
            FileKind::Symlink => b'l',
            FileKind::Fifo => b'p',
            FileKind::Socket => b's',
            FileKind::CharDevice => b'c',
            FileKind::BlockDevice => b'b',
        };
        let (uid, gid) = if self.keep_owner { (metadata.uid, metadata.gid) } else { (0, 0) };
        hasher.update(&[kind, u8::from(entry.top)]);
        for number in [metadata.mode, uid, gid, metadata.rdev.0, metadata.rdev.1] {
            hasher.update(&number.to_le_bytes());
        }
        let link = entry.link.as_deref().unwrap_or(Path::new(""));
        for text in [entry.target.as_os_str(), link.as_os_str()] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let size = if metadata.is_file() { metadata.size } else { 0 };
        hasher.update(&size.to_le_bytes());
    }

    fn content(&self, path: &Path, buffer: &mut [u8]) -> std::io::Result<Digest> {
        if let Some(digest) = self.known.and_then(|known| known.lock().get(path).cloned()) {
            return Ok(digest);
        }
        let mut hasher = DigestHasher::new();
        let mut file = self.root.open_file(path)?;
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let digest = hasher.finish();
        if let Some(known) = self.known {
            known.lock().insert(path.to_owned(), digest.clone());
        }
        Ok(digest)
    }
}

/// Drops the doubtful directories, from `first` on, that nothing certain lies below.
fn drop_empty(entries: &mut Vec<Entry>, first: usize, doubtful: &HashMap<PathBuf, usize>) {
    let mut keep: Vec<bool> = entries[first..].iter().map(|entry| !doubtful.contains_key(&entry.path)).collect();
    for index in 0..keep.len() {
        if !keep[index] {
            continue;
        }
        for parent in entries[first + index].path.ancestors().skip(1) {
            if let Some(&at) = doubtful.get(parent) {
                keep[at - first] = true;
            }
        }
    }
    let mut index = 0;
    entries.retain(|_| {
        index += 1;
        index <= first || keep[index - 1 - first]
    });
}

/// `COPY` or `ADD`.
pub(super) fn keyword(step: &CopyStep) -> &'static str {
    if step.add { "ADD" } else { "COPY" }
}

pub(super) fn refuse(step: &CopyStep, reason: impl Into<String>) -> Error {
    Error::Copy { keyword: keyword(step), reason: reason.into() }
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// How much of a source's path `--parents` leaves out: what stands before `/./`.
struct Pivot(usize);

fn pivot(source: &str) -> Pivot {
    let before = source.find("/./").map(|at| clean(&source[..at])).unwrap_or_default();
    Pivot(if before.is_empty() { 0 } else { before.split('/').count() })
}

impl Pivot {
    /// What is left out of a path that the source has led to.
    fn of(&self, path: &Path) -> PathBuf {
        path.components().take(self.0).collect()
    }
}

/// Lexically clean and relative: what climbs above the tree stays at its top.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
