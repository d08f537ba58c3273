//! The disk that images and containers are kept on.

use std::path::{Path, PathBuf};

use super::{Finding, text};
use crate::output::units;
use crate::session::variable;

const AREA: &str = "Storage";

/// Less than this is soon full.
const LITTLE: u64 = 2 << 30;

/// What a file system says of itself.
struct Disk {
    kind: String,
    free: u64,
    total: u64,
    free_files: u64,
    total_files: u64,
}

pub(super) fn look() -> Vec<Finding> {
    let root = variable("TEU_DATA_ROOT").map_or_else(|| PathBuf::from("/var/lib/teu"), PathBuf::from);
    // What is not there yet will be made in the nearest folder that is.
    let Some(place) = root.ancestors().find(|place| place.exists()) else { return Vec::new() };
    let Ok(stat) = rustix::fs::statvfs(place) else {
        return vec![Finding::bad(AREA, format!("{} cannot be looked at", place.display()))];
    };
    let disk = Disk {
        kind: kind_of(&text("/proc/self/mountinfo"), place),
        free: stat.f_bavail * stat.f_frsize,
        total: stat.f_blocks * stat.f_frsize,
        free_files: stat.f_favail,
        total_files: stat.f_files,
    };
    judge(&root, &disk)
}

/// The file system of a place, by the longest mount point above it.
fn kind_of(mounts: &str, place: &Path) -> String {
    let mut best = (0, String::new());
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let point = before.split(' ').nth(4).unwrap_or_default().replace("\\040", " ");
        if place.starts_with(&point) && point.len() >= best.0 {
            best = (point.len(), after.split(' ').next().unwrap_or_default().to_owned());
        }
    }
    best.1
}

fn judge(root: &Path, disk: &Disk) -> Vec<Finding> {
    let size = |bytes: u64| units::long_size(bytes);
    let place = root.display();
    let kind = match disk.kind.as_str() {
        "overlay" => Finding::bad(AREA, format!("{place} is on OverlayFS, which cannot carry another one"))
            .mend("teu daemon --data-root FOLDER on a disk, or a volume at that place"),
        "nfs" | "nfs4" | "cifs" | "smb3" | "fuse" | "9p" | "vfat" | "exfat" | "ntfs3" => {
            Finding::bad(AREA, format!("{place} is on {}, which OverlayFS cannot write to", disk.kind))
                .mend("teu daemon --data-root FOLDER on ext4, xfs or btrfs")
        }
        "tmpfs" | "ramfs" => Finding::warning(AREA, format!("{place} is in memory: it is gone after a reboot")),
        kind => Finding::good(AREA, format!("{place} is on {kind}")),
    };
    let space = match disk.free < LITTLE || disk.free < disk.total / 20 {
        true => Finding::warning(AREA, format!("only {} of {} are free", size(disk.free), size(disk.total)))
            .mend("teu system prune"),
        false => Finding::good(AREA, format!("{} of {} are free", size(disk.free), size(disk.total))),
    };
    let mut findings = vec![kind, space];
    if disk.total_files > 0 && disk.free_files < disk.total_files / 20 {
        findings
            .push(Finding::warning(AREA, format!("only {} more files fit", disk.free_files)).mend("teu system prune"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn judged(kind: &str, free: u64, free_files: u64) -> Vec<State> {
        let disk = Disk { kind: kind.into(), free, total: 100 << 30, free_files, total_files: 1000 };
        judge(Path::new("/var/lib/teu"), &disk).iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn disks_are_judged_by_kind_and_room() {
        assert_eq!(judged("ext4", 50 << 30, 900), [State::Good, State::Good]);
        assert_eq!(judged("overlay", 50 << 30, 900)[0], State::Bad);
        assert_eq!(judged("nfs4", 1 << 30, 10), [State::Bad, State::Warning, State::Warning]);
        let mounts = "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:3 / /var/lib rw - xfs /dev/sdb rw\n";
        assert_eq!(kind_of(mounts, Path::new("/var/lib/teu")), "xfs");
        assert_eq!(kind_of(mounts, Path::new("/home")), "ext4");
    }
}
