//! The build context: the tree that COPY and ADD without `--from` copy from.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use teu_engine::Engine;
use teu_store::Store;
use teu_store::tar::ExtractOptions;
use teu_sys::fs::Root;

use super::layer::Work;
use super::source::Known;
use super::{archive, blocking, name};
use crate::Error;
use crate::dockerfile::ignore::Ignore;

/// No Dockerfile or ignore file is larger.
const LARGEST: u64 = 8 << 20;

/// A tree of files. One that was received lives as an active snapshot and goes when the context is dropped.
pub struct Context {
    root: Root,
    held: Option<(Store, String)>,
    known: Known,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Context {
    /// A directory of the host, used where it is.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn directory(path: &Path) -> Result<Self, Error> {
        let root = Root::open(path).map_err(Error::io(format!("open the context {}", path.display())))?;
        Ok(Self { root, held: None, known: Known::default() })
    }

    /// An empty tree, to be filled.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn empty(store: &Store) -> Result<Self, Error> {
        Self::make(store.clone()).map(|(context, _)| context)
    }

    /// Takes over what is known of files that are the same in a tree that was looked at before.
    pub fn inherit(&self, earlier: &Self, paths: impl Iterator<Item = PathBuf>) {
        self.known.inherit(&earlier.known, paths);
    }

    /// What is known of the contents of its files.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// Unpacks a tar, plain or compressed by gzip or zstd. Blocks while it reads.
    ///
    /// # Errors
    /// When it is no such archive, or the disk is full.
    pub fn receive(store: &Store, tar: impl Read) -> Result<Self, Error> {
        let (context, _) = Self::make(store.clone())?;
        let tar = archive::decompress(tar).map_err(Error::io("read the context"))?;
        match teu_store::tar::extract(&context.root, Path::new("/"), tar, &ExtractOptions::default()) {
            Err(teu_store::Error::Tar { entry, fault }) => {
                Err(Error::Context(format!("the context is no tar archive that can be used: {entry}: {fault}")))
            }
            other => Ok(other.map(|()| context)?),
        }
    }

    /// Fetches what is at a URL of HTTP or HTTPS: an archive is the context, anything else its Dockerfile.
    ///
    /// # Errors
    /// When it is not there, or the disk is full.
    pub async fn fetch(engine: &Engine, url: &str) -> Result<Self, Error> {
        let store = engine.store().clone();
        let (work, path) = blocking(move || {
            let work = Work::begin(&store, None)?;
            let path = work.overlay().upper.clone().unwrap_or_default().join("Dockerfile");
            Ok((work, path))
        })
        .await?;
        let open = || File::options().read(true).write(true).create_new(true).open(&path);
        let file = Arc::new(open().map_err(Error::io("make a file to fetch into"))?);
        engine.images.fetch(url, &file).await?;
        let store = engine.store().clone();
        blocking(move || {
            let archive = || archive::is_archive(File::open(&path)?, "");
            if archive().map_err(Error::io("read the context"))? {
                let file = File::open(&path).map_err(Error::io("read the context"))?;
                return Self::receive(&store, file);
            }
            let (context, upper) = Self::make(store)?;
            std::fs::rename(&path, upper.join("Dockerfile")).map_err(Error::io("keep the Dockerfile"))?;
            drop(work);
            Ok(context)
        })
        .await
    }

    /// An empty tree of its own, and where it is.
    pub(super) fn make(store: Store) -> Result<(Self, PathBuf), Error> {
        let key = name("context")?;
        let overlay = store.snapshots().prepare_large(&key, None)?;
        let upper = overlay.upper.ok_or_else(|| Error::Context("the context has no place".into()))?;
        let root = Root::open(&upper).map_err(Error::io("open the context"))?;
        Ok((Self { root, held: Some((store, key)), known: Known::default() }, upper))
    }

    /// The same files, of which only those below a folder are seen.
    pub(super) fn below(mut self, folder: &Path) -> Result<Self, Error> {
        self.root = Root::open(folder).map_err(Error::io("open the context"))?;
        Ok(self)
    }

    /// The tree.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The text of the Dockerfile at `path`.
    pub(crate) fn dockerfile(&self, path: &str) -> Result<String, Error> {
        match self.text(path) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(Error::Context(format!("Cannot locate specified Dockerfile: {path}"))),
            Err(error) => Err(Error::Context(format!("cannot read the Dockerfile {path}: {error}"))),
        }
    }

    /// The patterns of `<dockerfile>.dockerignore`, else of `.dockerignore`.
    pub(crate) fn ignore(&self, dockerfile: &str) -> Result<Ignore, Error> {
        for path in [format!("{dockerfile}.dockerignore"), ".dockerignore".into()] {
            let text = self.text(&path).map_err(Error::io(format!("read {path}")))?;
            if let Some(text) = text {
                return Ignore::parse(&text).map_err(|error| Error::Context(format!("error reading {path}: {error}")));
            }
        }
        Ok(Ignore::default())
    }

    /// The rules of an ignore file's text.
    pub(crate) fn rules(text: &str) -> Result<Ignore, Error> {
        Ignore::parse(text).map_err(|error| Error::Context(format!("error reading .dockerignore: {error}")))
    }

    fn text(&self, path: &str) -> io::Result<Option<String>> {
        let file = match self.root.open_file(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            other => other?,
        };
        let mut text = String::new();
        let length = file.take(LARGEST + 1).read_to_string(&mut text)?;
        match length as u64 > LARGEST {
            true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {LARGEST} bytes"))),
            false => Ok(Some(text)),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some((store, key)) = self.held.take()
            && let Err(error) = store.snapshots().remove(&key)
        {
            tracing::warn!(%error, "cannot remove a build context");
        }
    }
}
