//! Archives that want out, want everything, or are no archives.

mod archive;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use archive::{Archive, store};
use teu_store::tar::{ExtractOptions, Fault, Rename, extract};
use teu_store::{Error, Store};
use teu_sys::fs::Root;

fn unpack(store: &Store, tar: &[u8]) -> Result<(), Error> {
    store.snapshots().unpack(tar)?.attach(None).map(drop)
}

fn fault(result: Result<(), Error>) -> Fault {
    match result {
        Err(Error::Tar { fault, .. }) => fault,
        other => panic!("expected a fault, got {other:?}"),
    }
}

/// Unpacks as a layer and extracts into a directory, beside a file that must not change.
fn try_both(tar: &[u8]) -> (Result<(), Error>, Result<(), Error>) {
    let (dir, store) = store();
    let canary = dir.path().join("canary");
    fs::write(&canary, "safe").expect("a file");
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o640)).expect("a mode");
    let target = dir.path().join("root");
    fs::create_dir(&target).expect("a directory");
    let before: Vec<_> = names(dir.path());
    let layer = unpack(&store, tar);
    let root = Root::open(&target).expect("a root");
    let plain = extract(&root, Path::new(""), tar, &ExtractOptions::default());
    assert_eq!(fs::read_to_string(&canary).expect("text"), "safe");
    let metadata = canary.metadata().expect("metadata");
    assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o640, 1));
    assert_eq!(names(dir.path()), before);
    assert_eq!(fs::read_dir(store.root().join("snapshots/staging")).expect("a listing").count(), 0);
    (layer, plain)
}

fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        fs::read_dir(dir).expect("a listing").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    names
}

#[test]
fn names_that_climb_out_are_refused() {
    for name in ["../canary", "a/../../canary", "/../../canary", "..", "a/../../../x/canary"] {
        let (layer, plain) = try_both(&Archive::new().file(name, "evil").end());
        assert_eq!(fault(layer), Fault::Outside, "{name}");
        assert_eq!(fault(plain), Fault::Outside, "{name}");
        let (layer, plain) = try_both(&Archive::new().file("x", "").link("y", name).end());
        assert_eq!(fault(layer), Fault::Outside, "{name}");
        assert_eq!(fault(plain), Fault::Outside, "{name}");
        let tar = Archive::new().pax(&[("path", name)]).file("innocent", "evil").end();
        assert_eq!(fault(try_both(&tar).0), Fault::Outside, "{name}");
    }
}

#[test]
fn writing_through_links_stays_inside() {
    for target in ["/", "..", "../../../..", "/../.."] {
        let tar = Archive::new().symlink("x", target).file("x/canary", "evil").dir("x/etc", 0o777).end();
        let (layer, plain) = try_both(&tar);
        layer.expect("inside");
        plain.expect("inside");
    }
}

#[test]
fn a_file_replaces_a_link_and_not_what_it_points_to() {
    let tar = Archive::new().symlink("x", "../canary").file("x", "evil").symlink("y", "../canary");
    let tar = tar.entry(b'5', "y", "", 0o777, b"").end();
    let (layer, plain) = try_both(&tar);
    layer.expect("inside");
    plain.expect("inside");
}

#[test]
fn a_hard_link_to_a_link_is_not_followed() {
    let tar = Archive::new().symlink("x", "../../../../../../etc/passwd").link("y", "x").file("y", "evil").end();
    let (layer, plain) = try_both(&tar);
    layer.expect("inside");
    plain.expect("inside");
}

#[test]
fn a_hard_link_to_nothing_is_refused() {
    let (layer, plain) = try_both(&Archive::new().link("y", "etc/shadow").end());
    assert_eq!(fault(layer), Fault::Link("etc/shadow".into()));
    assert_eq!(fault(plain), Fault::Link("etc/shadow".into()));
}

#[test]
fn the_root_cannot_become_a_link() {
    for name in [".", "./", "a/..", "/"] {
        let (layer, plain) = try_both(&Archive::new().symlink(name, "/etc").file("passwd", "evil").end());
        assert_eq!(fault(layer), Fault::Root, "{name}");
        assert_eq!(fault(plain), Fault::Root, "{name}");
    }
}

#[test]
fn whiteouts_remove_only_names() {
    for name in [".wh..", ".wh...", ".wh.", "a/.wh.."] {
        assert_eq!(fault(try_both(&Archive::new().file(name, "").end()).0), Fault::Name("name"), "{name}");
    }
    let tar = Archive::new().symlink("x", "..").file("x/.wh.canary", "").file("x/.wh..wh..opq", "").end();
    try_both(&tar).0.expect("inside");
}

#[test]
fn attributes_of_the_overlay_in_an_archive_are_left_out() {
    let (_dir, store) = store();
    let records = [
        ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
        ("SCHILY.xattr.trusted.overlay.opaque", "y"),
        ("SCHILY.xattr.user.overlay.opaque", "y"),
        ("SCHILY.xattr.user.note", "kept"),
    ];
    let tar = Archive::new().pax(&records).dir("d", 0o755).end();
    let chain = store.snapshots().unpack(&tar[..]).expect("unpacked").attach(None).expect("attached");
    let fs = &store.snapshots().view(Some(&chain)).expect("a view").lowers[0];
    let dir = Root::open(fs).expect("a root").dir(".").expect("a directory");
    assert_eq!(dir.xattrs("d").expect("names"), ["user.note"]);
}

#[test]
fn what_is_no_archive_is_refused() {
    let file = Archive::new().file("f", "data");
    let mut damaged = file.clone().end();
    damaged[3] ^= 1;
    let huge = |size: &str| Archive::new().pax(&[("size", size)]).file("f", "").end();
    for (tar, expected) in [
        (b"not a tar, but long enough".repeat(40), Fault::Checksum),
        (b"short".to_vec(), Fault::Checksum),
        (damaged, Fault::Checksum),
        (file.clone().unfinished()[..700].to_vec(), Fault::Truncated),
        (file.clone().raw(&[0; 512]).file("g", "").end(), Fault::HalfEnd),
        (huge("1000000"), Fault::Truncated),
        (huge("18446744073709551615"), Fault::Number("size")),
        (huge("-1"), Fault::Number("size")),
        (Archive::new().pax(&[("uid", "4294967296")]).file("f", "").end(), Fault::Number("uid")),
        (Archive::new().pax(&[("uid", "4294967295")]).file("f", "").end(), Fault::Number("uid")),
        (Archive::new().pax(&[("path", "x")]).end(), Fault::Truncated),
        (Archive::new().pax(&[("GNU.sparse.major", "1")]).file("f", "").end(), Fault::Sparse),
        (Archive::new().entry(b'S', "f", "", 0o644, b"").end(), Fault::Sparse),
        (Archive::new().entry(b'M', "f", "", 0o644, b"").end(), Fault::Type(b'M')),
        (Archive::new().symlink("x", "").end(), Fault::Name("link name")),
        (Archive::new().file("", "").end(), Fault::Name("name")),
        (
            Archive::new().pax(&[("path", &"aaaaaaaaa/".repeat(400).repeat(2))]).file("f", "").end(),
            Fault::TooLong("name"),
        ),
        (Archive::new().pax(&[("path", &"a".repeat(256))]).file("f", "").end(), Fault::TooLong("name")),
        (
            Archive::new().entry(b'x', "h", "", 0, &vec![b'1'; 2 << 20]).file("f", "").end(),
            Fault::TooLong("extended header"),
        ),
        (Archive::new().entry(b'L', "h", "", 0, &vec![b'1'; 5000]).file("f", "").end(), Fault::TooLong("name")),
    ] {
        assert_eq!(fault(try_both(&tar).0), expected);
    }
}

#[test]
fn a_size_in_an_extended_header_is_the_only_size() {
    // The header says 0 bytes: a parser that believes it would take the data for the next header.
    let hidden = Archive::new().file("smuggled", "evil").unfinished();
    let mut tar = Archive::new().pax(&[("size", &hidden.len().to_string())]).file("outer", "");
    tar = tar.raw(&hidden).file("after", "");
    let (_dir, store) = store();
    let chain = store.snapshots().unpack(&tar.end()[..]).expect("unpacked").attach(None).expect("attached");
    let fs = &store.snapshots().view(Some(&chain)).expect("a view").lowers[0];
    assert_eq!(names(fs), ["after", "outer"]);
    assert_eq!(fs::read(fs.join("outer")).expect("bytes"), hidden);
}

#[test]
fn an_archive_cannot_go_endlessly_deep() {
    let tar = Archive::new().pax(&[("path", &format!("{}f", "d/".repeat(1000)))]).file("f", "").end();
    let (layer, plain) = try_both(&tar);
    assert_eq!((fault(layer), fault(plain)), (Fault::Depth, Fault::Depth));
    let tar = Archive::new().pax(&[("path", &format!("{}f", "d/".repeat(250)))]).file("f", "").end();
    try_both(&tar).0.expect("deep enough for anybody");
}

#[test]
fn a_broken_stream_is_told_from_a_broken_archive() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let (_dir, store) = store();
    let result = store.snapshots().unpack(Broken);
    assert!(matches!(result, Err(Error::Stream(error)) if error.kind() == std::io::ErrorKind::ConnectionReset));
}

#[test]
fn an_extraction_can_keep_directories() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("d")).expect("a directory");
    let root = Root::open(dir.path()).expect("a root");
    let tar = Archive::new().file("d", "a file").end();
    let keep = ExtractOptions { keep_directories: true, ..ExtractOptions::default() };
    let over = Fault::OverDirectory("/d".into(), "/".into());
    assert_eq!(fault(extract(&root, Path::new("/"), &tar[..], &keep)), over);
    extract(&root, Path::new("/"), &tar[..], &ExtractOptions::default()).expect("replaced");
    let owned = ExtractOptions { keep_directories: true, owner: Some((7, 8)), ..ExtractOptions::default() };
    extract(&root, Path::new("new/deep"), &tar[..], &owned).expect("made");
    let rename = |from: &str, to: &str| Some(Rename { from: from.into(), to: to.into() });
    for (from, to) in [("d", "other"), ("x", "never"), ("", "below")] {
        let options = ExtractOptions { rename: rename(from, to), ..ExtractOptions::default() };
        extract(&root, Path::new("renamed"), &tar[..], &options).expect(from);
    }
    for path in ["renamed/other", "renamed/d", "renamed/below/d"] {
        assert_eq!(fs::read(dir.path().join(path)).expect(path), b"a file");
    }
    for path in ["new", "new/deep", "new/deep/d"] {
        let metadata = dir.path().join(path).metadata().expect("metadata");
        assert_eq!((metadata.uid(), metadata.gid()), (7, 8), "{path}");
    }
}
