//! The daemon itself: what it is told by flag and file, what it takes up again, and who is let in.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use support::{Daemon, Registry, TEU, eventually, fetch, free_port, run};

/// Runs openssl, which must succeed.
#[track_caller]
fn openssl(folder: &Path, line: &str) {
    let mut command = Command::new("openssl");
    let ran = run(command.args(line.split(' ')).current_dir(folder));
    assert_eq!(ran.code, 0, "openssl {line}: {}\n(apt-get install openssl)", ran.err);
}

/// An authority, a server's and a client's certificate.
#[track_caller]
fn certificates(folder: &Path) {
    fs::create_dir_all(folder).expect("folder");
    let key = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(folder, &format!("{key} -keyout ca.key -out ca.pem -subj /CN=authority"));
    openssl(folder, &format!("{key} -keyout other.key -out other.pem -subj /CN=somebody"));
    fs::write(folder.join("server.ext"), "subjectAltName=IP:127.0.0.1\n").expect("written");
    fs::write(folder.join("client.ext"), "extendedKeyUsage=clientAuth\n").expect("written");
    for name in ["server", "client"] {
        let request = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(folder, &format!("{request} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let sign = "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2";
        openssl(folder, &format!("{sign} -in {name}.csr -out {name}.pem -extfile {name}.ext"));
    }
}

#[test]
fn tcp_lets_in_whoever_has_a_certificate_and_nobody_else() {
    let folder = tempfile::tempdir().expect("folder");
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let host = format!("tcp://127.0.0.1:{}", free_port());
    let files = [("--tlscacert", "ca.pem"), ("--tlscert", "server.pem"), ("--tlskey", "server.key")];
    let flags: Vec<String> = files.iter().flat_map(|(flag, name)| [(*flag).to_string(), file(name)]).collect();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["--tlsverify", "-H", &host]);
    let daemon = Daemon::with(&flags);
    daemon.load();
    let docker = |certificate: &str, key: &str, args: &[&str]| {
        let mut command = Command::new("docker");
        command.env("DOCKER_CONFIG", folder.path()).env_remove("DOCKER_HOST").args(["-H", &host, "--tlsverify"]);
        command.args(["--tlscacert", &file("ca.pem"), "--tlscert", &file(certificate), "--tlskey", &file(key)]);
        run(command.args(args))
    };
    assert_eq!(docker("client.pem", "client.key", &["version", "--format", "{{.Server.Os}}"]).ok(), "linux");
    let ran = docker("client.pem", "client.key", &["run", "--rm", "--network", "none", "busybox", "echo", "over tls"]);
    assert_eq!(ran.ok(), "over tls");
    assert_ne!(docker("other.pem", "other.key", &["version"]).code, 0);
    let mut command = Command::new("docker");
    let plain = run(command.env("DOCKER_CONFIG", folder.path()).args(["-H", &host, "version"]));
    assert_ne!(plain.code, 0);
    let mut command = Command::new(TEU);
    let plain = run(command.env("DOCKER_CONFIG", folder.path()).args(["-H", &host, "ps"]));
    assert!(plain.code == 1 && plain.err.contains("--tlsverify"), "{}", plain.err);
}

#[test]
fn a_configuration_is_looked_at_and_a_wrong_one_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("daemon.json");
    let look = |text: &str| {
        fs::write(&file, text).expect("written");
        run(Command::new(TEU).args(["daemon", "--validate", "--config-file"]).arg(&file))
    };
    assert_eq!(look(r#"{"live-restore": true, "log-opts": {"max-size": "1m"}}"#).ok(), "configuration OK");
    for (text, word) in [
        (r#"{"colour": "red"}"#, "unknown key \"colour\""),
        (r#"{"userns-remap": "nobody-at-all"}"#, "/etc/subuid"),
        (r#"{"hosts": ["tcp://0.0.0.0:2375"]}"#, "mutual TLS"),
        (r#"{"log-driver": "paper"}"#, "paper"),
        (r#"{"log-opts": {"colour": "red"}}"#, "colour"),
        (r#"{"tlsverify": true, "tlscacert": "/none", "tlscert": "/none", "tlskey": "/none"}"#, "/none"),
    ] {
        let ran = look(text);
        assert!(ran.code != 0 && ran.err.contains(word), "{text}: {}", ran.err);
    }
}

#[test]
fn a_hangup_makes_the_daemon_read_its_configuration_again() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("daemon.json");
    fs::write(&file, r#"{"labels": ["a=1"], "default-shm-size": "1m"}"#).expect("written");
    let daemon = Daemon::with(&["--config-file", file.to_str().expect("path")]);
    daemon.load();
    assert_eq!(daemon.ok(["info", "--format", "{{.Labels}} {{.Debug}}"]), "[a=1] false");
    assert!(daemon.sh("df -k /dev/shm").contains(" 1024 "));
    let mut events = daemon.spawn(["events", "--since", "1", "--filter", "type=daemon", "--format", "{{.Action}}"]);
    fs::write(&file, r#"{"labels": ["a=2"], "debug": true}"#).expect("written");
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).expect("pid")).expect("pid");
    kill_process(pid, Signal::HUP).expect("signal");
    assert_eq!(events.line(), "reload");
    assert_eq!(daemon.ok(["info", "--format", "{{.Labels}} {{.Debug}}"]), "[a=2] true");
    fs::write(&file, "{").expect("written");
    kill_process(pid, Signal::HUP).expect("signal");
    eventually("the mistake is logged", || daemon.log().contains("all stays as it was").then_some(()));
    assert_eq!(daemon.ok(["info", "--format", "{{.Labels}}"]), "[a=2]");
}

#[test]
fn images_of_docker_hub_come_from_its_mirror() {
    let (mirror, folder) = (Registry::start(), tempfile::tempdir().expect("folder"));
    let name = format!("{}/library/mirrored:1", mirror.address());
    let source = Daemon::start();
    source.ok(["tag", "busybox", &name]);
    source.ok(["push", "-q", &name]);
    let (file, url) = (folder.path().join("daemon.json"), format!("http://{}", mirror.address()));
    fs::write(&file, serde_json::json!({"registry-mirrors": [url]}).to_string()).expect("written");
    let daemon = Daemon::with(&["--config-file", file.to_str().expect("path")]);
    daemon.ok(["pull", "-q", "mirrored:1"]);
    assert_eq!(daemon.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]), "mirrored:1");
    assert_eq!(daemon.ok(["info", "--format", "{{.RegistryConfig.Mirrors}}"]), format!("[{url}/]"));
    let mut curl = Command::new("curl");
    curl.args(["-s", "--unix-socket"]).arg(daemon.socket()).arg("http://localhost/distribution/mirrored:1/json");
    assert!(run(&mut curl).ok().contains("\"Descriptor\""));
}

/// An index that finds two repositories whatever it is asked for; its address.
fn index() -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address").to_string();
    let found = serde_json::json!({"num_results": 2, "results": [
        {"name": "box", "description": "small\nand useful", "star_count": 3, "is_official": true},
        {"name": "team/box", "description": null, "star_count": 1, "is_official": false},
    ]});
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or(0);
            // Whoever begins with TLS is told by the end of the connection that there is none.
            if head[..length].starts_with(b"GET /v1/search?q=box&n=") {
                let text = found.to_string();
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            }
        }
    });
    address
}

#[test]
fn an_index_is_searched() {
    let (daemon, term) = (Daemon::bare(), format!("{}/box", index()));
    let format = "{{.Name}}|{{.Description}}|{{.StarCount}}|{{.IsOfficial}}";
    let search = |flags: &[&str]| {
        daemon.teu(["search", "--format", format].iter().copied().chain(flags.iter().copied()).chain([term.as_str()]))
    };
    assert_eq!(search(&[]).ok(), "box|small and useful|3|[OK]\nteam/box||1|");
    assert_eq!(search(&["--limit", "5", "--filter", "stars=2"]).ok(), "box|small and useful|3|[OK]");
    assert_eq!(search(&["--filter", "is-official=false"]).ok(), "team/box||1|");
    search(&["--limit", "101"]).refused(1, &["limit 101 is outside the range of [1, 100]"]);
    search(&["--filter", "stars=many"]).refused(1, &["invalid filter 'stars=many'"]);
    let nobody = daemon.teu(["search", &format!("127.0.0.1:{}/box", free_port())]).ends_with(1);
    assert!(nobody.err.contains("127.0.0.1"), "{}", nobody.err);
}

#[test]
fn figures_are_served_where_they_are_asked_for() {
    let port = free_port();
    let daemon = Daemon::with(&["--metrics-addr", &format!("127.0.0.1:{port}"), "--log-format", "json"]);
    daemon.load();
    daemon.ok(["run", "-d", "--network", "none", "busybox", "sleep", "1000"]);
    let page = fetch(port, "/metrics");
    assert!(page.contains("engine_daemon_container_states_containers{state=\"running\"} 1\n"), "{page}");
    assert!(page.contains("engine_daemon_http_requests_total{method=\"POST\",code=\"201\"} 1\n"), "{page}");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("\"ready\"")).expect("a line of the log");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("INFO"), Some("ready")));
}

#[test]
fn the_socket_is_for_its_group_alone() {
    let daemon = Daemon::with(&["--group", "daemon"]);
    let mode = fs::metadata(daemon.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&fs::metadata(daemon.socket()).expect("a socket")), 1);
}

/// A masked text message of a client's.
fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("short");
    [&[0x81, 0x80 | length, 0, 0, 0, 0][..], text.as_bytes()].concat()
}

#[test]
fn a_container_is_attached_to_by_web_socket() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "-i", "--name", "box", "--network", "none", "busybox", "sh", "-c", "read x; echo got $x"]);
    let mut stream = UnixStream::connect(daemon.socket()).expect("connected");
    let request = "GET /containers/box/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("written");
    stream.write_all(&masked("hello\n")).expect("written");
    let mut answer = vec![];
    stream.read_to_end(&mut answer).expect("read");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 101") && text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    let messages = &answer[answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4..];
    assert_eq!(messages, [&[0x82, 10][..], b"got hello\n", &[0x88, 2, 0x03, 0xe8]].concat());
}

/// The name of a process and its parent, proc_pid_stat(5).
fn name_and_parent(pid: &str) -> Option<(String, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let parent = fields.split(' ').nth(1).and_then(|parent| parent.parse().ok()).and_then(Pid::from_raw)?;
    Some((name.to_owned(), parent))
}

/// The supervisor of a container: the parent of its first process.
fn supervisor(daemon: &Daemon, name: &str) -> Pid {
    name_and_parent(&daemon.inspect(name, "{{.State.Pid}}")).expect("a process").1
}

/// The supervisors that wait for a container, by one that has one.
fn waiting_beside(one: Pid) -> Vec<Pid> {
    let maker = |pid: &str| name_and_parent(pid).filter(|(name, _)| name == "teu-supervise").map(|(_, maker)| maker);
    let ours = maker(&one.as_raw_pid().to_string()).expect("a supervisor");
    let all = fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let beside = all.filter(|pid| maker(pid) == Some(ours)).filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
    beside.filter(|pid| *pid != one).collect()
}

#[test]
fn a_supervisor_that_dies_before_it_answers_takes_nothing_with_it() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "beside", "busybox", "sleep", "1000"]);
    let waiting = eventually("supervisors wait", || {
        Some(waiting_beside(supervisor(&daemon, "beside"))).filter(|waiting| !waiting.is_empty())
    });
    waiting.iter().for_each(|pid| kill_process(*pid, Signal::STOP).expect("stopped"));
    let starting = daemon.spawn(["run", "--name", "lost", "busybox", "true"]);
    eventually("the start has begun", || {
        let made = daemon.ok(["ps", "-aq", "--filter", "name=lost"]);
        (!made.is_empty()).then_some(())
    });
    waiting.iter().for_each(|pid| kill_process(*pid, Signal::KILL).expect("killed"));
    let ended = starting.finish();
    assert!(matches!(ended.code, 0 | 125), "{}: {}", ended.code, ended.err);
    // That the others in stock are dead may be noticed by the next start only.
    eventually("containers start again", || (daemon.teu(["run", "--rm", "busybox", "true"]).code == 0).then_some(()));
    daemon.ok(["rm", "lost"]);
    assert_eq!(daemon.inspect("beside", "{{.State.Running}}"), "true");
}

#[test]
fn a_container_whose_supervisor_is_frozen_blocks_no_other() {
    let daemon = Daemon::start();
    let run = |name: &str| daemon.ok(["run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000"]);
    run("stuck");
    run("other");
    let supervisor = supervisor(&daemon, "stuck");
    kill_process(supervisor, Signal::STOP).expect("stopped");
    let waiting = daemon.spawn(["exec", "stuck", "true"]);
    assert_eq!(daemon.ok(["ps", "-q"]).lines().count(), 2);
    assert_eq!(daemon.inspect("stuck", "{{.State.Running}}"), "true");
    assert_eq!(daemon.ok(["exec", "other", "echo", "free"]), "free");
    assert_eq!(daemon.sh("echo new"), "new");
    daemon.ok(["stop", "-t", "0", "other"]);
    kill_process(supervisor, Signal::CONT).expect("continued");
    waiting.finish().ends_with(0);
}

#[test]
fn what_is_said_of_containers_holds_for_the_steps_of_builds() {
    let flags = ["--default-cgroupns-mode", "host", "--no-new-privileges", "--seccomp-profile", "unconfined"];
    let daemon = Daemon::with(&flags);
    daemon.load();
    let dockerfile =
        "FROM busybox\nRUN grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; readlink /proc/self/ns/cgroup\n";
    let told = daemon.teu_with(["build", "-"], dockerfile.as_bytes());
    let told = format!("{}{}", told.out, told.err);
    let own = fs::read_link("/proc/self/ns/cgroup").expect("a namespace");
    for words in ["NoNewPrivs:\t1", "Seccomp:\t0", own.to_str().expect("a name")] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn a_profile_is_told_of_by_its_name_and_an_engine_stays_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("profile.json");
    fs::write(&file, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).expect("written");
    let name = file.to_str().expect("a path");
    for (profile, told) in [("", "builtin"), ("unconfined", "unconfined"), (name, name)] {
        let daemon = Daemon::with(&["--seccomp-profile", profile]);
        let options = daemon.ok(["info", "--format", "{{.SecurityOptions}}"]);
        assert!(options.contains(&format!("name=seccomp,profile={told}")), "{options}");
    }
    let mut daemon = Daemon::bare();
    let id = daemon.ok(["info", "--format", "{{.ID}}"]);
    assert_eq!(fs::read_to_string(daemon.root().join("engine-id")).expect("a file"), id);
    daemon.stop();
    daemon.restart();
    assert_eq!(daemon.ok(["info", "--format", "{{.ID}}"]), id);
    let other = Daemon::bare();
    assert_ne!(other.ok(["info", "--format", "{{.ID}}"]), id);
}

#[test]
fn an_init_and_proxies_are_the_daemons_to_give() {
    let proxy = ["--http-proxy", "http://me:secret@proxy.test:3128", "--no-proxy", "near.test"];
    let daemon = Daemon::with(&["--init", "--max-concurrent-downloads", "1", proxy[0], proxy[1], proxy[2], proxy[3]]);
    daemon.load();
    // The first process is ours, unless the container says otherwise.
    let first = |flags: &[&str]| {
        let line =
            ["run", "--rm"].into_iter().chain(flags.iter().copied()).chain(["busybox", "cat", "/proc/1/cmdline"]);
        daemon.ok(line).contains("cat")
    };
    assert!(!first(&[]) && first(&["--init=false"]));
    let told = daemon.ok(["info", "--format", "{{.HttpProxy}} {{.NoProxy}}"]);
    assert_eq!(told, "http://xxxxx:xxxxx@proxy.test:3128 near.test");
}
