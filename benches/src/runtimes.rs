//! Runtimes by themselves, without an engine: `teu runtime`, runc, crun. Each runs the same bundle on the root file system
//! of the floor: all namespaces but the user's, the default profile of system calls, and limits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use teu_runtime::seccomp;

use crate::failure::{Failure, While};
use crate::process;
use crate::report::Contender;

/// A runtime, and a bundle that runs the static `true`.
pub(crate) struct Runtime {
    /// Who it is.
    pub(crate) contender: Contender,
    /// What it calls itself.
    pub(crate) version: String,
    program: PathBuf,
    verb: Option<&'static str>,
    bundle: PathBuf,
    state: PathBuf,
    runs: usize,
}

impl Runtime {
    /// Every runtime that is there, and why others are not.
    pub(crate) fn all(teu: &Path, rootfs: &Path, folder: &Path) -> Vec<Result<Self, Failure>> {
        let theirs = |name: &str, contender| {
            let program =
                process::find(name).ok_or_else(|| Failure(format!("{name} is not installed: apt-get install {name}")));
            program.and_then(|program| Self::new(contender, program, None, rootfs, &folder.join(name)))
        };
        vec![
            Self::new(Contender::Teu, teu.into(), Some("runtime"), rootfs, &folder.join("teu")),
            theirs("runc", Contender::Runc),
            theirs("crun", Contender::Crun),
        ]
    }

    /// Prepares the bundle in `folder`, with the spec that the runtime itself proposes.
    fn new(
        contender: Contender,
        program: PathBuf,
        verb: Option<&'static str>,
        rootfs: &Path,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let bundle = folder.join("bundle");
        fs::create_dir_all(&bundle)?;
        let runtime =
            Self { contender, version: String::new(), program, verb, bundle, state: folder.join("state"), runs: 0 };
        process::output(runtime.command().arg("spec").current_dir(&runtime.bundle))?;
        let config = runtime.bundle.join("config.json");
        let text = fs::read(&config).while_doing(config.display())?;
        let mut spec: Value = serde_json::from_slice(&text).while_doing(config.display())?;
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["/true"]);
        spec["root"]["path"] = json!(rootfs);
        let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
        spec["linux"]["seccomp"] =
            serde_json::to_value(seccomp::profile::default(&capabilities)).while_doing("make a profile")?;
        let limits = json!({"memory": {"limit": 64 << 20}, "cpu": {"shares": 512}, "pids": {"limit": 100}});
        for (name, limit) in limits.as_object().into_iter().flatten() {
            spec["linux"]["resources"][name] = limit.clone();
        }
        fs::write(&config, spec.to_string()).while_doing(config.display())?;
        let version = process::output(runtime.command().arg("--version"))?;
        let version = version.lines().next().unwrap_or_default().replace(" version", "");
        let mut runtime = Self { version, ..runtime };
        // One that cannot run here says so now.
        runtime.run()?;
        Ok(runtime)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.verb);
        command
    }

    /// A container that is there and waits for its start, to be entered.
    pub(crate) fn hold(&mut self) -> Result<Held<'_>, Failure> {
        self.runs += 1;
        let held = Held { id: format!("teu-bench-{}-{}", std::process::id(), self.runs), runtime: self };
        let mut command = held.command("create");
        // It keeps what the command is given.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = command.arg("--bundle").arg(&held.runtime.bundle).arg(&held.id).status()?;
        if ended.success() { Ok(held) } else { Err(Failure(format!("create ended ({ended})"))) }
    }

    /// Runs it once.
    pub(crate) fn run(&mut self) -> Result<Duration, Failure> {
        self.runs += 1;
        let mut command = self.command();
        command.arg("--root").arg(&self.state).arg("run").arg("--bundle").arg(&self.bundle);
        process::timed(command.arg(format!("teu-bench-{}-{}", std::process::id(), self.runs)))
    }
}

/// A container of a runtime's; gone when dropped.
pub(crate) struct Held<'r> {
    runtime: &'r Runtime,
    id: String,
}

impl Held<'_> {
    /// Whose it is.
    pub(crate) fn contender(&self) -> Contender {
        self.runtime.contender
    }

    /// Enters it once.
    pub(crate) fn enter(&self) -> Result<Duration, Failure> {
        process::timed(self.command("exec").args([&self.id, "/true"]))
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = self.runtime.command();
        command.arg("--root").arg(&self.runtime.state).arg(verb);
        command
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = process::output(self.command("delete").args(["--force", &self.id]));
    }
}
