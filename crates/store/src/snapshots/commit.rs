//! An active snapshot becomes a layer: its upper directory is the difference, nothing is compared.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use teu_oci::{Digest, DigestHasher, chain_id};
use teu_sys::fs::{Dir, Metadata, Root};

use super::{Committed, Layer, Snapshots, Usage, usage};
use crate::layout;
use crate::tree::{Copier, CopyOptions, Marks, copy_metadata};
use crate::unsynced::Kind;
use crate::{Error, Lease, Result, tar};

impl Snapshots {
    /// Turns an active snapshot into a layer, by rename; the key is free afterwards. Nothing may write to it any more.
    ///
    /// If the very same layer is there already, that one is used. It is collected like any other layer that nothing
    /// refers to: a lease must hold the parent's chain, and the record follow before it is dropped.
    pub fn commit(&self, key: &str) -> Result<Committed> {
        let dir = self.active_dir(key)?;
        let parent = self.active_parent(key)?;
        self.commit_dir(&dir, parent.as_ref())
    }

    /// Copies an active snapshot into a layer (reflinks where the file system can); it stays active.
    pub fn commit_copy(&self, key: &str) -> Result<Committed> {
        let from = self.active_dir(key)?.join("fs");
        let parent = self.active_parent(key)?;
        let staged = self.stage()?;
        let copied = copy_upper(&from, &staged.join("fs"));
        let committed = copied.and_then(|()| self.commit_dir(&staged, parent.as_ref()));
        // Gone already if it was made a layer.
        self.layout.trash.discard(&staged)?;
        committed
    }

    /// Does again to `tree`, which shows the chain `base`, what the layers from there up to `chain` did.
    pub fn replay(&self, base: Option<&Digest>, chain: &Digest, tree: &Root) -> Result<()> {
        let (mut layers, mut next) = (Vec::new(), Some(chain.clone()));
        while let Some(chain) = next.filter(|chain| Some(chain) != base) {
            next = self.parent(&chain)?;
            layers.push(self.layer_dir(&chain).join("fs"));
        }
        let tree = tree.dir(".").map_err(|error| Error::io("/", error))?;
        layers.iter().rev().try_for_each(|layer| copy_directory(&open(layer)?, &tree, Marks::Obeyed))
    }

    /// Writes a committed layer as a deterministic tar and says its digest, which is the layer's diff ID unless the
    /// layer came by [`Snapshots::unpack`]: then its blob is the one to use.
    pub fn write_diff(&self, chain: &Digest, out: &mut dyn Write) -> Result<Digest> {
        let layer = self.layer(chain)?;
        self.write_tar(&self.layer_dir(chain).join("fs"), layer.parent.as_ref(), out).map(|(digest, _)| digest)
    }

    /// The same for an active snapshot.
    pub fn write_diff_active(&self, key: &str, out: &mut dyn Write) -> Result<Digest> {
        let parent = self.active_parent(key)?;
        self.write_tar(&self.active_dir(key)?.join("fs"), parent.as_ref(), out).map(|(digest, _)| digest)
    }

    /// Makes `dir`, which has `fs` in it, the layer of `parent` and what the tar of `fs` hashes to.
    fn commit_dir(&self, dir: &Path, parent: Option<&Digest>) -> Result<Committed> {
        let fs = dir.join("fs");
        let (diff_id, tar_size) = self.write_tar(&fs, parent, &mut io::sink())?;
        let Usage { bytes: content_size, .. } = usage(&fs)?;
        let chain_id = chain_id(parent, &diff_id);
        let lease = Lease::new(&self.layout, "a layer being committed");
        lease.hold(&chain_id);
        parent.iter().for_each(|parent| lease.hold(parent));
        let layer = Layer { parent: parent.cloned(), diff_id: diff_id.clone(), tar_size, content_size };
        self.install(dir, &chain_id, &layer)?;
        Ok(Committed { chain_id, diff_id, size: tar_size, content_size })
    }

    fn write_tar(&self, fs: &Path, parent: Option<&Digest>, out: &mut dyn Write) -> Result<(Digest, u64)> {
        let root = Root::open(fs).map_err(|error| Error::io(fs, error))?;
        let with_root = self.root_differs(fs, parent)?;
        let mut out = Hashing { out: BufWriter::with_capacity(1 << 16, out), hasher: DigestHasher::new(), size: 0 };
        tar::write_layer(&root, &mut out, with_root)?;
        Ok((out.hasher.finish(), out.size))
    }

    /// Whether owner or mode of the tree's root are the snapshot's own.
    fn root_differs(&self, fs: &Path, parent: Option<&Digest>) -> Result<bool> {
        let of = |path: &Path| {
            let root = Root::open(path).and_then(Metadata::of).map_err(|error| Error::io(path, error))?;
            Ok::<_, Error>((root.mode, root.uid, root.gid))
        };
        let below = match parent {
            Some(parent) => of(&self.layer_dir(parent).join("fs"))?,
            None => (0o755, 0, 0),
        };
        Ok(of(fs)? != below)
    }

    /// Makes a directory the layer of that chain, whole and at once; drops it if there is one already.
    pub(super) fn install(&self, dir: &Path, chain: &Digest, layer: &Layer) -> Result<()> {
        if self.exists(chain) {
            return self.layout.trash.discard(dir).map(drop);
        }
        let record = dir.join("layer.json");
        let text = serde_json::to_vec(layer).map_err(|source| Error::Record { path: record.clone(), source })?;
        self.layout.replace(&record, &text, false)?;
        let target = self.layer_dir(chain);
        let mark = self.layout.unsynced.mark(Kind::Layer, chain)?;
        match fs::rename(dir, &target) {
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                return self.layout.trash.discard(dir).map(drop);
            }
            other => other.map_err(|error| Error::io(&target, error))?,
        }
        drop(mark);
        self.remember(chain, layer);
        // What an active snapshot has besides.
        for rest in ["work", "parent"] {
            self.layout.trash.discard(&target.join(rest))?;
        }
        Ok(())
    }

    /// A new directory in staging, with an empty `fs`.
    pub(super) fn stage(&self) -> Result<PathBuf> {
        let dir = self.layout.staging().join(self.layout.unique());
        layout::make_dir(&dir, 0o700)?;
        layout::make_dir(&dir.join("fs"), 0o755)?;
        Ok(dir)
    }
}

fn copy_upper(from: &Path, to: &Path) -> Result<()> {
    copy_directory(&open(from)?, &open(to)?, Marks::Kept)
}

fn open(path: &Path) -> Result<Dir> {
    Root::open(path).and_then(|root| root.dir(".")).map_err(|error| Error::io(path, error))
}

/// Copies an overlay's directory, its own metadata included.
fn copy_directory(source: &Dir, copy: &Dir, marks: Marks) -> Result<()> {
    Copier::new(CopyOptions { owner: None, marks }).copy_contents(source, copy)?;
    let here = ".".as_ref();
    source
        .metadata(here)
        .and_then(|metadata| copy_metadata((source, here), &metadata, (copy, here)))
        .map_err(|error| Error::io("/", error))
}

/// A stream that is hashed and counted.
struct Hashing<W> {
    out: W,
    hasher: DigestHasher,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
