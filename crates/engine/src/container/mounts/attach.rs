//! When a container starts: sources of binds are made where Docker makes them, volumes are mounted, and everything is
//! where the runtime will look for it. When it ends, volumes are let go of.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::MountRecord;
use super::spec::Attachment;
use crate::Context;
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::volume::Place;

impl Context {
    /// Gets every source ready. What was mounted stays so until [`Context::detach_mounts`], also after an error.
    pub(in crate::container) fn attach_mounts(&self, record: &Record) -> Result<Vec<Attachment>> {
        let mut attachments = Vec::with_capacity(record.mounts.len());
        for mount in record.mounts.iter().filter(|mount| mount.point.kind != "tmpfs") {
            let mut attachment = Attachment { record: mount.clone(), ..Attachment::default() };
            match mount.point.kind.as_str() {
                "bind" => {
                    let unasked =
                        mount.asked.bind_options.as_ref().is_none_or(|options| options.propagation.is_empty());
                    // Nobody asked for it: where the host's mounts do not travel it is not so.
                    if unasked && mount.point.propagation == "rslave" && travels(&mount.point.source, "slave").is_err()
                    {
                        attachment.record.point.propagation = "rprivate".into();
                    }
                    attach_bind(&attachment.record)?;
                }
                "image" => attachment.layers = self.image_layers(mount)?,
                _ => attachment.place = Some(self.attach_volume(record, mount)?),
            }
            attachments.push(attachment);
        }
        Ok(attachments)
    }

    /// Lets go of a container's volumes: its processes have ended.
    pub(in crate::container) fn detach_mounts(&self, record: &Record) {
        let volumes = &self.volumes;
        for name in record.mounts.iter().filter_map(MountRecord::volume) {
            volumes.emit("unmount", name, &[("container", &record.id)]);
        }
        for name in record.mounts.iter().filter_map(MountRecord::volume).collect::<BTreeSet<_>>() {
            match volumes.unmount(name, &record.id) {
                Err(error) if error.kind != Kind::NotFound => {
                    tracing::warn!(%error, container = record.id, volume = name, "unmount a container's volume");
                }
                _ => {}
            }
        }
    }

    /// Lets go of a container's volumes; with `remove` those without a name are removed, unless others use them.
    pub(crate) fn release_mounts(&self, record: &Record, remove: bool) {
        let volumes = &self.volumes;
        for mount in &record.mounts {
            let Some(name) = mount.volume() else { continue };
            volumes.release(name, &record.id);
            if remove
                && mount.is_anonymous()
                && let Err(error) = volumes.remove_anonymous(name)
            {
                tracing::warn!(%error, container = record.id, volume = name, "remove a container's volume");
            }
        }
    }

    /// Notes which volumes a container of an earlier daemon refers to, by the names that they have now.
    pub(crate) fn refer_mounts(&self, record: &mut Record) {
        let names: BTreeSet<String> = record.mounts.iter().filter_map(MountRecord::volume).map(str::to_owned).collect();
        for name in names {
            let new = self.volumes.renamed(&name);
            if let Some(new) = &new {
                record.rename_volume(&name, new, &self.volumes.data(new));
            }
            self.volumes.refer(new.as_ref().unwrap_or(&name), &record.id);
        }
    }

    /// Notes that the volumes of a container that runs are mounted for it.
    pub(crate) fn remount(&self, record: &Record) {
        for name in record.mounts.iter().filter_map(MountRecord::volume) {
            if let Err(error) = self.volumes.mount(name, &record.id) {
                tracing::warn!(%error, container = record.id, volume = name, "find a running container's volume");
            }
        }
    }

    fn image_layers(&self, mount: &MountRecord) -> Result<Vec<PathBuf>> {
        let chain = mount.image.as_ref().and_then(|image| image.chain.as_ref());
        let view = self.store.snapshots().view(chain)?;
        if let Some(subpath) =
            mount.asked.image_options.as_ref().map(|options| &options.subpath).filter(|s| !s.is_empty())
        {
            let tree = view
                .mount_detached()
                .map_err(|error| Error::io("mount the image", mount.point.name.as_ref(), error))?;
            look_beneath(&tree, Path::new(&mount.point.source), subpath)?;
        }
        Ok(view.lowers)
    }

    fn attach_volume(&self, record: &Record, mount: &MountRecord) -> Result<Place> {
        let point = &mount.point;
        let place = self.volumes.mount(&point.name, &record.id)?;
        let subpath = mount.asked.volume_options.as_ref().map(|options| options.subpath.as_str()).unwrap_or_default();
        if !subpath.is_empty() {
            let base = open_dir(&place.path)?;
            look_beneath(&base, &place.path, subpath)?;
        }
        let attributes = [
            ("container", record.id.as_str()),
            ("destination", &point.destination),
            ("read/write", if point.rw { "true" } else { "false" }),
            ("propagation", &point.propagation),
        ];
        self.volumes.emit("mount", &point.name, &attributes);
        Ok(place)
    }
}

/// Says in Docker's words why a part of a volume or image cannot be mounted. The runtime looks again, and binds what it
/// finds then: nothing outside the source in any case.
fn look_beneath(base: &impl std::os::fd::AsFd, path: &Path, subpath: &str) -> Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let (base_path, full) = (path.display(), path.join(subpath));
    match rustix::fs::openat2(base, subpath, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(Errno::XDEV) => Err(Error::bad(format!(
            "path concatenation escapes the base directory, base: {base_path}, subpath: {subpath}"
        ))),
        Err(Errno::NOENT | Errno::NOTDIR) => {
            Err(Error::not_found(format!("cannot access path {}: no such file or directory", full.display())))
        }
        Err(Errno::LOOP) => {
            Err(Error::not_found(format!("cannot access path {}: too many levels of symbolic links", full.display())))
        }
        Err(error) => Err(Error::io("look at", &full, error.into())),
    }
}

fn open_dir(path: &Path) -> Result<std::os::fd::OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::io("open", path, error.into()))
}

/// Makes the host's folder if it is missing and may be made, and looks whether events travel as asked.
fn attach_bind(mount: &MountRecord) -> Result<()> {
    let source = Path::new(&mount.point.source);
    let create = mount.asked.bind_options.as_ref().is_some_and(|options| options.create_mountpoint);
    if create && fs::symlink_metadata(source).is_err() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(source);
        made.map_err(|error| {
            Error::internal(format!("error while creating mount source path '{}': {error}", source.display()))
        })?;
    }
    let wanted = mount.point.propagation.trim_start_matches('r');
    if matches!(wanted, "shared" | "slave") {
        travels(&mount.point.source, wanted)?;
    }
    Ok(())
}

/// Docker's check: events of a mount travel only if the one its source is on lets them.
fn travels(source: &str, wanted: &str) -> Result<()> {
    let source = Path::new(source);
    let real = fs::canonicalize(source).map_err(|error| Error::io("look at", source, error))?;
    let table = teu_sys::text::read("/proc/self/mountinfo").unwrap_or_default();
    let Some((point, peers)) = mount_of(&table, &real) else { return Ok(()) };
    let (shared, slave) = (peers.contains("shared:"), peers.contains("master:"));
    let what = match wanted {
        "shared" if !shared => "a shared",
        "slave" if !shared && !slave => "a shared or slave",
        _ => return Ok(()),
    };
    let (source, point) = (source.display(), point.display());
    Err(Error::bad(format!("path {source} is mounted on {point} but it is not {what} mount")))
}

/// The mount that a path is on, with its optional fields, from the text of proc_pid_mountinfo(5): the last of those with
/// the longest mount point.
fn mount_of<'t>(table: &'t str, path: &Path) -> Option<(PathBuf, &'t str)> {
    let mut best: Option<(PathBuf, &str)> = None;
    for line in table.lines() {
        let Some((fields, _)) = line.split_once(" - ") else { continue };
        let mut words = fields.splitn(7, ' ');
        let Some(point) = words.nth(4).map(unescape) else { continue };
        let peers = words.nth(1).unwrap_or_default();
        let longer = |(old, _): &(PathBuf, &str)| point.as_os_str().len() >= old.as_os_str().len();
        if path.starts_with(&point) && best.as_ref().is_none_or(longer) {
            best = Some((point, peers));
        }
    }
    best
}

/// Blanks, tabs, line ends and backslashes are written as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let digits = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 22 0:20 / /mnt/a\\040b rw shared:5 master:1 - tmpfs tmpfs rw\n\
        31 22 0:21 / /mnt rw master:7 - tmpfs tmpfs rw\n";

    #[test]
    fn a_path_is_on_the_mount_with_the_longest_name() {
        assert_eq!(mount_of(TABLE, Path::new("/srv/x")), Some(("/".into(), "")));
        assert_eq!(mount_of(TABLE, Path::new("/mnt/a b/c")), Some(("/mnt/a b".into(), "shared:5 master:1")));
        assert_eq!(mount_of(TABLE, Path::new("/mnt/ab")), Some(("/mnt".into(), "master:7")));
    }
}
