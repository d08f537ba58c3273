//! Results of builds that are no images here: folders and archives.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::support::{Daemon, run_with, tree};

const DOCKERFILE: &str = "FROM busybox AS made\nRUN mkdir -p /out/sub && echo one >/out/one && echo two >/out/sub/two && \
    ln -s one /out/link && chmod 750 /out/one && chown 7:8 /out/one\nFROM scratch\nCOPY --from=made /out /\nLABEL a=b\n";

fn context(daemon: &Daemon, dockerfile: &str) -> PathBuf {
    let folder = daemon.folder().join("context");
    let _ = fs::remove_dir_all(&folder);
    tree(&folder, &[("Dockerfile", dockerfile)]);
    folder
}

#[test]
fn files_of_the_last_stage_go_to_a_folder_or_an_archive() {
    let daemon = Daemon::start();
    let folder = context(&daemon, DOCKERFILE);
    let images = daemon.ok(["images", "-aq"]);
    let out = daemon.folder().join("out/deep");
    let check = |flags: &[&str]| {
        let path = folder.to_str().expect("path");
        daemon.ok(["build"].iter().chain(flags).copied().chain([path]));
        assert_eq!(fs::read_to_string(out.join("one")).expect("a file"), "one\n");
        assert_eq!(fs::read_to_string(out.join("sub/two")).expect("a file"), "two\n");
        assert_eq!(fs::read_link(out.join("link")).expect("a link").to_str(), Some("one"));
        let metadata = fs::metadata(out.join("one")).expect("a file");
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.uid(), metadata.gid()), (0o750, 7, 8));
        fs::remove_dir_all(&out).expect("removed");
    };
    check(&["-o", out.to_str().expect("path")]);
    check(&["-q", "--output", &format!("type=local,dest={}", out.display())]);
    let archive = daemon.folder().join("out.tar");
    let ran =
        daemon.teu(["build", "-o", &format!("type=tar,dest={}", archive.display()), folder.to_str().expect("path")]);
    assert!(ran.ends_with(0).out.contains("Using cache"));
    let names = |bytes: &[u8]| {
        let mut archive = tar::Archive::new(bytes);
        let names = archive
            .entries()
            .expect("entries")
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string());
        names.collect::<Vec<_>>()
    };
    let listed = names(&fs::read(&archive).expect("an archive"));
    assert_eq!(listed, ["link", "one", "sub/", "sub/two"]);
    let output = daemon.command(["build", "-o", "-", folder.to_str().expect("path")]).output().expect("run");
    assert!(output.status.success() && names(&output.stdout) == listed);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Step 1/5"));
    // No image has come to be, and a build that fails leaves no file.
    assert_eq!(daemon.ok(["images", "-aq"]), images);
    let failing = context(&daemon, "FROM busybox\nRUN exit 3\n");
    for output in [format!("type=tar,dest={}", daemon.folder().join("no.tar").display()), out.display().to_string()] {
        daemon
            .teu(["build", "-o", &output, failing.to_str().expect("path")])
            .refused(3, &["returned a non-zero code: 3"]);
    }
    assert!(!daemon.folder().join("no.tar").exists() && !out.exists());
    daemon.teu(["build", "-o", "a", "-o", "b", "."]).refused(125, &["more than one --output"]);
    daemon.teu(["build", "-o", "type=registry", "."]).refused(125, &["output of type registry is not supported"]);
    fs::write(&out, "a file is there").expect("written");
    let folder = context(&daemon, DOCKERFILE);
    let ran = daemon.teu(["build", "-o", out.to_str().expect("path"), folder.to_str().expect("path")]);
    ran.refused(1, &["write to", "out/deep"]);
}

#[test]
fn an_image_goes_to_an_archive_without_being_one_here() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "FROM busybox\nRUN echo x >/made\nCMD cat /made\n");
    let images = daemon.ok(["images", "-aq"]);
    for kind in ["docker", "oci"] {
        let archive = daemon.folder().join(format!("{kind}.tar"));
        let output = format!("type={kind},dest={},name=named:{kind}", archive.display());
        daemon.ok(["build", "-t", "made:1", "-o", &output, folder.to_str().expect("path")]);
        assert_eq!(daemon.ok(["images", "-aq"]), images);
        let told = daemon.ok(["load", "-i", archive.to_str().expect("path")]);
        assert!(told.contains("made:1") && told.contains(&format!("named:{kind}")), "{told}");
        assert_eq!(daemon.ok(["run", "--rm", "made:1"]), "x");
        daemon.ok(["rmi", "made:1", &format!("named:{kind}")]);
    }
    let line = ["build", "-q", "-o", "type=oci", folder.to_str().expect("path")];
    let archive = daemon.command(line).output().expect("run").stdout;
    assert!(run_with(&mut daemon.command(["load", "-q"]), &archive).ok().contains("sha256:"));
    daemon.ok(["build", "-q", "--output", "type=image,name=here", folder.to_str().expect("path")]);
    assert_eq!(daemon.ok(["run", "--rm", "here"]), "x");
}
