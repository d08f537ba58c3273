//! Layers in and out: whiteouts in both directions, what is inherited from below, parallel unpacking.

mod archive;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use archive::{Archive, store};
use teu_oci::{Digest, chain_id};
use teu_store::{ChangeKind, Error, Store};
use teu_sys::fs::{FileKind, Root};

fn layer(store: &Store, parent: Option<&Digest>, tar: &[u8]) -> Digest {
    store.snapshots().unpack(tar).expect("unpacked").attach(parent).expect("attached")
}

fn fs_of(store: &Store, chain: &Digest) -> PathBuf {
    store.snapshots().view(Some(chain)).expect("a view").lowers[0].clone()
}

/// A listing without what is only there to hide something: a whiteout has no metadata of its own.
fn listing(dir: &Path) -> Vec<String> {
    archive::listing(dir).into_iter().filter(|line| !line.ends_with("char 0")).collect()
}

/// Names in an archive, read by another implementation.
fn names_in(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("entries");
    entries.map(|entry| String::from_utf8_lossy(&entry.expect("an entry").path_bytes()).into_owned()).collect()
}

#[test]
fn the_digest_covers_every_byte_of_the_stream() {
    let (_dir, store) = store();
    let mut tar = Archive::new().file("f", "x").end();
    tar.extend_from_slice(&[7; 1000]);
    let unpacked = store.snapshots().unpack(&tar[..]).expect("unpacked");
    assert_eq!((unpacked.diff_id(), unpacked.size()), (&Digest::sha256(&tar), tar.len() as u64));
    assert_eq!(layer(&store, None, b""), Digest::sha256(b""));
}

#[test]
fn whiteouts_become_devices_and_opaque_attributes() {
    let (_dir, store) = store();
    let tar = Archive::new()
        .file("gone/.wh.file", "")
        .dir("opaque", 0o755)
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "")
        .dir("both", 0o755)
        .file(".wh.both", "")
        .file(".wh.again", "")
        .dir("again", 0o755)
        .file("stays", "")
        .file(".wh.stays", "")
        .file(".wh..wh.plnk/9.9", "")
        .end();
    let chain = layer(&store, None, &tar);
    let dir = Root::open(&fs_of(&store, &chain)).expect("a root").dir(".").expect("a directory");
    let gone = dir.open_dir("gone").expect("a directory").metadata("file").expect("metadata");
    assert_eq!((gone.kind, gone.rdev), (FileKind::CharDevice, (0, 0)));
    for name in ["opaque", "both", "again"] {
        let attribute = dir.xattr(name, "trusted.overlay.opaque").expect("an answer");
        assert_eq!(attribute.as_deref(), Some(&b"y"[..]), "{name}");
    }
    assert!(dir.metadata("stays").expect("metadata").is_file());
    assert!(dir.find(".wh..wh.plnk").expect("an answer").is_none());
    let mut out = Vec::new();
    store.snapshots().write_diff(&chain, &mut out).expect("written");
    assert_eq!(
        names_in(&out),
        [
            "again/",
            "again/.wh..wh..opq",
            "both/",
            "both/.wh..wh..opq",
            "gone/",
            "gone/.wh.file",
            "opaque/",
            "opaque/.wh..wh..opq",
            "opaque/new",
            "stays"
        ]
    );
}

#[test]
fn directories_left_out_look_as_they_do_below() {
    let (_dir, store) = store();
    let base = Archive::new().dir("./", 0o751).dir("a", 0o1777).dir("a/b", 0o2750).dir("gone/b", 0o700);
    let base = layer(&store, None, &base.end());
    let middle = layer(&store, Some(&base), &Archive::new().file(".wh.gone", "").end());
    let tar = Archive::new().file("a/b/c", "").file("gone/b/c", "").file("fresh/x", "").end();
    let chain = layer(&store, Some(&middle), &tar);
    let fs = fs_of(&store, &chain);
    let mode = |path: &str| fs.join(path).metadata().expect("metadata").mode() & 0o7777;
    assert_eq!((mode(""), mode("a"), mode("a/b")), (0o751, 0o1777, 0o2750));
    assert_eq!((mode("gone/b"), mode("fresh")), (0o755, 0o755));
    assert_eq!(fs.join("a/b").metadata().expect("metadata").mtime(), 1_000_000);
    assert_eq!(fs.join("fresh").metadata().expect("metadata").mtime(), 0);
}

#[test]
fn a_hard_link_to_a_lower_layer_brings_the_file_up() {
    let (_dir, store) = store();
    let base =
        layer(&store, None, &Archive::new().dir("bin", 0o711).entry(b'0', "bin/tool", "", 0o4755, b"text").end());
    let tar = Archive::new().link("alias", "bin/tool").link("second", "alias").end();
    let unpacked = store.snapshots().unpack(&tar[..]).expect("unpacked");
    let chain = unpacked.attach(Some(&base)).expect("attached");
    let fs = fs_of(&store, &chain);
    let metadata = fs.join("alias").metadata().expect("metadata");
    assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (3, 0o4755));
    assert_eq!(fs::read_to_string(fs.join("bin/tool")).expect("text"), "text");
    assert_eq!(fs.join("bin").metadata().expect("metadata").mode() & 0o7777, 0o711);
    assert_eq!(store.snapshots().size(&chain).expect("a size"), 4);
}

#[test]
fn layers_unpack_in_any_order_and_at_once() {
    let (_dir, store) = store();
    let tars: Vec<_> = (0..16)
        .map(|number| (0..40).fold(Archive::new(), |tar, file| tar.file(&format!("{number}/{file}"), "data")).end())
        .collect();
    let unpacked: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = tars
            .iter()
            .rev()
            .map(|tar| scope.spawn(|| store.snapshots().unpack(&tar[..]).expect("unpacked")))
            .collect();
        threads.into_iter().rev().map(|thread| thread.join().expect("a thread")).collect()
    });
    let mut parent = None;
    for (layer, tar) in unpacked.into_iter().zip(&tars) {
        let expected = chain_id(parent.as_ref(), &Digest::sha256(tar));
        parent = Some(layer.attach(parent.as_ref()).expect("attached"));
        assert_eq!(parent, Some(expected));
    }
    let view = store.snapshots().view(parent.as_ref()).expect("a view");
    assert_eq!(view.lowers.len(), 17);
    assert!(view.upper.is_none() && view.lowers[0].join("15/39").exists());
}

#[test]
fn the_same_layer_twice_is_one() {
    let (_dir, store) = store();
    let tar = Archive::new().file("f", "").end();
    let (one, two) =
        (store.snapshots().unpack(&tar[..]).expect("one"), store.snapshots().unpack(&tar[..]).expect("two"));
    assert_eq!(one.attach(None).expect("attached"), two.attach(None).expect("attached"));
    assert_eq!(store.snapshots().layers().expect("layers").len(), 1);
    let dropped = store.snapshots().unpack(&Archive::new().file("other", "").end()[..]).expect("unpacked");
    drop(dropped);
    assert_eq!(fs::read_dir(store.root().join("snapshots/staging")).expect("a listing").count(), 0);
}

#[test]
fn a_layer_needs_its_parent() {
    let (_dir, store) = store();
    let missing = Digest::sha256(b"missing");
    let unpacked = store.snapshots().unpack(&b""[..]).expect("unpacked");
    assert!(unpacked.attach(Some(&missing)).is_err_and(|error| error.is_not_found()));
    assert!(store.snapshots().prepare("k", Some(&missing)).is_err_and(|error| error.is_not_found()));
    assert!(store.snapshots().active().expect("keys").is_empty());
}

#[test]
fn an_upper_directory_becomes_a_layer_and_comes_back_as_the_same() {
    let (_dir, store) = store();
    let base = layer(&store, None, &Archive::new().dir("./", 0o751).dir("etc", 0o755).file("etc/old", "1").end());
    let overlay = store.snapshots().prepare("step/1", Some(&base)).expect("prepared");
    let upper = overlay.upper.expect("an upper");
    assert_eq!(upper.metadata().expect("metadata").mode() & 0o7777, 0o751);
    fs::create_dir(upper.join("etc")).expect("a directory");
    fs::write(upper.join("etc/new"), "content").expect("a file");
    fs::set_permissions(upper.join("etc/new"), fs::Permissions::from_mode(0o4750)).expect("a mode");
    fs::hard_link(upper.join("etc/new"), upper.join("etc/same")).expect("a link");
    symlink("/etc/new", upper.join("link")).expect("a link");
    fs::write(upper.join("ü".repeat(60)), "").expect("a file");
    let dir = Root::open(&upper).expect("a root").dir("etc").expect("a directory");
    dir.mknod("old", FileKind::CharDevice, 0, (0, 0)).expect("a whiteout");
    dir.set_owner("new", 3_000_000, 5).expect("an owner");
    dir.set_mode("new", 0o4750).expect("a mode");
    dir.set_xattr("new", "user.note", b"a\nb=c").expect("an attribute");
    let kinds: Vec<_> =
        store.snapshots().changes("step/1").expect("changes").into_iter().map(|c| (c.kind as u8, c.path)).collect();
    let expected = [(0, "/etc"), (1, "/etc/new"), (2, "/etc/old"), (1, "/etc/same"), (1, "/link")];
    assert_eq!(kinds[..5], expected.map(|(kind, path)| (kind, PathBuf::from(path))));
    assert_eq!(store.snapshots().usage("step/1").expect("usage").inodes, 6);

    let copied = store.snapshots().commit_copy("step/1").expect("copied");
    let before = listing(&upper);
    let committed = store.snapshots().commit("step/1").expect("committed");
    assert_eq!(committed, copied);
    assert_eq!(committed.chain_id, chain_id(Some(&base), &committed.diff_id));
    assert!(store.snapshots().overlay("step/1").is_err_and(|error| error.is_not_found()));
    let mut tar = Vec::new();
    assert_eq!(store.snapshots().write_diff(&committed.chain_id, &mut tar).expect("written"), committed.diff_id);
    assert_eq!((Digest::sha256(&tar), tar.len() as u64), (committed.diff_id.clone(), committed.size));

    let place = fs_of(&store, &committed.chain_id);
    assert_eq!(listing(&place), before);
    let other = archive::store();
    let base = layer(&other.1, None, &Archive::new().dir("./", 0o751).dir("etc", 0o755).file("etc/old", "1").end());
    assert_eq!(layer(&other.1, Some(&base), &tar), committed.chain_id);
    assert_eq!(listing(&fs_of(&other.1, &committed.chain_id)), before);
    let note = Root::open(&fs_of(&other.1, &committed.chain_id)).expect("a root").dir("etc").expect("a directory");
    assert_eq!(note.xattr("new", "user.note").expect("an answer").as_deref(), Some(&b"a\nb=c"[..]));
}

#[test]
fn changes_know_opaque_and_replaced_directories() {
    let (_dir, store) = store();
    let base = Archive::new().file("d/a", "").file("d/b", "").file("f", "").dir("e", 0o755).file("e/x", "").end();
    let base = layer(&store, None, &base);
    let upper = store.snapshots().prepare("k", Some(&base)).expect("prepared").upper.expect("an upper");
    let dir = Root::open(&upper).expect("a root").dir(".").expect("a directory");
    dir.create_dir("d", 0o755).expect("a directory");
    dir.set_xattr("d", "trusted.overlay.opaque", b"y").expect("opaque");
    fs::write(upper.join("d/b"), "new").expect("a file");
    fs::create_dir_all(upper.join("f/inner")).expect("directories");
    dir.mknod("e", FileKind::CharDevice, 0, (0, 0)).expect("a whiteout");
    let changes = store.snapshots().changes("k").expect("changes");
    let changes: Vec<_> = changes.iter().map(|change| (change.kind, change.path.to_str().expect("text"))).collect();
    use ChangeKind::{Added, Deleted, Modified};
    assert_eq!(
        changes,
        [
            (Modified, "/d"),
            (Deleted, "/d/a"),
            (Modified, "/d/b"),
            (Deleted, "/e"),
            (Modified, "/f"),
            (Added, "/f/inner")
        ]
    );
}

#[test]
fn a_snapshot_key_is_taken_once_and_free_at_once() {
    let (_dir, store) = store();
    let snapshots = store.snapshots();
    let overlay = snapshots.prepare("../odd key", None).expect("prepared");
    assert!(overlay.upper.as_ref().is_some_and(|upper| upper.starts_with(store.root())));
    assert!(matches!(snapshots.prepare("../odd key", None), Err(Error::Exists { .. })));
    assert_eq!(snapshots.overlay("../odd key").expect("an overlay"), overlay);
    fs::create_dir_all(overlay.work.expect("work").join("work/incompat/volatile")).expect("directories");
    let work = snapshots.renew("../odd key").expect("renewed").work.expect("work");
    assert_eq!(fs::read_dir(work).expect("a listing").count(), 0);
    snapshots.remove("../odd key").expect("removed");
    snapshots.prepare("../odd key", None).expect("prepared again");
    assert_eq!(snapshots.active().expect("keys"), ["../odd key"]);
}

#[test]
fn a_snapshot_for_many_files_is_one_like_any_other() {
    let (_dir, store) = store();
    let snapshots = store.snapshots();
    let few = snapshots.prepare("few", None).expect("prepared");
    let many = snapshots.prepare_large("many", None).expect("prepared");
    for (few, many) in [(few.upper, many.upper), (few.work, many.work)] {
        let mode = |path: Option<PathBuf>| fs::metadata(path.expect("a path")).expect("there").permissions().mode();
        assert_eq!(mode(few), mode(many));
    }
    assert!(matches!(snapshots.prepare_large("many", None), Err(Error::Exists { .. })));
    assert!(matches!(snapshots.prepare_large("few", None), Err(Error::Exists { .. })));
    let staging = fs::read_dir(store.root().join("snapshots/staging")).expect("a listing");
    assert_eq!(staging.count(), 0);
    snapshots.remove("many").expect("removed");
    assert_eq!(snapshots.active().expect("keys"), ["few"]);
}

#[test]
fn names_reserved_for_whiteouts_cannot_be_committed() {
    let (_dir, store) = store();
    let upper = store.snapshots().prepare("k", None).expect("prepared").upper.expect("an upper");
    fs::write(upper.join(".wh.sneaky"), "").expect("a file");
    assert!(matches!(store.snapshots().commit("k"), Err(Error::Tar { .. })));
    assert_eq!(store.snapshots().active().expect("keys"), ["k"]);
}

#[test]
fn sockets_are_left_out_and_holes_stay_holes() {
    let (_dir, store) = store();
    let upper = store.snapshots().prepare("k", None).expect("prepared").upper.expect("an upper");
    let _socket = std::os::unix::net::UnixListener::bind(upper.join("socket")).expect("a socket");
    fs::File::create(upper.join("hole")).and_then(|file| file.set_len(16 << 20)).expect("a file");
    let mut tar = Vec::new();
    store.snapshots().write_diff_active("k", &mut tar).expect("written");
    assert_eq!(names_in(&tar), ["hole"]);
    let chain = layer(&store, None, &tar);
    let metadata = fs_of(&store, &chain).join("hole").metadata().expect("metadata");
    assert_eq!(metadata.len(), 16 << 20);
    assert!(metadata.blocks() < 1000);
}
