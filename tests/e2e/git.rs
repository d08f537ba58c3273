//! Git repositories as contexts and as sources of ADD, served by git's own program for HTTP.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::{Daemon, eventually, run};

/// Repositories below a folder, at a URL. What is below `/private/` takes the name `me` with the password `squirrel`.
struct Server {
    folder: PathBuf,
    address: String,
}

impl Server {
    fn start(daemon: &Daemon) -> Self {
        let folder = daemon.folder().join("repositories");
        fs::create_dir(&folder).expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        let root = folder.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let root = root.clone();
                std::thread::spawn(move || serve(&root, stream));
            }
        });
        Self { folder, address }
    }

    /// Runs a shell script with git in a new folder, and puts its repository there under a name.
    fn make(&self, name: &str, script: &str) -> String {
        let work = self.folder.join(format!("{name}.work"));
        fs::create_dir_all(&work).expect("a folder");
        git(&work, &format!("git init -q -b main . && {script}"));
        let bare = self.folder.join(name);
        git(
            &work,
            &format!(
                "git clone -q --bare . {0} && git -C {0} config uploadpack.allowAnySHA1InWant false",
                bare.display()
            ),
        );
        format!("{}/{name}", self.address)
    }
}

/// A script with git that knows who it is and nobody's settings; what it prints.
fn git(folder: &Path, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder).env("HOME", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "a").env(format!("GIT_{role}_EMAIL"), "a@b.c");
    }
    run(&mut command).ok()
}

/// One request, by git-http-backend(1), which is a CGI program (RFC 3875).
fn serve(root: &Path, mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("stream"));
    let mut first = String::new();
    let _ = reader.read_line(&mut first);
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", path);
    command.env("QUERY_STRING", query).env("REQUEST_METHOD", method).env("REMOTE_ADDR", "127.0.0.1");
    let (mut length, mut chunked, mut known) = (0, false, false);
    for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "transfer-encoding" => chunked = true,
            "content-type" => drop(command.env("CONTENT_TYPE", value)),
            "content-encoding" => drop(command.env("HTTP_CONTENT_ENCODING", value)),
            // The first protocol gives only what has a name.
            "git-protocol" if !path.starts_with("/first/") => drop(command.env("GIT_PROTOCOL", value)),
            "authorization" => known = value == "Basic bWU6c3F1aXJyZWw=",
            _ => {}
        }
    }
    assert!(!chunked, "what the tests ask for fits in one piece");
    if path.starts_with("/private/") && !known {
        let _ = stream.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        return;
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    command.env("CONTENT_LENGTH", length.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("git http-backend");
    let mut input = child.stdin.take().expect("a pipe");
    let _ = input.write_all(&body);
    drop(input);
    let answer = child.wait_with_output().expect("an answer").stdout;
    let text = String::from_utf8_lossy(&answer);
    let status = text.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n").as_bytes());
    let _ = stream.write_all(&answer);
}

/// The same by git's own protocol, as inetd would serve it.
fn serve_plain(root: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = format!("git://{}", listener.local_addr().expect("address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut command = Command::new("git");
            command.args(["daemon", "--inetd", "--export-all"]).arg(format!("--base-path={}", root.display()));
            let streams = (OwnedFd::from(stream.try_clone().expect("stream")), OwnedFd::from(stream));
            command.stdin(Stdio::from(streams.0)).stdout(Stdio::from(streams.1)).stderr(Stdio::null());
            let _ = command.spawn().and_then(|mut child| child.wait());
        }
    });
    address
}

/// What the repository's own Dockerfile leaves in the image.
const DOCKERFILE: &str = "FROM busybox\nCOPY . /all\nCMD cat /all/file; ls -A /all\n";

/// A repository with a history: two branches, two kinds of tags, a folder, links.
fn history(server: &Server) -> String {
    fs::write(server.folder.join("Dockerfile"), DOCKERFILE).expect("written");
    server.make(
        "a.git",
        "cp ../Dockerfile . && echo first >file && git add . && git commit -qm 1 && git tag light
         echo second >file && git commit -qam 2 && git tag -m annotated heavy
         mkdir -p sub/deep && cp Dockerfile sub && echo sub >sub/file && echo x >sub/deep/x
         ln -s sub inner && ln -s / outer && git add . && git commit -qm 3
         git checkout -q -b feature/other && echo other >file && git commit -qam 4 && git checkout -q main",
    )
}

#[test]
fn a_repository_is_a_context_for_the_command_line_and_for_the_daemon() {
    let daemon = Daemon::start();
    let server = Server::start(&daemon);
    let url = history(&server);
    let first = git(&server.folder.join("a.git"), "git rev-parse light");
    let temporary = daemon.folder().join("tmp");
    fs::create_dir(&temporary).expect("a folder");
    let whole = "Dockerfile\nfile\ninner\nouter\nsub";
    for (more, told) in [
        ("", format!("second\n{whole}")),
        ("#main", format!("second\n{whole}")),
        ("#feature/other", format!("other\n{whole}")),
        ("?branch=feature%2Fother", format!("other\n{whole}")),
        ("#light", "first\nDockerfile\nfile".into()),
        ("?tag=heavy", "second\nDockerfile\nfile".into()),
        (&format!("#{first}"), "first\nDockerfile\nfile".into()),
        (&format!("?commit={}&tag=light", &first[..7]), "first\nDockerfile\nfile".into()),
        ("#main:sub", "sub\nDockerfile\ndeep\nfile".into()),
        ("#:inner", "sub\nDockerfile\ndeep\nfile".into()),
    ] {
        let url = format!("{url}{more}");
        run(daemon.command(["build", "-q", "-t", "ours", &url]).env("TMPDIR", &temporary)).ok();
        assert_eq!(daemon.ok(["run", "--rm", "ours"]), told, "{url}");
        let answer = post(&daemon, &url, "theirs");
        assert!(answer.contains("Successfully tagged theirs"), "{url}: {answer}");
        assert_eq!(daemon.ok(["run", "--rm", "theirs"]), told, "{url}");
    }
    let kept = format!("{url}?keep-git-dir=1#heavy");
    daemon.ok(["build", "-q", "-t", "ours", &kept]);
    assert!(daemon.ok(["run", "--rm", "ours"]).contains("\n.git\n"));
    daemon.ok(["build", "-q", "-t", "ours", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &url]);
    assert!(daemon.ok(["run", "--rm", "ours"]).contains("\n.git\n"));
    for (more, words) in [
        ("#nothing", &["does not contain ref nothing"][..]),
        (&format!("#{}", "0".repeat(40)), &["does not contain ref 000"]),
        ("?commit=0000000", &["expected checksum to match 0000000, got"]),
        ("#main:missing", &["missing", "does not exist"]),
        ("#main:outer/etc", &["outer/etc", "is outside of it"]),
        ("#main:file", &["is no folder"]),
        ("#main:../x", &["outside of the git repository"]),
        ("#--upload-pack=x", &["invalid ref"]),
    ] {
        let url = format!("{url}{more}");
        run(daemon.command(["build", &url]).env("TMPDIR", &temporary)).refused(1, words);
        let answer = post(&daemon, &url, "theirs");
        assert!(words.iter().all(|word| answer.contains(word)), "{url}: {answer}");
    }
    // By git's own protocol, and a commit that the server does not give by its id alone.
    let plain = serve_plain(server.folder.clone());
    daemon.ok(["build", "-q", "-t", "ours", &format!("{plain}/a.git#light")]);
    assert_eq!(daemon.ok(["run", "--rm", "ours"]), "first\nDockerfile\nfile");
    fs::create_dir(server.folder.join("first")).expect("a folder");
    let many = "cp ../../Dockerfile . && for n in 1 2 3; do echo $n >file && git add . && git commit -qm $n; done";
    let old = server.make("first/b.git", many);
    let middle = git(&server.folder.join("first/b.git"), "git rev-parse main~1");
    daemon.ok(["build", "-q", "-t", "ours", &format!("{old}#{middle}")]);
    assert_eq!(daemon.ok(["run", "--rm", "ours"]), "2\nDockerfile\nfile");
    daemon.teu(["build", &format!("{}/none.git", server.address)]).refused(1, &["git ls-remote", "none.git"]);
    let mut command = daemon.command(["build", &url]);
    run(command.env("PATH", "/nonexistent")).refused(1, &["git repositories take the program git"]);
    assert_eq!(fs::read_dir(&temporary).expect("a folder").count(), 0);
}

/// Has the daemon itself fetch the context.
fn post(daemon: &Daemon, url: &str, tag: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-G", "-X", "POST", "--data-urlencode", &format!("remote={url}"), "--data-urlencode"]);
    curl.arg(format!("t={tag}")).arg("--unix-socket").arg(daemon.socket()).arg("http://localhost/build");
    run(&mut curl).ends_with(0).out
}

#[test]
fn files_of_a_repository_are_added_and_known_by_their_commit() {
    let daemon = Daemon::start();
    let server = Server::start(&daemon);
    let url = history(&server);
    let heavy = git(&server.folder.join("a.git"), "git rev-parse heavy^{}");
    let folder = daemon.folder().join("context");
    fs::create_dir(&folder).expect("a folder");
    let build = |dockerfile: &str| {
        fs::write(folder.join("Dockerfile"), format!("FROM busybox\n{dockerfile}")).expect("written");
        daemon.teu(["build", "-t", "made", folder.to_str().expect("path")])
    };
    let cached = |dockerfile: &str| {
        let ran = build(dockerfile).ends_with(0);
        (ran.out + &ran.err).matches("Using cache").count()
    };
    let all = format!(
        "ADD {url}#light /one\nADD --keep-git-dir --checksum={heavy} {url}?tag=heavy /two/\nADD {url}#:sub local* /three/\n\
         ADD --chown=7:8 --exclude=deep {url}#:sub /four\nADD --chmod=600 {url} {url}#feature/other /five/\n"
    );
    fs::write(folder.join("local"), "").expect("written");
    assert_eq!(cached(&all), 0);
    let script = "cat /one/file /two/file /three/file /four/file /five/file; ls -A /one /two /three /four; stat -c '%u:%g %a' /four/file /five/file";
    let told = daemon.ok(["run", "--rm", "made", "sh", "-c", script]);
    let told: Vec<_> = told.lines().filter(|line| !line.is_empty()).collect();
    let lists =
        "/four: Dockerfile file /one: Dockerfile file /three: Dockerfile deep file local /two: .git Dockerfile file";
    assert_eq!(told.join(" "), format!("first second sub sub other {lists} 7:8 644 0:0 600"));
    assert_eq!(cached(&all), 5);
    // A branch that has moved is another commit, a tag that has not is the same one.
    let follows = format!("ADD {url}#main /one\nADD {url}#light /two\n");
    assert_eq!((cached(&follows), cached(&follows)), (0, 2));
    let work = server.folder.join("a.git.work");
    git(&work, "echo third >file && git commit -qam 5 && git push -q ../a.git main");
    assert_eq!(cached(&format!("ADD {url}#light /one\n")), 1);
    assert_eq!(cached(&follows), 0);
    assert_eq!(daemon.ok(["run", "--rm", "made", "cat", "/one/file"]), "third");
    build(&format!("ADD --checksum={} {url}#light /x\n", "0".repeat(40)))
        .refused(1, &["expected checksum to match 000"]);
    build(&format!("ADD {url}#gone /x\n")).refused(1, &["does not contain ref gone"]);
    build("ADD git://127.0.0.1:1/x /x\n").refused(1, &["git ls-remote", "127.0.0.1"]);
    build(&format!("ADD {url} /busybox-is-no-folder {url} /x\n")).refused(1, &["must be a directory"]);
}

#[test]
fn submodules_come_along_by_http_alone() {
    let daemon = Daemon::start();
    let server = Server::start(&daemon);
    server.make("inner.git", "echo inner >file && git add . && git commit -qm 1");
    let inner = server.folder.join("inner.git");
    let add = |url: &str, name: &str| {
        format!(
            "git -c protocol.file.allow=always submodule add -q {} {name} && git config -f .gitmodules submodule.{name}.url {url}",
            inner.display()
        )
    };
    let dockerfile = "printf 'FROM busybox\\nCOPY . /all\\nCMD find /all -type f | sort\\n' >Dockerfile";
    let commit = "git add . && git commit -qm 1";
    let good = server.make("good.git", &format!("{dockerfile} && {} && {commit}", add("../inner.git", "lib")));
    let files = "/all/.gitmodules\n/all/Dockerfile";
    for url in [good.clone(), format!("{good}?submodules=0")] {
        daemon.ok(["build", "-q", "-t", "ours", &url]);
        let with = if url == good { "\n/all/lib/file" } else { "" };
        assert_eq!(daemon.ok(["run", "--rm", "ours"]), format!("{files}{with}"));
        post(&daemon, &url, "theirs");
        assert_eq!(daemon.ok(["run", "--rm", "theirs"]), format!("{files}{with}"));
    }
    for (name, url) in [("file.git", format!("file://{}", inner.display())), ("ext.git", "ext::sh% -c% true".into())] {
        let bad = server.make(name, &format!("{dockerfile} && {} && {commit}", add(&format!("'{url}'"), "lib")));
        daemon.teu(["build", "-q", &bad]).refused(1, &["git submodule", "not allowed"]);
        let answer = post(&daemon, &bad, "theirs");
        assert!(answer.contains("not allowed"), "{answer}");
    }
}

#[test]
fn a_password_opens_a_repository_and_is_told_to_nobody() {
    let daemon = Daemon::start();
    let server = Server::start(&daemon);
    fs::create_dir(server.folder.join("private")).expect("a folder");
    let url = server
        .make("private/b.git", "printf 'FROM busybox\\nCOPY . /all\\n' >Dockerfile && git add . && git commit -qm 1");
    daemon.teu(["build", "-q", &format!("{url}#main")]).refused(1, &["git ls-remote"]);
    let answer = post(&daemon, &url, "theirs");
    assert!(answer.contains("git ls-remote"), "{answer}");
    let named = url.replace("http://", "http://me:squirrel@");
    let kept = format!("{named}?keep-git-dir=1");
    daemon.ok(["build", "-q", "-t", "ours", &kept]);
    let answer = post(&daemon, &kept, "theirs");
    assert!(answer.contains("Successfully tagged theirs"), "{answer}");
    let folder = daemon.folder().join("context");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("Dockerfile"), format!("FROM busybox\nADD {url} /b\n")).expect("written");
    let folder = folder.to_str().expect("path");
    daemon.teu(["build", "-q", folder]).refused(1, &["git ls-remote"]);
    for context in [folder, &url] {
        let mut command = daemon.command(["build", "-q", "--secret", "id=GIT_AUTH_HEADER,env=HEADER", context]);
        run(command.env("HEADER", "Basic bWU6c3F1aXJyZWw=")).ok();
    }
    let wrong = named.replace("squirrel", "hedgehog").replace("b.git", "c.git");
    let ran = daemon.teu(["build", "-q", &wrong]).ends_with(1);
    assert!(!ran.err.contains("hedgehog"), "{}", ran.err);
    for name in ["ours", "theirs"] {
        let found = daemon.teu(["run", "--rm", name, "grep", "-rl", "-e", "squirrel", "-e", "c3F1aXJyZWw", "/all"]);
        assert_eq!((found.code, found.out.as_str()), (1, ""), "{name}");
        assert!(!daemon.ok(["history", "--no-trunc", name]).contains("squirrel"));
    }
}

#[test]
fn the_users_own_ssh_is_asked_and_the_daemons_has_no_keys() {
    let daemon = Daemon::start();
    let server = Server::start(&daemon);
    history(&server);
    let ssh = daemon.folder().join("ssh.sh");
    fs::write(
        &ssh,
        format!(
            "#!/bin/sh\necho \"$@\" >>{0}.log\nfor last; do :; done\ncd {1} && eval \"$last\"\n",
            ssh.display(),
            server.folder.display()
        ),
    )
    .expect("written");
    let absolute = format!("ssh://git@example.com{}/a.git#light", server.folder.display());
    for url in ["git@example.com:a.git#light", absolute.as_str()] {
        let mut command = daemon.command(["build", "-q", "-t", "ours", url]);
        run(command.env("GIT_SSH_COMMAND", format!("sh {}", ssh.display()))).ok();
        assert_eq!(daemon.ok(["run", "--rm", "ours"]), "first\nDockerfile\nfile");
    }
    let log = fs::read_to_string(format!("{}.log", ssh.display())).expect("a log");
    assert!(log.contains("git@example.com git-upload-pack 'a.git'"), "{log}");
    let answer = post(&daemon, "git@127.0.0.1:a.git", "theirs");
    assert!(answer.contains("git ls-remote git@127.0.0.1:a.git"), "{answer}");
}

/// A server that takes a connection and says nothing.
fn silent() -> (String, std::sync::mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = format!("http://{}/x.git", listener.local_addr().expect("address"));
    let (sender, streams) = std::sync::mpsc::channel();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).try_for_each(|stream| sender.send(stream)));
    (address, streams)
}

#[test]
fn fetching_ends_with_the_build_and_leaves_nothing() {
    let daemon = Daemon::start();
    let (url, streams) = silent();
    let temporary = daemon.folder().join("tmp");
    fs::create_dir(&temporary).expect("a folder");
    let ended = |mut stream: TcpStream| {
        let mut rest = Vec::new();
        // Whoever has asked is gone when the connection ends.
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a limit");
        stream
            .read_to_end(&mut rest)
            .map(drop)
            .or_else(|error| match error.kind() {
                std::io::ErrorKind::ConnectionReset => Ok(()),
                _ => Err(error),
            })
            .expect("the end of the connection");
    };
    let client = super::support::Running::spawn(daemon.command(["build", &url]).env("TMPDIR", &temporary));
    let stream = streams.recv().expect("a connection");
    client.signal(rustix::process::Signal::TERM);
    assert_eq!(client.finish().code, 143);
    ended(stream);
    assert_eq!(fs::read_dir(&temporary).expect("a folder").count(), 0);
    let folder = daemon.folder().join("context");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("Dockerfile"), format!("FROM busybox\nADD {url} /x\n")).expect("written");
    let client = daemon.spawn(["build", folder.to_str().expect("path")]);
    let stream = streams.recv().expect("a connection");
    client.signal(rustix::process::Signal::INT);
    client.finish();
    ended(stream);
    eventually("the build ends", || {
        let left = fs::read_dir(daemon.root().join("snapshots/active")).map(Iterator::count).unwrap_or(0);
        (left == 0).then_some(())
    });
}
