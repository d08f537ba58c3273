//! The daemon's main: settle the configuration, open the engine, listen, serve, and end when asked to.
//!
//! Ending ends nothing but this process: containers go on beside it, and the next daemon finds them.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use teu_engine::Engine;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::{self, Config, DaemonArgs};
use crate::notify::notify;
use crate::{listen, routes};

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
    #[error("start: {0}")]
    Start(#[source] io::Error),
    #[error("write {}: {source}", path.display())]
    PidFile { path: PathBuf, source: io::Error },
}

/// Runs the daemon in the foreground until SIGTERM or SIGINT.
#[must_use]
pub fn daemon(args: DaemonArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            notify("STOPPING=1");
            eprintln!("teu daemon: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: DaemonArgs) -> Result<(), Error> {
    let config = config::load(args, |name| std::env::var(name).ok())?;
    log(config.log_level);
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let runtime = runtime().map_err(Error::Start)?;
    let result = runtime.block_on(serve(&config));
    // Raw streams and blocking reads may be under way; nobody waits for them any more.
    runtime.shutdown_background();
    result
}

/// Two workers: the work is done by the containers, and every thread more is memory that an idle daemon holds.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("teu").enable_all().build()
}

/// Log lines go to stderr.
pub(crate) fn log(level: tracing::Level) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(level > tracing::Level::INFO)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    // Set already only where somebody else in the process logs; then that one is right.
    let _ = lines.try_init();
}

async fn serve(config: &Config) -> Result<(), Error> {
    let mut asked = Ending::new().map_err(Error::Start)?;
    listen::check(&config.hosts)?;
    let engine = Engine::open(engine_config(config)).await?;
    let served = serve_engine(config, &engine, &mut asked).await;
    engine.shutdown().await;
    served
}

async fn serve_engine(config: &Config, engine: &Engine, asked: &mut Ending) -> Result<(), Error> {
    let listeners = listen::open(&config.hosts, &config.group)?;
    let _pid_file = PidFile::write(&config.exec_root)?;
    let (end, ending) = watch::channel(false);
    let router = routes::router(engine.clone(), config.insecure_registries.clone());
    let serving = tokio::spawn(listen::serve(listeners, router, ending));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), hosts = ?config.hosts, "ready");
    notify("READY=1");
    asked.wait().await;
    tracing::info!("asked to end");
    notify("STOPPING=1");
    let _ = end.send(true);
    let _ = serving.await;
    Ok(())
}

fn engine_config(config: &Config) -> teu_engine::Config {
    let usual = teu_engine::Config::new(config.data_root.clone(), config.exec_root.clone());
    teu_engine::Config {
        bridge: config.bridge.clone().unwrap_or(usual.bridge),
        labels: config.labels.clone(),
        insecure_registries: config.insecure_registries.clone(),
        dns: config.dns.clone(),
        debug: config.debug,
        root: usual.root,
        run: usual.run,
        program: usual.program,
        subnet: usual.subnet,
        address_pools: usual.address_pools,
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

/// `<exec-root>/teu.pid`, there as long as the daemon serves.
struct PidFile(PathBuf);

impl PidFile {
    fn write(exec_root: &Path) -> Result<Self, Error> {
        let path = exec_root.join("teu.pid");
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
