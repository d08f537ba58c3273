//! Registries to push to and pull from: teu's and Debian's docker-registry, each time a fresh one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, While};
use crate::process::{self, Background};

/// A kind of registry.
#[derive(Clone)]
pub(crate) enum Registry {
    /// `teu registry serve`.
    Teu(PathBuf),
    /// Debian's docker-registry.
    Docker(PathBuf),
}

/// A registry that listens; gone when dropped.
pub(crate) struct Serving {
    /// `address:port`.
    pub(crate) address: String,
    _process: Background,
}

impl Registry {
    /// Its name in the tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Teu(_) => "teu's registry",
            Self::Docker(_) => "docker-registry",
        }
    }

    /// What it calls itself.
    pub(crate) fn version(&self) -> Result<String, Failure> {
        match self {
            Self::Teu(_) => Ok("teu registry".into()),
            Self::Docker(program) => process::output(Command::new(program).arg("--version")),
        }
    }

    /// Serves an empty one from `folder`, which is emptied for it.
    pub(crate) fn serve(&self, folder: &Path) -> Result<Serving, Failure> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)?;
        let port = process::free_port()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = match self {
            Self::Teu(program) => {
                let mut command = Command::new(program);
                command.args(["registry", "serve", "--listen", &address, "--root"]).arg(folder.join("data"));
                command
            }
            Self::Docker(program) => {
                let config = folder.join("config.yml");
                let root = folder.join("data");
                let text = format!(
                    "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
                    root.display()
                );
                fs::write(&config, text).while_doing(config.display())?;
                let mut command = Command::new(program);
                command.arg("serve").arg(config);
                command
            }
        };
        let mut process = Background::start(&mut command, folder)?;
        process.until(|| process::listens(port))?;
        Ok(Serving { address, _process: process })
    }
}
