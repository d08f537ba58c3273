//! Carrying out a plan: stages run at once as far as they do not need each other, each step is looked up in the cache
//! before it is done, and what is done leaves one layer.
//!
//! ```text
//! stage: base ─▶ step ─▶ step ─▶ …          key known? ─ yes ─▶ chain ID from the cache
//!                                                     └─ no ──▶ prepare ─ RUN | COPY ─ commit ─ remember
//! ```
//!
//! Everything runs inside the future that [`build`] returns: dropping it stops the build, and what it was working on is
//! removed. Nothing here waits for the disk; the engine does, once, when the image gets its name.

mod agents;
mod archive;
mod base;
pub mod cache;
mod cache_from;
mod context;
mod copy;
mod export;
mod layer;
pub mod mount;
mod owner;
mod remote;
mod repository;
mod requester;
mod run;
mod secrets;
mod source;
mod stage;
mod stubs;
mod trees;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use futures_util::future::try_join_all;
use teu_api::container::HostConfig;
use teu_api::system::AuthConfig;
use teu_engine::{Engine, Stream};
use teu_oci::{Digest, ImageConfig, Platform, Reference};
use teu_store::Lease;
use teu_sys::fs::Root;
use tokio::sync::OnceCell;

pub use cache::Cache;
pub use context::Context;
pub use requester::Requester;
pub use secrets::Secrets;

use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::parse;
use crate::plan::{Inputs, Plan, plan};
use crate::progress::Progress;
use crate::{Error, plan::Base};
use cache_from::Sources;
use export::Draft;

/// How to build.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The Dockerfile's path in the context; empty is `Dockerfile`.
    pub dockerfile: String,
    /// A Dockerfile and an ignore file that are not in the context, as text.
    pub definition: Option<(String, Option<String>)>,
    /// Names for the image.
    pub tags: Vec<Reference>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// The stage to stop at.
    pub target: Option<String>,
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    /// For which platform; this machine's when absent.
    pub platform: Option<Platform>,
    /// Whether to do every step again.
    pub no_cache: bool,
    /// Names or numbers of stages of which to do every step again.
    pub no_cache_stages: Vec<String>,
    /// Names of images; when there are any, only their steps count as results.
    pub cache_from: Vec<String>,
    /// Whether all layers that the build makes become one.
    pub squash: bool,
    /// Whether to look for newer base images.
    pub pull: bool,
    /// Credentials for pulling bases, under the names that clients' files use for registries.
    pub credentials: BTreeMap<String, AuthConfig>,
    /// What `RUN --mount=type=secret` shows.
    pub secrets: Secrets,
    /// What a RUN may ask for.
    pub allow: Entitlements,
    /// Who is asked for credentials and secrets that are not here, and for ssh agents.
    pub requester: Option<Arc<dyn Requester>>,
    /// Trees and images by the names that the Dockerfile may use for them.
    pub contexts: BTreeMap<String, Named>,
    /// How the containers of RUN run: network mode, limits, more hosts. Empty is the default of everything.
    pub host: HostConfig,
    /// Standard error is put between the terminal's codes for red and for plain, as the classic builder does it.
    pub mark_stderr: bool,
}

/// What a Dockerfile may ask for beyond what every step has: BuildKit's entitlements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: the host's network.
    pub host_network: bool,
    /// `security.insecure`: all privileges.
    pub insecure: bool,
}

/// What a name of `--build-context` stands for.
#[derive(Clone, Debug)]
pub enum Named {
    /// An image, by reference.
    Image(String),
    /// A tree.
    Tree(Arc<Context>),
    /// What another build came to.
    Result(Arc<Solved>),
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The image's ID.
    pub image: Digest,
}

/// Builds an image. Dropping the future stops the build.
///
/// # Errors
/// The first thing that goes wrong; nothing of the image is left then, but finished steps stay in the cache.
pub async fn build(engine: &Engine, context: Context, options: Options, progress: Progress) -> Result<Built, Error> {
    let names = options.tags.clone();
    let solved = solve(engine, context, options, progress.clone()).await?;
    let tags: Vec<_> = names.iter().map(Reference::familiar).collect();
    let image = solved.image(names).await?;
    progress.built(&image, &tags).await?;
    Ok(Built { image })
}

/// The last stage of a build, done, before it is an image or anything else.
pub struct Solved {
    engine: Engine,
    draft: Draft,
    /// Keeps its layers.
    lease: Arc<Lease>,
}

impl std::fmt::Debug for Solved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solved").field("chain", &self.draft.chain).finish_non_exhaustive()
    }
}

impl Solved {
    /// Makes it an image with these names.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn image(&self, names: Vec<Reference>) -> Result<Digest, Error> {
        base::name(&self.engine, self.draft.clone(), names).await
    }

    /// The result as a tar stream; what goes wrong on the way ends it with an error.
    ///
    /// # Errors
    /// When it cannot begin.
    pub async fn stream(&self, output: Output, names: Vec<Reference>) -> Result<Stream, Error> {
        let (images, draft) = (self.engine.images.clone(), self.draft.clone());
        blocking(move || {
            Ok(match output {
                Output::Tree => images.tree(draft.chain.as_ref())?,
                Output::Archive => images.archive(draft.into_image(names))?,
            })
        })
        .await
    }

    /// As far as its last stage has come.
    fn draft(&self) -> &Draft {
        &self.draft
    }

    /// The config that the image has or would have.
    #[must_use]
    pub fn config(&self) -> &ImageConfig {
        &self.draft.config
    }

    /// The tree, read-only, mounted for this process alone.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn tree(&self) -> Result<Root, Error> {
        let _held = &self.lease;
        layer::view(self.engine.store(), self.draft.chain.as_ref())
    }
}

/// Does all steps. Dropping the future stops the build.
///
/// # Errors
/// The first thing that goes wrong; finished steps stay in the cache.
pub async fn solve(
    engine: &Engine,
    context: impl Into<Arc<Context>>,
    options: Options,
    progress: Progress,
) -> Result<Solved, Error> {
    let context = context.into();
    let work = async {
        let solver = Solver::new(engine, context, options, progress.clone())?;
        let draft = solver.draft().await?;
        Ok(Solved { engine: engine.clone(), draft, lease: solver.lease })
    };
    tokio::select! {
        result = work => result,
        () = progress.abandoned() => Err(Error::Cancelled),
    }
}

/// What is made of the last stage in the place of an image of the engine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Its files.
    Tree,
    /// An archive of an image.
    Archive,
}

/// Builds, and gives the result as a tar stream; the engine has no image of it. Dropping the future stops the build.
///
/// # Errors
/// As [`build`]; what goes wrong later ends the stream with an error.
pub async fn export(
    engine: &Engine,
    context: Context,
    options: Options,
    output: Output,
    progress: Progress,
) -> Result<Stream, Error> {
    let names = options.tags.clone();
    solve(engine, context, options, progress).await?.stream(output, names).await
}

impl Named {
    fn base(&self, name: &str) -> Base {
        match self {
            Self::Image(reference) => Base::Image(reference.clone()),
            Self::Tree(_) | Self::Result(_) => Base::Tree(name.to_owned()),
        }
    }
}

/// One build.
struct Solver<'b> {
    engine: &'b Engine,
    context: Arc<Context>,
    ignore: Arc<Ignore>,
    options: Options,
    plan: Plan,
    progress: Progress,
    cache: Cache,
    /// Whose steps count, when not everybody's do.
    sources: Option<Sources>,
    lease: Arc<Lease>,
    /// When the build began: without cache nothing older counts.
    began: String,
    /// The stages, by their places, as they come out.
    outcomes: Vec<OnceCell<Draft>>,
    /// Which stage needs which by a trigger.
    needs: Mutex<Vec<(usize, usize)>>,
}

impl<'b> Solver<'b> {
    fn new(engine: &'b Engine, context: Arc<Context>, mut options: Options, progress: Progress) -> Result<Self, Error> {
        if options.dockerfile.is_empty() {
            options.dockerfile = "Dockerfile".into();
        }
        let (text, ignore) = match &options.definition {
            Some((text, ignore)) => (text.clone(), Context::rules(ignore.as_deref().unwrap_or_default())?),
            None => (context.dockerfile(&options.dockerfile)?, context.ignore(&options.dockerfile)?),
        };
        let inputs = Inputs {
            target: options.target.clone(),
            build_args: options.build_args.clone(),
            platform: options.platform.clone(),
            contexts: options.contexts.iter().map(|(name, context)| (name.clone(), context.base(name))).collect(),
        };
        let plan = plan(&parse(&text)?, &inputs)?;
        let named = options.cache_from.iter().filter_map(|name| engine.images.resolve(name).ok());
        let sources = (!options.cache_from.is_empty()).then(|| Sources::new(named));
        let cache = Cache::open(engine.store())?.ignoring_earlier(options.no_cache);
        let cache = cache.only(sources.as_ref().map(Sources::chains));
        Ok(Self {
            ignore: Arc::new(ignore),
            context,
            outcomes: (0..plan.stages.len() + plan.spare.len()).map(|_| OnceCell::new()).collect(),
            needs: Mutex::default(),
            lease: Arc::new(engine.store().lease("build")),
            began: export::now(),
            engine,
            options,
            plan,
            progress,
            cache,
            sources,
        })
    }

    /// Every stage; what the last one comes to.
    async fn draft(&self) -> Result<Draft, Error> {
        for (index, arg) in self.plan.args.iter().enumerate() {
            let default = arg.default.as_ref().map(|value| format!("={value}")).unwrap_or_default();
            let text = format!("ARG {}{default}", arg.name);
            self.progress.step(index + 1, self.plan.steps(), &text, None).await?;
        }
        try_join_all((0..self.plan.stages.len()).map(|stage| self.outcome(stage))).await?;
        let mut draft = self.outcome(self.plan.target).await?.clone();
        draft.label(&self.options.labels);
        if !self.plan.unused_args.is_empty() {
            let names = self.plan.unused_args.join(" ");
            self.progress.text(format!("[Warning] One or more build-args [{names}] were not consumed\n")).await?;
        }
        if self.options.squash {
            self.squash(&mut draft).await?;
        }
        if let Some(seconds) = self.options.build_args.get("SOURCE_DATE_EPOCH").filter(|seconds| !seconds.is_empty()) {
            draft.date(seconds)?;
        }
        Ok(draft)
    }

    /// What a stage comes to; whoever asks first has it built.
    async fn outcome(&self, stage: usize) -> Result<&Draft, Error> {
        self.outcomes[stage].get_or_try_init(|| Box::pin(self.stage(stage))).await
    }

    /// The tree of a base: its chain ID.
    async fn chain(&self, base: &Base) -> Result<Option<Digest>, Error> {
        Ok(match base {
            Base::Scratch => None,
            Base::Stage(index) => self.outcome(*index).await?.chain.clone(),
            Base::Image(name) => self.pulled(name, None, None).await?.chain,
            Base::Tree(name) => match self.options.contexts.get(name) {
                Some(Named::Result(solved)) => solved.draft.chain.clone(),
                _ => self.tree(name).await?.record.layer.map(|layer| layer.chain),
            },
        })
    }
}

/// Runs what blocks. Its panic is a bug, and becomes an error of this build alone.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Io { what: "run a build step".into(), source: std::io::Error::other(error) })?
}

/// A name that nothing else has: `build-<what>-<twelve hexadecimal digits>`.
fn name(what: &str) -> Result<String, Error> {
    Ok(format!("{LEFTOVER}{what}-{}", random()?))
}

/// What the names of active snapshots of builds begin with.
const LEFTOVER: &str = "build-";

/// Twelve hexadecimal digits.
fn random() -> Result<String, Error> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).map_err(|error| Error::io("get random bytes")(std::io::Error::other(error)))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Removes the trees of builds that a killed daemon left. To be called while no build runs.
///
/// # Errors
/// When the active snapshots cannot be listed or removed.
pub fn clear_leftovers(store: &teu_store::Store) -> Result<(), Error> {
    let snapshots = store.snapshots();
    for key in snapshots.active()?.iter().filter(|key| key.starts_with(LEFTOVER)) {
        snapshots.remove(key)?;
    }
    Ok(())
}
