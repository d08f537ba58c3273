//! What is done with one cgroup directory at a time: make, write, look into, wait for, remove.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use teu_oci::runtime::DeviceRule;

use super::devices;
use crate::error::During;
use crate::{Error, Stock, rootless};

/// How long the kernel may take to freeze or to let go of killed processes.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// One write, of which the kernel takes all or nothing.
pub(super) fn write(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(directory.join(file))?.write_all(value.as_bytes())
}

/// Makes a v1 directory and those above; one that is there already is taken if nobody is in.
pub(super) fn make_directory(directory: &Path) -> Result<(), Error> {
    let made = match std::fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(directory),
        other => other,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refuse_occupied(directory),
        other => other.during_with(|| format!("make cgroup {}", directory.display())),
    }
}

fn refuse_occupied(directory: &Path) -> Result<(), Error> {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    if !text.is_empty() {
        return Err(Error::refused(format!("make cgroup {}: container's cgroup is not empty", directory.display())));
    }
    Ok(())
}

/// Makes a v2 directory, with `controllers` handed down from level to level.
pub(super) fn make_unified(mount: &Path, path: &Path, controllers: &[String]) -> Result<(), Error> {
    let mut directory = mount.to_owned();
    for name in path.components() {
        match hand_down(&directory, controllers) {
            // Whoever delegates a part of the tree has enabled there what may be used.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && rootless::lacks_privileges() => {}
            other => other.during_with(|| format!("enable controllers in {}", directory.display()))?,
        }
        directory.push(name);
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.during_with(|| format!("make cgroup {}", directory.display()))?,
        }
    }
    refuse_occupied(&directory)
}

fn hand_down(directory: &Path, controllers: &[String]) -> io::Result<()> {
    if controllers.is_empty() {
        return Ok(());
    }
    let enabled = std::fs::read_to_string(directory.join("cgroup.subtree_control"))?;
    let missing = controllers.iter().filter(|name| !enabled.split_ascii_whitespace().any(|other| other == *name));
    let line = missing.map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return Ok(());
    }
    match write(directory, "cgroup.subtree_control", &line) {
        // Inside another container the tree's root has processes in it, which v2 forbids beside controllers.
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            move_aside(directory)?;
            write(directory, "cgroup.subtree_control", &line)
        }
        other => other,
    }
}

/// Moves the processes of a directory into a leaf of their own below it.
fn move_aside(directory: &Path) -> io::Result<()> {
    let leaf = directory.join("init");
    match std::fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for pid in std::fs::read_to_string(directory.join("cgroup.procs"))?.lines() {
        match write(&leaf, "cgroup.procs", pid) {
            Err(error) if error.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A v1 cpuset starts out empty, and nothing can join it: each level takes what the level above has.
pub(super) fn inherit_cpuset(mount: &Path, path: &Path) -> Result<(), Error> {
    let mut directory = mount.to_owned();
    for name in path.components() {
        let above = directory.clone();
        directory.push(name);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let step = || format!("read {file} of cgroup {}", directory.display());
            if std::fs::read_to_string(directory.join(file)).during_with(step)?.trim().is_empty() {
                let value = std::fs::read_to_string(above.join(file)).during_with(step)?;
                write(&directory, file, value.trim()).during_with(step)?;
            }
        }
    }
    Ok(())
}

pub(super) fn filter_devices(directory: &Path, rules: &[DeviceRule], stock: &Stock) -> io::Result<()> {
    if devices::allows_everything(rules) {
        return Ok(());
    }
    stock.filter_devices(&File::open(directory)?, rules)
}

pub(super) fn collect_processes(directory: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let text = std::fs::read_to_string(directory.join("cgroup.procs"))?;
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for below in subdirectories(directory)? {
        collect_processes(&below, pids)?;
    }
    Ok(())
}

fn subdirectories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes a directory, after those below where there are any.
pub(super) fn remove_tree(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir(directory) {
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            for below in subdirectories(directory)? {
                remove_tree(&below)?;
            }
            std::fs::remove_dir(directory)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Waits until killed processes have left.
pub(super) fn wait_empty(directory: &Path) -> io::Result<()> {
    if directory.join("cgroup.events").exists() {
        return wait_for_event(directory, "populated 0");
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut pids = Vec::new();
        collect_processes(directory, &mut pids)?;
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::from(Errno::BUSY));
        }
        // v1 tells nobody when a cgroup becomes empty.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until `cgroup.events` of a v2 directory has the line; the kernel says when it changes.
pub(super) fn wait_for_event(directory: &Path, line: &str) -> io::Result<()> {
    let path = directory.join("cgroup.events");
    let file = File::open(&path)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut text = [0_u8; 256];
        let length = rustix::io::pread(&file, &mut text, 0)?;
        if text[..length].split(|byte| *byte == b'\n').any(|have| have == line.as_bytes()) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| io::Error::from(Errno::INVAL))?;
        if rustix::event::poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&timeout))? == 0 {
            return Err(io::Error::from(Errno::TIMEDOUT));
        }
    }
}
