//! Bare runc: the OCI runtime under Docker, without Docker. It runs a bundle on the root file system of the floor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::{Failure, While};
use crate::process;

/// A bundle that runs the static `true`.
pub(crate) struct Runc {
    /// What it calls itself.
    pub(crate) version: String,
    program: PathBuf,
    bundle: PathBuf,
    state: PathBuf,
    runs: usize,
}

impl Runc {
    /// Prepares the bundle in `folder`, with the spec that runc itself proposes.
    pub(crate) fn new(rootfs: &Path, folder: &Path) -> Result<Self, Failure> {
        let program =
            process::find("runc").ok_or_else(|| Failure("runc is not installed: apt-get install runc".into()))?;
        let bundle = folder.join("bundle");
        fs::create_dir_all(&bundle)?;
        process::output(Command::new(&program).arg("spec").arg("--bundle").arg(&bundle))?;
        let config = bundle.join("config.json");
        let text = fs::read(&config).while_doing(config.display())?;
        let mut spec: Value = serde_json::from_slice(&text).while_doing(config.display())?;
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["/true"]);
        spec["root"]["path"] = json!(rootfs);
        fs::write(&config, spec.to_string()).while_doing(config.display())?;
        let version = process::output(Command::new(&program).arg("--version"))?;
        let version = version.lines().next().unwrap_or("runc").replace(" version", "");
        Ok(Self { version, program, bundle, state: folder.join("state"), runs: 0 })
    }

    /// Runs it once.
    pub(crate) fn run(&mut self) -> Result<Duration, Failure> {
        self.runs += 1;
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state).arg("run").arg("--bundle").arg(&self.bundle);
        process::timed(command.arg(format!("teu-bench-{}-{}", std::process::id(), self.runs)))
    }
}
