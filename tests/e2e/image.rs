//! Images: names, archives, commits, history.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::support::{Daemon, base_image, fetch, run, tree};

#[test]
fn an_image_has_as_many_names_as_it_is_given() {
    let daemon = Daemon::start();
    let id = daemon.ok(["images", "-q", "--no-trunc"]);
    daemon.ok(["tag", "busybox", "box:1"]);
    daemon.ok(["tag", &id, "registry.example:5000/team/box:2"]);
    let listed = daemon.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut listed: Vec<_> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["box:1", "busybox:latest", "registry.example:5000/team/box:2"]);
    assert!(daemon.ok(["rmi", "busybox"]).contains("Untagged: busybox:latest"));
    assert_eq!(daemon.ok(["run", "--rm", "box:1", "echo", "still"]), "still");
    daemon.teu(["run", "--rm", "registry.invalid:1/busybox"]).ends_with(125);
    daemon.ok(["rmi", "box:1"]);
    let removed = daemon.ok(["rmi", "registry.example:5000/team/box:2"]);
    assert!(removed.contains(&format!("Deleted: {id}")), "{removed}");
    assert_eq!(daemon.ok(["images", "-q"]), "");
    // Nothing of it takes space any more.
    let blobs = daemon.root().join("blobs/sha256");
    assert_eq!(fs::read_dir(blobs).map(Iterator::count).unwrap_or(0), 0);
}

#[test]
fn an_image_in_use_is_not_removed() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "user", "busybox"]);
    daemon.teu(["rmi", "busybox"]).refused(1, &["busybox", "container"]);
    daemon.ok(["rm", "user"]);
    daemon.ok(["rmi", "busybox"]);
}

#[test]
fn save_and_load_carry_images_to_another_daemon() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    tree(&context, &[("Dockerfile", "FROM busybox\nRUN echo layer > /layer\nENV A=1\nCMD [\"cat\", \"/layer\"]\n")]);
    daemon.ok(["build", "-q", "-t", "two:1", context.to_str().expect("path")]);
    daemon.ok(["tag", "two:1", "two:2"]);
    let archive = daemon.folder().join("images.tar");
    daemon.ok(["save", "-o", archive.to_str().expect("path"), "two:1", "two:2", "busybox"]);
    let other = Daemon::bare();
    let loaded = other.ok(["load", "-i", archive.to_str().expect("path")]);
    for name in ["two:1", "two:2", "busybox:latest"] {
        assert!(loaded.contains(&format!("Loaded image: {name}")), "{loaded}");
        assert_eq!(other.inspect(name, "{{.Id}}"), daemon.inspect(name, "{{.Id}}"));
    }
    assert_eq!(other.ok(["run", "--rm", "two:2"]), "layer");
    // Standard output and input do as well as files.
    let bytes = Command::new("sh")
        .args(["-c", "\"$0\" --no-autostart -H \"$1\" save two:1 | \"$0\" --no-autostart -H \"$2\" load -q"])
        .args([super::support::TEU, &daemon.host(), &other.host()])
        .output()
        .expect("sh");
    assert!(bytes.status.success(), "{bytes:?}");
}

#[test]
fn a_saved_archive_is_an_oci_layout_that_says_what_it_holds() {
    let daemon = Daemon::start();
    let archive = daemon.folder().join("image.tar");
    daemon.ok(["save", "-o", archive.to_str().expect("path"), "busybox"]);
    let list = run(Command::new("tar").arg("tf").arg(&archive)).ok();
    for name in ["oci-layout", "index.json", "manifest.json", "blobs/sha256/"] {
        assert!(list.lines().any(|line| line == name || line.starts_with(name)), "{name} is not in\n{list}");
    }
    let text = |name: &str| run(Command::new("tar").arg("xOf").arg(&archive).arg(name)).ok();
    let manifest: serde_json::Value = serde_json::from_str(&text("manifest.json")).expect("json");
    assert_eq!(manifest[0]["RepoTags"][0], "busybox:latest");
    let config: serde_json::Value =
        serde_json::from_str(&text(manifest[0]["Config"].as_str().expect("a path"))).expect("json");
    assert_eq!(config["os"], "linux");
    for layer in manifest[0]["Layers"].as_array().expect("layers") {
        assert!(list.contains(layer.as_str().expect("a path")));
    }
}

#[test]
fn what_images_share_is_counted() {
    let daemon = Daemon::start();
    let image = |name: &str, kib: u32| {
        let container = daemon.ok(["create", "busybox", "sh", "-c", &format!("head -c {kib}k /dev/zero > /file")]);
        daemon.ok(["start", "-a", &container]);
        daemon.ok(["commit", &container, name]);
    };
    image("one", 2000);
    image("two", 3000);
    let rows: serde_json::Value =
        serde_json::from_str(&daemon.ok(["system", "df", "-v", "--format", "json"])).expect("json");
    let cell = |name: &str, key: &str| {
        let images = rows["Images"].as_array().expect("images");
        images.iter().find(|row| row["Repository"] == name).expect("a row")[key].clone()
    };
    let base = cell("one", "SharedSize");
    for (name, own) in [("busybox", "0B"), ("one", "2.048MB"), ("two", "3.072MB")] {
        assert_eq!((cell(name, "SharedSize"), cell(name, "UniqueSize")), (base.clone(), own.into()), "{name}");
    }
    let api = |query: &str| fetch_json(&daemon, &format!("/images/json{query}"));
    let shared = |list: &serde_json::Value| list[0]["SharedSize"].as_i64().expect("a number");
    assert_eq!(shared(&api("")), -1);
    assert!(shared(&api("?shared-size=1")) > 500_000);
}

/// An answer of the API.
fn fetch_json(daemon: &Daemon, path: &str) -> serde_json::Value {
    let mut curl = Command::new("curl");
    curl.args(["-s", "--unix-socket"]).arg(daemon.socket()).arg(format!("http://localhost{path}"));
    serde_json::from_str(&run(&mut curl).ok()).expect("json")
}

/// An archive with an image for arm64 beside one for this machine, both by the name `two:1`.
fn for_two_machines(daemon: &Daemon) -> PathBuf {
    let folder = daemon.folder().join("layout");
    fs::create_dir(&folder).expect("folder");
    let mut manifests = vec![];
    for (name, machine) in [("busybox", "amd64"), ("foreign", "arm64")] {
        let archive = daemon.folder().join(machine);
        daemon.ok(["save", "-o", archive.to_str().expect("path"), name]);
        run(Command::new("tar").arg("xf").arg(&archive).arg("-C").arg(&folder)).ok();
        let text = fs::read_to_string(folder.join("index.json")).expect("index");
        let index: serde_json::Value = serde_json::from_str(&text).expect("json");
        let mut one = index["manifests"][0].clone();
        one["platform"] = serde_json::json!({"os": "linux", "architecture": machine});
        one["annotations"] = serde_json::json!({"io.containerd.image.name": "docker.io/library/two:1"});
        manifests.push(one);
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
    fs::write(folder.join("index.json"), index.to_string()).expect("written");
    fs::remove_file(folder.join("manifest.json")).expect("removed");
    let archive = daemon.folder().join("two.tar");
    run(Command::new("tar").arg("cf").arg(&archive).arg("-C").arg(&folder).arg(".")).ok();
    archive
}

#[test]
fn an_image_for_another_machine_is_kept_shown_and_passed_on() {
    let daemon = Daemon::start();
    let tree = daemon.folder().join("tree");
    fs::create_dir_all(tree.join("bin")).expect("folder");
    fs::write(tree.join("bin/program"), b"no program of this machine").expect("written");
    run(Command::new("chmod").arg("755").arg(tree.join("bin/program"))).ok();
    let archive = daemon.folder().join("tree.tar");
    run(Command::new("tar").arg("cf").arg(&archive).arg("-C").arg(&tree).arg(".")).ok();
    let import = ["import", "--platform", "linux/arm64", "-c", "CMD [\"/bin/program\"]"];
    daemon.ok(import.into_iter().chain([archive.to_str().expect("path"), "foreign"]));
    let ran = daemon.teu(["run", "--rm", "foreign"]).ends_with(126);
    let warning = "WARNING: The requested image's platform (linux/arm64) does not match the detected host platform";
    assert!(ran.err.contains(warning) && ran.err.to_lowercase().contains("exec format error"), "{}", ran.err);
    let named = daemon.teu(["create", "--platform", "linux/arm64", "foreign"]).ends_with(0);
    assert_eq!(named.err, "");
    let archive = for_two_machines(&daemon);
    let archive = archive.to_str().expect("path");
    let other = Daemon::bare();
    let machine = |platform: &[&str]| {
        other.ok(["load", "-q", "-i", archive].into_iter().chain(platform.iter().copied()));
        other.inspect("two:1", "{{.Os}}/{{.Architecture}}")
    };
    assert_eq!(machine(&[]), "linux/amd64");
    assert_eq!(machine(&["--platform", "linux/arm64"]), "linux/arm64");
    let missing = other.teu(["load", "-i", archive, "--platform", "linux/s390x"]);
    missing.refused(1, &["requested platform (linux/s390x) not found"]);
    // Pushed and pulled again it is the same.
    let registry = super::support::Registry::start();
    let name = format!("{}/two:1", registry.address());
    other.ok(["tag", "two:1", &name]);
    other.ok(["push", "-q", &name]);
    daemon.ok(["pull", "-q", "--platform", "linux/arm64", &name]);
    assert_eq!(daemon.inspect(&name, "{{.Architecture}}"), "arm64");
}

#[test]
fn export_and_import_carry_a_tree() {
    let daemon = Daemon::start();
    daemon.ok(["run", "--name", "box", "busybox", "sh", "-c", "echo mine > /root/mine; rm -r /var/spool"]);
    let archive = daemon.folder().join("tree.tar");
    daemon.ok(["export", "-o", archive.to_str().expect("path"), "box"]);
    let id = daemon.ok([
        "import",
        "-c",
        "CMD [\"cat\", \"/root/mine\"]",
        "-m",
        "by hand",
        archive.to_str().expect("path"),
        "tree:1",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(daemon.ok(["run", "--rm", "tree:1"]), "mine");
    daemon.teu(["run", "--rm", "tree:1", "ls", "/var/spool"]).ends_with(1);
    assert!(daemon.ok(["history", "tree:1"]).contains("by hand"));
    let (address, _asked) = super::build::server(vec![("/tree.tar", fs::read(&archive).expect("tree"))]);
    let url = format!("{address}/moved");
    let told = daemon.ok(["import", "-c", "CMD [\"cat\", \"/root/mine\"]", &url, "tree:2"]);
    assert!(told.starts_with(&format!("Downloading from {url}")), "{told}");
    assert_eq!(daemon.ok(["run", "--rm", "tree:2"]), "mine");
    assert!(daemon.ok(["history", "tree:2"]).contains(&format!("Imported from {url}")));
    daemon.teu(["import", &format!("{address}/nothing")]).refused(1, &["/nothing", "not found"]);
}

#[test]
fn a_commit_keeps_what_was_written_and_takes_changes() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "-e", "KEPT=1", "-v", "/volume", "busybox", "sleep", "1000"]);
    daemon.ok(["exec", "box", "sh", "-c", "echo written > /file; echo not > /volume/not; chmod 4755 /bin/busybox"]);
    let changes = [
        "ENV A=b",
        "LABEL l=\"two words\"",
        "CMD [\"cat\", \"/file\"]",
        "WORKDIR /tmp",
        "USER 12:34",
        "EXPOSE 80",
        "VOLUME /data",
        "STOPSIGNAL SIGINT",
    ];
    let flags = changes.iter().flat_map(|change| ["--change", change]);
    let line = ["commit", "-m", "a message", "-a", "An Author"].into_iter().chain(flags).chain(["box", "made:1"]);
    let id = daemon.ok(line);
    assert_eq!(daemon.inspect("made:1", "{{.Id}}"), id);
    // Nobody noticed: the container runs on.
    assert_eq!(daemon.inspect("box", "{{.State.Running}} {{.State.Paused}}"), "true false");
    let told = daemon.inspect(
        "made:1",
        "{{.Author}}|{{.Comment}}|{{json .Config.Env}}|{{json .Config.Labels}}|{{json .Config.Cmd}}|{{.Config.WorkingDir}}|{{.Config.User}}|{{json .Config.ExposedPorts}}|{{json .Config.Volumes}}|{{.Config.StopSignal}}",
    );
    let parts: Vec<_> = told.split('|').collect();
    assert_eq!(parts[..2], ["An Author", "a message"]);
    assert!(parts[2].contains("\"KEPT=1\"") && parts[2].contains("\"A=b\""), "{told}");
    assert_eq!(parts[3..8], ["{\"l\":\"two words\"}", "[\"cat\",\"/file\"]", "/tmp", "12:34", "{\"80/tcp\":{}}"]);
    assert!(parts[8].contains("\"/data\":{}") && parts[9] == "SIGINT", "{told}");
    assert_eq!(daemon.ok(["run", "--rm", "made:1"]), "written");
    assert_eq!(
        daemon.ok(["run", "--rm", "made:1", "sh", "-c", "id -u; pwd; ls /volume; stat -c %a /bin/busybox"]),
        "12\n/tmp\n4755"
    );
    daemon.ok(["run", "--rm", "made:1", "sh", "-c", "[ $(find /etc/hosts -size +0 | wc -l) = 1 ]"]);
}

#[test]
fn a_paused_and_a_stopped_container_can_be_committed() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", "echo one > /file; echo up; exec sleep 1000"]);
    daemon.spawn(["logs", "-f", "box"]).until("up");
    daemon.ok(["pause", "box"]);
    daemon.ok(["commit", "box", "paused"]);
    assert_eq!(daemon.inspect("box", "{{.State.Paused}}"), "true");
    daemon.ok(["unpause", "box"]);
    daemon.ok(["exec", "box", "sh", "-c", "echo two > /file"]);
    daemon.ok(["stop", "-t", "0", "box"]);
    daemon.ok(["commit", "box", "stopped"]);
    assert_eq!(daemon.ok(["run", "--rm", "paused", "cat", "/file"]), "one");
    assert_eq!(daemon.ok(["run", "--rm", "stopped", "cat", "/file"]), "two");
    daemon.teu(["commit", "--change", "FROM scratch", "box"]).refused(1, &["FROM"]);
}

#[test]
fn history_tells_how_an_image_came_to_be() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    tree(&context, &[("Dockerfile", "FROM busybox\nENV A=1\nRUN echo x > /x\nCMD [\"sh\"]\n")]);
    daemon.ok(["build", "-q", "-t", "made", context.to_str().expect("path")]);
    let told = daemon.ok(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "made"]);
    let told: Vec<_> = told.lines().collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(
        told[0].contains("CMD [\"sh\"]") && told[1].contains("echo x > /x") && told[2].contains("ENV A=1"),
        "{told:?}"
    );
}

#[test]
fn a_broken_archive_is_refused_and_leaves_nothing() {
    let daemon = Daemon::bare();
    let archive = fs::read(base_image()).expect("image");
    let broken = daemon.folder().join("broken.tar");
    for length in [0, 100, 5000, archive.len() / 2] {
        fs::write(&broken, &archive[..length]).expect("written");
        daemon.teu(["load", "-i", broken.to_str().expect("path")]).refused(1, &[]);
    }
    // A bit turned over within a layer: the digest tells.
    let mut turned = archive.clone();
    let middle = turned.len() / 2;
    turned[middle] ^= 1;
    fs::write(&broken, &turned).expect("written");
    daemon.teu(["load", "-i", broken.to_str().expect("path")]).refused(1, &[]);
    assert_eq!(daemon.ok(["images", "-q"]), "");
    let files = run(Command::new("find").arg(daemon.root().join("snapshots")).args(["-type", "f"])).ok();
    assert_eq!(files, "");
}

#[test]
fn the_quick_start_serves_its_page() {
    let daemon = Daemon::start();
    daemon.ok([
        "build",
        "-q",
        "-t",
        "hello",
        "--build-arg",
        "GREETING=Good evening",
        &format!("{}/examples/hello", env!("CARGO_MANIFEST_DIR")),
    ]);
    let limits = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "32"];
    daemon.ok(["run", "-d", "--name", "hello", "-p", "127.0.0.1::8080"].into_iter().chain(limits).chain(["hello"]));
    let address = daemon.ok(["port", "hello", "8080"]);
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert!(fetch(port, "/").contains("Good evening"));
    daemon.ok(["exec", "hello", "sh", "-c", "echo noted > notes/one.txt"]);
    assert!(fetch(port, "/notes/one.txt").ends_with("noted\n"));
    daemon.ok(["commit", "hello", "hello:v2"]);
    daemon.ok(["rm", "-f", "hello"]);
    daemon.ok(["run", "-d", "--name", "again", "-p", &format!("127.0.0.1:{port}:8080"), "hello:v2"]);
    assert!(fetch(port, "/notes/one.txt").ends_with("noted\n"));
}
