//! The container's files: layers and what is written over them, mounts, volumes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::support::{Daemon, run, tree};

#[test]
fn a_read_only_container_cannot_write_but_to_its_mounts() {
    let daemon = Daemon::start();
    let script = "touch /new 2>/dev/null && echo wrote; touch /tmp/x 2>/dev/null && echo wrote; echo 1 > /scratch/x && cat /scratch/x";
    let line = ["run", "--rm", "--read-only", "--tmpfs", "/scratch", "busybox", "sh", "-c", script];
    assert_eq!(daemon.ok(line), "1");
}

#[test]
fn no_mount_of_a_container_shows_on_the_host() {
    let daemon = Daemon::start();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let own = daemon.folder().display().to_string();
    daemon.ok(["run", "-d", "--name", "box", "--tmpfs", "/scratch", "-v", "data:/data", "busybox", "sleep", "1000"]);
    assert!(daemon.ok(["exec", "box", "mount"]).contains("overlay"));
    assert!(!mounts().contains(&own), "{}", mounts());
    daemon.ok(["rm", "-f", "box"]);
    daemon.ok(["volume", "rm", "data"]);
}

#[test]
fn deletions_and_replacements_stay_within_the_layer_that_made_them() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    let dockerfile = "FROM busybox\n\
        RUN mkdir -p /d/sub /keep && echo one > /d/one && echo two > /d/two && echo s > /d/sub/s && ln -s /d /link\n\
        RUN rm /d/one && rm -r /d/sub && mkdir /d/sub && echo fresh > /d/sub/fresh && rm /link && echo file > /link\n";
    tree(&context, &[("Dockerfile", dockerfile)]);
    daemon.ok(["build", "-q", "-t", "white", context.to_str().expect("path")]);
    let look = "cd /d && find . | sort | tr '\\n' ' '; cat /link";
    let expected = ". ./sub ./sub/fresh ./two file";
    assert_eq!(daemon.ok(["run", "--rm", "white", "sh", "-c", look]), expected);
    // A container's own deletions become whiteouts of the committed layer, and those survive an archive.
    let script = "rm /d/two; rm -r /d/sub; mkdir /d/sub; touch /d/sub/last";
    daemon.ok(["run", "--name", "box", "white", "sh", "-c", script]);
    daemon.ok(["commit", "box", "white:2"]);
    let expected = ". ./sub ./sub/last file";
    assert_eq!(daemon.ok(["run", "--rm", "white:2", "sh", "-c", look]), expected);
    let archive = daemon.folder().join("white.tar");
    daemon.ok(["save", "-o", archive.to_str().expect("path"), "white:2"]);
    let other = Daemon::bare();
    other.ok(["load", "-q", "-i", archive.to_str().expect("path")]);
    assert_eq!(other.ok(["run", "--rm", "white:2", "sh", "-c", look]), expected);
    // The image below is as it was.
    assert_eq!(daemon.ok(["run", "--rm", "white", "cat", "/d/two"]), "two");
}

#[test]
fn images_with_the_same_layers_share_them() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    for (name, line) in [("a", "RUN echo a > /a"), ("b", "RUN echo b > /b")] {
        let dockerfile = format!("FROM busybox\nRUN head -c 5000000 /dev/zero > /big\n{line}\n");
        tree(&context, &[("Dockerfile", &dockerfile)]);
        daemon.ok(["build", "-q", "-t", name, context.to_str().expect("path")]);
    }
    let layers = |name| daemon.inspect(name, "{{json .RootFS.Layers}}");
    let (a, b) = (layers("a"), layers("b"));
    let split = |text: &str| text.trim_matches(['[', ']']).split(',').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(split(&a)[..2], split(&b)[..2]);
    assert_ne!(split(&a)[2], split(&b)[2]);
    // One copy of the large file, and as many bytes.
    let copies = find(&daemon.root().join("snapshots"), "big");
    assert_eq!(copies.len(), 1, "{copies:?}");
}

/// Files of that name below a folder.
fn find(folder: &std::path::Path, name: &str) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name() == name {
            found.push(path);
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(find(&path, name));
        }
    }
    found
}

#[test]
fn a_bind_mount_is_the_hosts_folder_and_read_only_when_asked() {
    let daemon = Daemon::start();
    let folder = daemon.folder().join("shared");
    tree(&folder, &[("in", "from the host")]);
    let bind = format!("{}:/shared", folder.display());
    let script = "cat /shared/in; echo 'from inside' > /shared/out; chown 7:8 /shared/out";
    assert_eq!(daemon.ok(["run", "--rm", "-v", &bind, "busybox", "sh", "-c", script]), "from the host");
    assert_eq!(fs::read_to_string(folder.join("out")).expect("read"), "from inside\n");
    let metadata = fs::metadata(folder.join("out")).expect("metadata");
    assert_eq!((metadata.uid(), metadata.gid()), (7, 8));
    let bind = format!("{bind}:ro");
    let script = "cat /shared/in; echo x > /shared/x";
    let ran = daemon.teu(["run", "--rm", "-v", &bind, "busybox", "sh", "-c", script]).ends_with(1);
    assert!(ran.out == "from the host" && ran.err.contains("Read-only"), "{ran:?}");
}

#[test]
fn a_file_is_mounted_over_a_file() {
    let daemon = Daemon::start();
    tree(daemon.folder(), &[("motd", "hello")]);
    let bind = format!("{}:/etc/motd:ro", daemon.folder().join("motd").display());
    assert_eq!(daemon.ok(["run", "--rm", "-v", &bind, "busybox", "cat", "/etc/motd"]), "hello");
}

#[test]
fn a_named_volume_outlives_its_containers_and_starts_with_the_images_files() {
    let daemon = Daemon::start();
    let run = |script: &str| daemon.ok(["run", "--rm", "-v", "data:/var/spool", "busybox", "sh", "-c", script]);
    // The image has a folder `mail` there.
    assert_eq!(run("ls /var/spool; echo kept > /var/spool/file"), "mail");
    assert_eq!(run("cat /var/spool/file; rmdir /var/spool/mail"), "kept");
    assert_eq!(run("ls /var/spool"), "file");
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "data");
    daemon.ok(["volume", "rm", "data"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn an_anonymous_volume_goes_with_its_container() {
    let daemon = Daemon::start();
    daemon.ok(["run", "--rm", "-v", "/data", "busybox", "touch", "/data/x"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "");
    daemon.ok(["run", "--name", "kept", "-v", "/data", "busybox", "true"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]).lines().count(), 1);
    daemon.ok(["rm", "-v", "kept"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn a_volume_in_use_is_not_removed() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "user", "-v", "data:/data", "busybox"]);
    daemon.teu(["volume", "rm", "data"]).refused(1, &["data", "in use"]);
    daemon.ok(["rm", "user"]);
    daemon.ok(["volume", "rm", "data"]);
}

#[test]
fn what_a_container_changed_is_told() {
    let daemon = Daemon::start();
    daemon.ok(["run", "--name", "box", "busybox", "sh", "-c", "echo x > /root/new; rm /etc/group; chmod 700 /home"]);
    let told = daemon.ok(["diff", "box"]);
    let mut told: Vec<_> = told.lines().collect();
    told.sort_unstable();
    assert_eq!(told, ["A /root/new", "C /etc", "C /home", "C /root", "D /etc/group"]);
}

#[test]
fn a_symlink_in_the_image_does_not_lead_a_mount_out_of_it() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    let outside = daemon.folder().join("outside");
    let dockerfile = format!("FROM busybox\nRUN ln -s {} /data && ln -s ../../../../.. /up\n", outside.display());
    tree(&context, &[("Dockerfile", &dockerfile)]);
    daemon.ok(["build", "-q", "-t", "trap", context.to_str().expect("path")]);
    daemon.ok(["run", "--rm", "-v", "vol:/data/deep", "-v", "vol:/up/made-by-mount", "trap", "touch", "/data/deep/x"]);
    assert!(!outside.exists());
    assert!(!std::path::Path::new("/made-by-mount").exists());
    daemon.ok(["volume", "rm", "vol"]);
}

#[test]
fn a_working_folder_in_the_hosts_descriptors_is_refused() {
    let daemon = Daemon::start();
    for number in 3..12 {
        let cwd = format!("/proc/self/fd/{number}");
        let ran = daemon.teu(["run", "--rm", "-w", &cwd, "busybox", "ls", "-d", "../../../../../etc/debian_version"]);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.out, "");
    }
}

#[test]
fn an_export_of_what_runs_has_what_was_written_and_not_what_is_mounted() {
    let daemon = Daemon::start();
    let script = "echo own >/own; echo else >/mnt/else; echo up; sleep 1000";
    daemon.ok(["run", "-d", "--name", "box", "-v", "/mnt", "busybox", "sh", "-c", script]);
    daemon.spawn(["logs", "-f", "box"]).until("up");
    let archive = daemon.folder().join("box.tar");
    let archive = archive.to_str().expect("a path");
    daemon.ok(["export", "-o", archive, "box"]);
    let names = run(std::process::Command::new("tar").args(["-tf", archive])).ok();
    let has = |name: &str| names.lines().any(|line| line.trim_start_matches("./") == name);
    assert!(has("own") && has("mnt/") && has("bin/busybox") && !has("mnt/else") && !has("proc/self"), "{names}");
}

#[test]
fn an_image_of_one_file_gets_mount_points_that_are_nobodys_change() {
    let daemon = Daemon::start();
    let (tree, archive) = (daemon.folder().join("tree"), daemon.folder().join("one.tar"));
    fs::create_dir(&tree).expect("a folder");
    daemon.ok(["create", "--name", "from", "busybox"]);
    daemon.ok(["cp", "from:/bin/busybox", tree.to_str().expect("a path")]);
    run(std::process::Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&tree).arg("busybox")).ok();
    let archive = archive.to_str().expect("a path");
    daemon.ok(["import", "-c", r#"ENTRYPOINT ["/busybox"]"#, archive, "one"]);
    daemon.ok(["create", "--name", "made", "one", "true"]);
    daemon.ok(["run", "--name", "ended", "one", "true"]);
    daemon.ok(["run", "-d", "--name", "runs", "one", "sleep", "1000"]);
    for name in ["made", "ended", "runs"] {
        assert_eq!(daemon.ok(["diff", name]), "", "{name}");
        daemon.ok(["export", "-o", archive, name]);
        let names = run(std::process::Command::new("tar").args(["-tf", archive])).ok();
        for point in ["busybox", "dev/", "etc/hosts", "etc/hostname", "etc/resolv.conf", "proc/", "sys/"] {
            assert!(names.lines().any(|line| line.trim_start_matches("./") == point), "{name} {point}: {names}");
        }
    }
    let committed = daemon.ok(["commit", "ended"]);
    assert_eq!(
        daemon.ok(["image", "inspect", "-f", "{{len .RootFS.Layers}} {{.Size}}", &committed]).split(' ').next(),
        Some("2")
    );
    assert_eq!(daemon.ok(["run", "--rm", &committed, "ls", "/"]), "busybox\ndev\netc\nproc\nsys");
}

#[test]
fn the_files_that_the_engine_writes_can_be_copied_before_the_first_start() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "box", "busybox"]);
    let copy = daemon.folder().join("copy");
    daemon.ok(["cp", "box:/etc/resolv.conf", copy.to_str().expect("a path")]);
    assert_eq!(daemon.ok(["diff", "box"]), "");
}
