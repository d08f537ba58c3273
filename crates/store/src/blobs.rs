//! Content-addressed bytes: an OCI image layout, and the one way into it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use sha2::{Digest as _, Sha512};
use teu_oci::{Digest, DigestHasher};

use crate::layout::{self, Layout};
use crate::unsynced::Kind;
use crate::{Error, Lease, Result, names};

/// What [`Blobs::read`] takes into memory at most.
const READ_LIMIT: u64 = 4 << 20;

/// How the keys begin of what is written in one piece and never resumed.
const ONE_PIECE: &str = "bytes-";
/// Hashes of interrupted uploads remembered at most; without one the partial file is read again.
const REMEMBERED: usize = 256;

/// The blobs of a store.
#[derive(Clone)]
pub struct Blobs {
    layout: Arc<Layout>,
    /// How far interrupted uploads were hashed, by key.
    hashed: Arc<Mutex<HashMap<String, (u64, DigestHasher)>>>,
}

/// A partial upload, as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The key it was begun with.
    pub key: String,
    /// Bytes received so far.
    pub size: u64,
    /// When the last of them came.
    pub modified: SystemTime,
}

impl Blobs {
    pub(crate) fn new(layout: &Arc<Layout>) -> Self {
        Self { layout: layout.clone(), hashed: Arc::default() }
    }

    /// The size in bytes, or `None` when there is no such blob.
    #[must_use]
    pub fn stat(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|metadata| metadata.len())
    }

    /// Opens a blob for reading, at its start.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotFound { what: format!("blob {digest}") })
            }
            other => other.map_err(|error| Error::io(path, error)),
        }
    }

    /// The whole of a small blob (a manifest, a config), verified; at most 4 MiB.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let file = self.open(digest)?;
        let mut bytes = Vec::new();
        file.take(READ_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| Error::io(self.path(digest), error))?;
        if bytes.len() as u64 > READ_LIMIT {
            return Err(Error::TooLarge { what: format!("blob {digest}"), limit: READ_LIMIT });
        }
        let actual = hash(digest.algorithm(), bytes.as_slice()).map_err(|error| Error::io(self.path(digest), error))?;
        expect(digest, actual).map(|_| bytes)
    }

    /// Where the blob is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.layout.blobs().join(digest.algorithm()).join(digest.hex())
    }

    /// Begins a blob, or goes on with the partial one that was begun with the same key.
    ///
    /// [`Error::InUse`] while another writer has that key.
    pub fn writer(&self, key: &str) -> Result<BlobWriter> {
        self.open_upload(key, true)
    }

    /// Goes on with the partial blob of that key; [`Error::NotFound`] when there is none.
    pub fn resume(&self, key: &str) -> Result<BlobWriter> {
        self.open_upload(key, false)
    }

    /// The partial blobs, sorted by key.
    pub fn uploads(&self) -> Result<Vec<Upload>> {
        let mut uploads = Vec::new();
        for (key, path) in names::list(&self.layout.uploads(), "")? {
            // One finished meanwhile is no upload any more.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let modified = metadata.modified().map_err(|error| Error::io(&path, error))?;
            uploads.push(Upload { key, size: metadata.len(), modified });
        }
        Ok(uploads)
    }

    /// Stores `bytes` durably and says their digest and size.
    pub fn put(&self, bytes: &[u8]) -> Result<(Digest, u64)> {
        self.writer_of(bytes)?.commit(None)
    }

    /// The same, durable only from the next [`Store::sync`](crate::Store::sync) on.
    pub fn put_deferred(&self, bytes: &[u8]) -> Result<(Digest, u64)> {
        self.writer_of(bytes)?.commit_deferred(None)
    }

    /// Deletes a blob; fine when there is none. The collector is the usual one to do so.
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        self.layout.trash.discard(&self.path(digest)).map(drop)
    }

    /// All blobs, in no order.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let names = names::entries(&self.layout.blobs().join(algorithm))?;
            digests.extend(names.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok()));
        }
        Ok(digests)
    }

    /// Hashes a blob again, and removes it when it is not what its name says.
    pub(crate) fn verify_or_remove(&self, digest: &Digest) -> Result<()> {
        let file = match self.open(digest) {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        let actual = hash(digest.algorithm(), file).map_err(|error| Error::io(self.path(digest), error))?;
        if actual == *digest { Ok(()) } else { self.remove(digest) }
    }

    /// Gives up partial uploads last written to before `time` that nobody has open.
    pub(crate) fn drop_uploads_before(&self, time: SystemTime) -> Result<()> {
        for upload in self.uploads()?.into_iter().filter(|upload| upload.modified < time) {
            match self.resume(&upload.key) {
                Ok(writer) => writer.abort()?,
                Err(Error::InUse { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives up what a killed process was writing in one piece: nobody will ask for it by its key.
    pub(crate) fn clear_leftovers(&self) -> Result<()> {
        for upload in self.uploads()?.into_iter().filter(|upload| upload.key.starts_with(ONE_PIECE)) {
            self.resume(&upload.key)?.abort()?;
        }
        Ok(())
    }

    fn writer_of(&self, bytes: &[u8]) -> Result<BlobWriter> {
        let mut writer = self.writer(&format!("{ONE_PIECE}{}-{}", std::process::id(), self.layout.unique()))?;
        // Left by a process that was killed and had the same number.
        writer.restart()?;
        match writer.write_all(bytes) {
            Ok(()) => Ok(writer),
            Err(error) => {
                let error = Error::io(&writer.path, error);
                writer.abort()?;
                Err(error)
            }
        }
    }

    fn open_upload(&self, key: &str, create: bool) -> Result<BlobWriter> {
        let dir = self.layout.uploads();
        let path = dir.join(names::encode(key, ""));
        let named = || format!("upload {key:?}");
        loop {
            if create {
                names::make_parents(&dir, &path)?;
            }
            let opened = File::options().read(true).append(true).create(create).mode(0o600).open(&path);
            let file = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !create => {
                    return Err(Error::NotFound { what: named() });
                }
                other => other.map_err(|error| Error::io(&path, error))?,
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Err(Error::InUse { what: named() }),
                other => other.map_err(|error| Error::io(&path, error))?,
            }
            // Between open and lock the last writer may have made it a blob: that file must not be written any more.
            if still_named(&file, &path) {
                return self.continue_upload(key, path, file);
            }
        }
    }

    fn continue_upload(&self, key: &str, path: PathBuf, mut file: File) -> Result<BlobWriter> {
        let length = file.metadata().map_err(|error| Error::io(&path, error))?.len();
        let hasher = match self.hashed().remove(key) {
            Some((offset, hasher)) if offset == length => hasher,
            _ => {
                let mut hasher = DigestHasher::new();
                io::copy(&mut file, &mut hasher).map_err(|error| Error::io(&path, error))?;
                hasher
            }
        };
        let blobs = self.clone();
        Ok(BlobWriter { blobs, key: key.to_owned(), path, file, offset: length, hasher: Some(hasher) })
    }

    fn hashed(&self) -> MutexGuard<'_, HashMap<String, (u64, DigestHasher)>> {
        self.hashed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob being written; dropped without commit it stays resumable.
pub struct BlobWriter {
    blobs: Blobs,
    key: String,
    path: PathBuf,
    file: File,
    offset: u64,
    /// Gone when the bytes became a blob or were dropped.
    hasher: Option<DigestHasher>,
}

impl BlobWriter {
    /// Bytes written so far, those of earlier writers of the same key included.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Drops the bytes written so far and begins again.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| Error::io(&self.path, error))?;
        self.offset = 0;
        self.hasher = Some(DigestHasher::new());
        Ok(())
    }

    /// Makes it a blob, durably. On a mismatch with `expected` the bytes are dropped.
    pub fn commit(self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        self.finish(expected, true)
    }

    /// The same, durable only from the next [`Store::sync`](crate::Store::sync) on.
    pub fn commit_deferred(self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        self.finish(expected, false)
    }

    /// Drops the bytes.
    pub fn abort(mut self) -> Result<()> {
        self.hasher = None;
        names::remove_file(&self.path)?;
        names::remove_parents(&self.blobs.layout.uploads(), &self.path);
        Ok(())
    }

    fn finish(mut self, expected: Option<&Digest>, durable: bool) -> Result<(Digest, u64)> {
        let mut digest = self.hasher.take().unwrap_or_default().finish();
        if let Some(expected) = expected {
            if expected.algorithm() != digest.algorithm() {
                digest = File::open(&self.path)
                    .and_then(|file| hash(expected.algorithm(), file))
                    .map_err(|error| Error::io(&self.path, error))?;
            }
            if digest != *expected {
                self.abort()?;
                return expect(expected, digest).map(|digest| (digest, 0));
            }
        }
        let lease = Lease::new(&self.blobs.layout, "a blob being committed");
        lease.hold(&digest);
        let size = self.offset;
        self.place(&digest, durable)?;
        Ok((digest, size))
    }

    fn place(self, digest: &Digest, durable: bool) -> Result<()> {
        let target = self.blobs.path(digest);
        if durable {
            self.file.sync_all().map_err(|error| Error::io(&self.path, error))?;
        }
        if target.exists() && !durable {
            return self.abort();
        }
        let mark = if durable { None } else { Some(self.blobs.layout.unsynced.mark(Kind::Blob, digest)?) };
        fs::rename(&self.path, &target).map_err(|error| Error::io(&target, error))?;
        drop(mark);
        names::remove_parents(&self.blobs.layout.uploads(), &self.path);
        if durable { layout::sync_dir(target.parent().unwrap_or(&target)) } else { Ok(()) }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..written]);
        }
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let Some(hasher) = self.hasher.take() else { return };
        let mut hashed = self.blobs.hashed();
        if hashed.len() >= REMEMBERED {
            hashed.clear();
        }
        hashed.insert(std::mem::take(&mut self.key), (self.offset, hasher));
    }
}

fn still_named(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

fn expect(expected: &Digest, actual: Digest) -> Result<Digest> {
    if *expected == actual { Ok(actual) } else { Err(Error::DigestMismatch { expected: expected.clone(), actual }) }
}

fn hash(algorithm: &str, mut bytes: impl Read) -> io::Result<Digest> {
    if algorithm == "sha256" {
        let mut hasher = DigestHasher::new();
        io::copy(&mut bytes, &mut hasher)?;
        return Ok(hasher.finish());
    }
    let mut hasher = Sha512::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match bytes.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha512:{hex}").parse().map_err(io::Error::other)
}
