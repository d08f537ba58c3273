//! What the mounts of a RUN show of other trees: a part of the context, of a stage or of an image.
//!
//! What is in that part decides the step's result, so it is named first, and is got ready only when the step has to be done.
//! Nothing that a process writes there lasts: a writable mount is an overlay, or a copy, that goes with the step.

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use teu_api::container::MountPoint;
use teu_engine::StepTree;
use teu_oci::Digest;
use teu_store::Store;
use teu_sys::fs::Root;
use teu_sys::mount::Overlay;

use super::layer::{Work, view};
use super::source::{Entry, Tree};
use super::stage::Desk;
use super::{Solver, blocking, copy};
use crate::Error;
use crate::dockerfile::ignore::Ignore;
use crate::plan::{CopyStep, PlanError, PlannedStep, RunStep, StepMount};

/// What one mount shows.
pub(super) enum Shown {
    /// A tree by its chain ID.
    Chain(Option<Digest>),
    /// A part of the context.
    Context {
        /// The name of its content.
        content: Digest,
        /// What is in it.
        entries: Vec<Entry>,
        /// Nothing was left out of it by .dockerignore.
        whole: bool,
    },
}

impl Shown {
    /// What decides a step's result.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Chain(chain) => chain.as_ref().map(ToString::to_string).unwrap_or_default(),
            Self::Context { content, .. } => content.to_string(),
        }
    }
}

/// What has been got ready for a step, and what holds it.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) binds: Vec<MountPoint>,
    pub(super) trees: Vec<StepTree>,
    /// Trees that go when this does.
    pub(super) held: Vec<Work>,
}

impl Solver<'_> {
    /// What each mount of a step shows; nothing for one that shows no other tree.
    pub(super) async fn shown(&self, step: &RunStep, planned: &PlannedStep) -> Result<Vec<Option<Shown>>, Error> {
        let mut all = Vec::new();
        for mount in &step.mounts {
            all.push(match mount {
                StepMount::Bind { from: None, source, .. } => {
                    let (desk, source) = (self.desk(), source.clone());
                    Some(blocking(move || desk.part_of_context(&source)).await?)
                }
                StepMount::Bind { from: Some(from), source, .. }
                | StepMount::Cache { from: Some((from, source)), .. } => {
                    Some(self.part_of(from, source, planned).await?)
                }
                StepMount::Cache { .. }
                | StepMount::Secret { .. }
                | StepMount::Ssh { .. }
                | StepMount::Tmpfs { .. } => None,
            });
        }
        Ok(all)
    }

    /// The tree of a stage or image that has such a part.
    async fn part_of(&self, from: &str, source: &str, planned: &PlannedStep) -> Result<Shown, Error> {
        let unknown = || PlanError::new(format!("RUN --mount: {from:?} is neither a stage nor an image"));
        let chain = self.chain(planned.base(from).ok_or_else(unknown)?).await?;
        let (store, tree) = (self.engine.store().clone(), chain.clone());
        let (from, source) = (from.to_owned(), source.to_owned());
        blocking(move || {
            let found = source.is_empty() || view(&store, tree.as_ref())?.metadata(&source).is_ok();
            match found {
                true => Ok(()),
                false => Err(PlanError::new(format!("RUN --mount: {source}: not found in {from}")).into()),
            }
        })
        .await?;
        Ok(Shown::Chain(chain))
    }
}

/// What copies a part of a tree, the name of which means itself.
pub(super) fn copying(source: &str, destination: &str) -> CopyStep {
    let literal = source.chars().flat_map(|char| match char {
        '*' | '?' | '[' | ']' | '\\' => vec!['\\', char],
        _ => vec![char],
    });
    CopyStep { sources: vec![literal.collect()], destination: destination.into(), ..CopyStep::default() }
}

impl Desk {
    /// Looks at a part of the context.
    fn part_of_context(&self, source: &str) -> Result<Shown, Error> {
        let tree = Tree {
            root: self.context.root(),
            ignore: &self.ignore,
            keep_owner: false,
            known: Some(self.context.known()),
        };
        let step = copying(source, "/");
        let wrong = |error| match error {
            Error::Copy { reason, .. } => PlanError::new(format!("RUN --mount: {reason}")).into(),
            other => other,
        };
        let entries = tree.gather(&step).map_err(wrong)?;
        let content = tree.digest(&entries)?;
        let all = Tree { ignore: &Ignore::default(), ..tree };
        let whole = self.ignore.is_empty() || all.gather(&step).map_err(wrong)?.len() == entries.len();
        Ok(Shown::Context { content, entries, whole })
    }

    /// Gets a mount's tree ready.
    pub(super) fn show(&self, shown: Shown, mount: &StepMount, ready: &mut Ready) -> Result<(), Error> {
        let StepMount::Bind { source, target, writable, .. } = mount else { return Ok(()) };
        let bind = |path: PathBuf, rw| MountPoint {
            kind: "bind".into(),
            source: path.to_string_lossy().into_owned(),
            destination: target.clone(),
            rw,
            ..MountPoint::default()
        };
        let tree = |overlay, subpath: &str| StepTree { destination: target.clone(), overlay, subpath: subpath.into() };
        match shown {
            Shown::Chain(chain) if *writable => {
                let work = Work::begin(&self.store, chain.as_ref())?;
                ready.trees.push(tree(work.overlay().clone(), source));
                ready.held.push(work);
            }
            Shown::Chain(chain) => ready.trees.push(tree(self.store.snapshots().view(chain.as_ref())?, source)),
            Shown::Context { entries, whole, .. } => {
                let root = self.context.root();
                let is_dir = entries.first().is_some_and(|entry| entry.metadata.is_dir());
                if whole && is_dir && *writable {
                    let work = Work::begin(&self.store, None)?;
                    let lowers = vec![place(root, source)?];
                    ready.trees.push(tree(Overlay { lowers, ..work.overlay().clone() }, ""));
                    ready.held.push(work);
                } else if whole && !*writable {
                    ready.binds.push(bind(place(root, source)?, false));
                } else {
                    let (work, path) = self.copied(source, &entries)?;
                    ready.binds.push(bind(path, *writable));
                    ready.held.push(work);
                }
            }
        }
        Ok(())
    }

    /// A copy of a part of the context without what is left out, and where it is.
    fn copied(&self, source: &str, entries: &[Entry]) -> Result<(Work, PathBuf), Error> {
        let work = Work::begin(&self.store, None)?;
        let upper = work.overlay().upper.clone().unwrap_or_default();
        let target = Root::open(&upper).map_err(Error::io("open a copy of the context"))?;
        let tree = Tree {
            root: self.context.root(),
            ignore: &self.ignore,
            keep_owner: false,
            known: Some(self.context.known()),
        };
        copy::place(&tree, entries, &target, &copying(source, "/part"))?;
        Ok((work, upper.join("part")))
    }
}

/// Fills a new cache with a part of a tree.
pub(super) fn fill(store: &Store, chain: Option<&Digest>, source: &str, folder: &Path) -> Result<(), Error> {
    let root = view(store, chain)?;
    let tree = Tree { root: &root, ignore: &Ignore::default(), keep_owner: true, known: None };
    let step = copying(source, "/");
    let target = Root::open(folder).map_err(Error::io("open a cache of the build"))?;
    copy::place(&tree, &tree.gather(&step)?, &target, &step)
}

/// Where a part of the context is on the host, links followed within the context.
fn place(root: &Root, path: &str) -> Result<PathBuf, Error> {
    let look = || {
        let path = if path.is_empty() { "." } else { path };
        match root.metadata(path)?.is_dir() {
            true => name_of(&root.dir(path)?),
            false => name_of(&root.open_file(path)?),
        }
    };
    look().map_err(Error::io(format!("look at {path} in the context")))
}

/// The name by which the kernel knows an open file, proc(5).
fn name_of(open: &impl AsFd) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", open.as_fd().as_raw_fd()))
}
