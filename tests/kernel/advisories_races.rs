//! Advisories about races: somebody swaps a path while the runtime works on it. A thread of the test's swaps as fast as
//! it can, for as long as containers are made; nothing may ever be made outside the container's root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::support::Bundle;

/// How many containers are made while paths are swapped.
const CONTAINERS: usize = 40;

/// Swaps two names until the work is done.
fn while_swapping(one: &Path, other: &Path, work: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("swapped");
            }
        });
        work();
        over.store(true, Ordering::Relaxed);
    });
}

/// A volume whose `place` is a directory one moment and a link to the canary the next.
fn race(bundle: &mut Bundle, mounts: &[serde_json::Value]) {
    let (volume, canary) = (bundle.outside("volume"), bundle.outside("canary"));
    fs::create_dir(volume.join("place")).expect("folder");
    symlink(&canary, volume.join("other")).expect("a link");
    bundle.bind(&volume, "/volume", &["rw"]);
    bundle.config["mounts"].as_array_mut().expect("mounts").extend(mounts.iter().cloned());
    while_swapping(&volume.join("place"), &volume.join("other"), || {
        for _ in 0..CONTAINERS {
            // Some are refused, which is as good.
            bundle.run();
            assert_eq!(fs::read_dir(&canary).expect("the canary").count(), 0, "made outside");
        }
    });
    assert_eq!(fs::read_dir(&canary).expect("the canary").count(), 0, "made outside");
}

#[test]
fn cve_2021_30465_no_mount_lands_outside_the_root() {
    let mut bundle = Bundle::new("true");
    let tmpfs = |name: &str| json!({ "destination": name, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"] });
    let mounts: Vec<_> = (0..10).map(|number| tmpfs(&format!("/volume/place/{number}"))).collect();
    race(&mut bundle, &mounts);
}

#[test]
fn cve_2024_45310_no_file_or_folder_is_made_outside_the_root() {
    let mut bundle = Bundle::new("true");
    let file = bundle.path().join("file");
    fs::write(&file, "x").expect("a file");
    let bind = |name: &str| json!({ "destination": name, "type": "bind", "source": file, "options": ["bind", "ro"] });
    let mounts: Vec<_> = (0..10).map(|number| bind(&format!("/volume/place/{number}/file"))).collect();
    race(&mut bundle, &mounts);
}

#[test]
fn cve_2023_27561_two_containers_that_share_a_volume_cannot_fool_each_other_about_proc() {
    // /proc is on a volume whose owner swaps it: either a real procfs is there in the end, or the start is refused.
    let mut bundle = Bundle::new("head -c 6 /volume/place/proc/version");
    let (volume, canary) = (bundle.outside("volume"), bundle.outside("canary"));
    fs::create_dir_all(volume.join("place/proc")).expect("folder");
    fs::create_dir_all(canary.join("proc")).expect("folder");
    fs::write(canary.join("proc/version"), "lies\n").expect("a canary");
    symlink(&canary, volume.join("other")).expect("a link");
    bundle.bind(&volume, "/volume", &["rw"]);
    let proc = json!({ "destination": "/volume/place/proc", "type": "proc", "source": "proc" });
    bundle.config["mounts"].as_array_mut().expect("mounts").push(proc);
    while_swapping(&volume.join("place"), &volume.join("other"), || {
        for _ in 0..CONTAINERS {
            let ran = bundle.run();
            assert!(!ran.out.contains("lies"), "a fake procfs: {}", ran.out);
        }
    });
    assert_eq!(fs::read_dir(canary.join("proc")).expect("the canary").count(), 1);
}
