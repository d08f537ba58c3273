//! Blobs, records, leases, collection, and what is left after a crash.

mod archive;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use archive::{Archive, store};
use teu_oci::Digest;
use teu_store::{Error, Record, Store};

#[derive(Debug, PartialEq)]
struct Note {
    keeps: Vec<Digest>,
}

// Written by hand so that the tests need no derive of their own.
impl Record for Note {
    fn refers_to(&self) -> Vec<Digest> {
        self.keeps.clone()
    }
}

impl serde::Serialize for Note {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.keeps.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Note {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { keeps: Vec::deserialize(deserializer)? })
    }
}

fn note(digests: &[&Digest]) -> Note {
    Note { keeps: digests.iter().map(|digest| (*digest).clone()).collect() }
}

fn reopen(store: Store) -> Store {
    let root = store.root().to_path_buf();
    drop(store);
    Store::open(&root).expect("a store")
}

#[test]
fn the_blobs_are_an_image_layout_that_others_cannot_enter() {
    let (_dir, store) = store();
    let (digest, size) = store.blobs().put(b"hello").expect("stored");
    assert_eq!((&digest, size), (&Digest::sha256(b"hello"), 5));
    assert_eq!(fs::read(store.root().join("blobs/sha256").join(digest.hex())).expect("bytes"), b"hello");
    let layout = fs::read_to_string(store.root().join("blobs/oci-layout")).expect("text");
    assert_eq!(layout, r#"{"imageLayoutVersion":"1.0.0"}"#);
    assert!(store.root().join("blobs/index.json").exists());
    let mode = |path: &str| store.root().join(path).metadata().expect("metadata").permissions().mode() & 0o7777;
    assert_eq!(mode("") & !0o710, 0);
    for path in ["blobs", "uploads", "snapshots", "snapshots/layers", "snapshots/active", "trash"] {
        assert_eq!(mode(path), 0o700, "{path}");
    }
}

#[test]
fn an_interrupted_blob_goes_on_where_it_stopped() {
    let (_dir, mut store) = store();
    for (part, text) in ["one ", "two ", "three"].into_iter().enumerate() {
        let mut writer = store.blobs().writer("pull/sha256:x").expect("a writer");
        assert_eq!(writer.offset(), [0, 4, 8][part]);
        writer.write_all(text.as_bytes()).expect("written");
        drop(writer);
        if part == 1 {
            store = reopen(store);
        }
    }
    let uploads = store.blobs().uploads().expect("uploads");
    assert_eq!((uploads[0].key.as_str(), uploads[0].size), ("pull/sha256:x", 13));
    let expected = Digest::sha256(b"one two three");
    let writer = store.blobs().resume("pull/sha256:x").expect("a writer");
    assert_eq!(writer.commit(Some(&expected)).expect("a blob"), (expected.clone(), 13));
    assert!(store.blobs().uploads().expect("uploads").is_empty());
    assert!(matches!(store.blobs().resume("pull/sha256:x"), Err(Error::NotFound { .. })));
    assert_eq!(store.blobs().read(&expected).expect("bytes"), b"one two three");
    let mut text = String::new();
    store.blobs().open(&expected).expect("a file").read_to_string(&mut text).expect("text");
    assert_eq!((text.as_str(), store.blobs().stat(&expected)), ("one two three", Some(13)));
}

#[test]
fn one_key_has_one_writer() {
    let (_dir, store) = store();
    let writer = store.blobs().writer("k").expect("a writer");
    assert!(matches!(store.blobs().writer("k"), Err(Error::InUse { .. })));
    writer.abort().expect("aborted");
    assert_eq!(store.blobs().writer("k").expect("a writer").offset(), 0);
}

#[test]
fn bytes_that_are_not_what_was_asked_for_are_dropped() {
    let (_dir, store) = store();
    let mut writer = store.blobs().writer("k").expect("a writer");
    writer.write_all(b"evil").expect("written");
    let expected = Digest::sha256(b"good");
    let result = writer.commit(Some(&expected));
    assert!(matches!(result, Err(Error::DigestMismatch { actual, .. }) if actual == Digest::sha256(b"evil")));
    assert!(store.blobs().list().expect("blobs").is_empty());
    assert!(store.blobs().uploads().expect("uploads").is_empty());
}

#[test]
fn a_blob_can_be_asked_for_by_sha512() {
    let (_dir, store) = store();
    let abc = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let expected: Digest = abc.parse().expect("a digest");
    let mut writer = store.blobs().writer("k").expect("a writer");
    writer.write_all(b"abc").expect("written");
    writer.commit(Some(&expected)).expect("a blob");
    assert_eq!(store.blobs().read(&expected).expect("bytes"), b"abc");
}

#[test]
fn a_damaged_or_large_blob_is_not_read_into_memory() {
    let (_dir, store) = store();
    let (digest, _) = store.blobs().put(b"text").expect("stored");
    fs::write(store.blobs().path(&digest), "tampered").expect("written");
    assert!(matches!(store.blobs().read(&digest), Err(Error::DigestMismatch { .. })));
    let (large, _) = store.blobs().put(&vec![0; (4 << 20) + 1]).expect("stored");
    assert!(matches!(store.blobs().read(&large), Err(Error::TooLarge { .. })));
}

#[test]
fn a_store_is_open_once() {
    let (_dir, store) = store();
    assert!(matches!(Store::open(store.root()), Err(Error::InUse { .. })));
    reopen(store);
}

#[test]
fn records_of_any_key_come_back() {
    let (_dir, store) = store();
    let table = store.table::<Note>("notes").expect("a table");
    let long = "x/".repeat(500);
    let mut keys = vec!["", "..", "../../up", "docker.io/library/a:b", "é", ".new-x", long.as_str()];
    keys.sort_unstable();
    for key in &keys {
        table.put(key, &note(&[&Digest::sha256(key.as_bytes())])).expect("put");
    }
    fs::write(store.root().join("notes/.new-0123"), "half").expect("a leftover");
    drop(table);
    let store = reopen(store);
    let table = store.table::<Note>("notes").expect("a table");
    assert_eq!(table.keys().expect("keys"), keys);
    assert_eq!(table.list().expect("records").len(), keys.len());
    assert!(!store.root().join("notes/.new-0123").exists());
    for key in keys {
        assert_eq!(table.get(key).expect("an answer"), Some(note(&[&Digest::sha256(key.as_bytes())])));
        assert!(table.remove(key).expect("removed"));
        assert!(!table.remove(key).expect("gone"));
    }
    assert_eq!(table.get("a").expect("an answer"), None);
    fs::write(store.root().join("notes/bad.json"), "{").expect("a file");
    assert!(matches!(table.get("bad"), Err(Error::Record { .. })));
    for name in ["blobs", "trash", "", "../x", "a/b"] {
        assert!(store.table::<Note>(name).is_err(), "{name:?}");
    }
}

#[test]
fn the_collector_keeps_what_is_reachable_and_drops_the_rest() {
    let (_dir, store) = store();
    let (blobs, snapshots) = (store.blobs(), store.snapshots());
    let layer = |parent: Option<&Digest>, name: &str| {
        let tar = Archive::new().file(name, "12345").end();
        snapshots.unpack(&tar[..]).expect("unpacked").attach(parent).expect("attached")
    };
    let [kept, leased, dead] = ["kept", "leased", "dead"].map(|text| blobs.put(text.as_bytes()).expect("stored").0);
    let base = layer(None, "base");
    let (of_record, of_active, dead_top) = (layer(Some(&base), "r"), layer(Some(&base), "a"), layer(Some(&base), "d"));
    let dead_above = layer(Some(&dead_top), "dd");
    let table = store.table::<Note>("notes").expect("a table");
    table.put("n", &note(&[&kept, &of_record])).expect("put");
    snapshots.prepare("c", Some(&of_active)).expect("prepared");
    let lease = store.lease("test");
    lease.hold(&leased);
    let found = store.collectable().expect("counted");
    assert!(snapshots.exists(&dead_top) && blobs.stat(&dead).is_some());
    let collected = store.collect().expect("collected");
    assert_eq!(collected, found);
    assert_eq!((collected.blobs, collected.snapshots, collected.bytes), (1, 2, 4 + 10));
    for chain in [&base, &of_record, &of_active] {
        assert!(snapshots.exists(chain));
    }
    assert!(!snapshots.exists(&dead_top) && !snapshots.exists(&dead_above));
    assert!(snapshots.layer(&dead_top).is_err_and(|error| error.is_not_found()));
    drop(lease);
    snapshots.remove("c").expect("removed");
    table.remove("n").expect("removed");
    let collected = store.collect().expect("collected");
    assert_eq!((collected.blobs, collected.snapshots), (2, 3));
    assert!(blobs.list().expect("blobs").is_empty() && snapshots.layers().expect("layers").is_empty());
    store.empty_trash().expect("emptied");
    assert_eq!(fs::read_dir(store.root().join("trash")).expect("a listing").count(), 0);
}

#[test]
fn a_table_that_nobody_opened_keeps_what_it_names() {
    let (_dir, store) = store();
    let (digest, _) = store.blobs().put(b"kept").expect("stored");
    store.table::<Note>("notes").expect("a table").put("n", &note(&[&digest])).expect("put");
    let store = reopen(store);
    assert_eq!(store.collect().expect("collected").blobs, 0);
    assert_eq!(store.blobs().read(&digest).expect("bytes"), b"kept");
}

#[test]
fn a_damaged_record_stops_the_collector() {
    let (_dir, store) = store();
    store.blobs().put(b"kept").expect("stored");
    store.table::<Note>("notes").expect("a table").put("n", &note(&[])).expect("put");
    fs::write(store.root().join("notes/n.json"), "{").expect("written");
    assert!(matches!(store.collect(), Err(Error::Record { .. })));
    assert_eq!(store.blobs().list().expect("blobs").len(), 1);
}

#[test]
fn nothing_is_lost_between_a_lease_and_a_record() {
    let (_dir, store) = store();
    let table = store.table::<Note>("notes").expect("a table");
    let running = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(std::sync::atomic::Ordering::Relaxed) {
                store.collect().expect("collected");
            }
        });
        for number in 0..60 {
            let lease = store.lease("test");
            let text = format!("{}", number % 5);
            lease.hold(&Digest::sha256(text.as_bytes()));
            let tar = Archive::new().file(&text, "").end();
            let chain = Digest::sha256(&tar);
            lease.hold(&chain);
            let (digest, _) = store.blobs().put_deferred(text.as_bytes()).expect("stored");
            store.snapshots().unpack(&tar[..]).expect("unpacked").attach(None).expect("attached");
            table.put_quick("n", &note(&[&digest, &chain])).expect("put");
            drop(lease);
            assert!(store.blobs().stat(&digest).is_some() && store.snapshots().exists(&chain));
        }
        running.store(false, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn what_a_killed_process_left_is_cleared() {
    let (_dir, store) = store();
    let root = store.root().to_path_buf();
    let kept = store.snapshots().prepare("whole", None).expect("prepared").upper.expect("an upper");
    fs::create_dir_all(root.join("snapshots/staging/7/fs/deep")).expect("directories");
    fs::create_dir_all(root.join("snapshots/active/half/fs")).expect("directories");
    fs::create_dir_all(root.join("trash/old/deep")).expect("directories");
    fs::write(root.join("uploads/bytes-7-1"), "half of a").expect("a partial blob");
    fs::write(root.join("uploads/resumable"), "half of a").expect("a partial blob");
    let store = reopen(store);
    assert_eq!(
        store.blobs().uploads().expect("uploads").iter().map(|upload| &upload.key).collect::<Vec<_>>(),
        ["resumable"]
    );
    store.empty_trash().expect("emptied");
    assert_eq!(store.snapshots().active().expect("keys"), ["whole"]);
    assert!(kept.exists());
    for dir in ["snapshots/staging", "trash"] {
        assert_eq!(fs::read_dir(root.join(dir)).expect("a listing").count(), 0, "{dir}");
    }
}

#[test]
fn after_a_power_failure_what_was_not_synced_is_not_believed() {
    let (_dir, store) = store();
    let root = store.root().to_path_buf();
    let (whole, _) = store.blobs().put_deferred(b"whole").expect("stored");
    let (torn, _) = store.blobs().put_deferred(b"torn").expect("stored");
    let attach = |name: &str| {
        let tar = Archive::new().file(name, "").end();
        store.snapshots().unpack(&tar[..]).expect("unpacked").attach(None).expect("attached")
    };
    let synced = attach("synced");
    store.sync().expect("synced");
    assert_eq!(fs::read_dir(root.join("unsynced")).expect("a listing").count(), 0);
    let suspect = attach("suspect");
    let (again, _) = store.blobs().put_deferred(b"again").expect("stored");
    let store = reopen(store);
    assert!(store.snapshots().exists(&suspect), "the same boot: nothing is suspect");
    fs::write(store.blobs().path(&torn), "to").expect("written");
    for name in ["layer", "blob"].into_iter().zip([&suspect, &torn]).chain([("blob", &whole), ("blob", &again)]) {
        pretend_other_boot(&root, name.0, name.1);
    }
    let store = reopen(store);
    assert!(store.snapshots().exists(&synced) && !store.snapshots().exists(&suspect));
    assert_eq!(store.blobs().stat(&torn), None);
    assert_eq!(store.blobs().read(&whole).expect("bytes"), b"whole");
    assert_eq!(store.blobs().read(&again).expect("bytes"), b"again");
    assert_eq!(fs::read_dir(root.join("unsynced")).expect("a listing").count(), 0);
}

fn pretend_other_boot(root: &Path, kind: &str, digest: &Digest) {
    let mark = root.join(format!("unsynced/{kind}.sha256.{}", digest.hex()));
    drop(fs::remove_file(&mark));
    symlink("another-boot", &mark).expect("a mark");
}

#[test]
fn a_table_that_is_opened_again_leaves_alone_what_is_being_written() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let open = |name: &str| store.table::<Note>(name).expect("a table");
    // All at once make its folder.
    std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| open("at-once")))));
    open("things");
    let half = folder.path().join("things/.new-0000000000000000");
    fs::write(&half, "half").expect("written");
    open("things");
    assert!(half.exists());
    drop(store);
    Store::open(folder.path()).expect("store").table::<Note>("things").expect("a table");
    assert!(!half.exists());
}
