//! A bundle of the test's own for `teu runtime`; nothing of its container may be left when it is dropped.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::command::{Ran, Running, run};
use super::daemon::TEU;
use super::leftovers::{Marks, cgroup_of};

/// The shell and tools of the bundle.
const BUSYBOX: &str = "/bin/busybox";

/// A bundle whose configuration is what `teu runtime spec` writes, without a terminal.
pub struct Bundle {
    folder: TempDir,
    /// The container's id.
    pub id: String,
    /// Its configuration; change it before it is run.
    pub config: Value,
}

impl Bundle {
    /// A bundle that runs a shell script.
    #[track_caller]
    pub fn new(script: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("teu-bundle-").tempdir().expect("folder");
        let bin = folder.path().join("rootfs/bin");
        fs::create_dir_all(&bin).expect("folder");
        for name in ["proc", "sys", "dev", "tmp", "etc", "run"] {
            fs::create_dir_all(folder.path().join("rootfs").join(name)).expect("folder");
        }
        assert!(Path::new(BUSYBOX).exists(), "{BUSYBOX} is missing: tools/setup test installs it");
        fs::copy(BUSYBOX, bin.join("busybox")).expect("a copy of busybox");
        let applets = run(Command::new(BUSYBOX).arg("--list")).ok();
        for name in applets.lines().filter(|name| *name != "busybox") {
            symlink("busybox", bin.join(name)).expect("a link");
        }
        let id = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
        run(Command::new(TEU).args(["runtime", "spec", "--bundle"]).arg(folder.path())).ok();
        let text = fs::read(folder.path().join("config.json")).expect("config.json");
        let mut config: Value = serde_json::from_slice(&text).expect("JSON");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["root"]["readonly"] = json!(false);
        Self { folder, id, config }
    }

    /// The bundle's directory.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the container's root file system is.
    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// A directory of the host beside the bundle's root.
    pub fn outside(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("folder");
        path
    }

    /// Adds a bind mount.
    pub fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) {
        let options: Vec<_> = ["bind"].iter().chain(options).collect();
        let mount = json!({ "destination": destination, "type": "bind", "source": source, "options": options });
        self.config["mounts"].as_array_mut().expect("mounts").push(mount);
    }

    /// A command of the runtime, to be run; the configuration is written first.
    pub fn command(&self, args: &[&str]) -> Command {
        let (path, text) = (self.path().join("config.json"), self.config.to_string());
        // Other commands may be reading it just now.
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            let new = self.path().join("config.json.new");
            fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).expect("config.json");
        }
        let mut command = Command::new(TEU);
        command.args(["runtime", "--root"]).arg(self.path().join("state")).args(args).current_dir(self.path());
        command
    }

    /// Runs a command of the runtime to its end.
    #[track_caller]
    pub fn runtime(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    /// Runs the container in the foreground.
    #[track_caller]
    pub fn run(&self) -> Ran {
        self.runtime(&["run", &self.id])
    }

    /// Starts the container in the foreground.
    #[track_caller]
    pub fn spawn(&self) -> Running {
        Running::spawn(&mut self.command(&["run", &self.id]))
    }

    /// Runs a shell script in the running container; its output.
    #[track_caller]
    pub fn exec(&self, script: &str) -> String {
        self.runtime(&["exec", &self.id, "sh", "-c", script]).ok()
    }

    /// A field of the container's state.
    #[track_caller]
    pub fn state(&self, field: &str) -> Value {
        let state: Value = serde_json::from_str(&self.runtime(&["state", &self.id]).ok()).expect("JSON");
        state[field].clone()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let deleted = self.runtime(&["delete", "--force", &self.id]);
        let marks = Marks::new(self.path(), &self.path().join("run"));
        let mut left = marks.leftovers_of_folder();
        left.extend(cgroup_of(&self.id).into_iter().map(|path| format!("cgroup {}", path.display())));
        let entries = fs::read_dir(self.path().join("state")).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| format!("state {}", entry.path().display())));
        let shown = fs::read_dir("/run/teu-shown").into_iter().flatten().flatten().map(|entry| entry.path());
        let own = self.path().to_string_lossy().into_owned();
        let is_ours = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(&own));
        left.extend(shown.filter(is_ours).map(|path| format!("written down {}", path.display())));
        if std::thread::panicking() {
            marks.sweep();
            return;
        }
        assert_eq!(deleted.code, 0, "delete --force: {}", deleted.err);
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}
