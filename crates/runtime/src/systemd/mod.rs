//! Cgroups that systemd makes: a transient scope for each container.
//!
//! systemd-run(1) makes a scope around a process, and systemctl(1) changes and ends it: both are wherever systemd is, and
//! reach it without a message bus. The process is a placeholder: the container's first process is born into the cgroup when
//! it is there, as into any other, and the placeholder ends then. The limits that systemd is told of survive its being
//! reloaded; everything is written into the cgroup as well, which is delegated.

mod property;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;
use crate::cgroup::Place;
use crate::error::During;
pub(crate) use property::{Property, limits, of_annotations};

/// How long systemd may take to make a scope.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a name is asked for that is another's.
const TRIES: u32 = 50;

/// What a container's `cgroupsPath` says where systemd makes cgroups: `slice:prefix:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    slice: String,
    /// The scope's name.
    pub(crate) name: String,
}

impl Unit {
    /// Reads it. Without one, the container `id` is in the slice of the system's services, or of the user's.
    ///
    /// # Errors
    /// [`Error::Refused`] for what has not three parts, or names a slice that cannot be.
    pub(crate) fn parse(path: Option<&Path>, id: &str, rootless: bool) -> Result<Unit, Error> {
        let given = path.map(Path::to_string_lossy).filter(|text| !text.is_empty());
        let given = given.unwrap_or_else(|| format!(":teu:{id}").into());
        let parts: Vec<&str> = given.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            return Err(Error::refused(format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{given}\" instead"
            )));
        };
        let slice = match (slice, rootless) {
            ("", true) => "user.slice",
            ("", false) => "system.slice",
            _ => slice,
        };
        levels(slice)?;
        let name = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        Ok(Unit { slice: slice.to_owned(), name })
    }

    /// The unit that a path is about; none when it is a path of directories.
    pub(crate) fn of(path: &Path) -> Option<Unit> {
        let is_path = path.is_absolute() || path.to_string_lossy().matches(':').count() != 2;
        if is_path { None } else { Unit::parse(Some(path), "", false).ok() }
    }

    /// Where its cgroup is.
    pub(crate) fn path(&self) -> PathBuf {
        levels(&self.slice).unwrap_or_default().join(&self.name)
    }
}

/// Where a slice is. Its name is its path from level to level: `a-b.slice` is in `a.slice`; `-.slice` is the root.
fn levels(slice: &str) -> Result<PathBuf, Error> {
    let wrong = || Error::refused(format!("invalid slice name: {slice}"));
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty() && !name.contains('/')).ok_or_else(wrong)?;
    if name == "-" {
        return Ok(PathBuf::new());
    }
    if name.split('-').any(str::is_empty) {
        return Err(wrong());
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Ok(ends.map(|end| format!("{}.slice", &name[..end])).collect())
}

/// A scope with nothing in it but a placeholder, which ends when this is dropped. What is empty then systemd removes.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Where it is.
    pub(crate) place: Place,
    _placeholder: Placeholder,
}

impl Scope {
    /// Has systemd make it, with these properties.
    ///
    /// # Errors
    /// When systemd is not there, or refuses.
    pub(crate) fn start(unit: &Unit, properties: &[Property]) -> Result<Scope, Error> {
        let mut tries = 0;
        let (placeholder, path) = loop {
            let mut placeholder = Placeholder::start(unit, properties)?;
            match placeholder.wait_until_in(&unit.name) {
                // One that failed keeps its name until somebody has looked at it, and one that has ended for a moment.
                Err(error) if tries < TRIES && error.to_string().contains("already") => {
                    let _ = systemctl(&["reset-failed", &unit.name]);
                }
                other => break (placeholder, other?),
            }
            tries += 1;
            std::thread::sleep(Duration::from_millis(10));
        };
        Ok(Scope { place: Place { path, unit: Some(unit.name.clone()) }, _placeholder: placeholder })
    }
}

/// Changes properties of a unit until the machine is started again.
///
/// # Errors
/// When systemd is not there, or refuses.
pub(crate) fn change(unit: &str, properties: &[Property]) -> Result<(), Error> {
    let words: Vec<String> = properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let words: Vec<&str> =
        ["set-property", "--runtime", unit].into_iter().chain(words.iter().map(String::as_str)).collect();
    systemctl(&words)
}

/// Ends a unit and has systemd forget it. One that is gone has ended.
///
/// # Errors
/// When systemd is not there, or cannot.
pub(crate) fn end(unit: &str) -> Result<(), Error> {
    let stopped = systemctl(&["stop", unit]);
    // It has nothing to forget of one that has not failed.
    let _ = systemctl(&["reset-failed", unit]);
    match stopped {
        Err(error) if error.to_string().contains("not loaded") => Ok(()),
        other => other,
    }
}

fn systemctl(words: &[&str]) -> Result<(), Error> {
    let step = || format!("systemctl {}", words[0]);
    let mut command = Command::new("systemctl");
    command.args(of_user()).args(words).stdin(Stdio::null());
    let done = command.output().during_with(step)?;
    if done.status.success() {
        return Ok(());
    }
    Err(Error::refused(format!("{}: {}", step(), String::from_utf8_lossy(&done.stderr).trim())))
}

/// An ordinary user has a systemd of their own.
fn of_user() -> Option<&'static str> {
    (!rustix::process::geteuid().is_root()).then_some("--user")
}

/// A process that does nothing until its input ends, which is when this is dropped, or whoever holds it has ended.
#[derive(Debug)]
struct Placeholder(Child);

impl Placeholder {
    fn start(unit: &Unit, properties: &[Property]) -> Result<Placeholder, Error> {
        let mut command = Command::new("systemd-run");
        command.args(of_user()).args(["--quiet", "--scope", "--unit", &unit.name, "--slice", &unit.slice]);
        command.args(["--property", "Delegate=yes", "--property", "DefaultDependencies=no"]);
        for (name, value) in properties {
            command.arg("--property").arg(format!("{name}={value}"));
        }
        command.args(["--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map(Placeholder).during("start systemd-run")
    }

    /// Waits until systemd has moved it into the scope; tells the scope's path.
    fn wait_until_in(&mut self, scope: &str) -> Result<PathBuf, Error> {
        let file = format!("/proc/{}/cgroup", self.0.id());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(path) = path_in(&std::fs::read_to_string(&file).unwrap_or_default(), scope) {
                return Ok(path);
            }
            if let Some(status) = self.0.try_wait().during("wait for systemd-run")? {
                let mut why = String::new();
                if let Some(mut words) = self.0.stderr.take() {
                    std::io::Read::read_to_string(&mut words, &mut why).during("read what systemd-run says")?;
                }
                return Err(Error::refused(format!("systemd-run: {} ({status})", why.trim())));
            }
            if Instant::now() > deadline {
                return Err(Error::refused(format!("systemd-run: {scope} was not started within 30 seconds")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It may have been ended with its scope.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The path that ends with the scope, in the table of cgroups(7): systemd's own hierarchy, or the v2 tree.
fn path_in(table: &str, scope: &str) -> Option<PathBuf> {
    let lines = table.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let mut own = lines.filter(|(controllers, _)| matches!(*controllers, "" | "name=systemd"));
    let path = own.find_map(|(_, path)| path.rsplit_once('/').filter(|(_, last)| *last == scope).map(|_| path))?;
    Some(PathBuf::from(path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_slice_a_prefix_and_a_name() {
        let unit = |text: &str| Unit::parse(Some(Path::new(text)), "box", false);
        let of = |slice: &str, name: &str| Unit { slice: slice.into(), name: name.into() };
        assert_eq!(unit("pods-one.slice:cri:a").expect("a unit"), of("pods-one.slice", "cri-a.scope"));
        assert_eq!(unit("::a").expect("a unit"), of("system.slice", "a.scope"));
        assert_eq!(unit("").expect("a unit"), of("system.slice", "teu-box.scope"));
        assert_eq!(Unit::parse(None, "box", true).expect("a unit"), of("user.slice", "teu-box.scope"));
        for wrong in ["/teu/box", "a.slice:b", "pods:cri:a", "a--b.slice:x:y", ".slice:x:y", "a/b.slice:x:y"] {
            assert!(unit(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            unit("a-b-c.slice:x:y").expect("a unit").path(),
            Path::new("a.slice/a-b.slice/a-b-c.slice/x-y.scope")
        );
        assert_eq!(unit("-.slice:x:y").expect("a unit").path(), Path::new("x-y.scope"));
        assert_eq!(Unit::of(Path::new("/teu/a:b:c")), None);
        assert_eq!(Unit::of(Path::new("teu/box")), None);
        assert_eq!(Unit::of(Path::new(":teu:box")).map(|unit| unit.path()), Some("system.slice/teu-box.scope".into()));
    }

    #[test]
    fn a_scope_is_where_its_process_is() {
        let hybrid = "12:pids:/elsewhere\n1:name=systemd:/system.slice/teu-a.scope\n0::/system.slice/teu-a.scope\n";
        let expected = Some(PathBuf::from("system.slice/teu-a.scope"));
        assert_eq!(path_in(hybrid, "teu-a.scope"), expected);
        assert_eq!(path_in("0::/system.slice/teu-a.scope\n", "teu-a.scope"), expected);
        assert_eq!(path_in("0::/user.slice\n", "teu-a.scope"), None);
    }
}
