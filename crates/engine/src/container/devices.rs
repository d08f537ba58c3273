//! Devices: nodes of the host given to a container, rules of the device cgroup, and limits of block devices.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use teu_api::container::{DeviceMapping, HostConfig, ThrottleDevice, WeightDevice};
use teu_oci::runtime::{self, BlockIo, Device, DeviceRule, Throttle};

use crate::error::{Error, Result};

/// How deep a folder of devices is looked into.
const DEPTH: usize = 4;

/// The device nodes asked for, with the access allowed to each. A folder stands for the devices in it. A privileged
/// container has those of the host.
pub(super) fn nodes(host: &HostConfig) -> Result<Vec<(Device, String)>> {
    let mut devices = vec![];
    if host.privileged {
        devices.extend(of_host(Path::new("/dev"), DEPTH).into_iter().map(|device| (device, "rwm".into())));
    }
    for asked in &host.devices {
        let gone = |why: String| {
            let path = &asked.path_on_host;
            Error::bad(format!("error gathering device information while adding custom device \"{path}\": {why}"))
        };
        let inside = if asked.path_in_container.is_empty() { &asked.path_on_host } else { &asked.path_in_container };
        let found = look(Path::new(&asked.path_on_host), inside, DEPTH);
        let found = found.map_err(|error| gone(reason(&error)))?;
        if found.is_empty() {
            return Err(gone("not a device node".into()));
        }
        devices.extend(found.into_iter().map(|device| (device, access(asked).into())));
    }
    Ok(devices)
}

fn access(asked: &DeviceMapping) -> &str {
    if asked.cgroup_permissions.is_empty() { "rwm" } else { &asked.cgroup_permissions }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        _ => error.to_string(),
    }
}

fn look(path: &Path, inside: &str, depth: usize) -> std::io::Result<Vec<Device>> {
    let meta = fs::metadata(path)?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        kind if kind.is_dir() && depth > 0 => {
            let mut devices = vec![];
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let inside = format!("{}/{}", inside.trim_end_matches('/'), entry.file_name().to_string_lossy());
                // What goes away while it is looked at was never there.
                devices.extend(look(&entry.path(), &inside, depth - 1).unwrap_or_default());
            }
            return Ok(devices);
        }
        _ => return Ok(vec![]),
    };
    Ok(vec![Device {
        path: inside.into(),
        kind: kind.into(),
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        file_mode: Some(meta.mode() & 0o7777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    }])
}

/// The host's nodes, save what every container has of its own. What cannot be looked at is left out.
fn of_host(folder: &Path, depth: usize) -> Vec<Device> {
    const OWN: &[&str] = &[
        ".lxc",
        ".lxd-mounts",
        ".udev",
        "console",
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "tty",
        "urandom",
        "zero",
    ];
    let mut devices = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if OWN.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => devices.extend(of_host(&path, depth - 1)),
            Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
                devices.extend(look(&path, &path.to_string_lossy(), 0).unwrap_or_default());
            }
            _ => {}
        }
    }
    devices
}

/// One `--device-cgroup-rule`: `[acb] MAJOR:MINOR ACCESS`, a number or `*` each.
pub(super) fn rule(text: &str) -> Result<DeviceRule> {
    let wrong = || Error::bad(format!("invalid device cgroup rule format: '{text}'"));
    let words: Vec<&str> = text.split(' ').collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = words[..] else { return Err(wrong()) };
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    if access.is_empty() || access.len() > 3 || !access.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Err(wrong());
    }
    Ok(DeviceRule {
        allow: true,
        kind: kind.into(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.into(),
    })
}

/// Limits of block devices, as the runtime takes them.
pub(super) fn block_io(host: &HostConfig) -> Result<Option<BlockIo>> {
    let block_io = BlockIo {
        weight: (host.blkio_weight > 0).then_some(host.blkio_weight),
        weight_device: host.blkio_weight_device.iter().map(weight).collect::<Result<_>>()?,
        read_bps: throttles(&host.blkio_device_read_bps)?,
        write_bps: throttles(&host.blkio_device_write_bps)?,
        read_iops: throttles(&host.blkio_device_read_iops)?,
        write_iops: throttles(&host.blkio_device_write_iops)?,
        ..BlockIo::default()
    };
    Ok((block_io != BlockIo::default()).then_some(block_io))
}

/// Adds to limits that are changed the end of those of `before` that are no longer there.
pub(super) fn lift(limits: &mut Option<BlockIo>, before: &HostConfig) -> Result<()> {
    // A device that is gone has no limit to be lifted.
    let Ok(Some(before)) = block_io(before) else { return Ok(()) };
    let now = limits.get_or_insert_default();
    for (now, before) in [
        (&mut now.read_bps, before.read_bps),
        (&mut now.write_bps, before.write_bps),
        (&mut now.read_iops, before.read_iops),
        (&mut now.write_iops, before.write_iops),
    ] {
        for old in before {
            if !now.iter().any(|new| (new.major, new.minor) == (old.major, old.minor)) {
                now.push(Throttle { rate: 0, ..old });
            }
        }
    }
    for old in before.weight_device {
        if !now.weight_device.iter().any(|new| (new.major, new.minor) == (old.major, old.minor)) {
            now.weight_device.push(runtime::WeightDevice { weight: Some(0), ..old });
        }
    }
    Ok(())
}

fn throttles(limits: &[ThrottleDevice]) -> Result<Vec<Throttle>> {
    let throttle = |limit: &ThrottleDevice| {
        let (major, minor) = block_device(&limit.path)?;
        Ok(Throttle { major, minor, rate: limit.rate })
    };
    limits.iter().map(throttle).collect()
}

fn weight(asked: &WeightDevice) -> Result<runtime::WeightDevice> {
    if !(10..=1000).contains(&asked.weight) {
        return Err(Error::bad(format!("weight of device \"{}\": the range is from 10 to 1000", asked.path)));
    }
    let (major, minor) = block_device(&asked.path)?;
    Ok(runtime::WeightDevice { major, minor, weight: Some(asked.weight), leaf_weight: None })
}

/// The numbers of a block device.
fn block_device(path: &str) -> Result<(i64, i64)> {
    let wrong = |why: String| Error::bad(format!("limit device \"{path}\": {why}"));
    let meta = fs::metadata(path).map_err(|error| wrong(reason(&error)))?;
    if !meta.file_type().is_block_device() {
        return Err(wrong("it is not a block device".into()));
    }
    Ok((rustix::fs::major(meta.rdev()).into(), rustix::fs::minor(meta.rdev()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_in_dockers_form_and_no_other() {
        let read = rule("c 42:* rmw").unwrap();
        assert_eq!((read.kind.as_str(), read.major, read.minor, read.access.as_str()), ("c", Some(42), None, "rmw"));
        for wrong in ["", "x 1:1 r", "c 1 r", "c 1:1", "c 1:1 x", "c -1:1 r", "c 1:99999999999 r", "c  1:1 r"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nodes_and_limits_of_what_is_no_device_are_refused() {
        let mapping = |path: &str| DeviceMapping { path_on_host: path.into(), ..DeviceMapping::default() };
        let host = HostConfig { devices: vec![mapping("/dev/null")], ..HostConfig::default() };
        let found = nodes(&host).unwrap();
        assert_eq!((found[0].0.major, found[0].0.minor, found[0].1.as_str()), (1, 3, "rwm"));
        for wrong in ["/etc/passwd", "/no/such"] {
            let host = HostConfig { devices: vec![mapping(wrong)], ..HostConfig::default() };
            assert!(nodes(&host).is_err(), "{wrong}");
        }
        let limit = ThrottleDevice { path: "/dev/null".into(), rate: 1 };
        let host = HostConfig { blkio_device_read_bps: vec![limit], ..HostConfig::default() };
        assert!(block_io(&host).is_err());
    }
}
