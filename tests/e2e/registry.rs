//! Push and pull: teu's own registry and Debian's, in both directions, with Docker's and OCI's media types.

use std::fs;
use std::process::Command;

use super::support::{Daemon, DebianRegistry, Registry, eventually, run, tree};

/// Makes an image of three layers, pushes it, removes everything, pulls it and runs it.
#[track_caller]
fn there_and_back(address: &str) {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    tree(
        &context,
        &[("Dockerfile", "FROM busybox\nRUN echo one > /one\nRUN rm /one; echo two > /two\nCMD [\"cat\", \"/two\"]\n")],
    );
    let name = format!("{address}/team/made:1");
    daemon.ok(["build", "-q", "-t", &name, context.to_str().expect("path")]);
    let id = daemon.inspect(&name, "{{.Id}}");
    let pushed = daemon.ok(["push", &name]);
    assert!(pushed.contains("digest: sha256:") && pushed.contains("size: "), "{pushed}");
    let digest = pushed.split_whitespace().find(|word| word.starts_with("sha256:")).expect("a digest").to_owned();
    // Once more: everything is there.
    assert!(daemon.ok(["push", &name]).contains(&digest));
    daemon.ok(["rmi", &name, "busybox"]);
    assert_eq!(daemon.ok(["images", "-aq"]), "");
    let pulled = daemon.ok(["pull", &name]);
    assert!(pulled.contains(&format!("Digest: {digest}")) && pulled.contains("Downloaded newer image"), "{pulled}");
    assert!(daemon.ok(["pull", &name]).contains("Image is up to date"));
    assert_eq!(daemon.inspect(&name, "{{.Id}}"), id);
    assert_eq!(daemon.ok(["run", "--rm", &name]), "two");
    // By digest, by a daemon that has nothing, on the way to a container.
    let other = Daemon::bare();
    assert_eq!(other.ok(["run", "--rm", "--quiet", &format!("{address}/team/made@{digest}")]), "two");
}

#[test]
fn an_image_goes_to_teus_registry_and_comes_back() {
    there_and_back(&Registry::start().address());
}

#[test]
fn an_image_goes_to_debians_registry_and_comes_back() {
    there_and_back(&DebianRegistry::start().address());
}

#[test]
fn an_image_goes_from_one_registry_to_the_other_without_change() {
    let (ours, theirs) = (Registry::start(), DebianRegistry::start());
    let daemon = Daemon::start();
    let hop = |from: &str, to: &str| {
        let (from, to) = (format!("{from}/busybox"), format!("{to}/busybox"));
        daemon.ok(["tag", "busybox", &from]);
        daemon.ok(["push", "-q", &from]);
        daemon.ok(["rmi", &from, "busybox"]);
        daemon.ok(["pull", "-q", &from]);
        daemon.ok(["tag", &from, &to]);
        let told = daemon.ok(["push", &to]);
        daemon.ok(["tag", &to, "busybox"]);
        daemon.ok(["rmi", &from, &to]);
        told.split_whitespace().find(|word| word.starts_with("sha256:")).expect("a digest").to_owned()
    };
    let there = hop(&ours.address(), &theirs.address());
    let back = hop(&theirs.address(), &ours.address());
    assert_eq!(there, back);
    assert_eq!(daemon.ok(["run", "--rm", "busybox", "echo", "same"]), "same");
}

#[test]
fn dockers_media_types_and_ocis_are_both_understood() {
    let registry = Registry::start();
    let daemon = Daemon::start();
    let name = format!("{}/oci:1", registry.address());
    daemon.ok(["tag", "busybox", &name]);
    daemon.ok(["push", "-q", &name]);
    let manifest = get(&registry.address(), "oci", "1");
    assert!(manifest["mediaType"].as_str().expect("a type").contains("oci"), "{manifest}");
    // The same image as Docker writes it: other media types, an uncompressed digest list that stays the same.
    let mut docker = manifest.clone();
    docker["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into();
    docker["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
    for layer in docker["layers"].as_array_mut().expect("layers") {
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
    }
    put(&registry.address(), "oci", "docker", &docker);
    // And a list of platforms, one of which is this machine's.
    let text = serde_json::to_string(&docker).expect("json");
    let digest = teu_oci::Digest::sha256(text.as_bytes()).to_string();
    let entry = |architecture: &str, digest: &str| {
        serde_json::json!({
            "mediaType": docker["mediaType"], "digest": digest, "size": text.len(),
            "platform": {"architecture": architecture, "os": "linux"},
        })
    };
    let own = daemon.inspect("busybox", "{{.Architecture}}");
    let list = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifests": [entry(&own, &digest)],
    });
    put(&registry.address(), "oci", "list", &list);
    daemon.ok(["rmi", &name, "busybox"]);
    for tag in ["docker", "list"] {
        let name = format!("{}/oci:{tag}", registry.address());
        daemon.ok(["pull", "-q", &name]);
        assert_eq!(daemon.ok(["run", "--rm", &name, "echo", tag]), tag);
        daemon.ok(["rmi", &name]);
    }
}

/// A manifest, as any client gets it.
fn get(address: &str, repository: &str, tag: &str) -> serde_json::Value {
    let accept =
        "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
    let url = format!("http://{address}/v2/{repository}/manifests/{tag}");
    serde_json::from_str(&run(Command::new("curl").args(["-sSf", "-H", accept, &url])).ok()).expect("json")
}

fn put(address: &str, repository: &str, tag: &str, manifest: &serde_json::Value) {
    let kind = format!("Content-Type: {}", manifest["mediaType"].as_str().expect("a type"));
    let url = format!("http://{address}/v2/{repository}/manifests/{tag}");
    let text = manifest.to_string();
    run(Command::new("curl").args(["-sSf", "-X", "PUT", "-H", &kind, "--data-binary", &text, &url])).ok();
}

#[test]
fn what_a_registry_does_not_have_is_told_in_one_sentence() {
    let registry = Registry::start();
    let daemon = Daemon::start();
    let missing = format!("{}/no/such:1", registry.address());
    daemon.teu(["pull", &missing]).refused(1, &["no/such", "not found"]);
    daemon.teu(["run", &missing]).refused_build(&["not found"]);
    daemon.teu(["push", &missing]).refused(1, &["does not exist locally", "no/such"]);
    let nobody = format!("127.0.0.1:{}/x", super::support::free_port());
    daemon.teu(["pull", &nobody]).refused(1, &["refused"]);
    assert_eq!(daemon.ok(["images", "-q"]).lines().count(), 1);
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says_is_refused() {
    let registry = Registry::start();
    let daemon = Daemon::start();
    let name = format!("{}/box:1", registry.address());
    daemon.ok(["tag", "busybox", &name]);
    daemon.ok(["push", "-q", &name]);
    daemon.ok(["rmi", &name, "busybox"]);
    // The largest blob is the layer; a bit of it turns over on the registry's disk.
    let blobs = fs::read_dir(registry.root().join("blobs/sha256")).expect("blobs").flatten();
    let layer =
        blobs.max_by_key(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).expect("a layer").path();
    let mut bytes = fs::read(&layer).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let _ = fs::remove_file(&layer);
    fs::write(&layer, bytes).expect("written");
    daemon.teu(["pull", &name]).refused_build(&[]);
    assert_eq!(daemon.ok(["images", "-q"]), "");
    // What was unpacked already is deleted in the background.
    let left = || run(Command::new("find").arg(daemon.root().join("snapshots")).args(["-type", "f"])).ok();
    eventually("nothing of the layer is left", || left().is_empty().then_some(()));
}

/// Makes a list of two images of two repositories, for two machines, pushes it and looks at it from elsewhere.
#[track_caller]
fn a_list_is_made_and_pushed(address: &str) {
    let daemon = Daemon::start();
    let (one, two, list) = (format!("{address}/one:1"), format!("{address}/two:1"), format!("{address}/all:1"));
    for name in [&one, &two] {
        daemon.ok(["tag", "busybox", name]);
        daemon.ok(["push", "-q", name]);
    }
    daemon.teu(["manifest", "create", &list, &format!("{address}/three:1")]).refused(1, &["no such manifest: "]);
    assert_eq!(daemon.ok(["manifest", "create", &list, &one]), format!("Created manifest list {list}"));
    daemon.teu(["manifest", "create", &list, &two]).refused(1, &["refusing to amend"]);
    daemon.ok(["manifest", "create", "--amend", &list, &two]);
    daemon.teu(["manifest", "annotate", &list, &two, "--arch", "abacus"]).refused(1, &["unsupported os/arch"]);
    daemon.ok(["manifest", "annotate", &list, &two, "--arch", "arm", "--variant", "v7", "--os-features", "a,b"]);
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("json");
    let machine = |list: &serde_json::Value, index: usize| list["manifests"][index]["platform"].clone();
    let local = json(daemon.ok(["manifest", "inspect", &list]));
    let arm = serde_json::json!({"architecture": "arm", "os": "linux", "os.features": ["a", "b"], "variant": "v7"});
    assert_eq!(machine(&local, 1), arm);
    let verbose = json(daemon.ok(["manifest", "inspect", "-v", &list, &one]));
    assert_eq!((&verbose["Ref"], &verbose["Descriptor"]["platform"]["os"]), (&one.as_str().into(), &"linux".into()));
    let pushed = daemon.ok(["manifest", "push", "--purge", &list]);
    let digest = pushed.lines().last().expect("a digest").to_owned();
    assert!(digest.starts_with("sha256:") && pushed.contains(&format!("Pushed ref {address}/all@sha256:")), "{pushed}");
    daemon.teu(["manifest", "rm", &list]).refused(1, &["No such manifest: "]);
    // Whoever has nothing of it sees the same list, and pulls what is for this machine.
    let other = Daemon::bare();
    assert_eq!(json(other.ok(["manifest", "inspect", &list])), local);
    let pulled = other.ok(["pull", &list]);
    assert!(pulled.contains(&digest), "{pulled}");
    assert_eq!(json(other.ok(["manifest", "inspect", &one]))["schemaVersion"], 2);
    assert_eq!(json(other.ok(["manifest", "inspect", "-v", &list])).as_array().map(Vec::len), Some(2));
}

#[test]
fn lists_of_manifests_go_to_teus_registry() {
    a_list_is_made_and_pushed(&Registry::start().address());
}

#[test]
fn lists_of_manifests_go_to_debians_registry() {
    a_list_is_made_and_pushed(&DebianRegistry::start().address());
}
