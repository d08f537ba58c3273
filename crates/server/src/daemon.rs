//! The daemon's main: settle the configuration, open the engine, listen, serve, and end when asked to.
//!
//! Ending ends nothing but this process: containers go on beside it, and the next daemon finds them.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use teu_buildkit::Buildkit;
use teu_engine::Engine;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{self, Config, DaemonArgs, Host, remap};
use crate::notify::notify;
use crate::{listen, metrics, routes};

/// What keeps the daemon from running.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Listen(#[from] listen::Error),
    #[error(transparent)]
    Engine(#[from] teu_engine::Error),
    #[error("making containers takes root: start the daemon as root")]
    NotRoot,
    #[error("write down whose the ids of userns-remap are: {0}")]
    Remap(#[source] io::Error),
    #[error("start: {0}")]
    Start(#[source] io::Error),
    #[error("serve figures on {address}: {source}")]
    Metrics { address: std::net::SocketAddr, source: io::Error },
    #[error("write {}: {source}", path.display())]
    PidFile { path: PathBuf, source: io::Error },
}

/// Runs the daemon in the foreground until SIGTERM or SIGINT.
#[must_use]
pub fn daemon(args: &DaemonArgs) -> u8 {
    match run(args) {
        Ok(()) => 0,
        Err(error) => {
            notify("STOPPING=1");
            eprintln!("teu daemon: {error}");
            1
        }
    }
}

fn run(args: &DaemonArgs) -> Result<(), Error> {
    let config = config::load(args, |name| std::env::var(name).ok())?;
    if args.validate {
        config.tls.as_ref().map(crate::tls::acceptor).transpose().map_err(listen::Error::from)?;
        Engine::check(&engine_config(&config))?;
        println!("configuration OK");
        return Ok(());
    }
    let level = log(config.live.log_level, config.log_json);
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if let Some(first) = config.defaults.users.filter(|_| config.remaps_to_default) {
        let [users, groups, _] = remap::TABLES.map(Path::new);
        remap::record(first, [users, groups]).map_err(Error::Remap)?;
    }
    let runtime = runtime().map_err(Error::Start)?;
    let result = runtime.block_on(serve(args, config, &level));
    // Raw streams and blocking reads may be under way; nobody waits for them any more.
    runtime.shutdown_background();
    result
}

/// Two workers: the work is done by the containers, and every thread more is memory that an idle daemon holds.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("teu").enable_all().build()
}

/// Sets the least level that is logged.
pub(crate) type Level = Box<dyn Fn(tracing::Level) + Send + Sync>;

/// Log lines go to stderr, as text or as JSON objects; what is given back changes the level.
pub(crate) fn log(level: tracing::Level, json: bool) -> Level {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    // Set already only where somebody else in the process logs; then that one is right.
    let _ = if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        let lines = lines.with_target(level > tracing::Level::INFO).with_ansi(io::stderr().is_terminal());
        registry.with(lines).try_init()
    };
    Box::new(move |level| drop(handle.reload(LevelFilter::from_level(level))))
}

async fn serve(args: &DaemonArgs, config: Config, level: &Level) -> Result<(), Error> {
    let mut asked = Ending::new().map_err(Error::Start)?;
    listen::check(&config.hosts)?;
    let engine = Engine::open(engine_config(&config)).await?;
    let served = serve_engine(args, config, &engine, level, &mut asked).await;
    engine.shutdown().await;
    served
}

/// No container reaches the daemon's own TCP sockets, whatever it knows.
fn guard(hosts: &[Host], engine: &Engine) {
    let port = |host: &Host| match host {
        Host::Tcp(address) => Some(address.port()),
        _ => None,
    };
    let ports: Vec<u16> = hosts.iter().filter_map(port).collect();
    if let Err(error) = engine.networks.keep_from_containers(&ports) {
        tracing::error!(%error, "keep containers from the daemon's sockets");
    }
}

async fn serve_engine(
    args: &DaemonArgs,
    config: Config,
    engine: &Engine,
    level: &Level,
    asked: &mut Ending,
) -> Result<(), Error> {
    let listeners = listen::open(&config.hosts, config.tls.as_ref()).await?;
    guard(&config.hosts, engine);
    let _pid_file = PidFile::write(&config.pid_file)?;
    if let Some(address) = config.metrics {
        let served = metrics::serve(address, engine.clone()).await;
        served.map_err(|source| Error::Metrics { address, source })?;
    }
    let mut reload = signal(SignalKind::hangup()).map_err(Error::Start)?;
    let (end, ending) = watch::channel(false);
    let front = Buildkit::new(engine.clone());
    let router = routes::router(engine.clone(), front.clone(), config.buildkit);
    let serving = tokio::spawn(listen::serve(listeners, router, ending));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), hosts = ?config.hosts, "ready");
    notify("READY=1");
    // The code of the start is not needed again.
    listen::let_go();
    let mut config = config;
    loop {
        tokio::select! {
            () = asked.wait() => break,
            _ = reload.recv() => config = reloaded(args, config, engine, level),
        }
    }
    tracing::info!("asked to end");
    notify("STOPPING=1");
    let _ = end.send(true);
    let _ = serving.await;
    front.forget().await;
    Ok(())
}

/// Reads the configuration again. What can change does; a mistake in the file changes nothing.
fn reloaded(args: &DaemonArgs, before: Config, engine: &Engine, level: &Level) -> Config {
    let now = match config::load(args, |name| std::env::var(name).ok()) {
        Ok(now) => now,
        Err(error) => {
            tracing::error!(%error, "reload the configuration: all stays as it was");
            return before;
        }
    };
    let waiting = now.waiting(&before);
    if !waiting.is_empty() {
        let keys = waiting.join(", ");
        tracing::warn!(keys, "reload the configuration: these changes wait for the daemon's next start");
    }
    level(now.live.log_level);
    engine.reload(engine_live(&now.live));
    tracing::info!("the configuration was read again");
    Config { live: now.live, ..before }
}

fn engine_live(live: &config::Live) -> teu_engine::Live {
    teu_engine::Live { labels: live.labels.clone(), registries: live.registries.clone(), debug: live.debug }
}

fn engine_config(config: &Config) -> teu_engine::Config {
    let usual = teu_engine::Config::new(config.data_root.clone(), config.exec_root.clone());
    teu_engine::Config {
        bridge: config.bridge.clone().unwrap_or(usual.bridge),
        dns: config.dns.clone(),
        cdi_spec_dirs: config.cdi_spec_dirs.clone(),
        subnets: config.subnets.clone(),
        bridge_options: config.bridge_options.clone(),
        network_options: config.network_options.clone(),
        live: engine_live(&config.live),
        defaults: config.defaults.clone(),
        root: usual.root,
        run: usual.run,
        program: usual.program,
        address_pools: config.address_pools.clone(),
        experimental: config.experimental,
    }
}

/// Somebody asks the process to end.
pub(crate) struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// `<exec-root>/teu.pid` unless it is elsewhere, there as long as the daemon serves.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> Result<Self, Error> {
        let path = path.to_path_buf();
        let written = fs::write(&path, format!("{}\n", std::process::id()));
        written.map_err(|source| Error::PidFile { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
