//! Any tree survives the way through a tar, and any bytes survive being read as one.

mod archive;

use std::fs;
use std::path::Path;

use archive::{listing, store};
use proptest::prelude::*;
use teu_store::tar::{ArchiveOptions, ExtractOptions};
use teu_sys::fs::{Dir, FileKind, Root, Time};

#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    Link(String),
    Fifo,
    Whiteout,
    Dir(bool, Vec<(String, u32, u32, i64, u32, Node)>),
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(Node::File),
        "[a-z/.é]{1,150}".prop_map(Node::Link),
        Just(Node::Fifo),
        Just(Node::Whiteout),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let name = prop_oneof!["[a-c]{1,3}", "[ -.0-~é]{1,100}".prop_filter("a name", |n| n != "." && n != "..")];
        let child = (
            name,
            0_u32..0o10000,
            prop_oneof![0_u32..2000, Just(3_000_000)],
            -9_i64..9_000_000_000,
            0_u32..1_000_000_000,
            inner,
        );
        (any::<bool>(), prop::collection::vec(child, 0..5)).prop_map(|(opaque, children)| Node::Dir(opaque, children))
    })
}

fn build(dir: &Dir, name: &str, node: &Node, layer: bool) {
    match node {
        Node::File(data) => {
            use std::io::Write;
            dir.create_file(name, 0o644).and_then(|mut file| file.write_all(data)).expect("a file");
        }
        Node::Link(target) => dir.symlink(target, name).expect("a link"),
        Node::Fifo => dir.mknod(name, FileKind::Fifo, 0o644, (0, 0)).expect("a pipe"),
        Node::Whiteout if layer => dir.mknod(name, FileKind::CharDevice, 0, (0, 0)).expect("a whiteout"),
        Node::Whiteout => drop(dir.create_file(name, 0o644).expect("a file")),
        Node::Dir(opaque, children) => {
            dir.create_dir(name, 0o755).expect("a directory");
            let inner = dir.open_dir(name).expect("a directory");
            if *opaque && layer {
                inner.set_xattr(".", "trusted.overlay.opaque", b"y").expect("opaque");
            }
            fill(&inner, children, layer);
        }
    }
}

fn fill(dir: &Dir, children: &[(String, u32, u32, i64, u32, Node)], layer: bool) {
    for (name, mode, owner, seconds, nanoseconds, node) in children {
        if dir.find(name).expect("an answer").is_some() || name.starts_with(".wh.") {
            continue;
        }
        build(dir, name, node, layer);
        if matches!(node, Node::Whiteout) && layer {
            // A whiteout has no metadata of its own.
            dir.set_mtime(name, Time::default()).expect("a time");
            continue;
        }
        dir.set_owner(name, *owner, owner / 2).expect("an owner");
        dir.set_mode(name, *mode).expect("a mode");
        dir.set_mtime(name, Time { seconds: *seconds, nanoseconds: *nanoseconds }).expect("a time");
    }
}

/// The listing without the times of whiteouts.
fn comparable(dir: &Path) -> Vec<String> {
    let strip =
        |line: String| if line.ends_with("char 0") { line.split(' ').next().map(str::to_owned) } else { Some(line) };
    listing(dir).into_iter().filter_map(strip).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_survives_the_way_out_and_in(node in node()) {
        let (_dir, store) = store();
        let upper = store.snapshots().prepare("k", None).expect("prepared").upper.expect("an upper");
        let root = Root::open(&upper).expect("a root");
        fill(&root.dir(".").expect("a directory"), &[("top".into(), 0o755, 0, 0, 0, node)], true);
        let mut tar = Vec::new();
        let digest = store.snapshots().write_diff_active("k", &mut tar).expect("written");
        let chain = store.snapshots().unpack(&tar[..]).expect("unpacked").attach(None).expect("attached");
        prop_assert_eq!(&chain, &digest);
        let copy = store.snapshots().view(Some(&chain)).expect("a view").lowers[0].clone();
        prop_assert_eq!(comparable(&copy), comparable(&upper));
        let mut again = Vec::new();
        store.snapshots().write_diff(&chain, &mut again).expect("written");
        prop_assert!(tar == again);
        prop_assert!(store.snapshots().commit_copy("k").expect("copied").diff_id == digest);
    }

    #[test]
    fn a_tree_survives_archive_and_extract(node in node()) {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["from", "to"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let from = Root::open(&dir.path().join("from")).expect("a root");
        fill(&from.dir(".").expect("a directory"), &[("top".into(), 0o755, 0, 0, 0, node)], false);
        let mut tar = Vec::new();
        teu_store::tar::archive(&from, Path::new("/"), &mut tar, &ArchiveOptions::default()).expect("archived");
        let to = Root::open(&dir.path().join("to")).expect("a root");
        teu_store::tar::extract(&to, Path::new("/"), &tar[..], &ExtractOptions::default()).expect("extracted");
        prop_assert_eq!(listing(&dir.path().join("to")), listing(&dir.path().join("from")));
    }

    #[test]
    fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..4096), place in any::<usize>(), valid in any::<bool>()) {
        let (_dir, store) = store();
        if valid {
            let mut tar = archive::Archive::new().dir("d", 0o755).pax(&[("mtime", "1.5")]).file("d/f", "data").end();
            let at = place % tar.len();
            tar[at] ^= bytes.first().copied().unwrap_or(1);
            bytes = tar;
        }
        drop(store.snapshots().unpack(&bytes[..]).map(|unpacked| unpacked.attach(None)));
        let staging = store.root().join("snapshots/staging");
        prop_assert_eq!(fs::read_dir(staging).expect("a listing").count(), 0);
    }
}

#[test]
fn the_top_entry_can_be_renamed_or_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("d")).expect("a directory");
    fs::write(dir.path().join("d/f"), "x").expect("a file");
    let root = Root::open(dir.path()).expect("a root");
    let names = |path: &str, rename: Option<&str>| {
        let mut tar = Vec::new();
        let options = ArchiveOptions { rename: rename.map(Into::into), ..ArchiveOptions::default() };
        teu_store::tar::archive(&root, Path::new(path), &mut tar, &options).expect("archived");
        let mut archive = tar::Archive::new(&tar[..]);
        let entries = archive.entries().expect("entries");
        entries.map(|e| String::from_utf8_lossy(&e.expect("an entry").path_bytes()).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("/", None), ["d/", "d/f"]);
    assert_eq!(names("d", None), ["d/", "d/f"]);
    assert_eq!(names("d", Some("")), ["f"]);
    assert_eq!(names("d", Some(".")), ["./", "./f"]);
    assert_eq!(names("d/f", Some("g")), ["g"]);
}
