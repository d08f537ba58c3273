//! Devices by name: the Container Device Interface, and GPUs by way of it.
//!
//! ```text
//! /etc/cdi/*.json *.yaml        vendor.com/class: devices, and what each does to a container
//! /var/run/cdi/…                the same; a later folder's device wins over an earlier one's
//!        └─ Registry ── request: --device vendor.com/class=name, --gpus ── edits ── runtime spec
//! ```
//!
//! The folders are read when a device is asked for, so that what was put there a moment ago counts. Two files of one folder
//! that describe the same device are a conflict, and nobody gets it.

mod edits;
mod file;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use teu_api::container::DeviceRequest;
use teu_oci::runtime::Spec;

use crate::error::{Error, Result};

/// Where specifications are by default.
pub(crate) const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Vendors of GPUs: the name by which a driver is asked for, the kind of device, and the capabilities it answers to.
const GPUS: &[(&str, &str, &[&str])] = &[
    ("nvidia", "nvidia.com/gpu", &["gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display"]),
    ("amd", "amd.com/gpu", &["gpu", "amd"]),
];

/// What the folders describe.
#[derive(Default)]
pub(crate) struct Registry {
    files: Vec<Loaded>,
    /// File and place in it, by the device's full name.
    devices: BTreeMap<String, (usize, usize)>,
    /// What is wrong with files.
    pub(crate) problems: Vec<String>,
}

struct Loaded {
    path: PathBuf,
    /// Which folder; a higher one wins.
    priority: usize,
    file: file::File,
}

impl Registry {
    /// Reads the folders. One that is not there has no devices.
    pub(crate) fn scan(directories: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        let mut conflicts = BTreeSet::new();
        for (priority, directory) in directories.iter().enumerate() {
            for path in files(directory) {
                match file::read(&path) {
                    Ok(file) => registry.add(Loaded { path, priority, file }, &mut conflicts),
                    Err(why) => registry.problem(&path, &format!("load CDI Spec: {why}")),
                }
            }
        }
        registry.devices.retain(|name, _| !conflicts.contains(name));
        registry
    }

    fn problem(&mut self, path: &Path, why: &str) {
        self.problems.push(format!("CDI: Error associated with spec file {}: {why}", path.display()));
    }

    fn add(&mut self, loaded: Loaded, conflicts: &mut BTreeSet<String>) {
        let number = self.files.len();
        for (place, device) in loaded.file.devices.iter().enumerate() {
            let name = format!("{}={}", loaded.file.kind, device.name);
            if let Some((other, _)) = self.devices.get(&name) {
                let other = &self.files[*other];
                if other.priority == loaded.priority {
                    let why = format!("conflicting device \"{name}\", which {} has too", other.path.display());
                    self.problem(&loaded.path, &why);
                    conflicts.insert(name);
                    continue;
                }
                conflicts.remove(&name);
            }
            self.devices.insert(name, (number, place));
        }
        self.files.push(loaded);
    }

    /// The devices' full names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.devices.keys()
    }

    fn has_kind(&self, kind: &str) -> bool {
        self.devices.values().any(|(file, _)| self.files[*file].file.kind == kind)
    }

    /// Gives the devices to a container: what goes with a whole file once, and then what each brings.
    fn inject(&self, spec: &mut Spec, names: &[String]) -> std::result::Result<(), String> {
        let missing: Vec<_> = names.iter().filter(|name| !self.devices.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return Err(format!("unresolvable CDI devices {}", missing.join(", ")));
        }
        let (mut all, mut seen) = (vec![], BTreeSet::new());
        for (number, place) in names.iter().filter_map(|name| self.devices.get(name)) {
            let file = &self.files[*number].file;
            if seen.insert(*number) {
                all.push(&file.container_edits);
            }
            all.push(&file.devices[*place].container_edits);
        }
        edits::apply(spec, &all).map_err(|why| format!("inject devices: {why}"))
    }
}

/// The specification files of a folder, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return vec![] };
    let is_spec = |path: &PathBuf| {
        let extension = path.extension().is_some_and(|extension| extension == "json" || extension == "yaml");
        extension && !path.is_dir()
    };
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_spec).collect();
    found.sort();
    found
}

/// Gives a container the devices that were asked for by name or capability.
///
/// # Errors
/// In Docker's words, when a device or a driver is not there.
pub(crate) fn give(directories: &[PathBuf], requests: &[DeviceRequest], spec: &mut Spec) -> Result<()> {
    if requests.is_empty() {
        return Ok(());
    }
    let registry = Registry::scan(directories);
    for request in requests {
        let names = names(request, &registry)?;
        let injected = registry.inject(spec, &names);
        injected.map_err(|why| Error::internal(format!("CDI device injection failed: {why}")))?;
    }
    Ok(())
}

/// The full names of the devices that a request means.
fn names(request: &DeviceRequest, registry: &Registry) -> Result<Vec<String>> {
    let ids = request.device_ids.clone().unwrap_or_default();
    if request.driver == "cdi" {
        return match () {
            () if request.count != 0 => Err(Error::internal("unexpected count in CDI device request")),
            () if request.options.as_ref().is_some_and(|options| !options.is_empty()) => {
                Err(Error::internal("unexpected options in CDI device request"))
            }
            () => Ok(ids),
        };
    }
    let kind = kind(request, registry).ok_or_else(|| {
        let sets: Vec<_> = request.capabilities.iter().flatten().map(|set| format!("[{}]", set.join(" "))).collect();
        let (driver, sets) = (&request.driver, sets.join(" "));
        Error::internal(format!("could not select device driver \"{driver}\" with capabilities: [{sets}]"))
    })?;
    if request.count != 0 && !ids.is_empty() {
        return Err(Error::internal("cannot set both Count and DeviceIDs on device request"));
    }
    let numbered = |number: i64| number.to_string();
    let ids = match request.count {
        0 => ids,
        ..0 => vec!["all".into()],
        count => (0..count).map(numbered).take(registry.devices.len() + 1).collect(),
    };
    let full = |id: String| if id.contains('=') { id } else { format!("{kind}={id}") };
    Ok(ids.into_iter().map(full).collect())
}

/// The kind of GPU that answers to a request: by its driver's name, or by capabilities.
fn kind(request: &DeviceRequest, registry: &Registry) -> Option<&'static str> {
    let answers = |name: &str, capabilities: &[&str]| match request.driver.as_str() {
        "" => {
            request.capabilities.iter().flatten().any(|set| set.iter().all(|one| capabilities.contains(&one.as_str())))
        }
        driver => driver == name || driver.strip_suffix(".cdi") == Some(name),
    };
    let found = GPUS.iter().find(|(name, kind, capabilities)| answers(name, capabilities) && registry.has_kind(kind));
    found.map(|(_, kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(files: &[(&str, &str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let root = tempfile::tempdir().unwrap();
        let directories: Vec<PathBuf> = ["one", "two"].map(|name| root.path().join(name)).into();
        directories.iter().for_each(|path| std::fs::create_dir(path).unwrap());
        for (folder, name, device) in files {
            let kind = if name.starts_with("nvidia") { "nvidia.com/gpu" } else { "v.com/c" };
            let text = format!(
                "cdiVersion: 0.5.0\nkind: {kind}\ncontainerEdits: {{env: [ALL={name}]}}\ndevices:\n- name: \"{device}\"\n  \
                 containerEdits:\n    env: [FROM={name}, DEVICE={device}]\n"
            );
            std::fs::write(root.path().join(folder).join(name), text).unwrap();
        }
        (root, directories)
    }

    fn env(directories: &[PathBuf], request: &DeviceRequest) -> std::result::Result<Vec<String>, String> {
        let mut spec = Spec::default();
        give(directories, std::slice::from_ref(request), &mut spec).map_err(|error| error.message)?;
        Ok(spec.process.map(|process| process.env).unwrap_or_default())
    }

    fn cdi(ids: &[&str]) -> DeviceRequest {
        let device_ids = Some(ids.iter().map(ToString::to_string).collect());
        DeviceRequest { driver: "cdi".into(), device_ids, ..DeviceRequest::default() }
    }

    #[test]
    fn the_later_folder_wins_and_equals_are_a_conflict() {
        let (_root, both) = folders(&[("one", "a.yaml", "d"), ("two", "b.yaml", "d")]);
        assert_eq!(env(&both, &cdi(&["v.com/c=d"])).unwrap(), ["ALL=b.yaml", "FROM=b.yaml", "DEVICE=d"]);
        let (_root, same) = folders(&[("one", "a.yaml", "d"), ("one", "b.yaml", "d"), ("one", "c.yaml", "e")]);
        let error = env(&same, &cdi(&["v.com/c=d", "v.com/c=e"])).unwrap_err();
        assert_eq!(error, "CDI device injection failed: unresolvable CDI devices v.com/c=d");
        let registry = Registry::scan(&same);
        assert_eq!(registry.names().collect::<Vec<_>>(), ["v.com/c=e"]);
        assert!(registry.problems[0].contains("conflicting device \"v.com/c=d\""), "{:?}", registry.problems);
    }

    #[test]
    fn gpus_are_found_by_capability_number_and_name() {
        let gpu = |count: i64, ids: &[&str]| DeviceRequest {
            count,
            device_ids: Some(ids.iter().map(ToString::to_string).collect()),
            capabilities: Some(vec![vec!["gpu".into()]]),
            ..DeviceRequest::default()
        };
        let (_root, folders) = folders(&[("one", "nvidia.yaml", "0"), ("two", "nvidia-all.yaml", "all")]);
        assert!(env(&folders, &gpu(-1, &[])).unwrap().contains(&"DEVICE=all".into()));
        assert!(env(&folders, &gpu(1, &[])).unwrap().contains(&"DEVICE=0".into()));
        assert!(env(&folders, &gpu(0, &["0"])).unwrap().contains(&"DEVICE=0".into()));
        assert!(env(&folders, &gpu(2, &[])).unwrap_err().contains("unresolvable CDI devices nvidia.com/gpu=1"));
        assert!(env(&folders, &gpu(1, &["0"])).unwrap_err().contains("both Count and DeviceIDs"));
        let other = DeviceRequest { driver: "fpga".into(), ..gpu(1, &[]) };
        let sentence = "could not select device driver \"fpga\" with capabilities: [[gpu]]";
        assert_eq!(env(&folders, &other).unwrap_err(), sentence);
        let none = env(&[], &gpu(-1, &[])).unwrap_err();
        assert_eq!(none, "could not select device driver \"\" with capabilities: [[gpu]]");
        assert!(env(&[], &DeviceRequest { count: 1, ..cdi(&[]) }).unwrap_err().contains("unexpected count"));
    }
}
