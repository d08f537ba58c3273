//! `teu runtime` by an ordinary user: what takes no privileges works without any, and the rest is refused in words.
//!
//! Here nobody has delegated a cgroup, as on most machines with cgroup v1; with one it is tried by tools/vm-test.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::support::{Bundle, Ran, TEU, eventually, run};

/// `nobody` of every Debian, who has no rights at all.
const USER: u32 = 65534;
/// The first of the subordinate ids that the user has in these tests, and how many they are.
const RANGE: (u32, u32) = (700_000, 65536);

/// Runs "$@" as the user, where /etc/subuid and /etc/subgid are the test's and the program is where everybody may read it.
const AS_USER: &str = "mount --bind \"$0/ranges\" /etc/subuid && mount --bind \"$0/ranges\" /etc/subgid &&
    mount --bind \"$PROGRAM\" \"$0/teu\" && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";

/// A bundle of the user's, with the configuration that `spec --rootless` writes.
struct Ordinary(Bundle);

impl Ordinary {
    #[track_caller]
    fn new(script: &str) -> Self {
        let bundle = Bundle::new(script);
        let path = bundle.path();
        fs::write(path.join("ranges"), format!("nobody:{}:{}\n", RANGE.0, RANGE.1)).expect("ranges");
        fs::write(path.join("teu"), "").expect("a place");
        for name in ["run", "spec"] {
            fs::create_dir(path.join(name)).expect("folder");
        }
        run(Command::new("chown").arg("-R").arg(format!("{USER}:{USER}")).arg(path)).ok();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
        let mut own = Self(bundle);
        own.command(&["spec", "--rootless", "--bundle", "spec"]).ok();
        let text = fs::read(own.0.path().join("spec/config.json")).expect("config.json");
        let process = own.0.config["process"].clone();
        own.0.config = serde_json::from_slice(&text).expect("JSON");
        own.0.config["process"]["terminal"] = json!(false);
        own.0.config["process"]["args"] = process["args"].clone();
        own.0.config["root"]["readonly"] = json!(false);
        own
    }

    /// Uses the subordinate ids as well: 1 is the first of them.
    fn with_range(mut self) -> Self {
        let map = json!([
            { "containerID": 0, "hostID": USER, "size": 1 },
            { "containerID": 1, "hostID": RANGE.0, "size": 1000 },
        ]);
        self.0.config["linux"]["uidMappings"] = map.clone();
        self.0.config["linux"]["gidMappings"] = map;
        self
    }

    /// The line of a command, to be run; the configuration is written first.
    fn line(&self, args: &[&str]) -> Command {
        self.0.command(&[]);
        let path = self.0.path();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", AS_USER]).arg(path).arg("env");
        command.arg(format!("XDG_RUNTIME_DIR={}", path.join("run").display()));
        command.arg(path.join("teu")).arg("runtime").args(args).env("PROGRAM", TEU).current_dir(path);
        command
    }

    #[track_caller]
    fn command(&self, args: &[&str]) -> Ran {
        run(&mut self.line(args))
    }

    #[track_caller]
    fn run(&self) -> Ran {
        self.command(&["run", &self.0.id])
    }

    #[track_caller]
    fn refused(&self, words: &str) {
        let ran = self.run();
        assert!(ran.code == 1 && ran.err.contains(words), "{} says: {}", ran.command, ran.err);
        assert!(!self.home().exists(), "a container that is refused leaves nothing");
    }

    /// The state of the container, where it is if nothing is said.
    fn home(&self) -> PathBuf {
        self.0.path().join("run/teu-runtime").join(&self.0.id)
    }

    /// Starts it in the background.
    #[track_caller]
    fn start(&self) {
        let null = || fs::File::options().read(true).write(true).open("/dev/null").expect("null");
        // Not by pipes of the test's, which the container would hold open.
        let said = fs::File::create(self.0.path().join("said")).expect("a file");
        let mut line = self.line(&["run", "--detach", &self.0.id]);
        let status = line.stdin(null()).stdout(null()).stderr(said).status().expect("ran");
        let mut words = String::new();
        let said = fs::File::open(self.0.path().join("said"));
        said.and_then(|mut said| said.read_to_string(&mut words)).expect("read");
        assert!(status.success(), "{words}");
    }

    #[track_caller]
    fn status(&self) -> Value {
        let state: Value = serde_json::from_str(&self.command(&["state", &self.0.id]).ok()).expect("JSON");
        state["status"].clone()
    }

    fn mount(&mut self, mount: Value) {
        self.0.config["mounts"].as_array_mut().expect("mounts").push(mount);
    }

    /// A folder of the user's beside the root.
    fn folder(&self, name: &str) -> PathBuf {
        let path = self.0.outside(name);
        chown(&path, Some(USER), Some(USER)).expect("chown");
        path
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        let deleted = self.command(&["delete", "--force", &self.0.id]);
        if !std::thread::panicking() {
            assert_eq!((deleted.code, self.home().exists()), (0, false), "delete --force: {}", deleted.err);
        }
    }
}

#[test]
fn an_ordinary_user_takes_a_container_through_its_life() {
    let own = Ordinary::new("trap 'exit 0' TERM; while :; do sleep 0.1; done");
    let id = own.0.id.as_str();
    own.start();
    assert!(own.home().join("state.json").exists(), "it is where a user's own things are");
    assert_eq!(own.status(), "running");
    assert!(own.command(&["list"]).ok().contains("nobody"));
    assert_eq!(own.command(&["exec", id, "cat", "/proc/self/uid_map"]).ok().split_whitespace().last(), Some("1"));
    let inside = own.command(&["exec", id, "sh", "-c", "id -u; echo $$; cat /proc/1/cmdline | tr '\\0' ' '; exit 7"]);
    assert_eq!(inside.code, 7, "{}", inside.err);
    assert!(inside.out.starts_with("0\n") && inside.out.contains("\nsh -c trap"), "{}", inside.out);
    for verb in ["ps", "pause", "update"] {
        let refused = own.command(&[verb, id]);
        assert!(refused.code == 1 && refused.err.contains("has no cgroup of its own"), "{verb}: {}", refused.err);
    }
    own.command(&["kill", id, "TERM"]).ok();
    eventually("it stops", || (own.status() == "stopped").then_some(()));
    own.command(&["delete", id]).ok();
    assert_eq!(own.command(&["list", "-q"]).ok(), "");

    let mut own = Ordinary::new("exit 42");
    assert_eq!(own.run().code, 42);
    own.0.config["process"]["args"] = json!(["nope"]);
    own.refused("executable file not found in $PATH");
}

#[test]
fn an_ordinary_user_mounts_what_needs_no_privileges() {
    let mut own = Ordinary::new(
        "cat /data/file; echo new >/data/made; echo over >/both/lower; cat /both/lower; touch /tmp/some
         touch /read/no 2>&1; ls -d /proc/1 /dev/pts /dev/shm /sys/class; head -c 3 /dev/zero | wc -c",
    );
    let data = own.folder("data");
    fs::write(data.join("file"), "old\n").expect("a file");
    // Nobody but the user may look into it: it is found by their own id.
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("chmod");
    let bind = |place: &str, options: &[&str]| json!({ "destination": place, "type": "bind", "source": data, "options": options });
    own.mount(bind("/data", &["rbind"]));
    own.mount(bind("/read", &["bind", "ro", "nosuid"]));
    own.mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"] }));
    let layers = ["lower", "upper", "work"].map(|name| (name, own.folder(name)));
    fs::write(layers[0].1.join("lower"), "under\n").expect("a file");
    chown(layers[0].1.join("lower"), Some(USER), Some(USER)).expect("chown");
    let options = layers.iter().map(|(name, path)| {
        let key = if *name == "work" { "workdir".to_owned() } else { format!("{name}dir") };
        format!("{key}={}", path.display())
    });
    let options: Vec<String> = options.into_iter().chain(["userxattr".to_owned()]).collect();
    own.mount(json!({ "destination": "/both", "type": "overlay", "source": "overlay", "options": options }));
    let out = own.run().ok();
    let expected = "old\nover\ntouch: /read/no: Read-only file system\n/dev/pts\n/dev/shm\n/proc/1\n/sys/class\n3";
    assert_eq!(out, expected);
    let made = fs::metadata(data.join("made")).expect("made");
    assert_eq!((made.uid(), made.gid()), (USER, USER), "the container's root is the user");
    assert_eq!(fs::read_to_string(layers[0].1.join("lower")).expect("read"), "under\n");
    assert_eq!(fs::read_to_string(layers[1].1.join("lower")).expect("read"), "over\n");
}

#[test]
fn an_ordinary_user_has_their_subordinate_ids_too() {
    let mut own = Ordinary::new("id; touch /data/of5; while :; do sleep 0.1; done").with_range();
    let data = own.folder("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).expect("chmod");
    own.mount(json!({ "destination": "/data", "type": "bind", "source": data, "options": ["bind"] }));
    own.0.config["process"]["user"] = json!({ "uid": 5, "gid": 6, "additionalGids": [7] });
    own.start();
    let id = own.0.id.as_str();
    let made = eventually("it has begun", || fs::metadata(data.join("of5")).ok());
    assert_eq!((made.uid(), made.gid()), (RANGE.0 + 4, RANGE.0 + 5));
    let entered = own.command(&["exec", "--user", "9:9", id, "sh", "-c", "id -u; id -G; touch /data/of9"]).ok();
    assert_eq!(entered, "9\n9 7", "with the groups of the container's own process");
    assert_eq!(fs::metadata(data.join("of9")).expect("made").uid(), RANGE.0 + 8);
    let root = own.command(&["exec", "--user", "0:0", id, "sh", "-c", "id -u; touch /data/of0"]).ok();
    assert_eq!((root.as_str(), fs::metadata(data.join("of0")).expect("made").uid()), ("0", USER));

    let mut foreign = Ordinary::new("true").with_range();
    foreign.0.config["linux"]["uidMappings"][1]["hostID"] = json!(RANGE.0 - 1);
    foreign.refused("newuidmap: ");
}

#[test]
fn an_ordinary_user_is_told_what_takes_privileges() {
    let own = Ordinary::new("true");
    let refused = |change: &dyn Fn(&mut Value), words: &str| {
        let mut other = Ordinary::new("true");
        change(&mut other.0.config);
        other.refused(words);
    };
    let without = |config: &mut Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|one| one["type"] != "user");
    };
    refused(&without, "rootless container requires user namespaces");
    refused(
        &|config| config["process"]["user"]["additionalGids"] = json!([5]),
        "cannot set any additional groups in a rootless container",
    );
    refused(
        &|config| config["mounts"][2]["options"] = json!(["newinstance", "gid=5"]),
        "cannot specify gid=5 mount option for rootless container",
    );
    let limits = json!({ "pids": { "limit": 10 } });
    refused(
        &|config| config["linux"]["resources"] = limits.clone(),
        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
    );
    refused(&|config| config["linux"]["cgroupsPath"] = json!("/of/nobody"), "permission denied");
    // Rules about devices are no limits: who cannot make a node needs none.
    let mut ruled = Ordinary::new("true");
    ruled.0.config["linux"]["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    assert_eq!(ruled.run().code, 0);
    let strict = own.command(&["--rootless", "false", "run", &own.0.id]);
    assert!(strict.code == 1 && strict.err.contains("permission denied"), "{}", strict.err);
    let unknown = own.command(&["--rootless", "maybe", "run", &own.0.id]);
    assert!(unknown.code == 1 && unknown.err.contains("neither true, false nor auto"), "{}", unknown.err);
    assert_eq!(own.command(&["--rootless=1", "run", &own.0.id]).code, 0);
}
