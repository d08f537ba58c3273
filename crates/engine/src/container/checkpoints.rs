//! Checkpoints: the processes of a running container, saved to a folder by name, to go on from at a later start.
//!
//! ```text
//! <data-root>/checkpoints/<id>/<name>/       criu's images, as the supervisor has them made
//! ```
//!
//! Deliberately absent: the container's files and its network. A checkpoint goes on in the same container, on what its
//! layer has by then, with the addresses that it is given.

use std::fs;
use std::io;
use std::path::PathBuf;

use teu_supervisor::protocol::Request;

use super::driver::{Command, Driver};
use super::lifecycle::Input;
use super::{Container, Phase};
use crate::error::{Error, Result};

/// A state to be kept.
#[derive(Clone, Debug, Default)]
pub struct CheckpointOptions {
    /// Its name.
    pub name: String,
    /// The folder of the checkpoints instead of the usual one.
    pub dir: Option<PathBuf>,
    /// The container ends with it.
    pub exit: bool,
}

impl Container {
    /// Saves its processes.
    ///
    /// # Errors
    /// When it does not run, has a terminal, an init or a user namespace, there is a checkpoint of that name, or criu cannot do it.
    pub async fn checkpoint(&self, options: CheckpointOptions) -> Result<()> {
        let CheckpointOptions { name, dir, exit } = options;
        let record = self.record();
        if record.state.phase != Phase::Running {
            return Err(Error::conflict(format!("Container {} not running", self.id())));
        }
        let cannot = match () {
            () if record.config.tty => Some("tty"),
            // Its first process is the runtime's own program, which is nowhere in its files.
            () if record.host.init == Some(true) => Some("an init"),
            // What is its own user's cannot be plugged in from outside.
            () if record.users.is_some() => Some("a user namespace"),
            () => None,
        };
        if let Some(what) = cannot {
            return Err(Error::bad(format!("checkpoint not supported on containers with {what}")));
        }
        let images = self.images(dir, &name)?;
        let parent = images.parent().unwrap_or(&images).to_path_buf();
        fs::create_dir_all(&parent).map_err(|error| Error::io("make", &parent, error))?;
        match fs::create_dir(&images) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let what = format!("checkpoint with name {name} already exists for container {}", record.name);
                return Err(Error::conflict(what));
            }
            other => other.map_err(|error| Error::io("make", &images, error))?,
        }
        let saved = self.command(|reply| Command::Checkpoint { images: images.clone(), exit, reply }).await;
        saved.map_err(|error| {
            // What there is of it cannot be gone on from.
            let _ = fs::remove_dir_all(&images);
            Error::new(error.kind, format!("Cannot checkpoint container {}: {}", self.id(), error.message))
        })
    }

    /// The names of its checkpoints, in order.
    ///
    /// # Errors
    /// As reading a directory.
    pub fn checkpoints(&self, dir: Option<PathBuf>) -> Result<Vec<String>> {
        let dir = self.folder(dir);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| Error::io("list", &dir, error))?,
        };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<_> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a checkpoint.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn remove_checkpoint(&self, name: &str, dir: Option<PathBuf>) -> Result<()> {
        let images = self.known(name, dir)?;
        fs::remove_dir_all(&images).map_err(|error| Error::io("remove", &images, error))
    }

    /// Has it go on from a checkpoint.
    ///
    /// # Errors
    /// When there is none of that name, and as [`Container::start`].
    pub async fn resume_from(&self, name: &str, dir: Option<PathBuf>) -> Result<()> {
        let images = self.known(name, dir)?;
        self.start_from(Some(images)).await
    }

    fn folder(&self, dir: Option<PathBuf>) -> PathBuf {
        dir.unwrap_or_else(|| self.shared.context.checkpoints_dir(self.id()))
    }

    fn images(&self, dir: Option<PathBuf>, name: &str) -> Result<PathBuf> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let good = name.len() > 1 && name.chars().all(allowed) && name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !good {
            let what = format!("Invalid checkpoint ID ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
            return Err(Error::bad(what));
        }
        let folder = self.folder(dir);
        if !folder.is_absolute() {
            return Err(Error::bad(format!("the folder of checkpoints \"{}\" is not absolute", folder.display())));
        }
        Ok(folder.join(name))
    }

    fn known(&self, name: &str, dir: Option<PathBuf>) -> Result<PathBuf> {
        let images = self.images(dir, name)?;
        // A folder that criu has written, not any folder of the host's.
        if images.join("inventory.img").is_file() {
            return Ok(images);
        }
        let container = &self.record().name;
        Err(Error::not_found(format!("checkpoint {name} does not exist for container {container}")))
    }
}

impl Driver {
    /// Has the supervisor save the processes; what follows from their end comes as news.
    pub(super) async fn save_processes(&mut self, images: PathBuf, exit: bool) -> Result<()> {
        let task = self.container.live().task.clone();
        let task = task.ok_or_else(|| Error::conflict(format!("Container {} not running", self.record.id)))?;
        task.order(&Request::Checkpoint { images, leave_running: !exit }).await?;
        self.containers.context.emit_container("checkpoint", &self.record, &[]);
        if exit {
            // The user wants it ended: its restart policy leaves it alone.
            self.feed(Input::StopAsked { restart: false }).await?;
        }
        Ok(())
    }
}
