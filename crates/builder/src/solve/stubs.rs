//! What a container's mounts leave behind: a mount needs a target, and one that the image lacks is made in the writable
//! layer, where it would stay as an empty file or directory. None of that is the work of the step, so it goes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use teu_sys::mount::Overlay;

/// The targets, inner ones first.
const TARGETS: [&str; 8] = ["etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/pipes", "dev", "proc", "sys", "etc"];

/// Removes the empty targets, and those of the step's own mounts, from the upper directory of a tree that nothing has
/// mounted any more.
pub(super) fn clear(overlay: &Overlay, own: &[String]) {
    let Some(upper) = &overlay.upper else { return };
    let own = own.iter().flat_map(|target| Path::new(target.trim_start_matches('/')).ancestors());
    for target in own.filter(|path| !path.as_os_str().is_empty()).chain(TARGETS.map(Path::new)) {
        let path = upper.join(target);
        let Ok(have) = fs::symlink_metadata(&path) else { continue };
        // The parents of a target on the way (etc) may be the image's own, copied up: then only if nothing differs.
        let below = overlay.lowers.iter().find_map(|lower| fs::symlink_metadata(lower.join(target)).ok());
        let same =
            below.is_none_or(|below| (below.mode(), below.uid(), below.gid()) == (have.mode(), have.uid(), have.gid()));
        if same {
            remove_empty(&path, &have);
        }
    }
}

/// Removes an empty file or directory; anything that holds something stays.
fn remove_empty(path: &Path, metadata: &fs::Metadata) {
    if metadata.is_dir() {
        let _ = fs::remove_dir(path);
    } else if metadata.is_file() && metadata.len() == 0 {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_targets_go() {
        let folder = tempfile::tempdir().unwrap();
        let (upper, lower) = (folder.path().join("upper"), folder.path().join("lower"));
        for dir in ["etc", "dev", "proc", "app"] {
            fs::create_dir_all(upper.join(dir)).unwrap();
        }
        fs::create_dir_all(&lower).unwrap();
        fs::write(upper.join("etc/hosts"), "").unwrap();
        fs::write(upper.join("etc/resolv.conf"), "kept").unwrap();
        let overlay = Overlay { lowers: vec![lower], upper: Some(upper.clone()), ..Overlay::default() };
        fs::create_dir_all(upper.join("var/cache/own")).unwrap();
        clear(&overlay, &["/var/cache/own".into()]);
        let exists = |path: &str| upper.join(path).exists();
        assert!(exists("etc/resolv.conf") && exists("app"));
        assert!(!exists("var") && !exists("etc/hosts") && !exists("dev") && !exists("proc"));
    }
}
