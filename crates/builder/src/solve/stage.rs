//! One stage, from its base to its last step.

use std::sync::{Arc, PoisonError};

use teu_git::Resolved;
use teu_oci::Digest;
use teu_sys::fs::Root;

use super::cache::Record;
use super::copy;
use super::export::{self, Draft};
use super::layer::{Work, view};
use super::remote::Downloads;
use super::source::Tree;
use super::{Named, Solver, blocking};
use crate::Error;
use crate::dockerfile::{Step, trigger};
use crate::plan::{Action, Base, CopyStep, PlanError, PlannedStage, PlannedStep, State, key, sources};
use crate::progress::Told;

/// A result, and whether it was there already.
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) cached: bool,
}

impl Solver<'_> {
    /// Builds a stage.
    pub(super) async fn stage(&self, index: usize) -> Result<Draft, Error> {
        let stage = self.plan.stage(index)?;
        let (mut number, total) = self.numbers(index, stage);
        // What a pull says belongs below its FROM; a stage that is waited for has said its own before.
        if let Base::Stage(earlier) = &stage.base {
            self.outcome(*earlier).await?;
        }
        let named = |text: &str, at| Some(self.step_name(stage, at, text));
        let told = self.progress.step(number, total, &stage.text, named(&stage.text, 1)).await?;
        let desk = self.desk_of(stage);
        let (mut state, mut draft) = told.end(self.begin(index, stage, &told, &desk).await).await?;
        let mut shown = 1;
        for planned in &stage.steps {
            number += 1;
            let text = &planned.step.text;
            let name = if planned.step.instruction.may_make_a_layer() {
                shown += 1;
                named(text, shown)
            } else {
                None
            };
            let told = self.progress.step(number, total, text, name).await?;
            told.end(self.step(planned, &mut state, &mut draft, &told, &desk).await).await?;
        }
        Ok(draft)
    }

    /// The number of a stage's first step, and of how many; one that only a trigger wants is counted by itself.
    fn numbers(&self, index: usize, stage: &PlannedStage) -> (usize, usize) {
        let lines = |stage: &PlannedStage| 1 + stage.steps.len();
        match self.plan.stages.get(..index) {
            Some(before) if index < self.plan.stages.len() => {
                (self.plan.args.len() + before.iter().map(lines).sum::<usize>() + 1, self.plan.steps())
            }
            _ => (1, lines(stage)),
        }
    }

    /// Whether every step of a stage is done again.
    fn is_fresh(&self, stage: &PlannedStage) -> bool {
        let is_it = |wanted: &String| {
            stage.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(wanted))
                || *wanted == stage.number.to_string()
        };
        self.options.no_cache_stages.iter().any(is_it)
    }

    /// The name of a step among those of its stage that may make a layer: `[stage 2/5] RUN make`.
    fn step_name(&self, stage: &PlannedStage, at: usize, text: &str) -> String {
        let of = 1 + stage.steps.iter().filter(|planned| planned.step.instruction.may_make_a_layer()).count();
        let is_alone = self.plan.stages.len() == 1;
        let name = match &stage.name {
            Some(name) => format!("{name} "),
            None if is_alone => String::new(),
            None => format!("stage-{} ", stage.number),
        };
        format!("[{name}{at}/{of}] {text}")
    }

    /// FROM: the base, and what it wants done first.
    async fn begin(
        &self,
        index: usize,
        stage: &PlannedStage,
        told: &Told,
        desk: &Desk,
    ) -> Result<(State, Draft), Error> {
        let mut draft = self.start(stage, told).await?;
        let arrow = if stage.base == Base::Scratch { String::new() } else { draft.id().short().to_string() };
        told.arrow(&arrow).await?;
        draft.ensure_path();
        let triggers = std::mem::take(&mut draft.config.config.on_build);
        let mut state = State::new(draft.config.config.clone(), self.plan.scope.clone());
        self.triggers(index, &triggers, &mut state, &mut draft, (told, desk)).await?;
        Ok((state, draft))
    }

    /// The image that a stage begins as.
    async fn start(&self, stage: &PlannedStage, told: &Told) -> Result<Draft, Error> {
        let scratch = || {
            let platform = stage.platform.clone().or_else(|| self.options.platform.clone());
            Draft::scratch(&platform.unwrap_or_else(teu_oci::Platform::host))
        };
        match &stage.base {
            Base::Stage(earlier) => self.outcome(*earlier).await.cloned(),
            Base::Image(name) => self.pulled(name, stage.platform.as_ref(), told.sink()).await,
            Base::Scratch => Ok(scratch()),
            Base::Tree(name) => {
                if let Some(Named::Result(solved)) = self.options.contexts.get(name) {
                    return Ok(solved.draft().clone());
                }
                let mut draft = scratch();
                draft.add(&self.tree(name).await?.record, format!("COPY . / # {name}"));
                Ok(draft)
            }
        }
    }

    /// What the base wants done first.
    async fn triggers(
        &self,
        index: usize,
        texts: &[String],
        state: &mut State,
        draft: &mut Draft,
        (told, desk): (&Told, &Desk),
    ) -> Result<(), Error> {
        if texts.is_empty() {
            return Ok(());
        }
        let plural = if texts.len() == 1 { "" } else { "s" };
        told.text(format!("# Executing {} build trigger{plural}\n", texts.len())).await?;
        for text in texts {
            let step: Step =
                trigger(text).map_err(|error| Error::Plan(PlanError::new(format!("ONBUILD {text}: {error}"))))?;
            let from = sources(&step.instruction).into_iter();
            let from = from.map(|from| Ok((from.to_owned(), self.trigger_source(index, from)?)));
            let from = from.collect::<Result<_, PlanError>>()?;
            self.step(&PlannedStep { step, from }, state, draft, told, desk).await?;
        }
        Ok(())
    }

    /// `from` of a trigger. The file was planned without it: a stage that needs this one must not be waited for.
    fn trigger_source(&self, index: usize, from: &str) -> Result<Base, PlanError> {
        let stage = self.plan.stage(index)?;
        let base = self.plan.source(stage, from)?;
        if let Base::Stage(needed) = base {
            let mut more = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
            more.push((index, needed));
            if self.plan.reaches(needed, index, &more)? {
                let name = stage.name.clone().unwrap_or_else(|| stage.number.to_string());
                return Err(PlanError::new(format!("circular dependency detected on stage: {name}")));
            }
        }
        Ok(base)
    }

    /// One step: the state and the draft have it behind them afterwards.
    async fn step(
        &self,
        planned: &PlannedStep,
        state: &mut State,
        draft: &mut Draft,
        told: &Told,
        desk: &Desk,
    ) -> Result<(), Error> {
        let line = planned.step.span.first;
        let action = state.evaluate(&planned.step.instruction).map_err(|error| error.at(line))?;
        draft.config.config = state.config.clone();
        if let Some(author) = &state.author {
            draft.config.author.clone_from(author);
        }
        let parent = draft.chain.clone();
        let (found, created_by) = match action {
            Action::Describe { created_by, .. } => {
                draft.describe(created_by);
                if self.sources.as_ref().is_some_and(|sources| sources.begin_as(draft)) && !self.options.no_cache {
                    told.cached().await?;
                }
                return told.arrow(draft.id().short()).await;
            }
            Action::Run(run) => (self.run(parent, &run, planned, told, desk.clone()).await?, run.created_by),
            Action::Workdir { path, user, created_by } => {
                (workdir(desk.clone(), parent, path, user, created_by.clone()).await?, created_by)
            }
            Action::Copy(copy) => {
                let created_by = copy.created_by.clone();
                let from = sources(&planned.step.instruction).first().and_then(|from| planned.base(from));
                (self.copy(parent, *copy, from, desk.clone()).await?, created_by)
            }
        };
        draft.add(&found.record, created_by);
        if found.cached {
            told.cached().await?;
        }
        told.arrow(draft.id().short()).await
    }

    /// A tree that the request named, as a layer of its own.
    pub(super) async fn tree(&self, name: &str) -> Result<Found, Error> {
        let unknown = || PlanError::new(format!("no context is named {name}"));
        let Some(Named::Tree(context)) = self.options.contexts.get(name) else { return Err(unknown().into()) };
        let (mut work, name) = (self.desk(), name.to_owned());
        work.context = context.clone();
        blocking(move || {
            let ignore = work.context.ignore("")?;
            let tree = Tree {
                root: work.context.root(),
                ignore: &ignore,
                keep_owner: false,
                known: Some(work.context.known()),
            };
            let created_by = format!("COPY . / # {name}");
            let step =
                CopyStep { sources: vec![".".into()], destination: "/".into(), created_by, ..CopyStep::default() };
            work.copy(None, &tree, None, &step)
        })
        .await
    }

    /// Brings files in.
    async fn copy(
        &self,
        parent: Option<Digest>,
        step: CopyStep,
        from: Option<&Base>,
        work: Desk,
    ) -> Result<Found, Error> {
        let Some(from) = from else {
            let found = self.find_repository(&step).await?;
            let quick = checked(parent.as_ref(), &step, found.as_ref());
            if let Some(record) = quick.as_ref().and_then(|key| work.find(key)) {
                return Ok(Found { record, cached: true });
            }
            let downloads = self.fetch(&step, found.as_ref()).await?;
            let quick = quick.filter(|_| !downloads.as_ref().is_some_and(|downloads| downloads.moved));
            return blocking(move || {
                let tree = Tree {
                    root: work.context.root(),
                    ignore: &work.ignore,
                    keep_owner: false,
                    known: Some(work.context.known()),
                };
                let found = work.copy(parent.as_ref(), &tree, downloads.as_ref(), &step)?;
                quick.iter().for_each(|key| work.cache.remember(key, &found.record));
                Ok(found)
            })
            .await;
        };
        let source = self.chain(from).await?;
        blocking(move || {
            let quick = key::copy_from(parent.as_ref(), &step, source.as_ref());
            if let Some(record) = work.find(&quick) {
                return Ok(Found { record, cached: true });
            }
            let root = view(&work.store, source.as_ref())?;
            let tree = Tree {
                root: &root,
                ignore: &crate::dockerfile::ignore::Ignore::default(),
                keep_owner: true,
                known: None,
            };
            let found = work.copy(parent.as_ref(), &tree, None, &step)?;
            work.cache.remember(&quick, &found.record);
            Ok(found)
        })
        .await
    }

    /// Makes one layer of all that the build made.
    pub(super) async fn squash(&self, draft: &mut Draft) -> Result<(), Error> {
        let (base, Some(chain)) = (draft.base.chain.clone(), draft.chain.clone().filter(|_| draft.has_layers())) else {
            return Ok(());
        };
        let work = self.desk();
        let found = blocking(move || {
            let key = key::squash(base.as_ref(), &chain);
            let turn = work.cache.turn(&key);
            let _turn = turn.blocking_lock();
            if let Some(record) = work.find(&key) {
                return Ok(Found { record, cached: true });
            }
            let replay = |target: &Root| Ok(work.store.snapshots().replay(base.as_ref(), &chain, target)?);
            let layer = work.layer(base.as_ref(), replay)?;
            Ok(work.made(&key, Some(layer), "squash".into()))
        })
        .await?;
        draft.squash(&found.record);
        Ok(())
    }

    /// What blocking work needs of a stage; nothing that was done before counts in one that is to use no cache.
    fn desk_of(&self, stage: &PlannedStage) -> Desk {
        let mut desk = self.desk();
        if self.is_fresh(stage) {
            desk.cache = desk.cache.ignoring_earlier(true);
        }
        desk
    }

    /// What blocking work needs of this build.
    pub(super) fn desk(&self) -> Desk {
        Desk {
            store: self.engine.store().clone(),
            context: self.context.clone(),
            ignore: self.ignore.clone(),
            cache: self.cache.clone(),
            lease: self.lease.clone(),
            began: self.began.clone(),
        }
    }
}

/// The directory exists afterwards; a layer is made only if it did not before.
async fn workdir(
    work: Desk,
    parent: Option<Digest>,
    path: String,
    user: String,
    created_by: String,
) -> Result<Found, Error> {
    let key = key::workdir(parent.as_ref(), &path, &user);
    blocking(move || {
        let turn = work.cache.turn(&key);
        let _turn = turn.blocking_lock();
        if let Some(record) = work.find(&key) {
            return Ok(Found { record, cached: true });
        }
        let there = view(&work.store, parent.as_ref())?.metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        let layer = match there {
            true => None,
            false => Some(work.layer(parent.as_ref(), |target| copy::make_directory(target, &path, &user))?),
        };
        Ok(work.made(&key, layer, created_by))
    })
    .await
}

/// The key of a step that brings one file which is known by its checksum, or one repository at a commit.
fn checked(parent: Option<&Digest>, step: &CopyStep, found: Option<&Resolved>) -> Option<Digest> {
    if let (Some(found), [repository]) = (found, step.repositories.as_slice()) {
        return Some(key::add_repository(parent, step, repository, &found.commit));
    }
    let ([remote], []) = (step.remotes.as_slice(), step.repositories.as_slice()) else { return None };
    let checksum = remote.checksum.as_ref()?;
    Some(key::add_checked(parent, step, remote.name()?, checksum))
}

/// What work on a thread of its own needs of a build.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) store: teu_store::Store,
    pub(super) context: Arc<super::Context>,
    pub(super) ignore: Arc<crate::dockerfile::ignore::Ignore>,
    pub(super) cache: super::Cache,
    pub(super) lease: Arc<teu_store::Lease>,
    began: String,
}

impl Desk {
    /// Looks a key up.
    pub(super) fn find(&self, key: &Digest) -> Option<Record> {
        self.cache.find(key, &self.lease, &self.began)
    }

    /// Remembers what was made.
    pub(super) fn made(&self, key: &Digest, layer: Option<super::cache::Layer>, created_by: String) -> Found {
        let record = Record { layer, created: export::now(), created_by };
        self.cache.remember(key, &record);
        Found { record, cached: false }
    }

    /// A layer made by changing a mounted tree.
    fn layer(
        &self,
        parent: Option<&Digest>,
        change: impl FnOnce(&Root) -> Result<(), Error>,
    ) -> Result<super::cache::Layer, Error> {
        let work = Work::begin(&self.store, parent)?;
        let target = work.mount()?;
        change(&target)?;
        drop(target);
        work.commit(&self.lease)
    }

    fn copy(
        &self,
        parent: Option<&Digest>,
        tree: &Tree<'_>,
        downloads: Option<&Downloads>,
        step: &CopyStep,
    ) -> Result<Found, Error> {
        let entries = tree.gather(step)?;
        let mut content = tree.digest(&entries)?;
        if let Some(downloads) = downloads {
            content = Digest::sha256(format!("{content} {}", downloads.digest()?).as_bytes());
        }
        let key = key::copy(parent, step, &content);
        let turn = self.cache.turn(&key);
        let _turn = turn.blocking_lock();
        if let Some(record) = self.find(&key) {
            return Ok(Found { record, cached: true });
        }
        let layer = self.layer(parent, |target| {
            copy::place(tree, &entries, target, step)?;
            downloads.map_or(Ok(()), |downloads| downloads.place(target, step))
        })?;
        Ok(self.made(&key, Some(layer), step.created_by.clone()))
    }
}
