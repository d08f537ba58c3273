//! What of `teu build` came with buildx: contexts by name, stages without cache, pushing.

use std::fs;
use std::path::Path;

use super::support::{Daemon, Ran, Registry, run, tree};

/// Builds what is in a folder.
#[track_caller]
fn build(daemon: &Daemon, folder: &Path, args: &[&str]) -> Ran {
    run(daemon.command(["build"]).args(args).arg(".").current_dir(folder))
}

#[test]
fn contexts_have_names() {
    let daemon = Daemon::start();
    let folder = daemon.folder().join("app");
    tree(
        &folder,
        &[
            (
                "Dockerfile",
                "FROM base AS one\nCOPY --from=lib /file /in/\nRUN --mount=from=lib,target=/mnt ls /mnt; cat /mnt/file\nCOPY own /\n",
            ),
            ("own", "own\n"),
            ("../lib/file", "of the library\n"),
            ("../lib/left-out", "secret\n"),
            ("../lib/.dockerignore", "left-*\n"),
        ],
    );
    let ran = build(
        &daemon,
        &folder,
        &["--build-context", "base=docker-image://busybox", "--build-context", "lib=../lib", "-t", "made"],
    );
    let told = ran.ends_with(0).out;
    assert!(told.contains("of the library") && !told.contains("left-out"), "{told}");
    assert_eq!(daemon.ok(["run", "--rm", "made", "cat", "/in/file", "/own"]), "of the library\nown");
    let again =
        build(&daemon, &folder, &["--build-context", "base=docker-image://busybox", "--build-context", "lib=../lib"]);
    assert_eq!(again.ends_with(0).out.matches("Using cache").count(), 3);
    build(&daemon, &folder, &["--build-context", "lib=../nothing"]).refused(125, &["../nothing is no folder"]);
    build(&daemon, &folder, &["--build-context", "lib"]).refused(125, &["name=place"]);
    let wrong = build(
        &daemon,
        &folder,
        &["--build-context", "base=docker-image://busybox", "--build-context", "lib=oci-layout://x"],
    );
    wrong.refused(1, &["oci-layout"]);
}

#[test]
fn a_stage_may_use_no_cache() {
    let daemon = Daemon::start();
    let folder = daemon.folder().join("app");
    let text =
        "FROM busybox AS one\nRUN echo first\nFROM busybox\nRUN echo second\nCOPY --from=one /etc/passwd /copy\n";
    tree(&folder, &[("Dockerfile", text)]);
    let says = |args: &[&str]| {
        let told = build(&daemon, &folder, args).ends_with(0).out;
        (told.lines().any(|line| line == "first"), told.lines().any(|line| line == "second"))
    };
    assert_eq!(says(&[]), (true, true));
    assert_eq!(says(&[]), (false, false));
    assert_eq!(says(&["--no-cache-filter", "one"]), (true, false));
    assert_eq!(says(&["--no-cache-filter", "1,other"]), (false, true));
    // What the base wants done is a part of the stage.
    tree(&folder, &[("Dockerfile", "FROM busybox\nONBUILD RUN echo first; true\n")]);
    build(&daemon, &folder, &["-t", "base"]).ends_with(0);
    tree(&folder, &[("Dockerfile", "FROM base AS two\nRUN echo second\n")]);
    assert_eq!(says(&[]), (true, true));
    assert_eq!(says(&[]), (false, false));
    assert_eq!(says(&["--no-cache-filter", "two"]), (true, true));
}

#[test]
fn an_image_is_pushed_and_told_of() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let folder = daemon.folder().join("app");
    tree(&folder, &[("Dockerfile", "FROM busybox\nRUN echo made > /file\n")]);
    let name = format!("{}/made:1", registry.address());
    build(&daemon, &folder, &["--push", "--load", "--progress", "plain", "-t", &name, "--metadata-file", "told.json"])
        .ends_with(0);
    let told = fs::read_to_string(folder.join("told.json")).expect("read");
    assert!(told.contains(&daemon.ok(["inspect", "-f", "{{.Id}}", &name])) && told.contains(&name), "{told}");
    daemon.ok(["rmi", "-f", &name]);
    assert_eq!(daemon.ok(["run", "--rm", "-q", &name, "cat", "/file"]), "made");
    build(&daemon, &folder, &["--push"]).refused(1, &["-t NAME"]);
    // Layers with the same in them, all to be packed at once.
    let steps = "RUN head -c 4000000 /dev/zero | tr '\\0' a > /file; touch -d @1 /file\nRUN rm /file\n".repeat(4);
    tree(&folder, &[("Dockerfile", &format!("FROM busybox\n{steps}"))]);
    build(&daemon, &folder, &["--push", "-t", &format!("{}/same", registry.address())]).ends_with(0);
    let quiet = build(&daemon, &folder, &["--progress=quiet", "-t", "again"]).ok();
    assert_eq!(quiet, daemon.ok(["inspect", "-f", "{{.Id}}", "again"]));
}

#[test]
fn what_is_not_done_is_refused_by_name_and_what_means_nothing_is_taken() {
    let daemon = Daemon::start();
    let folder = daemon.folder().join("app");
    tree(&folder, &[("Dockerfile", "FROM busybox\n")]);
    for args in
        [["--ssh", "default"], ["--cache-to", "type=local,dest=x"], ["--provenance", "true"], ["--call", "check"]]
    {
        build(&daemon, &folder, &args).refused(125, &[args[0], "not supported by this version of teu"]);
    }
    let args =
        ["--provenance=false", "--sbom=false", "--cache-to=type=inline", "--builder", "default", "--call", "build"];
    build(&daemon, &folder, &args).ends_with(0);
    // What scripts write for Docker's plugin, where that is not there.
    run(daemon.command(["buildx", "build", "-q", "."]).current_dir(&folder)).ends_with(0);
    run(&mut daemon.command(["buildx", "prune", "-f"])).ends_with(0);
    run(&mut daemon.command(["buildx", "bake"])).refused(1, &["docker-buildx is not installed"]);
}
