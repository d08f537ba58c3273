//! `checkpoint` and `restore`: a container's processes to disk and back.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use teu_oci::runtime::{IntelRdt, NamespaceKind};
use teu_sys::process::{self, Exit};

use super::arguments::Given;
use super::config::{Bundle, find_sources};
use super::foreground::Foreground;
use super::home::Home;
use super::launch::{check_terminal, write_pid};
use super::state::{self, Container, Record, Status};
use super::{Context, Failure, console, end_with, foreground, launch, life};
use crate::Rootfs;
use crate::cgroup::Place;
use crate::checkpoint::{self, CgroupMode, Choices, Revival, Subject};
use crate::create::Process;
use crate::hooks::Identity;
use crate::resctrl::{self, Groups};
use crate::shown;

/// Where images are unless it is said.
const IMAGES: &str = "checkpoint";
/// The place for mounts in a container's directory.
const PLACE: &str = "criu";

/// Saves a container, and removes it unless it goes on.
pub(super) fn checkpoint(context: &Context, given: &Given) -> Result<(), Failure> {
    let container = Container::load(&context.root, given.argument(0))?;
    let status = container.status();
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(Failure::new(format!("Container cannot be checkpointed in {} state", status.text())));
    }
    if container.record.shown.as_deref().is_some_and(shown::is_known) {
        return Err(Failure::new("a container in the runtime's mount namespace cannot be checkpointed"));
    }
    let choices = choices(given)?;
    let goes_on = choices.leave_running || choices.pre_dump;
    let record = &container.record;
    context.log.debug(&format!("save process {} to {}", record.pid, choices.images.display()));
    let (mut spec, cgroup) = (container.spec()?, record.cgroup.require()?);
    find_sources(&mut spec, &record.bundle);
    let subject = Subject { pid: record.pid, spec: &spec, cgroup: &cgroup, streams: &record.streams };
    checkpoint::checkpoint(&subject, choices)?;
    if goes_on { Ok(()) } else { life::destroy(context, &container) }
}

/// Brings a container back, and waits for its end unless it is detached.
pub(super) fn restore(context: &Context, given: &Given) -> Result<(), Failure> {
    let exit = Restore::plan(context, given)?.run(context, given)?;
    exit.map_or(Ok(()), |exit| Err(end_with(exit.code)))
}

/// Everything that is known before something is made.
struct Restore {
    id: String,
    bundle: Bundle,
    shares: Option<IntelRdt>,
    pid_file: Option<PathBuf>,
    console: Option<String>,
    choices: Choices,
    directory: PathBuf,
}

impl Restore {
    fn plan(context: &Context, given: &Given) -> Result<Restore, Failure> {
        let id = given.argument(0).to_owned();
        state::check_id(&id)?;
        let pid_file = given.value("pid-file").map(std::path::absolute).transpose()?;
        let choices = choices(given)?;
        let mut bundle = Bundle::open(context, given.value("bundle"))?;
        let shares = bundle.spec.linux.as_mut().and_then(|linux| linux.intel_rdt.take());
        shares.as_ref().map(|shares| resctrl::Plan::new(shares, &id)).transpose()?;
        let console = given.value("console-socket").filter(|path| !path.is_empty()).map(str::to_owned);
        if let Some(process) = &bundle.spec.process {
            check_terminal(process, given.has("detach"), console.as_deref())?;
        }
        let directory = state::make_directory(&context.root, &id)?;
        Ok(Restore { id, bundle, shares, pid_file, console, choices, directory })
    }

    fn run(mut self, context: &Context, given: &Given) -> Result<Option<Exit>, Failure> {
        let made = self.make(context, given);
        let (foreground, container) = match made {
            Ok(made) => made,
            Err(error) => {
                // The error that led here is the one to tell.
                let _ = std::fs::remove_dir_all(&self.directory);
                return Err(error);
            }
        };
        let Some(foreground) = foreground else { return Ok(None) };
        let exit = foreground.wait()?;
        life::destroy(context, &container)?;
        Ok(Some(exit))
    }

    fn make(&mut self, context: &Context, given: &Given) -> Result<(Option<Foreground>, Container), Failure> {
        let detach = given.has("detach");
        // Signals that come from here on are the container's.
        let signals = if detach { None } else { Some(foreground::take_signals()?) };
        if !detach && !given.has("no-subreaper") {
            process::become_subreaper()?;
        }
        let home = Home::make(context, &self.id, &mut self.bundle.spec)?;
        let (mut process, record) = self.bring_back(context, &home).inspect_err(|_| {
            // The error that led here is the one to tell.
            let _ = home.cgroup.remove();
        })?;
        let groups = record.groups.clone();
        let made = self.tell(&mut process).map(|()| Container { directory: self.directory.clone(), record });
        let container = made.inspect_err(|_| {
            launch::abandon(&process);
            let _ = groups.as_ref().map(Groups::remove);
        })?;
        let foreground = signals.map(|signals| Foreground {
            pid: process.pid,
            pidfd: process.pidfd,
            terminal: process.terminal,
            signals,
            cgroup: Some(process.cgroup),
        });
        Ok((foreground, container))
    }

    fn bring_back(&self, context: &Context, home: &Home) -> Result<(Process, Record), Failure> {
        let Bundle { spec, rootfs, directory, .. } = &self.bundle;
        let place = std::fs::canonicalize(&self.directory)?.join(PLACE);
        std::fs::create_dir(&place)?;
        let identity =
            Identity { id: self.id.clone(), bundle: directory.clone(), annotations: spec.annotations.clone() };
        let revival = Revival {
            spec,
            rootfs: &Rootfs::Directory(rootfs.clone()),
            identity,
            stdio: None,
            place: &place,
            cgroup: home.cgroup.clone(),
            network: None,
        };
        context.log.debug(&format!("bring it back from {}", self.choices.images.display()));
        let mut record = Record::default();
        let known = &mut |pid| {
            let saved = self.make_known(pid, &home.place);
            record = saved.map_err(|failure| crate::Error::refused(failure.message))?;
            Ok(())
        };
        let restored = checkpoint::restore(revival, &self.choices, known);
        let process = restored.inspect_err(|_| {
            // The error that led here is the one to tell.
            let _ = record.groups.as_ref().map(Groups::remove);
        })?;
        // Nothing but an empty directory.
        let _ = std::fs::remove_dir(&place);
        Ok((process, record))
    }

    /// Sends the terminal away, and tells who it is.
    fn tell(&self, process: &mut Process) -> Result<(), Failure> {
        if let Some(console) = &self.console
            && let Some(terminal) = process.terminal.take()
        {
            console::send(Path::new(console), b"/dev/ptmx", terminal.as_fd())?;
        }
        self.pid_file.as_deref().map_or(Ok(()), |path| write_pid(path, process.pid))
    }

    /// Writes down what there is.
    fn make_known(&self, pid: i32, place: &Place) -> Result<Record, Failure> {
        let gone = || Failure::new("the container's process is gone");
        let (started, _) = state::look_at(pid).ok_or_else(gone)?;
        let spec = &self.bundle.spec;
        let shares = self.shares.as_ref().map(|shares| resctrl::Plan::new(shares, &self.id)).transpose()?;
        let everybody = || Ok::<_, Failure>(place.open()?.processes()?);
        let groups = shares.as_ref().map(resctrl::Plan::groups);
        let record = Record {
            oci_version: spec.oci_version.clone(),
            id: self.id.clone(),
            pid,
            started,
            bundle: self.bundle.directory.clone(),
            rootfs: self.bundle.rootfs.clone(),
            created: Timestamp::now().to_string(),
            annotations: spec.annotations.clone(),
            cgroup: place.clone(),
            streams: checkpoint::streams_of(pid),
            groups: groups.clone(),
            ..Record::default()
        };
        state::save_new(&self.directory, &record, &self.config(pid)?)?;
        if let (Some(shares), Some(groups)) = (shares, &groups) {
            shares.make(groups, &everybody()?)?;
        }
        Ok(record)
    }
}

impl Restore {
    /// The configuration, and what has come to it: whoever enters the container goes into its clocks too.
    fn config(&self, pid: i32) -> Result<Vec<u8>, Failure> {
        let namespaces = self.bundle.spec.linux.iter().flat_map(|linux| &linux.namespaces);
        let known = namespaces.map(|namespace| namespace.kind).any(|kind| kind == NamespaceKind::Time);
        if known || !checkpoint::has_own_clocks(pid) {
            return Ok(self.bundle.text.clone());
        }
        let mut config: Value = serde_json::from_slice(&self.bundle.text).map_err(std::io::Error::from)?;
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "time" }));
        }
        Ok(config.to_string().into_bytes())
    }
}

/// What the flags of either verb say.
fn choices(given: &Given) -> Result<Choices, Failure> {
    let images = std::path::absolute(given.value("image-path").filter(|path| !path.is_empty()).unwrap_or(IMAGES))?;
    let path = |name: &str| given.value(name).filter(|path| !path.is_empty());
    let text = |name: &str| path(name).map(str::to_owned);
    if let Some(name) = given.values("empty-ns").find(|name| *name != "network") {
        return Err(Failure::new(format!("namespace \"{name}\" is not supported")));
    }
    Ok(Choices {
        work: path("work-path").map(std::path::absolute).transpose()?,
        parent: parent(&images, path("parent-path"))?,
        leave_running: given.has("leave-running"),
        tcp_established: given.has("tcp-established"),
        tcp_skip_in_flight: given.has("tcp-skip-in-flight"),
        link_remap: given.has("link-remap"),
        external_sockets: given.has("ext-unix-sk"),
        shell_job: given.has("shell-job"),
        file_locks: given.has("file-locks"),
        pre_dump: given.has("pre-dump"),
        auto_dedup: given.has("auto-dedup"),
        lazy_pages: given.has("lazy-pages"),
        page_server: path("page-server").map(page_server).transpose()?,
        status: status(given)?,
        cgroups: path("manage-cgroups-mode").map(cgroup_mode).transpose()?,
        leave_network: false,
        lsm_profile: text("lsm-profile"),
        lsm_mount_context: text("lsm-mount-context"),
        images,
    })
}

/// Earlier images, by a path from these.
fn parent(images: &Path, path: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(path) = path else { return Ok(None) };
    if Path::new(path).is_absolute() {
        return Err(Failure::new("--parent-path must be relative"));
    }
    std::fs::create_dir_all(images)?;
    match std::fs::metadata(images.join(path)) {
        Ok(metadata) if metadata.is_dir() => Ok(Some(path.to_owned())),
        Ok(_) => Err(Failure::new(format!("invalid --parent-path: {path}: not a directory"))),
        Err(error) => Err(Failure::new(format!("invalid --parent-path: {path}: {error}"))),
    }
}

fn page_server(text: &str) -> Result<(String, u16), Failure> {
    let parts = text.rsplit_once(':').map(|(address, port)| (address.trim_matches(['[', ']']), port));
    let (address, port) = parts
        .filter(|(address, port)| !address.is_empty() && !port.is_empty())
        .ok_or_else(|| Failure::new("Use --page-server ADDRESS:PORT to specify page server"))?;
    Ok((address.to_owned(), port.parse().map_err(|_| Failure::new("Invalid port number"))?))
}

/// The descriptor that the caller has left for the word that lazy pages are ready.
fn status(given: &Given) -> Result<Option<OwnedFd>, Failure> {
    let Some(number) = given.number::<i32>("status-fd")?.filter(|number| *number >= 0) else { return Ok(None) };
    let invalid = |why: std::io::Error| Failure::new(format!("invalid --status-fd argument {number}: {why}"));
    let fd = process::inherited(number).map_err(invalid)?;
    let flags = rustix::fs::fcntl_getfl(fd).map_err(|error| invalid(error.into()))?;
    if !flags.intersects(rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::RDWR) {
        return Err(Failure::new(format!("invalid --status-fd argument {number}: not writable")));
    }
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|error| invalid(error.into()))?;
    // Whoever reads at the other end waits for the last of them to close.
    process::place_descriptor(std::fs::File::open("/dev/null")?.as_fd(), number, true)?;
    Ok(Some(copy))
}

fn cgroup_mode(text: &str) -> Result<CgroupMode, Failure> {
    match text {
        "soft" => Ok(CgroupMode::Soft),
        "full" => Ok(CgroupMode::Full),
        "strict" => Ok(CgroupMode::Strict),
        "ignore" => Ok(CgroupMode::Ignore),
        _ => Err(Failure::new("invalid manage-cgroups-mode value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        assert_eq!(page_server("0.0.0.0:27").expect("read"), ("0.0.0.0".to_owned(), 27));
        assert_eq!(page_server("[::1]:27").expect("read"), ("::1".to_owned(), 27));
        for bad in ["host", ":1", "host:", "host:port"] {
            assert!(page_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn earlier_images_are_a_directory_beside_these() {
        let folder = tempfile::tempdir().expect("folder");
        let images = folder.path().join("second");
        assert!(parent(&images, Some("/absolute")).is_err());
        assert!(parent(&images, Some("../first")).is_err());
        std::fs::create_dir(folder.path().join("first")).expect("made");
        assert_eq!(parent(&images, Some("../first")).expect("there").as_deref(), Some("../first"));
        assert_eq!(parent(&images, None).expect("none"), None);
    }
}
