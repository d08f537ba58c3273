//! Builds by BuildKit's protocol: the `docker` command line with buildx, and the older one that spoke it by itself.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use super::engine::Engine;
use super::support::{Ran, Registry, Running, eventually, packages, probe, run, run_with};

/// A `docker` that has buildx.
fn buildx<'a>(docker: &Engine, context: &Path, args: impl IntoIterator<Item = &'a str>) -> Command {
    let config = docker.folder().join("buildx");
    fs::create_dir_all(&config).expect("folder");
    // Two of a test at once would both make it.
    let _ = std::os::unix::fs::symlink(
        packages("buildx").join("usr/libexec/docker/cli-plugins"),
        config.join("cli-plugins"),
    );
    let mut command = docker.command(args);
    command.env("DOCKER_CONFIG", config).env("DOCKER_BUILDKIT", "1").env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
    command.current_dir(context);
    command
}

/// Builds the context with its steps told as text.
#[track_caller]
fn build(docker: &Engine, context: &Path, args: &[&str]) -> Ran {
    run(&mut buildx(
        docker,
        context,
        ["build", "--progress=plain"].into_iter().chain(args.iter().copied()).chain(["."]),
    ))
}

#[test]
fn buildx_builds_and_tells_each_step() {
    let docker = Engine::start();
    let context = docker.context(&[
        (
            "Dockerfile",
            "FROM busybox AS base\nRUN echo said; echo made > /made\nFROM base\nARG A\nENV B=$A\nCOPY . /in/\n",
        ),
        ("file", "text"),
        ("folder/inner", "more"),
        ("left-out", "secret"),
        (".dockerignore", "left-*\n"),
    ]);
    let first = build(&docker, &context, &["-t", "made:1", "--build-arg", "A=b", "--label", "l=m"]).ends_with(0);
    for words in ["[base 2/2] RUN echo said", "said", "writing image sha256:", "naming to docker.io/library/made:1"] {
        assert!(first.err.contains(words), "{words}: {}", first.err);
    }
    let seen = docker.ok(["run", "--rm", "made:1", "sh", "-c", "cat /made /in/file /in/folder/inner; echo $B; ls /in"]);
    assert_eq!(seen, "made\ntextmoreb\nDockerfile\nfile\nfolder");
    assert_eq!(docker.ok(["inspect", "-f", "{{.Config.Labels.l}}", "made:1"]), "m");
    let again = build(&docker, &context, &["-t", "made:2", "--build-arg", "A=b", "--label", "l=m"]).ends_with(0);
    assert!(again.err.matches(" CACHED").count() >= 2, "{}", again.err);
    let id = |name| docker.ok(["inspect", "-f", "{{.Id}}", name]);
    assert_eq!(id("made:1"), id("made:2"));
    let quiet = run(&mut buildx(&docker, &context, ["build", "-q", "--build-arg", "A=b", "--label", "l=m", "."]));
    assert_eq!(quiet.ok(), id("made:1"));
    if docker.is_ours() {
        // Docker 20.10 does not know it.
        build(&docker, &context, &["-t", "dated", "--build-arg", "SOURCE_DATE_EPOCH=1000000000"]).ends_with(0);
        assert_eq!(docker.ok(["inspect", "-f", "{{.Created}}", "dated"]), "2001-09-09T01:46:40Z");
    }
}

#[test]
fn buildx_tells_what_fails() {
    let docker = Engine::start();
    let context = docker
        .context(&[("Dockerfile", "FROM busybox\nRUN echo words && exit 7\n"), ("typo", "FROM busybox\nRUM a\n")]);
    let failed = build(&docker, &context, &[]).ends_with(1);
    assert!(failed.err.contains("exit code: 7"), "{}", failed.err);
    assert!(failed.err.contains("words"), "{}", failed.err);
    assert!(build(&docker, &context, &["-f", "typo"]).ends_with(1).err.contains("RUM"));
    assert!(build(&docker, &context, &["-f", "nothing"]).ends_with(1).err.contains("nothing"));
    assert_eq!(docker.ok(["ps", "-aq"]), "");
}

#[test]
fn buildx_keeps_secrets_and_agents_to_itself_until_a_step_wants_them() {
    let docker = Engine::start();
    let text = "FROM busybox\nCOPY probe /\n\
        RUN --mount=type=secret,id=token cat /run/secrets/token\n\
        RUN --mount=type=ssh ls -l $SSH_AUTH_SOCK && /probe identities $SSH_AUTH_SOCK\n";
    let context = docker.context(&[("Dockerfile", text), ("../token", "s3cret\n")]);
    fs::copy(probe(), context.join("probe")).expect("copy");
    let agent = docker.folder().join("agent");
    let listener = UnixListener::bind(&agent).expect("an agent");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut question = [0; 5];
            // The client asks again for each process.
            while client.read_exact(&mut question).is_ok() {
                client.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).expect("answered");
            }
        }
    });
    let token = format!("id=token,src={}", docker.folder().join("token").display());
    let ssh = format!("default={}", agent.display());
    let told = build(&docker, &context, &["--secret", &token, "--ssh", &ssh, "-t", "made"]).ends_with(0);
    assert!(told.err.contains("s3cret") && told.err.contains("answer 12 with 0"), "{}", told.err);
    assert!(told.err.contains("srw-------"), "{}", told.err);
    let left = docker.ok(["run", "--rm", "made", "sh", "-c", "find /run -type f -o -type s 2>/dev/null; true"]);
    assert_eq!(left, "");
    let text = text.replace("type=ssh", "type=ssh,required").replace("type=secret", "type=secret,required");
    fs::write(context.join("Dockerfile"), text).expect("written");
    let words = build(&docker, &context, &["--ssh", &ssh]).ends_with(1).err;
    assert!(words.contains("token") && words.contains("not found"), "{words}");
    let words = build(&docker, &context, &["--secret", &token, "--no-cache"]).ends_with(1).err;
    assert!(words.contains("SSH"), "{words}");
}

#[test]
fn buildx_takes_results_out() {
    let docker = Engine::start();
    let text = "FROM busybox AS make\nRUN mkdir -p /out/in && echo made > /out/in/file && ln -s in/file /out/link\n\
        RUN dd if=/dev/zero of=/out/large bs=1M count=3 2>/dev/null; chmod 4755 /out/large\nFROM scratch\nCOPY --from=make /out /\n";
    let context = docker.context(&[("Dockerfile", text)]);
    let out = docker.folder().join("out");
    let to = out.to_str().expect("a path");
    build(&docker, &context, &["-o", to]).ends_with(0);
    assert_eq!(fs::read_to_string(out.join("link")).expect("read"), "made\n");
    let large = fs::metadata(out.join("large")).expect("there");
    assert_eq!((large.len(), std::os::unix::fs::MetadataExt::mode(&large) & 0o7777), (3 << 20, 0o4755));
    let tar = format!("type=tar,dest={to}/all.tar");
    build(&docker, &context, &["-o", &tar]).ends_with(0);
    let names = run(Command::new("tar").arg("-tf").arg(out.join("all.tar"))).ok();
    assert!(
        ["in/file", "link", "large"]
            .iter()
            .all(|name| names.lines().any(|line| line.trim_start_matches("./") == *name)),
        "{names}"
    );
    assert_eq!(docker.ok(["images", "-q", "--filter", "dangling=true"]), "");
    if !docker.is_ours() {
        // Docker's gives no images where it has no store of containerd's.
        return;
    }
    for kind in ["docker", "oci"] {
        let image = format!("type={kind},dest={to}/{kind}.tar");
        build(&docker, &context, &["-o", &image, "-t", kind]).ends_with(0);
        assert_eq!(docker.ok(["images", "-q", kind]), "");
        docker.ok(["load", "-q", "-i", &format!("{to}/{kind}.tar")]);
        assert!(!docker.ok(["images", "-q", kind]).is_empty());
    }
}

#[test]
fn buildx_takes_contexts_from_anywhere() {
    let docker = Engine::start();
    let context = docker.context(&[
        ("a", "first\n"),
        ("Dockerfile", "FROM busybox\nCOPY a /\nRUN cat /a\n"),
        ("../lib/b", "second\n"),
    ]);
    let archive = docker.folder().join("context.tar");
    run(Command::new("tar").arg("-C").arg(&context).arg("-cf").arg(&archive).arg(".")).ok();
    let from_stdin = |file: &Path| {
        let mut command = buildx(&docker, &context, ["build", "--progress=plain", "--no-cache", "-"]);
        run_with(&mut command, &fs::read(file).expect("read"))
    };
    let ran = from_stdin(&archive).ends_with(0);
    assert!(ran.err.contains("first"), "{}", ran.err);
    fs::write(docker.folder().join("alone"), "FROM busybox\nRUN echo alone; ls /\n").expect("written");
    assert!(from_stdin(&docker.folder().join("alone")).ends_with(0).err.contains("alone"));
    if !docker.is_ours() {
        // Docker 20.10's frontend knows no contexts by name.
        return;
    }
    let text = "FROM base\nCOPY --from=lib b /\nRUN --mount=from=lib,target=/mnt cat /b /mnt/b\n";
    fs::write(context.join("named"), text).expect("written");
    let lib = format!("lib={}", docker.folder().join("lib").display());
    let args = ["-f", "named", "--build-context", "base=docker-image://busybox", "--build-context", &lib];
    let ran = build(&docker, &context, &args).ends_with(0);
    assert_eq!(ran.err.matches(" second").count(), 2, "{}", ran.err);
}

#[test]
fn a_build_ends_with_its_client() {
    let docker = Engine::start();
    let context = docker.context(&[("Dockerfile", "FROM busybox\nRUN echo begun; exec sleep 7654\n")]);
    let sleeps = || {
        let found = run(Command::new("pgrep").args(["-f", "^sleep 7654"]));
        found.out.split_whitespace().count()
    };
    let mut command = buildx(&docker, &context, ["build", "--progress=plain", "."]);
    let building = Running::spawn(command.stderr(Stdio::null()));
    eventually("the step runs", || (sleeps() == 1).then_some(()));
    building.signal(rustix::process::Signal::INT);
    building.finish();
    eventually("the step has ended", || (sleeps() == 0).then_some(()));
}

#[test]
fn bake_builds_what_belongs_together_and_the_cache_is_told_and_removed() {
    let docker = Engine::start();
    let target = |name: &str| {
        let text = format!("FROM busybox\\nCOPY file /{name}");
        format!("target \"{name}\" {{\n  dockerfile-inline = \"{text}\"\n  tags = [\"{name}\"]\n}}\n")
    };
    let bake = format!("group \"default\" {{ targets = [\"one\", \"two\"] }}\n{}{}", target("one"), target("two"));
    let context = docker.context(&[("docker-bake.hcl", &bake), ("file", "text")]);
    run(&mut buildx(&docker, &context, ["buildx", "bake", "--progress=plain"])).ends_with(0);
    assert_eq!(
        docker.ok(["run", "--rm", "one", "cat", "/one"]) + &docker.ok(["run", "--rm", "two", "cat", "/two"]),
        "texttext"
    );
    let cached = || run(&mut buildx(&docker, &context, ["buildx", "du", "--verbose"])).ok();
    // Docker's tells nothing of what is in an image.
    assert!(cached().contains("COPY file /one") || !docker.is_ours(), "{}", cached());
    docker.ok(["rmi", "one", "two"]);
    run(&mut buildx(&docker, &context, ["buildx", "prune", "-af"])).ends_with(0);
    assert!(!cached().contains("COPY file"), "{}", cached());
}

#[test]
fn buildx_pushes_what_it_builds() {
    let docker = Engine::start();
    let registry = Registry::start();
    let context = docker.context(&[("Dockerfile", "FROM busybox\nRUN echo pushed > /file\n")]);
    let name = format!("{}/made:1", registry.address());
    let metadata = docker.folder().join("metadata.json");
    let told = metadata.to_str().expect("a path");
    build(&docker, &context, &["--push", "-t", &name, "--metadata-file", told]).ends_with(0);
    docker.ok(["rmi", "-f", &name]);
    docker.ok(["pull", "-q", &name]);
    assert_eq!(docker.ok(["run", "--rm", &name, "cat", "/file"]), "pushed");
    let known = docker.ok(["inspect", "-f", "{{index .RepoDigests 0}}", &name]);
    let digest = known.rsplit('@').next().expect("a digest");
    let text = fs::read_to_string(&metadata).expect("read");
    assert!(text.contains(digest), "{known}: {text}");
}

#[test]
fn a_target_of_bake_builds_on_another() {
    let docker = Engine::start();
    if !docker.is_ours() {
        // Docker 20.10's frontend knows no contexts by name.
        return;
    }
    let bake = "target \"base\" {\n  dockerfile-inline = \"FROM busybox\\nENV A=b\\nRUN echo made > /made\"\n}\n\
        target \"default\" {\n  dockerfile-inline = \"FROM other\\nCOPY --from=other /made /copy\\nRUN cat /copy; echo env $A\"\n  \
        contexts = { other = \"target:base\" }\n  tags = [\"made\"]\n}\n";
    let context = docker.context(&[("docker-bake.hcl", bake)]);
    let ran = run(&mut buildx(&docker, &context, ["buildx", "bake", "--progress=plain"])).ends_with(0);
    assert!(ran.err.contains(" made") && ran.err.contains("env b"), "{}", ran.err);
    assert_eq!(docker.ok(["run", "--rm", "made", "sh", "-c", "cat /made /copy; echo $A"]), "made\nmade\nb");
}

#[test]
fn bake_builds_more_than_a_hundred_targets_at_once() {
    let docker = Engine::start();
    let names: Vec<_> = (0..110).map(|number| format!("target{number}")).collect();
    let target = |name: &String| {
        let text = "FROM scratch\\nCOPY file /";
        format!("target \"{name}\" {{\n  dockerfile-inline = \"{text}\"\n  tags = [\"{name}\"]\n}}\n")
    };
    let targets: String = names.iter().map(target).collect();
    let bake = format!("group \"default\" {{ targets = {names:?} }}\n{targets}");
    let context = docker.context(&[("docker-bake.hcl", &bake), ("file", "text")]);
    run(&mut buildx(&docker, &context, ["buildx", "bake", "--progress=plain"])).ends_with(0);
    let made = docker.ok(["images", "--format", "{{.Repository}}"]);
    assert!(names.iter().all(|name| made.lines().any(|line| line == name)), "{made}");
}

#[test]
fn names_times_and_links_come_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    let docker = Engine::start();
    let text = "FROM busybox\nCOPY . /in/\nRUN ls /in; stat -c '%a %Y %N' /in/link /in/mode\n";
    let context = docker.context(&[("Dockerfile", text), ("mode", "text"), ("folder/new\nline", "text")]);
    fs::write(context.join(std::ffi::OsStr::from_bytes(b"odd\xff")), "text").expect("written");
    std::os::unix::fs::symlink("mode", context.join("link")).expect("a link");
    fs::hard_link(context.join("mode"), context.join("folder/same")).expect("a link");
    run(Command::new("chmod").arg("4751").arg(context.join("mode"))).ok();
    for (date, file) in [("@1000000001", "link"), ("@1000000002", "mode")] {
        run(Command::new("touch").args(["-h", "-d", date]).arg(context.join(file))).ok();
    }
    let told = build(&docker, &context, &["-t", "made"]).ends_with(0).err;
    assert!(told.contains("777 1000000001 '/in/link' -> 'mode'"), "{told}");
    assert!(told.contains("4751 1000000002"), "{told}");
    let seen = docker.ok(["run", "--rm", "made", "sh", "-c", "cat /in/odd* /in/folder/new*; stat -c %h /in/mode"]);
    assert_eq!(seen, "texttext2");
}

/// Debian 12's client: it asks for BuildKit in one request and brings a session.
#[test]
fn the_older_client_builds_by_its_session() {
    let docker = Engine::start();
    let context =
        docker.context(&[("Dockerfile", "FROM busybox\nCOPY file /\nRUN cat /file\n"), ("file", "in a file\n")]);
    let older = |args: &[&str]| {
        let mut command = Command::new("/usr/bin/docker");
        command.env("DOCKER_HOST", docker.host()).env("DOCKER_CONFIG", docker.folder().join("client"));
        command.env("DOCKER_BUILDKIT", "1").current_dir(&context).args(["build"]).args(args);
        command
    };
    let told = run(&mut older(&["--progress=plain", "-t", "made", "."])).ends_with(0);
    assert!(told.err.contains("in a file") && told.err.contains("naming to docker.io/library/made"), "{}", told.err);
    let id = docker.ok(["inspect", "-f", "{{.Id}}", "made"]);
    assert_eq!(run(&mut older(&["-q", "."])).ok(), id);
    let archive = docker.folder().join("context.tar");
    run(Command::new("tar").arg("-C").arg(&context).arg("-cf").arg(&archive).arg(".")).ok();
    run_with(&mut older(&["--progress=plain", "-t", "again", "-"]), &fs::read(&archive).expect("read")).ends_with(0);
    assert_eq!(docker.ok(["run", "--rm", "again", "cat", "/file"]), "in a file");
    // What only the session has is there as well when the context comes another way.
    fs::write(docker.folder().join("token"), "s3cret\n").expect("written");
    let secret = format!("id=token,src={}", docker.folder().join("token").display());
    let text = b"FROM busybox\nRUN --mount=type=secret,id=token,required=true cat /run/secrets/token\n";
    let told = run_with(&mut older(&["--progress=plain", "--no-cache", "--secret", &secret, "-"]), text).ends_with(0);
    assert!(told.err.contains("s3cret"), "{}", told.err);
    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN exit 3\n").expect("written");
    let failed = run(&mut older(&["--progress=plain", "."])).ends_with(1);
    assert!(failed.err.contains("exit code: 3"), "{}", failed.err);
}
