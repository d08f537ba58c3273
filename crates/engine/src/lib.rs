//! The engine: containers, images, volumes and networks, as users know them.
//!
//! ```text
//!  Containers ── driver (one task each) ── lifecycle::next (pure)
//!      │              └─ Task ── supervisor process ── container
//!      ├─ Images ── Store (blobs, snapshots, tables)
//!      ├─ Volumes, Networks
//!      └─ Events
//! ```
//!
//! Every file has one writer; a restart is: read the records, reconnect the sockets (`restore`). What the API shows is
//! published by each container's driver and read without asking it. Deliberately absent: HTTP, Dockerfiles, and any
//! program of another kind than our own supervisor.

mod ahead;
mod cdi;
mod container;
mod defaults;
mod error;
mod events;
mod host;
mod image;
mod info;
mod network;
mod pattern;
mod pipe;
mod plain;
mod pool;
mod prune;
mod rescue;
mod restore;
mod signals;
mod size;
mod sized;
mod task;
mod usage;
mod volume;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use teu_store::{Store, Table};

pub use container::record;
pub use container::{
    AttachOptions, Attachment, CheckpointOptions, CommitOptions, Condition, Container, Containers, Delivery, Detach,
    Ended, Exec, ImageMount, ListQuery, LogsOptions, MountRecord, Phase, PutOptions, Record, RemoveOptions, StepFile,
    StepOutput, StepSpec, StepTree, lifecycle,
};
pub use defaults::{Defaults, SeccompProfile};
pub use error::{Error, Kind, Result};
pub use events::{Events, Listener};
pub use image::{Image, ImageRecord, Images, ImportOptions, NewImage, Registries};
pub use network::Networks;
pub use pipe::Stream;
pub use prune::{Mode as PruneMode, until};
pub use teu_network::ipam::{AddressPool, Subnet};
pub use teu_registry::client::Fetched;
pub use volume::{CopyKind, Volumes};

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything that lasts is kept.
    pub root: PathBuf,
    /// Where what lives as long as the machine's uptime is kept: sockets, exit codes.
    pub run: PathBuf,
    /// The program whose `supervise` face a supervisor is.
    pub program: PathBuf,
    /// Name of the default bridge and of the firewall table; one for each daemon of a machine.
    pub bridge: String,
    /// The default bridge's subnets, at most one of each family; chosen clear of the host's routes if none.
    pub subnets: Vec<Subnet>,
    /// Options of the default bridge.
    pub bridge_options: BTreeMap<String, String>,
    /// Options of new networks that do not say otherwise, by driver.
    pub network_options: BTreeMap<String, BTreeMap<String, String>>,
    /// Where networks get their subnets from; the private addresses of IPv4 and a unique local prefix of IPv6 if empty.
    pub address_pools: Vec<AddressPool>,
    /// Name servers of containers, instead of the host's.
    pub dns: Vec<String>,
    /// Where devices are described that are asked for by name, the most important folder last.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Clients are told that this is an experimental engine: Docker's own only then have commands for checkpoints.
    pub experimental: bool,
    /// What containers get that do not say otherwise.
    pub defaults: Defaults,
    /// What can change while the engine runs.
    pub live: Live,
}

/// What of the set-up can change while the engine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Labels of the daemon.
    pub labels: Vec<String>,
    /// How registries are spoken to.
    pub registries: Registries,
    /// Whether the daemon tells more than usual; shown by `info`.
    pub debug: bool,
}

impl Config {
    /// The usual set-up for these two folders.
    #[must_use]
    pub fn new(root: PathBuf, run: PathBuf) -> Self {
        let bridge = bridge_name(&run);
        Self {
            root,
            run,
            program: "/proc/self/exe".into(),
            bridge,
            subnets: vec![],
            bridge_options: BTreeMap::new(),
            network_options: BTreeMap::new(),
            address_pools: vec![],
            dns: vec![],
            cdi_spec_dirs: cdi::DIRECTORIES.map(PathBuf::from).into(),
            experimental: false,
            defaults: Defaults::default(),
            live: Live::default(),
        }
    }
}

/// `teu0` for the machine's own daemon; another for each other run directory, so that daemons live side by side.
fn bridge_name(run: &Path) -> String {
    if run == Path::new("/run/teu") {
        return "teu0".into();
    }
    let digest = teu_oci::Digest::sha256(run.as_os_str().as_encoded_bytes());
    format!("teu-{}", &digest.hex()[..8])
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    /// The containers.
    pub containers: Containers,
    /// The images.
    pub images: Images,
    /// The volumes.
    pub volumes: Volumes,
    /// The networks.
    pub networks: Networks,
    /// What happens.
    pub events: Events,
}

/// How long the daemon's end waits for build steps that are ending.
const LAST_STEPS: std::time::Duration = std::time::Duration::from_secs(3);

/// What every part needs of the others.
pub(crate) struct Context {
    /// What tells this engine from all others.
    pub(crate) id: String,
    pub(crate) config: Config,
    pub(crate) live: RwLock<Live>,
    pub(crate) facts: host::Facts,
    pub(crate) store: Store,
    pub(crate) records: Table<Record>,
    pub(crate) pool: pool::Pool,
    pub(crate) ahead: ahead::Ahead,
    pub(crate) images: Images,
    pub(crate) volumes: Volumes,
    pub(crate) networks: Networks,
    pub(crate) events: Events,
    /// Read by each build step from its first to its last act.
    pub(crate) steps: Arc<tokio::sync::RwLock<()>>,
    /// Held, never looked at.
    _quick_cgroups: Option<OwnedFd>,
}

impl Engine {
    /// Whether the configuration can be one, as far as that can be said without touching anything.
    ///
    /// # Errors
    /// When it says something that means nothing.
    pub fn check(config: &Config) -> Result<()> {
        container::logging::complete(&mut config.defaults.log.clone(), &config.defaults.log)
            .map_err(|error| Error { message: format!("failed to set log opts: {}", error.message), ..error })
    }

    /// Opens the root, which no other daemon may have open, and takes up every container of an earlier daemon.
    ///
    /// # Errors
    /// When the root is in use or cannot be used.
    pub async fn open(config: Config) -> Result<Self> {
        Self::check(&config)?;
        let store = Store::open(&config.root)?;
        for (dir, mode) in [
            (config.run.clone(), 0o711),
            (config.run.join("tasks"), 0o700),
            (config.run.join("networks"), 0o700),
            (config.root.join("logs"), 0o700),
            (config.root.join("etc"), 0o711),
        ] {
            let made = fs::DirBuilder::new().recursive(true).mode(mode).create(&dir);
            made.map_err(|error| Error::io("make", &dir, error))?;
        }
        let events = Events::new();
        let images = Images::open(&store, events.clone(), config.live.registries.clone())?;
        let volumes = Volumes::open(&store, events.clone())?;
        let setup = network::Setup {
            bridge: &config.bridge,
            subnets: &config.subnets,
            bridge_options: &config.bridge_options,
            options: &config.network_options,
            pools: &config.address_pools,
            names: config.run.join("networks"),
        };
        let networks = Networks::open(&store, setup, events.clone())?;
        let tasks = config.run.join("tasks");
        let nursery = pool::Nursery::new(config.program.clone(), tasks.clone(), &container::spec::ordinary()?);
        let ahead = ahead::Ahead::new(&store)?;
        let pool = pool::Pool::new(nursery, tasks, ahead.clone());
        let context = Arc::new(Context {
            id: host::engine_id(&config.root)?,
            facts: host::Facts::gather(),
            records: store.table("containers")?,
            ahead,
            store,
            pool,
            images: images.clone(),
            volumes: volumes.clone(),
            networks: networks.clone(),
            events: events.clone(),
            steps: Arc::default(),
            _quick_cgroups: host::quick_cgroups(),
            live: RwLock::new(config.live.clone()),
            config,
        });
        let containers = Containers::new(context);
        restore::restore(&containers).await?;
        containers.context.pool.refill();
        networks.guard();
        Ok(Self { containers, images, volumes, networks, events })
    }

    /// The store, for those who put layers and blobs there themselves.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.containers.context.store
    }

    /// What `host-gateway` means: an address by which containers reach this host.
    #[must_use]
    pub fn host_gateway(&self) -> Option<std::net::IpAddr> {
        let context = &self.containers.context;
        context.config.defaults.host_gateway.first().copied().or_else(|| context.networks.gateways().first().copied())
    }

    /// Takes up what has changed in the configuration, and tells of it.
    pub fn reload(&self, live: Live) {
        let context = &self.containers.context;
        self.images.speak_to(live.registries.clone());
        let attributes = [
            ("debug", live.debug.to_string()),
            ("insecure-registries", format!("{:?}", live.registries.insecure)),
            ("labels", format!("{:?}", live.labels)),
            ("registry-mirrors", format!("{:?}", live.registries.mirrors)),
            ("name", context.facts.hostname.clone()),
        ];
        *context.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        let attributes = attributes.map(|(key, value)| (key.into(), value)).into();
        self.events.emit("daemon", "reload", &context.id, attributes);
    }

    /// Leaves running containers alone and takes away what nobody needs without a daemon.
    pub async fn shutdown(&self) {
        // A build ends with its client; what its last step has of the network is given back first.
        let steps = self.containers.context.steps.clone();
        let _ = tokio::time::timeout(LAST_STEPS, steps.write_owned()).await;
        let context = &self.containers.context;
        for record in self.containers.all().iter().map(Container::record).filter(|record| record.state.phase.at_rest())
        {
            context.unmount_layer(&record);
        }
        self.networks.close();
        self.containers.context.pool.close().await;
    }
}

impl Context {
    pub(crate) fn etc_dir(&self, id: &str) -> PathBuf {
        self.config.root.join("etc").join(id)
    }

    /// Where the checkpoints of a container are.
    pub(crate) fn checkpoints_dir(&self, id: &str) -> PathBuf {
        self.config.root.join("checkpoints").join(id)
    }

    /// A folder for each container's log, so that whoever follows one is not woken by the others.
    pub(crate) fn log_dir(&self, id: &str) -> PathBuf {
        self.config.root.join("logs").join(id)
    }

    pub(crate) fn log_path(&self, id: &str) -> PathBuf {
        self.log_dir(id).join(format!("{id}-json.log"))
    }

    /// The bytes of a tree's files, all its layers together.
    pub(crate) fn chain_size(&self, chain: Option<&teu_oci::Digest>) -> u64 {
        let snapshots = self.store.snapshots();
        let mut total = 0;
        let mut next = chain.cloned();
        while let Some(chain) = next {
            total += snapshots.size(&chain).unwrap_or(0);
            next = snapshots.parent(&chain).ok().flatten();
        }
        total
    }

    pub(crate) fn emit_container(&self, action: &str, record: &Record, extra: &[(&str, String)]) {
        let mut attributes = record.config.labels.clone();
        attributes.insert("image".into(), record.image.clone());
        attributes.insert("name".into(), record.name.clone());
        attributes.extend(extra.iter().map(|(key, value)| ((*key).to_string(), value.clone())));
        self.events.emit("container", action, &record.id, attributes);
    }
}
