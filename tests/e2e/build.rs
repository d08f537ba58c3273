//! The Dockerfile: every instruction, the context, the cache, and mistakes.

use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Daemon, Ran, eventually, run, tree};

/// A context folder with these files.
fn context(daemon: &Daemon, files: &[(&str, &str)]) -> PathBuf {
    let folder = daemon.folder().join("context");
    let _ = fs::remove_dir_all(&folder);
    tree(&folder, files);
    folder
}

/// Builds it as `made`.
fn build(daemon: &Daemon, flags: &[&str], files: &[(&str, &str)]) -> Ran {
    let folder = context(daemon, files);
    let line = ["build", "-t", "made"].into_iter().chain(flags.iter().copied());
    daemon.teu(line.chain([folder.to_str().expect("path")]))
}

/// Every instruction at least once.
const EVERYTHING: &str = r#"# Comments, continuations, both forms of commands.
ARG BASE=busybox
FROM ${BASE} AS first
ARG WHO=nobody
ENV GREETING="hello $WHO" \
    OTHER=x
RUN echo "$GREETING" > /greeting && \
    # a comment in between
    echo "$OTHER" >> /greeting
RUN ["/bin/sh", "-c", "echo exec form > /exec"]

FROM busybox AS unused
RUN exit 1

FROM first
LABEL one=1 "two words"="a b"
WORKDIR /work
WORKDIR sub
COPY page.html dir/ ./
COPY --chown=33:34 page.html /owned
COPY --from=first /greeting /exec /from-first/
ADD a.tar.gz /unpacked/
ADD page.html /added
SHELL ["/bin/sh", "-e", "-c"]
RUN echo "$-" > /shell
EXPOSE 80 53/udp
VOLUME ["/data", "/more"]
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --retries=2 CMD test -e /data
USER www-data:users
ENTRYPOINT ["sh", "-c"]
CMD ["cat /greeting; pwd; id -u; id -g"]
"#;

#[test]
fn every_instruction_has_its_effect() {
    let daemon = Daemon::start();
    let folder =
        context(&daemon, &[("page.html", "page"), ("dir/one", "1"), ("dir/sub/two", "2"), ("inner/packed", "packed")]);
    let packed = Command::new("tar")
        .arg("-C")
        .arg(folder.join("inner"))
        .args(["-czf"])
        .arg(folder.join("a.tar.gz"))
        .arg("packed")
        .status();
    assert!(packed.expect("tar").success());
    fs::write(folder.join("Dockerfile"), EVERYTHING).expect("written");
    let ran =
        daemon.teu(["build", "-t", "made", "--build-arg", "WHO=world", folder.to_str().expect("path")]).ends_with(0);
    assert!(!ran.out.contains("exit 1"), "the stage that nobody needs was built:\n{}", ran.out);
    assert_eq!(daemon.ok(["run", "--rm", "made"]), "hello world\nx\n/work/sub\n33\n100");
    let script = "cat page.html one sub/two /from-first/exec /unpacked/packed /added; stat -c %u:%g /owned; cat /shell";
    let told = daemon.ok(["run", "--rm", "made", script]);
    assert_eq!(told.replace('\n', " ").split("33:34").next().expect("files"), "page12exec form packedpage");
    // The option of the chosen shell is in `$-`.
    assert!(told.lines().last().is_some_and(|options| options.contains('e')), "{told}");
    let image = |template: &str| daemon.inspect("made", template);
    assert_eq!(image("{{json .Config.Labels}}"), r#"{"one":"1","two words":"a b"}"#);
    assert_eq!(image("{{json .Config.ExposedPorts}}"), r#"{"53/udp":{},"80/tcp":{}}"#);
    assert_eq!(image("{{json .Config.Volumes}}"), r#"{"/data":{},"/more":{}}"#);
    assert_eq!(
        image("{{.Config.StopSignal}} {{.Config.User}} {{json .Config.Shell}}"),
        r#"SIGUSR1 www-data:users ["/bin/sh","-e","-c"]"#
    );
    assert_eq!(
        image("{{json .Config.Healthcheck.Test}} {{json .Config.Healthcheck.Interval}}"),
        r#"["CMD-SHELL","test -e /data"] 5000000000"#
    );
    assert_eq!(image("{{json .Config.Entrypoint}}"), r#"["sh","-c"]"#);
}

#[test]
fn copy_takes_folders_patterns_and_owners_and_never_leaves_the_context() {
    let daemon = Daemon::start();
    let files = [
        ("Dockerfile", "FROM busybox\nCOPY *.txt /texts/\nCOPY tree /tree\nCOPY --chown=www-data tree/deep /deep\n"),
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("c.md", "c"),
        ("tree/deep/leaf", "leaf"),
        ("tree/empty/.keep", ""),
    ];
    let folder = context(&daemon, &files);
    std::os::unix::fs::symlink("/etc/hostname", folder.join("tree/link")).expect("link");
    daemon.ok(["build", "-q", "-t", "made", folder.to_str().expect("path")]);
    let script = "ls /texts /tree /deep; stat -c %U /deep/leaf /tree/deep/leaf; readlink /tree/link";
    let told = daemon.ok(["run", "--rm", "made", "sh", "-c", script]);
    assert_eq!(
        told,
        "/deep:\nleaf\n\n/texts:\na.txt\nb.txt\n\n/tree:\ndeep\nempty\nlink\nwww-data\nroot\n/etc/hostname"
    );
    build(&daemon, &[], &[("Dockerfile", "FROM busybox\nCOPY ../../etc/passwd /x\n")]).refused_build(&["etc/passwd"]);
    build(&daemon, &[], &[("Dockerfile", "FROM busybox\nCOPY missing /x\n")]).refused_build(&["missing"]);
}

#[test]
fn dockerignore_keeps_files_out() {
    let daemon = Daemon::start();
    let files = [
        ("Dockerfile", "FROM busybox\nCOPY . /all\nCMD find /all -type f | sort\n"),
        (".dockerignore", "# comment\n*.log\n!keep.log\nsecret\n**/deep/*.o\nDockerfile\n"),
        ("a.log", ""),
        ("keep.log", ""),
        ("secret/key", ""),
        ("src/a.c", ""),
        ("src/deep/a.o", ""),
        ("src/deep/a.c", ""),
    ];
    build(&daemon, &[], &files).ends_with(0);
    let told = daemon.ok(["run", "--rm", "made"]);
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        ["/all/.dockerignore", "/all/keep.log", "/all/src/a.c", "/all/src/deep/a.c"]
    );
}

#[test]
fn a_step_is_done_once_and_again_only_when_something_before_it_changed() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /one\nCOPY file /file\nRUN cat /proc/sys/kernel/random/uuid > /two\n";
    let ids = |content: &str, flags: &[&str]| {
        build(&daemon, flags, &[("Dockerfile", dockerfile), ("file", content)]).ends_with(0);
        let told = daemon.ok(["run", "--rm", "made", "cat", "/one", "/two"]);
        let mut lines = told.lines().map(str::to_owned);
        (lines.next().expect("one"), lines.next().expect("two"))
    };
    let first = ids("content", &[]);
    assert_eq!(ids("content", &[]), first);
    // The time of a file is not its content.
    let changed = ids("other", &[]);
    assert_eq!(changed.0, first.0);
    assert_ne!(changed.1, first.1);
    // Back again: still known.
    assert_eq!(ids("content", &[]), first);
    let fresh = ids("content", &["--no-cache"]);
    assert!(fresh.0 != first.0 && fresh.1 != first.1);
    let ran = build(&daemon, &[], &[("Dockerfile", dockerfile), ("file", "content")]).ends_with(0);
    assert!(ran.out.contains("Using cache") || ran.out.contains("CACHED") || ran.err.contains("CACHED"), "{ran:?}");
}

#[test]
fn results_are_taken_from_the_images_that_are_named() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nENV FOO=bar\nRUN cat /proc/sys/kernel/random/uuid > /one\nRUN touch /two\n";
    let built = |flags: &[&str]| {
        let ran = build(&daemon, flags, &[("Dockerfile", dockerfile)]).ends_with(0);
        let cached = (ran.out + &ran.err).matches("Using cache").count();
        (daemon.inspect("made", "{{.Id}}"), cached)
    };
    let (first, _) = built(&[]);
    daemon.ok(["tag", "made", "first"]);
    assert_eq!(built(&["--cache-from", "first"]), (first.clone(), 3));
    assert_eq!(built(&["--cache-from", "type=registry,ref=none", "--cache-from", "first"]), (first.clone(), 3));
    // An image that is not here has nothing to give, and one of other steps neither.
    let (second, cached) = built(&["--cache-from", "none"]);
    assert!(second != first && cached == 0, "{cached}");
    assert_eq!(built(&["--cache-from", "busybox"]).1, 0);
    daemon.teu(["build", "--cache-from", "type=gha", "."]).refused(125, &["cache of type gha is not supported"]);
}

#[test]
fn a_run_sees_parts_of_the_context_of_stages_and_of_images() {
    let daemon = Daemon::start();
    let dockerfile = r#"FROM busybox AS other
RUN mkdir -p /made/deep && echo stage >/made/deep/file
FROM busybox
WORKDIR /work
RUN --mount=type=bind,source=src,target=/in --mount=source=one,target=one \
    cat /in/file one >/seen && ! test -e /in/hidden && ! touch /in/new 2>/dev/null
RUN --mount=target=/all,rw echo x >/all/src/file && cat /all/src/file >>/seen && ! test -e /all/src/hidden
RUN --mount=source=src/file,target=/f,rw echo y >/f && cat /f >>/seen
RUN --mount=from=other,source=/made,target=/made cat /made/deep/file >>/seen && ! touch /made/new 2>/dev/null
RUN --mount=from=other,source=made/deep/file,target=/file,rw cat /file >>/seen && echo z >/file && cat /file >>/seen
RUN --mount=from=busybox,target=/image test -x /image/bin/busybox
RUN --mount=source=src,target=/in cat /in/file >>/seen
"#;
    let files = |content: &'static str| {
        [
            ("Dockerfile", dockerfile),
            (".dockerignore", "**/hidden\n"),
            ("one", "one\n"),
            ("src/file", content),
            ("src/hidden", "h"),
        ]
    };
    let ran = build(&daemon, &[], &files("file\n")).ends_with(0);
    assert!(!(ran.out + &ran.err).contains("Using cache"));
    let seen = daemon.ok(["run", "--rm", "made", "cat", "/seen"]);
    assert_eq!(seen, "file\none\nx\ny\nstage\nstage\nz\nfile");
    // Nothing of a mount is left but what the step wrote elsewhere.
    let left = daemon.ok([
        "run",
        "--rm",
        "made",
        "sh",
        "-c",
        "ls -d /in /all /f /made /file /image /work/one 2>/dev/null; true",
    ]);
    assert_eq!(left, "");
    let ran = build(&daemon, &[], &files("file\n")).ends_with(0);
    assert_eq!((ran.out + &ran.err).matches("Using cache").count(), 9, "nothing has changed");
    build(&daemon, &[], &files("other\n")).ends_with(0);
    assert!(daemon.ok(["run", "--rm", "made", "cat", "/seen"]).starts_with("other\none\nx\n"));
    let missing = "FROM busybox\nRUN --mount=source=nothing,target=/x true\n";
    build(&daemon, &[], &[("Dockerfile", missing)]).refused(1, &["nothing: file does not exist"]);
    let missing = "FROM busybox\nRUN --mount=from=busybox,source=nothing,target=/x true\n";
    build(&daemon, &[], &[("Dockerfile", missing)]).refused(1, &["nothing: not found in busybox"]);
}

#[test]
fn a_secret_is_shown_to_the_step_that_asks_and_to_nobody_else() {
    let daemon = Daemon::start();
    let dockerfile = r#"FROM busybox
RUN --mount=type=secret,id=file cat /run/secrets/file | wc -c >/told && stat -c %a:%u /run/secrets/file >>/told
RUN --mount=type=secret,id=file,target=/etc/own,mode=0444,uid=7 stat -c %a:%u /etc/own >>/told && ! touch /etc/own
RUN --mount=type=secret,id=variable,env=TOKEN echo ${#TOKEN} >>/told && test ! -e /run/secrets/variable
RUN --mount=type=secret,id=none ls /run/secrets 2>/dev/null | wc -l >>/told
"#;
    let secret = daemon.folder().join("secret");
    fs::write(&secret, "squirrel").expect("a secret");
    let folder = context(&daemon, &[("Dockerfile", dockerfile)]);
    let file = format!("id=file,src={}", secret.display());
    let line = [
        "build",
        "-t",
        "made",
        "--secret",
        &file,
        "--secret",
        "id=variable,env=A_SECRET",
        folder.to_str().expect("path"),
    ];
    let mut command = daemon.command(line);
    let ran = run(command.env("A_SECRET", "hedgehog!")).ends_with(0);
    assert!(!(ran.out + &ran.err).contains("squirrel"));
    let told = daemon.ok(["run", "--rm", "made", "cat", "/told"]);
    assert_eq!(told, "8\n400:0\n444:7\n9\n0");
    // Neither the image nor anything that the daemon keeps has it.
    let known = daemon.ok(["image", "inspect", "made"]) + &daemon.ok(["history", "--no-trunc", "made"]);
    assert!(!known.contains("squirrel") && !known.contains("hedgehog"));
    for folder in [daemon.root(), daemon.exec_root()] {
        let found = Command::new("grep").args(["-rlE", "squirrel|hedgehog!"]).arg(&folder).output().expect("grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{}", folder.display());
    }
    assert_eq!(daemon.ok(["run", "--rm", "made", "sh", "-c", "ls -d /run/secrets /etc/own 2>/dev/null; true"]), "");
    let required = "FROM busybox\nRUN --mount=type=secret,id=none,required true\n";
    build(&daemon, &[], &[("Dockerfile", required)]).refused(1, &["secret none: not found", "--secret id=none"]);
}

/// A server of these files, that says how often each was asked for; `/moved` leads to the first.
pub(super) fn server(files: Vec<(&'static str, Vec<u8>)>) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = format!("http://{}", listener.local_addr().expect("address"));
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = std::io::BufReader::new(stream.try_clone().expect("stream")).lines();
            let path = lines.next().and_then(Result::ok).unwrap_or_default();
            let path = path.split(' ').nth(1).unwrap_or_default().to_owned();
            lines.map_while(Result::ok).find(String::is_empty);
            let file = files.iter().find(|(name, _)| *name == path);
            let (status, more, body) = match file {
                Some((_, body)) => ("200 OK", "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT", body.as_slice()),
                None if path == "/moved" => ("302 Found", &*format!("Location: {}", files[0].0), &b""[..]),
                None => ("404 Not Found", "X-A: b", &b"no"[..]),
            };
            let head =
                format!("HTTP/1.1 {status}\r\n{more}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
            if sender.send(path).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

#[test]
fn files_are_added_from_urls() {
    let daemon = Daemon::start();
    let archive = daemon.folder().join("a.tar");
    tree(&daemon.folder().join("tar"), &[("inner", "unpacked")]);
    let packed =
        Command::new("tar").arg("-C").arg(daemon.folder().join("tar")).arg("-cf").arg(&archive).arg("inner").status();
    assert!(packed.expect("tar").success());
    let (address, asked) = server(vec![("/file.txt", b"hello".to_vec()), ("/a.tar", fs::read(&archive).expect("tar"))]);
    let sum = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let dockerfile = format!(
        "FROM busybox\nADD {address}/file.txt?x=1#y /named\nADD --chmod=644 --chown=7:8 {address}/moved local /dir/\n\
         ADD {address}/a.tar /packed/\nADD --unpack {address}/a.tar /unpacked/\nADD --checksum={sum} {address}/file.txt /checked\n\
         RUN stat -c '%n %a %u:%g %Y' /named /dir/moved /checked && cat /named /dir/local /unpacked/inner && ls /packed\n"
    );
    let files = [("Dockerfile", dockerfile.as_str()), ("local", "local")];
    // The query is asked for; what follows it is for the client alone.
    let told = build(&daemon, &[], &[("Dockerfile", &dockerfile.replace("?x=1", "")), files[1]]).ends_with(0).out;
    for line in [
        "/named 600 0:0 1445412480",
        "/dir/moved 644 7:8 1445412480",
        "/checked 600 0:0 1445412480",
        "hellolocalunpackeda.tar",
    ] {
        assert!(told.contains(line), "{line}:\n{told}");
    }
    let first: Vec<String> = asked.try_iter().collect();
    assert_eq!(first, ["/file.txt", "/moved", "/file.txt", "/a.tar", "/a.tar", "/file.txt"]);
    // Again: what is there is looked at, all but what the checksum knows, and nothing has changed.
    let told = build(&daemon, &[], &[("Dockerfile", &dockerfile.replace("?x=1", "")), files[1]]).ends_with(0);
    assert_eq!((told.out + &told.err).matches("Using cache").count(), 6);
    assert_eq!(asked.try_iter().count(), first.len() - 1);
    build(&daemon, &[], &files).refused(1, &["/file.txt?x=1", "not found"]);
    let wrong = format!("FROM busybox\nADD --checksum=sha256:{} {address}/file.txt /x\n", "0".repeat(64));
    build(&daemon, &[], &[("Dockerfile", &wrong)]).refused(1, &["digest mismatch", sum]);
    build(&daemon, &[], &[("Dockerfile", &format!("FROM busybox\nADD {address}/ /x/\n"))]).refused(1, &["not found"]);
}

#[test]
fn a_context_is_fetched_from_a_url() {
    let daemon = Daemon::start();
    let archive = daemon.folder().join("a.tar");
    tree(&daemon.folder().join("tar"), &[("sub/File", "FROM busybox\nCOPY inner /told\n"), ("inner", "archive")]);
    let packed =
        Command::new("tar").arg("-C").arg(daemon.folder().join("tar")).arg("-cf").arg(&archive).arg(".").status();
    assert!(packed.expect("tar").success());
    let alone = b"FROM busybox\nRUN echo alone >/told\n".to_vec();
    let (address, _asked) = server(vec![("/Dockerfile", alone), ("/a.tar", fs::read(&archive).expect("tar"))]);
    let told = |line: &[&str], url: &str| {
        let url = format!("{address}{url}");
        daemon.ok(["build", "-t", "made"].iter().chain(line).copied().chain([url.as_str()]));
        daemon.ok(["run", "--rm", "made", "cat", "/told"])
    };
    assert_eq!(told(&[], "/Dockerfile"), "alone");
    assert_eq!(told(&["-f", "sub/File"], "/a.tar"), "archive");
    daemon.teu(["build", &format!("{address}/nothing")]).refused(1, &["/nothing", "not found"]);
}

#[test]
fn a_cache_may_begin_as_a_part_of_a_stage_and_be_nobody_elses() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox AS seed\nRUN mkdir /seed && echo seed >/seed/file\nFROM busybox AS one\nARG V\n\
        RUN --mount=type=cache,id=own,target=/c,from=seed,source=seed cat /c/file >/seen && echo more >>/c/file\n\
        FROM busybox AS two\nARG V\nRUN --mount=type=cache,id=own,target=/c,sharing=private ls /c >/seen && echo two >/c/two\n\
        FROM busybox\nCOPY --from=one /seen /one\nCOPY --from=two /seen /two\n";
    for (wanted, argument) in [("seed", "V=1"), ("seed\nmore\ntwo", "V=2")] {
        build(&daemon, &["--build-arg", argument], &[("Dockerfile", dockerfile)]).ends_with(0);
        assert_eq!(daemon.ok(["run", "--rm", "made", "cat", "/one", "/two"]), wanted);
    }
    daemon.ok(["builder", "prune", "-af"]);
}

#[test]
fn the_hosts_network_is_for_those_who_are_allowed_it() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN --network=host readlink /proc/self/ns/net >/seen\nRUN --network=none ls /sys/class/net >/own\n";
    build(&daemon, &[], &[("Dockerfile", dockerfile)])
        .refused(1, &["RUN --network=host is not allowed", "--allow network.host"]);
    build(&daemon, &["--allow", "network.host"], &[("Dockerfile", dockerfile)]).ends_with(0);
    let seen = daemon.ok(["run", "--rm", "made", "cat", "/seen"]);
    assert_eq!(Path::new(&seen), fs::read_link("/proc/self/ns/net").expect("a link"));
    assert_eq!(daemon.ok(["run", "--rm", "made", "cat", "/own"]), "lo");
    let other = ["build", "--allow", "device", "."];
    daemon.teu(other).refused(125, &["it is one of network.host, security.insecure"]);
}

#[test]
fn all_privileges_are_for_those_who_are_allowed_them() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status | cut -f 2 >/caps && mount -t tmpfs x /tmp && umount /tmp\n\
        RUN --security=sandbox grep CapEff /proc/self/status | cut -f 2 >>/caps && test ! -e /dev/kmsg\n";
    build(&daemon, &[], &[("Dockerfile", dockerfile)])
        .refused(1, &["security.insecure is not allowed", "--allow security.insecure"]);
    build(&daemon, &["--allow", "security.insecure"], &[("Dockerfile", dockerfile)]).ends_with(0);
    let told = daemon.ok(["run", "--rm", "made", "cat", "/caps"]);
    let (all, few) = told.split_once('\n').expect("two lines");
    let status = fs::read_to_string("/proc/self/status").expect("this process's own");
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("a line").trim();
    assert_eq!((all, few), (bounding, "00000000a80425fb"));
}

#[test]
fn a_trigger_takes_from_the_stages_of_the_file_that_it_runs_in() {
    let daemon = Daemon::start();
    let trigger = "FROM busybox\nONBUILD COPY --from=parts /part /copied\nONBUILD RUN --mount=from=0,target=/m cat /m/zero >/seen\n";
    build(&daemon, &[], &[("Dockerfile", trigger)]).ends_with(0);
    daemon.ok(["tag", "made", "base"]);
    let dockerfile = "FROM busybox AS zero\nRUN echo 0 >/zero\nFROM zero AS parts\nRUN echo part >/part\n\
        FROM busybox AS unused\nRUN exit 1\nFROM base\nCMD cat /copied /seen\n";
    let ran = build(&daemon, &[], &[("Dockerfile", dockerfile)]).ends_with(0);
    assert!(ran.out.contains("Step 1/2 : FROM zero AS parts") && !ran.out.contains("exit 1"), "{}", ran.out);
    assert_eq!(daemon.ok(["run", "--rm", "made"]), "part\n0");
    let circle = "FROM busybox AS zero\nRUN echo 0 >/zero\nFROM base AS last\nFROM last AS parts\n";
    build(&daemon, &[], &[("Dockerfile", circle)]).refused(1, &["circular dependency detected on stage: last"]);
}

#[test]
fn a_build_argument_is_part_of_the_steps_that_see_it() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /one\nARG V=1\nRUN echo $V > /v\n";
    let told = |flags: &[&str]| {
        build(&daemon, flags, &[("Dockerfile", dockerfile)]).ends_with(0);
        let told = daemon.ok(["run", "--rm", "made", "cat", "/one", "/v"]);
        told.split_once('\n').map(|(one, v)| (one.to_owned(), v.to_owned())).expect("two lines")
    };
    let first = told(&[]);
    assert_eq!(first.1, "1");
    assert_eq!(told(&["--build-arg", "V=2"]), (first.0, "2".to_owned()));
    let ran = build(&daemon, &["--build-arg", "NOBODY=1"], &[("Dockerfile", dockerfile)]).ends_with(0);
    assert!(format!("{}{}", ran.out, ran.err).contains("NOBODY"), "{ran:?}");
}

#[test]
fn target_stops_at_a_stage_and_f_names_another_dockerfile() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox AS a\nRUN echo a > /a\nFROM a AS b\nRUN echo b > /b\nFROM b\nRUN exit 7\n";
    let files = [("other/My.Dockerfile", dockerfile)];
    let folder = context(&daemon, &files);
    let file = folder.join("other/My.Dockerfile");
    let flags = ["-f", file.to_str().expect("path")];
    build(&daemon, &[&flags[..], &["--target", "a"]].concat(), &files).ends_with(0);
    daemon.teu(["run", "--rm", "made", "cat", "/b"]).ends_with(1);
    build(&daemon, &[&flags[..], &["--target", "b"]].concat(), &files).ends_with(0);
    assert_eq!(daemon.ok(["run", "--rm", "made", "cat", "/a", "/b"]), "a\nb");
    build(&daemon, &[&flags[..], &["--target", "c"]].concat(), &files).refused_build(&["c"]);
    // The step that fails says which it was, and with what.
    build(&daemon, &flags, &files).refused_build(&["exit 7", "non-zero code: 7"]);
}

#[test]
fn scratch_is_empty_and_a_dockerfile_comes_from_standard_input() {
    let daemon = Daemon::start();
    let dockerfile =
        b"FROM busybox AS from\nFROM scratch\nCOPY --from=from /bin/busybox /busybox\nENTRYPOINT [\"/busybox\"]\n";
    daemon.teu_with(["build", "-q", "-t", "tiny", "-"], dockerfile).ok();
    let told = daemon.ok(["run", "--rm", "tiny", "find", "/", "-xdev", "-type", "f"]);
    assert_eq!(told.lines().filter(|path| !path.starts_with("/etc/")).collect::<Vec<_>>(), ["/busybox"]);
    assert_eq!(daemon.inspect("tiny", "{{len .RootFS.Layers}}"), "1");
}

#[test]
fn a_build_ends_when_its_client_does_and_leaves_nothing() {
    let daemon = Daemon::start();
    let folder = context(&daemon, &[("Dockerfile", "FROM busybox\nRUN echo started; sleep 1000\n")]);
    let mut client = daemon.spawn(["build", folder.to_str().expect("path")]);
    client.until("started\n");
    client.signal(rustix::process::Signal::INT);
    assert_ne!(client.finish().code, 0);
    eventually("the step ends", || {
        let left = fs::read_dir(daemon.root().join("snapshots/active")).map(Iterator::count).unwrap_or(0);
        (left == 0).then_some(())
    });
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
}

#[test]
fn squash_makes_one_layer_of_all_new_ones() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox AS first\nRUN echo 1 >/one && echo x >/gone && mkdir /d && echo d >/d/d\nFROM first\n\
        ENV A=b\nRUN rm -r /gone /d /bin/wc && mkdir /d && echo 2 >/two\nCOPY file /three\nCMD cat /one /two /three; ls -A /d; ls /gone /bin/wc\n";
    let files = [("Dockerfile", dockerfile), ("file", "3\n")];
    build(&daemon, &["--squash"], &files).ends_with(0);
    let ran = daemon.teu(["run", "--rm", "made"]);
    assert_eq!((ran.out.as_str(), ran.err.matches("No such file").count()), ("1\n2\n3\n", 2));
    let layers = |name: &str| daemon.inspect(name, "{{json .RootFS.Layers}}");
    let (base, made) = (layers("busybox"), layers("made"));
    assert!(made.starts_with(base.trim_end_matches(']')) && made.matches("sha256").count() == 2, "{base} {made}");
    let history = daemon.ok(["history", "--no-trunc", "--format", "{{.Size}}|{{.CreatedBy}}|{{.Comment}}", "made"]);
    let lines: Vec<_> = history.lines().collect();
    let base = daemon.inspect("busybox", "{{.Id}}");
    assert!(lines[0].starts_with("6B||merge sha256:") && lines[0].ends_with(&format!(" to {base}")), "{history}");
    assert!(lines[1..6].iter().all(|line| line.starts_with("0B|")) && lines[1].contains("CMD"), "{history}");
    // Again it is the same image, and without the flag the layers are there.
    let id = daemon.inspect("made", "{{.Id}}");
    build(&daemon, &["--squash"], &files).ends_with(0);
    assert_eq!(daemon.inspect("made", "{{.Id}}"), id);
    build(&daemon, &[], &files).ends_with(0);
    assert_eq!(layers("made").matches("sha256").count(), 4);
    build(&daemon, &["--squash"], &[("Dockerfile", "FROM busybox\nENV A=b\n")]).ends_with(0);
    assert_eq!(layers("made").matches("sha256").count(), 1);
    build(&daemon, &["--squash"], &[("Dockerfile", "FROM scratch\nCOPY file /\nCOPY file /b\n"), files[1]])
        .ends_with(0);
    assert_eq!(layers("made").matches("sha256").count(), 1);
    daemon.ok(["save", "-o", "/dev/null", "made"]);
}

#[test]
fn a_typing_mistake_is_told_with_its_line_and_what_was_meant() {
    let daemon = Daemon::start();
    let refuse = |dockerfile: &str, words: &[&str]| {
        build(&daemon, &[], &[("Dockerfile", dockerfile)]).refused_build(words);
    };
    refuse("FROM busybox\n\nRUNN echo\n", &["line 3", "RUNN", "RUN"]);
    refuse("FROM busybox\nCOPY one\n", &["line 2", "COPY", "at least two"]);
    refuse("FROM busybox\nENV\n", &["line 2", "ENV"]);
    refuse("RUN echo\n", &["line 1", "FROM"]);
    refuse("FROM busybox\nCOPY --form=x a b\n", &["line 2", "--form", "--from"]);
    refuse("FROM busybox AS\n", &["line 1", "FROM"]);
    refuse("", &["empty"]);
    refuse("FROM busybox\nUSER ghost\nRUN true\n", &["ghost"]);
    assert_eq!(daemon.ok(["images", "-q"]).lines().count(), 1);
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
}

#[test]
fn what_a_step_may_do_is_limited_as_for_a_container() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN grep CapEff /proc/self/status | cut -f 2 > /caps && ls /proc/self/fd | wc -l > /fds && (mount -t tmpfs x /tmp && echo m || true) > /mounted 2>/dev/null\n";
    build(&daemon, &[], &[("Dockerfile", dockerfile)]).ends_with(0);
    assert_eq!(daemon.ok(["run", "--rm", "made", "cat", "/caps", "/fds", "/mounted"]), "00000000a80425fb\n4");
}

#[test]
fn an_archive_on_standard_input_is_a_context() {
    let daemon = Daemon::start();
    let folder = context(&daemon, &[("Dockerfile", "FROM busybox\nCOPY x /x\n"), ("x", "packed")]);
    let archive = Command::new("tar").arg("-C").arg(&folder).args(["-cz", "."]).output().expect("tar").stdout;
    daemon.teu_with(["build", "-q", "-t", "made", "-"], &archive).ok();
    assert_eq!(daemon.ok(["run", "--rm", "made", "cat", "/x"]), "packed");
}

#[test]
fn an_image_that_is_made_is_told_of_once() {
    let daemon = Daemon::start();
    let folder = context(&daemon, &[("Dockerfile", "FROM busybox\nRUN echo made > /made\n")]);
    let folder = folder.to_str().expect("path");
    daemon.ok(["build", "-q", "-t", "made", folder]);
    daemon.ok(["build", "-q", "-t", "made", folder]);
    daemon.ok(["create", "--name", "box", "made"]);
    daemon.ok(["commit", "box", "kept"]);
    let line = ["events", "--since", "1", "--until", "0s", "--filter", "type=image", "--filter", "event=create"];
    let told = daemon.ok(line.into_iter().chain(["--format", "{{.Actor.ID}}"]));
    assert_eq!(told, [daemon.inspect("made", "{{.Id}}"), daemon.inspect("kept", "{{.Id}}")].join("\n"));
    daemon.ok(["rm", "box"]);
}
