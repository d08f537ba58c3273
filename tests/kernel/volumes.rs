//! Volumes: what is in them, who uses them, how large they may get, and what becomes of copies.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Daemon, eventually, run, tree};

/// Where the host finds a volume's files.
fn data(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.ok(["volume", "inspect", "-f", "{{.Mountpoint}}", name]).into()
}

fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

/// What happened to volumes so far: action and attributes.
fn events(daemon: &Daemon) -> Vec<String> {
    let now = jiff_now();
    let format = "{{.Action}} {{json .Actor.Attributes}}";
    let line = ["events", "--since", "0", "--until", &now, "--filter", "type=volume", "--format", format];
    daemon.ok(line).lines().map(str::to_owned).collect()
}

fn jiff_now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

#[test]
fn a_new_volume_gets_the_images_files_with_owners_modes_links_and_attributes() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    let dockerfile = "FROM busybox\nRUN mkdir -p /d/sub && echo x > /d/file && chown 7:8 /d/file && chmod 4751 /d/file \
        && ln /d/file /d/hard && ln -s file /d/soft && mkfifo /d/pipe && chown 9:10 /d && chmod 2775 /d\n";
    tree(&context, &[("Dockerfile", dockerfile)]);
    daemon.ok(["build", "-q", "-t", "full", context.to_str().expect("path")]);
    let look =
        "stat -c '%a %u %g %h %F' /d/file; readlink /d/soft; stat -c %F /d/pipe; stat -c '%a %u %g' /d; ls -d /d/sub";
    let found = daemon.ok(["run", "--rm", "-v", "vol:/d", "full", "sh", "-c", look]);
    assert_eq!(found, "4751 7 8 2 regular file\nfile\nfifo\n2775 9 10\n/d/sub");
    assert_eq!(fs::metadata(data(&daemon, "vol")).expect("metadata").uid(), 9);
    // One that has files keeps them; one that is not to be filled stays empty.
    assert_eq!(daemon.ok(["run", "--rm", "-v", "vol:/etc", "full", "ls", "/etc/file"]), "/etc/file");
    assert_eq!(daemon.ok(["run", "--rm", "-v", "none:/d:nocopy", "full", "ls", "/d"]), "");
    let mount = "type=volume,src=never,dst=/d,volume-nocopy";
    assert_eq!(daemon.ok(["run", "--rm", "--mount", mount, "full", "ls", "/d"]), "");
}

#[test]
fn an_images_volume_is_anonymous_and_shared_by_volumes_from() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    tree(&context, &[("Dockerfile", "FROM busybox\nRUN mkdir /data && echo image > /data/file\nVOLUME /data\n")]);
    daemon.ok(["build", "-q", "-t", "with-volume", context.to_str().expect("path")]);
    daemon.ok(["create", "--name", "one", "-v", "named:/named", "with-volume"]);
    daemon.ok(["create", "--name", "two", "--volumes-from", "one:ro", "busybox"]);
    let mounts = |name| daemon.inspect(name, "{{range .Mounts}}{{.Destination}} {{.Name}} {{.RW}}\n{{end}}");
    let writable = |text: &str| text.replace(" true", " false");
    assert_eq!(writable(&mounts("one")), mounts("two"));
    let script = "cat /data/file; echo x > /named/x";
    let ran = daemon.teu(["run", "--rm", "--volumes-from", "two", "busybox", "sh", "-c", script]).ends_with(1);
    assert!(ran.out == "image\n" && ran.err.contains("Read-only"), "{ran:?}");
    // The volume without a name goes with the last container that uses it, the named one with none.
    let volumes = || daemon.ok(["volume", "ls", "-q"]).lines().count();
    daemon.ok(["rm", "-v", "one"]);
    assert_eq!(volumes(), 2);
    daemon.ok(["rm", "-v", "two"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "named");
    daemon.teu(["run", "--volumes-from", "nobody", "busybox"]).refused(125, &["No such container: nobody"]);
}

#[test]
fn a_volume_in_use_names_its_users_and_prune_takes_only_what_nobody_uses() {
    let daemon = Daemon::start();
    let id = daemon.ok(["create", "-v", "used:/a", "-v", "/b", "busybox"]);
    daemon.teu(["volume", "rm", "used"]).refused(1, &["remove used: volume is in use", &id]);
    daemon.ok(["volume", "create", "idle", "--label", "keep=no"]);
    daemon.ok(["volume", "create", "idle2", "--label", "keep=yes"]);
    let anonymous = daemon.ok(["volume", "create"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q", "-f", "dangling=true"]).lines().count(), 3);
    assert_eq!(daemon.ok(["volume", "ls", "-q", "-f", "dangling=false"]).lines().count(), 2);
    assert_eq!(daemon.ok(["volume", "ls", "-q", "-f", "label=keep=yes"]), "idle2");
    assert_eq!(daemon.ok(["volume", "ls", "-q", "-f", "name=dle2", "-f", "driver=local"]), "idle2");
    let told = daemon.ok(["volume", "prune", "--dry-run", "-a", "--filter", "label!=keep=yes"]);
    let tells = |name: &str| told.lines().any(|line| line == name);
    assert!(tells("idle") && tells(&anonymous) && !tells("idle2"), "{told}");
    assert_eq!(daemon.ok(["volume", "ls", "-q"]).lines().count(), 5);
    let pruned = daemon.ok(["volume", "prune", "-f"]);
    assert!(pruned.contains(&anonymous) && !pruned.contains("idle"), "{pruned}");
    let pruned = daemon.ok(["volume", "prune", "-f", "-a", "--filter", "label!=keep=yes"]);
    assert!(pruned.contains("idle\n") && !pruned.contains("idle2"), "{pruned}");
    daemon.ok(["rm", "-v", &id]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "idle2\nused");
}

#[test]
fn what_happens_to_a_volume_is_told() {
    let daemon = Daemon::start();
    let id = daemon.ok(["run", "-d", "-v", "vol:/data:ro", "busybox", "true"]);
    daemon.ok(["wait", &id]);
    daemon.ok(["rm", &id]);
    daemon.ok(["volume", "rm", "vol"]);
    let told = events(&daemon);
    let actions: Vec<_> = told.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(actions, ["create", "mount", "unmount", "destroy"], "{told:?}");
    for part in [&format!(r#""container":"{id}""#), r#""destination":"/data""#, r#""read/write":"false""#] {
        assert!(told[1].contains(part), "{}", told[1]);
    }
    assert!(told.iter().all(|line| line.contains(r#""driver":"local""#)), "{told:?}");
}

#[test]
fn a_memory_volume_is_one_for_all_its_containers_and_empty_when_the_last_has_ended() {
    let mut daemon = Daemon::start();
    let options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=7,noexec"];
    daemon.ok(["volume", "create"].into_iter().chain(options).chain(["mem"]));
    daemon.ok(["run", "-d", "--name", "one", "-v", "mem:/m", "busybox", "sh", "-c", "echo hi > /m/x; sleep 1000"]);
    daemon.ok(["run", "-d", "--name", "two", "-v", "mem:/m", "busybox", "sleep", "1000"]);
    let look = "cat /m/x; stat -c %u /m; grep ' /m ' /proc/mounts";
    let seen = daemon.ok(["exec", "two", "sh", "-c", look]);
    assert!(seen.starts_with("hi\n7\n") && seen.contains("noexec") && seen.contains("size=1024k"), "{seen}");
    // It outlives the daemon that mounted it.
    daemon.kill9();
    daemon.restart();
    daemon.ok(["rm", "-f", "one"]);
    assert_eq!(daemon.ok(["run", "--rm", "-v", "mem:/m", "busybox", "cat", "/m/x"]), "hi");
    let place = data(&daemon, "mem");
    assert!(is_mounted(&place));
    daemon.ok(["rm", "-f", "two"]);
    assert!(!is_mounted(&place));
    assert_eq!(daemon.ok(["run", "--rm", "-v", "mem:/m", "busybox", "ls", "/m"]), "");
    daemon.ok(["volume", "rm", "mem"]);
}

#[test]
fn a_memory_volume_whose_containers_ended_while_no_daemon_looked_is_unmounted() {
    let mut daemon = Daemon::start();
    daemon.ok(["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "mem"]);
    daemon.ok([
        "run",
        "-d",
        "--name",
        "one",
        "-v",
        "mem:/m",
        "busybox",
        "sh",
        "-c",
        "trap exit TERM; sleep 1000 & wait",
    ]);
    let place = data(&daemon, "mem");
    let pid = daemon.inspect("one", "{{.State.Pid}}");
    daemon.kill9();
    run(Command::new("kill").arg(&pid)).ok();
    eventually("its end", || (!Path::new("/proc").join(&pid).exists()).then_some(()));
    daemon.restart();
    // Its supervisor may be writing down how it ended.
    eventually("nothing is mounted", || (!is_mounted(&place)).then_some(()));
}

#[test]
fn a_volume_can_be_a_folder_of_the_host_which_outlives_it() {
    let daemon = Daemon::start();
    let folder = daemon.folder().join("shared");
    tree(&folder, &[("in", "from the host")]);
    let device = format!("device={}", folder.display());
    daemon.ok(["volume", "create", "-o", "type=none", "-o", &device, "-o", "o=bind", "vol"]);
    let script = "cat /v/in; echo out > /v/out";
    assert_eq!(daemon.ok(["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", script]), "from the host");
    daemon.ok(["volume", "create", "-o", "type=none", "-o", &device, "-o", "o=bind,ro", "fixed"]);
    daemon.teu(["run", "--rm", "-v", "fixed:/v", "busybox", "touch", "/v/x"]).ends_with(1);
    daemon.ok(["volume", "rm", "vol", "fixed"]);
    assert_eq!(fs::read_to_string(folder.join("out")).expect("read"), "out\n");
    daemon.ok(["volume", "create", "-o", "type=none", "-o", "device=/nowhere/at/all", "-o", "o=bind", "lost"]);
    let ran = daemon.teu(["run", "--rm", "-v", "lost:/v:nocopy", "busybox", "true"]);
    // As Docker's: what is missing is taken for the program.
    ran.refused(127, &["failed to mount local volume", "/nowhere/at/all", "no such file or directory"]);
}

#[test]
fn options_that_the_driver_does_not_have_are_refused() {
    let daemon = Daemon::bare();
    let create = |options: &[&str]| daemon.teu([&["volume", "create"][..], options, &["vol"]].concat());
    create(&["-o", "colour=red"]).refused(1, &["create vol: invalid option: \"colour\""]);
    create(&["-o", "type=tmpfs"]).refused(1, &["missing required option: \"device\""]);
    create(&["-d", "flocker"]).refused(1, &["create vol: error looking up volume plugin flocker"]);
    let fuse = ["-o", "type=fuse.sshfs", "-o", "device=host:/x"];
    create(&fuse).refused(1, &["needs a helper program, and teu runs none"]);
    daemon.teu(["volume", "create", "x"]).refused(1, &["volume name is too short"]);
    daemon.teu(["volume", "create", "a/b"]).refused(1, &["includes invalid characters for a local volume name"]);
    daemon.teu(["volume", "inspect", "nothing"]).ends_with(1);
    daemon.teu(["volume", "rm", "nothing"]).refused(1, &["no such volume"]);
    daemon.ok(["volume", "rm", "-f", "nothing"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn a_file_system_that_the_kernel_does_not_have_is_said_at_the_start() {
    let daemon = Daemon::start();
    daemon.ok(["volume", "create", "-o", "type=nosuchfs", "-o", "device=none", "odd"]);
    let ran = daemon.teu(["run", "--rm", "-v", "odd:/v:nocopy", "busybox", "true"]);
    ran.refused(125, &["failed to mount local volume", "this kernel has no file system \"nosuchfs\""]);
}

#[test]
fn a_volume_does_not_grow_beyond_its_size() {
    let daemon = Daemon::start();
    daemon.ok(["volume", "create", "-o", "size=16m", "small"]);
    let full = "head -c 10000000 /dev/zero > /v/a; dd if=/dev/zero of=/v/b bs=1M count=100; ls /v";
    let ran = daemon.teu(["run", "--rm", "-v", "small:/v", "busybox", "sh", "-c", full]).ends_with(0);
    let told = ["No space left on device", "Disk quota exceeded"].iter().any(|text| ran.err.contains(text));
    assert!(ran.out == "a\nb\n" && told, "{ran:?}");
    let bytes = daemon.ok(["run", "--rm", "-v", "small:/v", "busybox", "sh", "-c", "cat /v/* | wc -c"]);
    let bytes: u64 = bytes.parse().expect("a number");
    assert!((10_000_000..=16 << 20).contains(&bytes), "{bytes}");
    // A copy has the limit too, and the files.
    daemon.ok(["volume", "clone", "small", "other"]);
    let ran = daemon.teu(["run", "--rm", "-v", "other:/v", "busybox", "sh", "-c", "cat /v/* | wc -c; cp /v/a /v/c"]);
    assert!(ran.code != 0 && ran.out == format!("{bytes}\n"), "{ran:?}");
    assert_eq!(daemon.ok(["volume", "inspect", "-f", "{{.Options.size}}", "other"]), (16 << 20).to_string());
    daemon.ok(["volume", "rm", "small", "other"]);
    daemon.teu(["volume", "create", "-o", "size=much", "bad"]).refused(1, &["invalid size: 'much'"]);
}

#[test]
fn a_clone_is_of_one_moment_and_on_its_own() {
    let daemon = Daemon::start();
    // Two files that always have the same number in them.
    let script = "i=0; while :; do i=$((i+1)); echo $i 1<> /v/a; echo $i 1<> /v/b; done";
    daemon.ok(["run", "-d", "--name", "writer", "-v", "vol:/v", "busybox", "sh", "-c", script]);
    eventually("both are there", || (daemon.teu(["exec", "writer", "test", "-s", "/v/b"]).code == 0).then_some(()));
    assert_eq!(daemon.ok(["volume", "clone", "vol", "copy"]), "copy");
    assert_eq!(daemon.inspect("writer", "{{.State.Status}}"), "running");
    let differ = "a=$(cat /v/a); b=$(cat /v/b); test -n \"$a$b\" && test $((a-b)) -le 1 && echo fine > /v/new";
    daemon.ok(["run", "--rm", "-v", "copy:/v", "busybox", "sh", "-c", differ]);
    daemon.ok(["exec", "writer", "test", "!", "-e", "/v/new"]);
    daemon.teu(["volume", "clone", "vol", "copy"]).refused(1, &["volume \"copy\" exists already"]);
    daemon.teu(["volume", "clone", "nothing", "x1"]).refused(1, &["no such volume"]);
    daemon.teu(["volume", "clone", "vol", "../x"]).refused(1, &["includes invalid characters"]);
}

#[test]
fn a_snapshot_cannot_be_written_to_and_can_be_cloned() {
    let daemon = Daemon::start();
    daemon.ok(["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "echo one > /v/x"]);
    daemon.ok(["volume", "snapshot", "vol", "before"]);
    daemon.ok(["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "echo two > /v/x"]);
    assert_eq!(daemon.ok(["run", "--rm", "-v", "before:/v:ro", "busybox", "cat", "/v/x"]), "one");
    daemon.teu(["run", "--rm", "-v", "before:/v", "busybox", "true"]).refused(125, &["is a snapshot", "clone it"]);
    assert_eq!(daemon.ok(["volume", "inspect", "-f", "{{.Status.SnapshotOf}}", "before"]), "vol");
    daemon.ok(["volume", "clone", "before", "restored"]);
    assert_eq!(daemon.ok(["run", "--rm", "-v", "restored:/v", "busybox", "sh", "-c", "cat /v/x; touch /v/y"]), "one");
    let named = daemon.ok(["volume", "snapshot", "vol"]);
    assert!(named.starts_with("vol-2"), "{named}");
    let tar = daemon.teu_with(["volume", "import", "before", "-"], b"");
    tar.refused(1, &["is a snapshot"]);
}

#[test]
fn a_volume_is_exported_and_imported_with_all_its_metadata() {
    let daemon = Daemon::start();
    let script = "mkdir /v/d; echo x > /v/d/f; chown 7:8 /v/d/f; chmod 4750 /v/d/f; ln -s f /v/d/l; chmod 700 /v";
    daemon.ok(["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", script]);
    let file = daemon.folder().join("vol.tar");
    let path = file.to_str().expect("path");
    daemon.ok(["volume", "export", "-o", path, "vol"]);
    assert_eq!(daemon.ok(["volume", "import", "new", path]), "new");
    let look = "stat -c '%a %u %g' /v /v/d/f; readlink /v/d/l";
    let seen = |name: &str| daemon.ok(["run", "--rm", "-v", &format!("{name}:/v"), "busybox", "sh", "-c", look]);
    assert_eq!(seen("new"), "700 0 0\n4750 7 8\nf");
    assert_eq!(seen("vol"), seen("new"));
    daemon.teu(["volume", "import", "new", path]).refused(1, &["volume \"new\" is not empty"]);
    daemon.ok(["volume", "import", "--force", "new", path]);
    // A damaged archive leaves no volume behind.
    daemon.teu_with(["volume", "import", "broken"], &[b'x'; 2000]).ends_with(1);
    daemon.teu(["volume", "inspect", "broken"]).ends_with(1);
}

#[test]
fn a_volume_is_renamed_under_its_containers() {
    let mut daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "one", "-v", "old:/v", "busybox", "sh", "-c", "echo x > /v/f; sleep 1000"]);
    daemon.ok(["create", "--name", "two", "--mount", "type=volume,src=old,dst=/v", "busybox", "cat", "/v/f"]);
    daemon.ok(["volume", "create", "taken"]);
    daemon.teu(["volume", "rename", "old", "taken"]).refused(1, &["exists already"]);
    daemon.teu(["volume", "rename", "old", "old"]).refused(1, &["exists already"]);
    daemon.ok(["volume", "rename", "old", "new"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "new\ntaken");
    for name in ["one", "two"] {
        assert_eq!(daemon.inspect(name, "{{range .Mounts}}{{.Name}}{{end}}"), "new");
    }
    assert_eq!(daemon.inspect("one", "{{.HostConfig.Binds}}"), "[new:/v]");
    daemon.ok(["exec", "one", "sh", "-c", "echo still > /v/f"]);
    assert_eq!(daemon.ok(["start", "-a", "two"]), "still");
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.ok(["start", "-a", "two"]), "still");
    daemon.teu(["volume", "rm", "new"]).refused(1, &["in use"]);
    daemon.ok(["rm", "-f", "one", "two"]);
    daemon.ok(["volume", "rm", "new"]);
}

#[test]
fn the_disk_usage_tells_sizes_and_users() {
    let daemon = Daemon::start();
    daemon.ok([
        "run",
        "--name",
        "one",
        "-v",
        "vol:/v",
        "busybox",
        "sh",
        "-c",
        "head -c 100000 /dev/zero > /v/a; ln /v/a /v/b",
    ]);
    daemon.ok(["volume", "create", "idle"]);
    let told = get(&daemon, "/system/df?type=volume");
    for part in
        [r#""Name":"vol","#, r#""UsageData":{"Size":100000,"RefCount":1}"#, r#""UsageData":{"Size":0,"RefCount":0}"#]
    {
        assert!(told.contains(part), "{told}");
    }
}

/// What the API answers.
fn get(daemon: &Daemon, path: &str) -> String {
    let mut stream = UnixStream::connect(daemon.socket()).expect("a connection");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: teu\r\n\r\n").expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read");
    text
}

/// SECURITY 59, 74: what an image says of its volumes reads nothing of the host.
#[test]
fn row_59_74_an_images_volume_that_leads_out_of_it_copies_nothing_of_the_host() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    let secret = daemon.folder().join("secret");
    tree(&secret, &[("canary", "of the host")]);
    let up = "/..".repeat(20);
    let dockerfile = format!(
        "FROM busybox\nRUN ln -s {0} /link && ln -s {up}{0} /up && mkdir /real && ln -s {0}/canary /real/file\n\
         VOLUME [\"/../../etc\", \"/link\", \"/up\", \"/real\"]\n",
        secret.display()
    );
    tree(&context, &[("Dockerfile", &dockerfile)]);
    daemon.ok(["build", "-q", "-t", "trap", context.to_str().expect("path")]);
    daemon.ok(["create", "--name", "box", "trap", "true"]);
    let volumes = daemon.root().join("volumes");
    let found = run(Command::new("grep").args(["-rl", "of the host"]).arg(&volumes));
    assert_eq!((found.code, found.out.as_str()), (1, ""), "{found:?}");
    // The link in the tree stays a link.
    let ran = daemon.teu(["run", "--rm", "--volumes-from", "box", "busybox", "cat", "/real/file"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    // Neither does an export follow what a container puts into its volume.
    daemon.ok(["volume", "create", "vol"]);
    symlink(&secret, data(&daemon, "vol").join("out")).expect("link");
    let file = daemon.folder().join("vol.tar");
    daemon.ok(["volume", "export", "-o", file.to_str().expect("path"), "vol"]);
    assert!(!String::from_utf8_lossy(&fs::read(&file).expect("read")).contains("of the host"));
}

#[test]
fn volumes_whose_records_a_power_failure_took_are_there_again() {
    let mut daemon = Daemon::start();
    for name in ["lost", "cut"] {
        daemon.ok([
            "run",
            "--rm",
            "-v",
            &format!("{name}:/v"),
            "busybox",
            "sh",
            "-c",
            &format!("echo {name} >/v/file"),
        ]);
    }
    daemon.ok(["volume", "create", "--label", "a=b", "labelled"]);
    let made = daemon.ok(["volume", "inspect", "-f", "{{.CreatedAt}}", "lost"]);
    daemon.kill9();
    let records = daemon.root().join("volume-records");
    let record = |name: &str| {
        let mut all = fs::read_dir(&records).expect("records").map(|entry| entry.expect("an entry").path());
        all.find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)))
            .expect("a record")
    };
    fs::remove_file(record("lost")).expect("remove");
    fs::write(record("cut"), "").expect("cut");
    daemon.restart();
    assert_eq!(daemon.ok(["volume", "ls", "--format", "{{.Name}}"]), "cut\nlabelled\nlost");
    assert_eq!(daemon.ok(["volume", "inspect", "-f", "{{.CreatedAt}}", "lost"]), made);
    assert_eq!(daemon.ok(["volume", "ls", "-q", "--filter", "label=a=b"]), "labelled");
    for name in ["lost", "cut"] {
        assert_eq!(daemon.ok(["run", "--rm", "-v", &format!("{name}:/v"), "busybox", "cat", "/v/file"]), name);
    }
}
