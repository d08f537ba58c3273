//! `teu cp`: files between a container and this machine.
//!
//! The daemon only packs and unpacks archives at a path; what a copy means, by cp(1)'s rules, is settled here, before
//! the archive is made. An archive that comes from a container is extracted by the same code that extracts layers: it
//! stays below its target, whatever is in it.

mod local;
mod paths;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use teu_api::container::PathStat;
use teu_store::tar::{ArchiveOptions, ExtractOptions, Fault, Rename, archive, extract};
use teu_sys::fs::Root;

use self::local::Counted;
pub(crate) use self::local::Pieces;
use self::paths::{Source, Target};
use super::container_path;
use crate::Session;
use crate::client::{Client, channel_body};
use crate::failure::{Failure, Naming};
use crate::output::{note, units};
use crate::table::Verb;

const STAT: &str = "x-docker-container-path-stat";
/// Bits of Go's `os.FileMode`.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_IRREGULAR: u32 = 1 << 19;

/// Copies files.
#[derive(Debug, clap::Args)]
pub(crate) struct Cp {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbolic links in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing of progress; so it is anyway when the output is no terminal
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path of this machine, or - for a tar archive from STDIN
    #[arg(required = true, value_name = "SRC_PATH")]
    source: String,
    /// The other one of these; - for a tar archive to STDOUT
    #[arg(required = true, value_name = "DEST_PATH", allow_hyphen_values = true)]
    target: String,
}

impl Verb for Cp {
    const USAGE: &'static str = "CONTAINER:SRC_PATH DEST_PATH|-\nSRC_PATH|- CONTAINER:DEST_PATH";
    const ABOUT: &'static str = "Copy files/folders between a container and the local filesystem";

    async fn run(mut self, session: &Session) -> Result<u8, Failure> {
        for (what, argument) in [("source", &self.source), ("destination", &self.target)] {
            if argument.is_empty() {
                return Err(Failure::new(format!("{what} can not be empty")));
            }
        }
        self.quiet |= !io::stdout().is_terminal();
        let (from, to) = (paths::split(&self.source), paths::split(&self.target));
        match (from, to) {
            ((Some(container), source), (None, target)) => self.download(session, container, source, target).await,
            ((None, source), (Some(container), target)) => self.upload(session, source, container, target).await,
            ((Some(_), _), (Some(_), _)) => Err(Failure::new("copying between containers is not supported")
                .hint("pass the archive on: teu cp CONTAINER:PATH - | teu cp - OTHER:PATH")),
            ((None, _), (None, _)) => Err(Failure::new("must specify at least one container source")
                .hint("write CONTAINER:PATH for a path of a container")),
        }
    }
}

impl Cp {
    async fn download(&self, session: &Session, container: &str, path: &str, target: &str) -> Result<u8, Failure> {
        let at = if target == "-" { String::new() } else { here(target)? };
        if target != "-" {
            local::check_output(&at)?;
        }
        let client = session.client();
        let (mut path, mut called) = (path.to_owned(), None);
        if self.follow_link
            && let Ok(stat) = stat(&client, container, &path).await
            && stat.mode & GO_SYMLINK != 0
        {
            (path, called) = paths::rebased(&path, &beside(&path, &stat.link_target));
        }
        let call = client.get(format!("{}/archive", container_path(container))).query("path", &path);
        if target == "-" {
            call.copy_to(&mut io::stdout(), "write the archive").await?;
            return Ok(0);
        }
        let (header, body) = call.with_header(STAT).await?;
        let stat = read_stat(header.as_deref())?;
        let source = Source { is_directory: stat.mode & GO_DIRECTORY != 0, path, called };
        let total = Arc::new(AtomicU64::new(0));
        let shown = self.progress("Copying from container - ", &total);
        let unpacked = unpack(body, &source, &local::target(&at)?, &total).await;
        drop(shown);
        unpacked?;
        let moved = total.load(Ordering::Relaxed);
        let content = if source.is_directory { moved } else { u64::try_from(stat.size).unwrap_or(0) };
        self.summary(content, moved, &at);
        Ok(0)
    }

    async fn upload(&self, session: &Session, path: &str, container: &str, to: &str) -> Result<u8, Failure> {
        let client = session.client();
        let target = remote_target(&client, container, to).await?;
        let total = Arc::new(AtomicU64::new(0));
        let (writer, body) = channel_body();
        let writer = Counted::new(writer, Arc::clone(&total));
        let mut content = None;
        let (directory, packing) = if path == "-" {
            if !target.is_directory {
                return Err(Failure::new(format!("destination \"{container}:{to}\" must be a directory")));
            }
            (target.path.clone(), pass_on(writer))
        } else {
            let source = local::source(&here(path)?, self.follow_link)?;
            if !self.quiet {
                content = Some(local::content_size(Path::new(&source.path)));
            }
            let plan = paths::plan(&source, &target).map_err(Failure::new)?;
            let top = match plan.rename {
                Some(name) => name,
                None => source.name().into(),
            };
            (plan.directory, pack(PathBuf::from(source.path), top, writer))
        };
        let shown = self.progress("Copying to container - ", &total);
        let call = client.put(format!("{}/archive", container_path(container))).query("path", directory);
        let call = call.query("noOverwriteDirNonDir", "true");
        let call = if self.archive { call.query("copyUIDGID", "true") } else { call };
        let sent = call.header("content-type", "application/x-tar").body(body).done().await;
        drop(shown);
        // What went wrong here is why the daemon got less than it expected.
        match packing.await {
            Ok(Err(failure)) => return Err(failure),
            _ => sent?,
        }
        let moved = total.load(Ordering::Relaxed);
        self.summary(content.unwrap_or(moved), moved, &format!("{container}:{}", target.path));
        Ok(0)
    }

    /// Shows how far it is until the result is dropped, when somebody looks.
    fn progress(&self, what: &'static str, total: &Arc<AtomicU64>) -> Option<Progress> {
        let looks = !self.quiet && io::stderr().is_terminal();
        looks.then(|| {
            let total = Arc::clone(total);
            Progress(tokio::spawn(async move {
                let mut turns = tokio::time::interval(Duration::from_millis(500));
                turns.tick().await;
                loop {
                    turns.tick().await;
                    crate::output::aside(&format!("\r\x1b[K{what}{}", size(total.load(Ordering::Relaxed))));
                }
            }))
        })
    }

    fn summary(&self, content: u64, moved: u64, target: &str) {
        if self.quiet {
            return;
        }
        if content == moved {
            note!("Successfully copied {} to {target}", size(content));
        } else {
            note!("Successfully copied {} (transferred {}) to {target}", size(content), size(moved));
        }
    }
}

/// A line that says how far it is.
struct Progress(tokio::task::JoinHandle<()>);

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
        crate::output::aside("\r\x1b[K");
    }
}

fn size(bytes: u64) -> String {
    units::size(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// A path of this machine from the root.
fn here(path: &str) -> Result<String, Failure> {
    Ok(paths::local(path, &std::env::current_dir().or_fail("find the current folder")?))
}

/// Where a link at `path` leads, from the root.
fn beside(path: &str, link: &str) -> String {
    if link.starts_with('/') {
        return link.to_owned();
    }
    let (parent, _) = paths::directory_and_name(path);
    teu_api::path::clean(&format!("{parent}/{link}"))
}

async fn stat(client: &Client<'_>, container: &str, path: &str) -> Result<PathStat, Failure> {
    let call = client.head(format!("{}/archive", container_path(container))).query("path", path);
    read_stat(call.with_header(STAT).await?.0.as_deref())
}

fn read_stat(header: Option<&str>) -> Result<PathStat, Failure> {
    let bytes = header.and_then(|header| STANDARD.decode(header).ok());
    let stat = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    stat.ok_or_else(|| Failure::new("read the daemon's answer: it does not say what the path is"))
}

/// What is at a container's path; nothing, when that cannot be told: the copy itself says what is wrong.
async fn remote_target(client: &Client<'_>, container: &str, path: &str) -> Result<Target, Failure> {
    let mut target = Target { path: path.to_owned(), ..Target::default() };
    let Ok(mut found) = stat(client, container, path).await else { return Ok(target) };
    if found.mode & GO_SYMLINK != 0 {
        target.path = beside(path, &found.link_target);
        match stat(client, container, &target.path).await {
            Ok(there) => found = there,
            Err(_) => return Ok(target),
        }
    }
    let wrong = match found.mode {
        mode if mode & GO_DEVICE != 0 => Some("got a device"),
        mode if mode & GO_IRREGULAR != 0 => Some("got an irregular file"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        let message = format!("destination \"{container}:{path}\" must be a directory or a regular file: {wrong}");
        return Err(Failure::new(message));
    }
    target.exists = true;
    target.is_directory = found.mode & GO_DIRECTORY != 0;
    Ok(target)
}

type Packing = tokio::task::JoinHandle<Result<(), Failure>>;
type Writer = Counted<crate::client::ChannelWriter>;

/// Packs a file or folder, on a thread, as the daemon takes it.
fn pack(path: PathBuf, top: std::ffi::OsString, mut writer: Writer) -> Packing {
    tokio::task::spawn_blocking(move || {
        let root = Root::open(Path::new("/")).or_fail("open /")?;
        let options = ArchiveOptions { rename: Some(top), ..ArchiveOptions::default() };
        let packed = archive(&root, &path, &mut writer, &options);
        packed.or_else(|error| fail(&error, &writer))
    })
}

/// Passes standard input on.
fn pass_on(mut writer: Writer) -> Packing {
    tokio::task::spawn_blocking(move || match io::copy(&mut io::stdin().lock(), &mut writer) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let failure = Failure::io("read standard input", &error);
            writer.inner().abort(error);
            Err(failure)
        }
        _ => Ok(()),
    })
}

/// Breaks the request off, unless the daemon did.
fn fail(error: &teu_store::Error, writer: &Writer) -> Result<(), Failure> {
    let text = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return Ok(());
        }
        cause = inner.source();
    }
    writer.inner().abort(io::Error::other(text.clone()));
    Err(Failure::new(text))
}

/// An archive's fault in Docker's words, where it has some, with this machine's paths.
fn explain(error: teu_store::Error, directory: &str) -> Failure {
    let directory = directory.trim_end_matches('/');
    let there = |path: String| format!("{directory}{path}");
    let fault = match error {
        teu_store::Error::Tar { fault: Fault::OverFile(place, _), .. } => {
            Fault::OverFile(there(place), directory.into())
        }
        teu_store::Error::Tar { fault: Fault::OverDirectory(place, _), .. } => {
            Fault::OverDirectory(there(place), directory.into())
        }
        other => return Failure::new(other.to_string()),
    };
    Failure::new(fault.to_string())
}

/// Extracts what comes from a container.
async fn unpack(mut body: Incoming, source: &Source, target: &Target, total: &AtomicU64) -> Result<(), Failure> {
    let plan = paths::plan(source, target).map_err(Failure::new)?;
    // What the top of the archive is called, and what it becomes.
    let from = paths::name_in_archive(&source.path);
    let to = plan.rename.or_else(|| source.called.clone().map(Into::into));
    let rename = to.map(|to| Rename { from: from.into(), to });
    let root = Root::open(Path::new(&plan.directory)).or_fail(format!("open {}", plan.directory))?;
    let options = ExtractOptions { keep_directories: true, own: true, rename, ..ExtractOptions::default() };
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let extraction = tokio::task::spawn_blocking(move || {
        extract(&root, Path::new("/"), Pieces::new(receiver), &options).map_err(|error| explain(error, &plan.directory))
    });
    while let Some(frame) = body.frame().await {
        let piece = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => {
                let _ =
                    sender.send(Err(io::Error::other(format!("the connection to the daemon broke: {error}")))).await;
                break;
            }
        };
        total.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if sender.send(Ok(piece)).await.is_err() {
            break;
        }
    }
    drop(sender);
    extraction.await.map_err(|error| Failure::new(error.to_string()))?
}
