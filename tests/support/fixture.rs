//! What the tests run: the busybox image, a program that speaks TCP and UDP, folders of files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command::run;

/// The busybox image as an archive; made once.
#[track_caller]
pub fn base_image() -> PathBuf {
    image("busybox")
}

/// An image that boots systemd, as an archive; made once.
#[track_caller]
pub fn systemd_image() -> PathBuf {
    image("systemd")
}

/// One of the images of `tools/base-image`.
#[track_caller]
fn image(name: &str) -> PathBuf {
    made(&format!("{name}.tar"), Path::new("tools/base-image"), |source, out| {
        let mut command = Command::new(source);
        command.arg(name).arg(out);
        command
    })
}

/// The static program of `probe.c`; made once.
#[track_caller]
pub fn probe() -> PathBuf {
    made("probe", Path::new("tests/support/probe.c"), |source, out| {
        let mut command = Command::new("cc");
        command.args(["-static", "-O1", "-Wall", "-o"]).arg(out).arg(source);
        command
    })
}

/// The folder of other people's clients that `tools/packages` knows by that name; fetched once.
#[track_caller]
pub fn packages(name: &str) -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/packages");
    let mut command = Command::new(tool);
    command.arg(name).stdin(Stdio::null()).stderr(Stdio::inherit());
    // Fetching may take longer than a test's command may.
    let ran = command.output().expect("tools/packages");
    assert!(ran.status.success(), "tools/packages {name} failed: its words are above");
    PathBuf::from(String::from_utf8_lossy(&ran.stdout).trim())
}

/// A script of `tests/clients`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Makes `name` from `source` unless it is there and newer.
#[track_caller]
fn made(name: &str, source: &Path, make: impl FnOnce(&Path, &Path) -> Command) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).expect("folder");
    let out = folder.join(name);
    // Tests run at the same time; one makes it, the others wait.
    let lock = File::create(folder.join(format!("{name}.lock"))).expect("lock");
    lock.lock().expect("lock");
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    if time(&out) < time(&source) {
        let fresh = folder.join(format!("{name}.new"));
        run(&mut make(&source, &fresh)).ok();
        fs::rename(&fresh, &out).expect("rename");
    }
    out
}

/// Writes files, with the folders they are in.
#[track_caller]
pub fn tree(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(&path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    }
}
