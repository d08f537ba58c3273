//! When a container is made: its mounts are put together, volumes that are not there are made, and empty ones get what
//! the image has at their place.
//!
//! Order, as Docker's: the mounts of other containers, then the short forms, then the long ones, each taking the place of
//! one before; at last the image's volumes where nothing is yet.

use std::collections::BTreeMap;
use std::path::Path;

use teu_api::container::{Mount, MountPoint};
use teu_sys::fs::Root;

use super::parse;
use super::{ImageMount, MountRecord};
use crate::container::{Containers, Record};
use crate::error::{Error, Kind, Result};
use teu_api::path::clean;

/// Mounts by their destination, which of them were asked for one by one, and those whose place another took.
#[derive(Default)]
struct Table {
    mounts: BTreeMap<String, MountRecord>,
    asked: Vec<String>,
    displaced: Vec<MountRecord>,
}

impl Table {
    /// Adds one that was asked for by name; no two may have the same destination.
    fn add(&mut self, mount: MountRecord, tmpfs: bool) -> Result<()> {
        let destination = mount.point.destination.clone();
        if self.asked.contains(&destination) || tmpfs {
            self.displaced.push(mount);
            return Err(Error::bad(format!("Duplicate mount point: {destination}")));
        }
        self.asked.push(destination);
        self.put(mount);
        Ok(())
    }

    fn put(&mut self, mount: MountRecord) {
        self.displaced.extend(self.mounts.insert(mount.point.destination.clone(), mount));
    }
}

impl Containers {
    /// Finds or makes what each mount of the container needs, and notes it in the record.
    ///
    /// # Errors
    /// When a mount is unsound or its source is missing; volumes that were made for the container alone are gone then.
    pub(in crate::container) fn resolve_mounts(&self, record: &mut Record) -> Result<()> {
        let mut table = Table::default();
        let resolved = self.resolve_all(record, &mut table).and_then(|()| self.fill(record, &table));
        record.mounts = table.mounts.into_values().collect();
        if resolved.is_err() {
            record.mounts.extend(table.displaced);
            self.context.release_mounts(record, true);
        } else {
            let used = |mount: &MountRecord| record.mounts.iter().any(|other| other.volume() == mount.volume());
            let unused = table.displaced.into_iter().filter(|mount| !used(mount)).collect();
            self.context.release_mounts(&Record { id: record.id.clone(), mounts: unused, ..Record::default() }, true);
        }
        resolved
    }

    fn resolve_all(&self, record: &Record, table: &mut Table) -> Result<()> {
        let host = &record.host;
        let on_tmpfs = |target: &str| host.tmpfs.keys().any(|path| clean(path) == clean(target));
        for text in &host.volumes_from {
            self.take_over(text, &record.id, table)?;
        }
        for text in &host.binds {
            let (mount, mode) = parse::short(text, &host.volume_driver)?;
            let mut resolved = self.resolve(&mount, &record.id)?;
            resolved.point.mode = if mode.is_empty() { shared_label(&mount.kind) } else { mode };
            table.add(resolved, on_tmpfs(&mount.target))?;
        }
        for mount in &host.mounts {
            let mut resolved = self.resolve(mount, &record.id)?;
            resolved.point.mode = shared_label(&mount.kind);
            table.add(resolved, on_tmpfs(&mount.target))?;
        }
        for path in record.config.volumes.keys() {
            let target = clean(path);
            if table.mounts.contains_key(&target) || on_tmpfs(&target) {
                continue;
            }
            let mut options = teu_api::container::VolumeOptions::default();
            if !host.volume_driver.is_empty() {
                options.driver_config.get_or_insert_default().name.clone_from(&host.volume_driver);
            }
            let mount = Mount { kind: "volume".into(), target, volume_options: Some(options), ..Mount::default() };
            let resolved = self.resolve(&mount, &record.id)?;
            table.put(resolved);
        }
        Ok(())
    }

    /// The mounts of another container.
    fn take_over(&self, text: &str, user: &str, table: &mut Table) -> Result<()> {
        let (wanted, writable) = parse::volumes_from(text)?;
        // What the request names is not there: the request is wrong.
        let other = self.find(wanted).map_err(|error| Error::bad(error.message))?.record();
        for mount in &other.mounts {
            let mut mount = mount.clone();
            mount.point.rw &= writable;
            mount.point.mode.clear();
            mount.asked.read_only = !mount.point.rw;
            // The other container has filled it.
            if let Some(name) = mount.volume().map(str::to_owned) {
                self.context.volumes.inspect(&name)?;
                self.context.volumes.refer(&name, user);
                mount.asked.volume_options.get_or_insert_default().no_copy = true;
            }
            table.put(mount);
        }
        Ok(())
    }

    fn resolve(&self, asked: &Mount, user: &str) -> Result<MountRecord> {
        let mut point = MountPoint {
            kind: asked.kind.clone(),
            destination: clean(&asked.target),
            rw: !asked.read_only,
            ..MountPoint::default()
        };
        let mut image = None;
        match asked.kind.as_str() {
            "bind" => {
                bind(asked, &mut point)?;
                by_the_data_root(asked, &mut point, &self.context.config.root)?;
            }
            "volume" => self.volume(asked, &mut point, user)?,
            "image" => image = Some(self.image_mount(asked, &mut point)?),
            _ => {}
        }
        Ok(MountRecord { point, asked: asked.clone(), image })
    }

    fn volume(&self, asked: &Mount, point: &mut MountPoint, user: &str) -> Result<()> {
        let options = asked.volume_options.clone().unwrap_or_default();
        let volumes = &self.context.volumes;
        let volume = volumes.ensure(user, &options, &asked.source)?;
        if point.rw && volumes.is_snapshot(&volume.name)? {
            volumes.release(&volume.name, user);
            return Err(Error::conflict(format!(
                "volume \"{}\" is a snapshot: mount it read-only, or clone it",
                volume.name
            )));
        }
        (point.name, point.source, point.driver) = (volume.name, volume.mountpoint, volume.driver);
        Ok(())
    }

    fn image_mount(&self, asked: &Mount, point: &mut MountPoint) -> Result<ImageMount> {
        let image = self.context.images.resolve(&asked.source)?;
        point.name.clone_from(&asked.source);
        point.source = image.id.to_string();
        point.rw = false;
        point.propagation = "rprivate".into();
        Ok(ImageMount { chain: image.chain().cloned(), id: image.id })
    }

    /// First use of volumes that are empty.
    fn fill(&self, record: &Record, table: &Table) -> Result<()> {
        for (destination, mount) in &table.mounts {
            let Some(name) = mount.volume() else { continue };
            let options = mount.asked.volume_options.clone().unwrap_or_default();
            if !options.no_copy {
                self.context.volumes.fill(name, &options.subpath, record.chain.as_ref(), destination)?;
            }
        }
        let of_image = record.config.volumes.keys().map(|path| clean(path));
        let covered = |path: &String| table.asked.contains(path);
        self.refuse_files(record, of_image.filter(|path| !covered(path)))
    }

    /// An image's volume takes the place of a directory, not of a file.
    fn refuse_files(&self, record: &Record, mut paths: impl Iterator<Item = String>) -> Result<()> {
        let Some(first) = paths.next() else { return Ok(()) };
        let view = self.context.store.snapshots().view(record.chain.as_ref())?;
        let tree =
            view.mount_detached().map_err(|error| Error::io("look into the image of", record.id.as_ref(), error))?;
        let tree = Root::from_fd(tree);
        let file = |path: &String| tree.metadata(path).is_ok_and(|meta| !meta.is_dir());
        match std::iter::once(first).chain(paths).find(file) {
            Some(path) => {
                Err(Error::new(Kind::BadRequest, format!("cannot mount volume over existing file, file exists {path}")))
            }
            None => Ok(()),
        }
    }
}

/// The mode that Docker shows for a volume without one: its word for "shared by containers" where labels are enforced.
fn shared_label(kind: &str) -> String {
    if kind == "volume" { "z".into() } else { String::new() }
}

/// What holds the engine's own files, or is one of them, is bound so that what the host unmounts there is unmounted in the
/// container too: else it would keep what is removed.
fn by_the_data_root(asked: &Mount, point: &mut MountPoint, root: &Path) -> Result<()> {
    if !is_by(&point.source, root) {
        return Ok(());
    }
    match asked.bind_options.as_ref().map_or("", |options| options.propagation.as_str()) {
        "" => point.propagation = "rslave".into(),
        "rslave" | "rshared" => {}
        wrong => {
            return Err(Error::bad(format!(
                "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is \
                 within the daemon root, daemon root: \"{}\", bind mount source: \"{}\", propagation: \"{wrong}\"",
                root.display(),
                point.source
            )));
        }
    }
    Ok(())
}

/// Whether one is within the other.
pub(super) fn is_by(source: &str, root: &Path) -> bool {
    let source = Path::new(source);
    source.starts_with(root) || root.starts_with(source)
}

fn bind(asked: &Mount, point: &mut MountPoint) -> Result<()> {
    let options = asked.bind_options.clone().unwrap_or_default();
    point.source = clean(&asked.source);
    point.propagation = if options.propagation.is_empty() { "rprivate".into() } else { options.propagation };
    if options.create_mountpoint || Path::new(&asked.source).exists() {
        return Ok(());
    }
    Err(Error::bad(format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}",
        asked.source
    )))
}
