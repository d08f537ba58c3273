//! What the kernel makes of our directories: overlays mounted detached, seen by nobody else.

mod archive;

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use archive::{Archive, listing, store};
use teu_oci::Digest;
use teu_store::tar::{ArchiveOptions, archive};
use teu_store::{ChangeKind, Error, Store};
use teu_sys::fs::Root;
use teu_sys::mount::{Overlay, filesystem};

fn layer(store: &Store, parent: Option<&Digest>, tar: Archive) -> Digest {
    store.snapshots().unpack(&tar.end()[..]).expect("unpacked").attach(parent).expect("attached")
}

/// Mounts, and gives the tree to `look` by a path that leads through the descriptor.
fn mounted<T>(overlay: &Overlay, look: impl FnOnce(PathBuf) -> T) -> T {
    let mount = overlay.mount_detached().expect("an overlay, which needs root");
    look(PathBuf::from(format!("/proc/self/fd/{}/", mount.as_raw_fd())))
}

fn base(store: &Store) -> Digest {
    let tar = Archive::new().dir("./", 0o751).dir("d", 0o1755).file("d/one", "1").file("d/two", "2").file("top", "t");
    layer(store, None, tar.dir("e", 0o755).file("e/deep/x", "x"))
}

#[test]
fn removed_names_and_opaque_directories_are_gone() {
    let (_dir, store) = store();
    let base = base(&store);
    let tar = Archive::new().file(".wh.top", "").file("d/.wh.one", "").file("d/three", "3");
    let middle = layer(&store, Some(&base), tar);
    let top = layer(&store, Some(&middle), Archive::new().dir("e", 0o700).file("e/.wh..wh..opq", "").file("e/new", ""));
    let lines = mounted(&store.snapshots().view(Some(&top)).expect("a view"), |path| listing(&path));
    let names: Vec<_> = lines.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(names, ["d 1755", "d/three 644", "d/two 644", "e 700", "e/new 644"]);
}

#[test]
fn layers_that_are_done_again_on_their_base_are_one() {
    let (_dir, store) = store();
    let base = base(&store);
    let tar = Archive::new().file(".wh.top", "").file("d/.wh.one", "").file("d/three", "3").file("gone", "");
    let middle = layer(&store, Some(&base), tar);
    let tar = Archive::new().dir("e", 0o700).file("e/.wh..wh..opq", "").file("e/new", "").file(".wh.gone", "");
    let top = layer(&store, Some(&middle), tar.file("d/three", "4").link("d/again", "d/three"));
    let snapshots = store.snapshots();
    let overlay = snapshots.prepare("s", Some(&base)).expect("prepared");
    let tree = Root::from_fd(overlay.mount_detached().expect("an overlay, which needs root"));
    snapshots.replay(Some(&base), &top, &tree).expect("done again");
    drop(tree);
    let made = snapshots.commit("s").expect("a layer");
    let of = |chain: &Digest| mounted(&snapshots.view(Some(chain)).expect("a view"), |path| listing(&path));
    assert_eq!(of(&made.chain_id), of(&top));
    assert_eq!(snapshots.parent(&made.chain_id).expect("a layer"), Some(base.clone()));
    let mut diff = Vec::new();
    snapshots.write_diff(&made.chain_id, &mut diff).expect("a tar");
    let text = String::from_utf8_lossy(&diff);
    assert!(text.contains(".wh.top") && !text.contains("gone"), "what the base has not is not removed from it");
    // From nothing on, everything is in it.
    snapshots.prepare("all", None).expect("prepared");
    let tree = Root::from_fd(snapshots.overlay("all").expect("it").mount_detached().expect("an overlay"));
    snapshots.replay(None, &top, &tree).expect("done again");
    drop(tree);
    assert_eq!(of(&snapshots.commit("all").expect("a layer").chain_id), of(&top));
}

#[test]
fn an_empty_view_can_be_mounted() {
    let (_dir, store) = store();
    let view = store.snapshots().view(None).expect("a view");
    assert!(mounted(&view, |path| listing(&path)).is_empty());
}

#[test]
fn what_a_container_did_is_its_layer() {
    let (_dir, store) = store();
    let base = base(&store);
    let overlay = store.snapshots().prepare("c", Some(&base)).expect("prepared");
    let before = mounted(&overlay, |path| {
        fs::remove_file(path.join("top")).expect("removed");
        fs::remove_dir_all(path.join("e")).expect("removed");
        fs::create_dir(path.join("e")).expect("made again");
        fs::write(path.join("e/new"), "n").expect("a file");
        fs::write(path.join("d/one"), "changed").expect("a file");
        fs::hard_link(path.join("d/one"), path.join("alias")).expect("a link");
        listing(&path)
    });
    let changes = store.snapshots().changes("c").expect("changes");
    let changes: Vec<_> = changes.iter().map(|change| (change.kind, change.path.to_str().expect("text"))).collect();
    use ChangeKind::{Added, Deleted, Modified};
    assert_eq!(
        changes,
        [
            (Added, "/alias"),
            (Modified, "/d"),
            (Modified, "/d/one"),
            (Modified, "/e"),
            (Deleted, "/e/deep"),
            (Added, "/e/new"),
            (Deleted, "/top"),
        ]
    );
    let mut tar = Vec::new();
    let diff = store.snapshots().write_diff_active("c", &mut tar).expect("written");
    let committed = store.snapshots().commit("c").expect("committed");
    assert_eq!(committed.diff_id, diff);
    let after = mounted(&store.snapshots().view(Some(&committed.chain_id)).expect("a view"), |path| listing(&path));
    assert_eq!(after, before);

    let elsewhere = archive::store();
    let parent = self::base(&elsewhere.1);
    let chain = elsewhere.1.snapshots().unpack(&tar[..]).expect("unpacked").attach(Some(&parent)).expect("attached");
    assert_eq!(chain, committed.chain_id);
    let copy = mounted(&elsewhere.1.snapshots().view(Some(&chain)).expect("a view"), |path| listing(&path));
    assert_eq!(copy, before);
}

#[test]
fn a_whole_image_can_be_exported() {
    let (_dir, store) = store();
    let chain = layer(&store, Some(&base(&store)), Archive::new().file(".wh.e", ""));
    let mount = store.snapshots().view(Some(&chain)).expect("a view").mount_detached().expect("an overlay");
    let mut tar = Vec::new();
    archive(&Root::from_fd(mount), "/".as_ref(), &mut tar, &ArchiveOptions::default()).expect("archived");
    let mut archive = tar::Archive::new(&tar[..]);
    let names =
        archive.entries().expect("entries").map(|entry| entry.expect("an entry").path().expect("a path").into_owned());
    assert_eq!(names.collect::<Vec<_>>(), ["d/", "d/one", "d/two", "top"].map(PathBuf::from));
}

#[test]
fn a_full_disk_is_said_to_be_full_and_nothing_stays() {
    let small = filesystem("tmpfs", &[("size", Some("1m"))], 0).expect("a file system, which needs root");
    let root = PathBuf::from(format!("/proc/self/fd/{}/store", small.as_raw_fd()));
    let store = Store::open(&root).expect("a store");
    let tar = Archive::new().file("a", &"x".repeat(600_000)).file("b", &"x".repeat(600_000)).end();
    assert!(matches!(store.snapshots().unpack(&tar[..]), Err(Error::NoSpace { .. })));
    store.empty_trash().expect("emptied");
    assert_eq!(fs::read_dir(root.join("snapshots/staging")).expect("a listing").count(), 0);
    assert!(matches!(store.blobs().put(&vec![0; 2 << 20]), Err(Error::NoSpace { .. })));
    assert!(store.blobs().uploads().expect("uploads").is_empty());
    store.blobs().put(&vec![0; 500_000]).expect("there is room again");
}
