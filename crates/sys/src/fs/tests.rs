//! Tests of paths inside a root: what stays inside, and what is refused.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;

/// A directory of the test's own, with `root` in it and a file outside of that.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("teu-fs-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("root/etc")).expect("directories");
        fs::write(path.join("canary"), "outside").expect("a file");
        fs::write(path.join("root/canary"), "inside").expect("a file");
        Self(path)
    }

    fn root(&self) -> Root {
        Root::open(&self.0.join("root")).expect("the root")
    }

    fn host(&self, path: &str) -> PathBuf {
        self.0.join("root").join(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(mut file: File) -> String {
    let mut text = String::new();
    io::Read::read_to_string(&mut file, &mut text).expect("text");
    text
}

#[test]
fn dots_and_absolute_links_stay_inside() {
    let place = Place::new();
    let root = place.root();
    symlink("/canary", place.host("absolute")).expect("a link");
    symlink("../../../../canary", place.host("etc/relative")).expect("a link");
    symlink("..", place.host("up")).expect("a link");
    for path in ["absolute", "etc/relative", "../../canary", "/../canary", "up/canary", "up/../up/canary"] {
        assert_eq!(read(root.open_file(path).expect(path)), "inside", "{path}");
    }
    assert_eq!(root.read_link("absolute").expect("a target"), Path::new("/canary"));
    assert!(root.symlink_metadata("absolute").expect("metadata").is_symlink());
}

#[test]
fn directories_are_made_through_dangling_links() {
    let place = Place::new();
    let root = place.root();
    symlink("/run/deep", place.host("link")).expect("a link");
    symlink("loop", place.host("loop")).expect("a link");
    let mut made = Vec::new();
    let dir = root.create_dir_all_with("link/../deep/a/b", 0o755, &mut |_, _, path| {
        made.push(path.to_path_buf());
        Ok(())
    });
    dir.expect("a directory").create_file("file", 0o644).expect("a file");
    assert_eq!(made, ["run", "run/deep", "run/deep/a", "run/deep/a/b"].map(PathBuf::from));
    assert!(place.host("run/deep/a/b/file").exists());
    assert_eq!(root.real_path("link/a/../a").expect("a path"), Path::new("run/deep/a"));
    assert!(root.create_dir_all("loop/x", 0o755).is_err());
    assert!(root.create_dir_all("canary/x", 0o755).is_err());
}

#[test]
fn a_name_is_never_a_path() {
    let place = Place::new();
    let dir = place.root().dir("etc").expect("a directory");
    for name in ["", ".", "..", "a/b", "/", "../canary"] {
        assert!(dir.create_file(name, 0o644).is_err(), "{name:?}");
        assert!(dir.remove_all(name).is_err(), "{name:?}");
    }
    for path in ["", "/", "etc/..", ".."] {
        assert!(place.root().parent_of(path).is_err(), "{path:?}");
    }
}

#[test]
fn changes_to_a_link_are_to_the_link() {
    let place = Place::new();
    let dir = place.root().dir("etc").expect("a directory");
    symlink(place.0.join("canary"), place.host("etc/link")).expect("a link");
    fs::set_permissions(place.0.join("canary"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let time = Time { seconds: -5, nanoseconds: 7 };
    dir.set_mode("link", 0o777).expect("a mode");
    dir.set_mtime("link", time).expect("a time");
    assert_eq!(dir.metadata("link").expect("metadata").mtime, time);
    let canary = Root::open(&place.0).expect("a root").metadata("canary").expect("metadata");
    assert_eq!((canary.mode, canary.mtime == time), (0o600, false));
    assert!(dir.open_file("link").is_err());
    assert!(dir.create_file("link", 0o644).is_err());
    assert!(dir.open_dir("link").is_err());
}

#[test]
fn attributes_and_modes_are_kept() {
    let place = Place::new();
    let dir = place.root().dir(".").expect("a directory");
    dir.create_file("file", 0o644).expect("a file");
    dir.set_mode("file", 0o4711).expect("a mode");
    assert_eq!(dir.metadata("file").expect("metadata").mode, 0o4711);
    assert_eq!(dir.xattr("file", "user.note").expect("an answer"), None);
    let long = vec![b'x'; 3000];
    dir.set_xattr("file", "user.note", &long).expect("set");
    dir.set_xattr(".", "user.top", b"").expect("set");
    assert_eq!(dir.xattr("file", "user.note").expect("an answer"), Some(long));
    assert_eq!(dir.xattrs("file").expect("names"), ["user.note"]);
    assert_eq!(dir.xattrs(".").expect("names"), ["user.top"]);
    dir.remove_xattr("file", "user.note").expect("removed");
    dir.remove_xattr("file", "user.note").expect("removed twice");
    assert!(dir.xattrs("file").expect("names").is_empty());
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    let place = Place::new();
    let root = place.root();
    root.dir(".").expect("a directory").mknod("pipe", FileKind::Fifo, 0o644, (0, 0)).expect("a pipe");
    assert!(root.open_file("pipe").is_err());
    assert!(root.open_file("etc").is_err());
}

#[test]
fn a_very_deep_tree_is_removed() {
    let place = Place::new();
    let mut dir = place.root().dir("etc").expect("a directory");
    for _ in 0..2000 {
        dir.create_file("file", 0o644).expect("a file");
        dir.create_dir("d", 0o755).expect("a directory");
        dir = dir.open_dir("d").expect("a directory");
    }
    symlink(&place.0, place.host("etc/d/out")).expect("a link");
    place.root().remove_all("etc").expect("removed");
    assert_eq!(place.root().dir(".").expect("a directory").entries().expect("names").len(), 1);
    assert!(place.0.join("canary").exists());
    place.root().remove_all("etc/nothing").expect("nothing to remove");
}

#[test]
fn a_directory_swapped_for_a_link_never_leads_outside() {
    let place = Place::new();
    let (root, stop) = (place.root(), AtomicBool::new(false));
    fs::create_dir(place.host("a")).expect("a directory");
    symlink("/../../..", place.host("b")).expect("a link");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let dir = place.root().dir(".").expect("a directory");
            while !stop.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&dir, "a", &dir, "b", exchange).expect("an exchange");
            }
        });
        for _ in 0..2000 {
            if let Ok(file) = root.open_file("a/canary") {
                assert_eq!(read(file), "inside");
            }
            drop(root.create_dir_all("a/x/y", 0o755));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!place.0.join("x").exists());
}

#[test]
fn a_path_is_resolved_to_a_file_and_as_far_as_there_is_something() {
    let place = Place::new();
    let root = place.root();
    fs::create_dir_all(place.host("real/deep")).expect("directories");
    fs::write(place.host("real/deep/file"), "x").expect("a file");
    symlink("/real/deep", place.host("dir")).expect("a link");
    symlink("../dir/file", place.host("etc/to-file")).expect("a link");
    symlink("/nowhere/at/all", place.host("dangling")).expect("a link");
    symlink("loop", place.host("loop")).expect("a link");
    for (path, leads) in [
        ("/etc/to-file", "real/deep/file"),
        ("dir", "real/deep"),
        ("dir/..", "real"),
        ("dir/new/name", "real/deep/new/name"),
        ("dangling", "nowhere/at/all"),
        ("dangling/x", "nowhere/at/all/x"),
        ("/../..", ""),
        ("canary/x", "canary/x"),
    ] {
        assert_eq!(root.resolve(path).expect(path), Path::new(leads), "{path}");
    }
    assert!(root.resolve("loop").is_err());
}
