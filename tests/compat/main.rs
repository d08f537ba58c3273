//! Stock clients, unchanged, against the daemon's socket: here the `docker` command line.
//!
//! Each test holds for Docker's own engine too: `ENGINE_UNDER_TEST=theirs` runs them against a `dockerd` on private
//! folders (`tools/setup bench` installs one). A test that fails there is wrong.

mod buildkit;
mod clients;
mod compose;
mod engine;
#[path = "../support/mod.rs"]
mod support;

use engine::Engine;
use support::{Registry, Running, eventually, fetch, tree};

#[test]
fn docker_pipes_streams_and_follows() {
    let docker = Engine::start();
    let mut cat = Running::spawn(&mut docker.command(["run", "--rm", "-i", "busybox", "cat"]));
    cat.write("to and fro\n");
    assert_eq!(cat.line(), "to and fro");
    cat.finish().ends_with(0);
    docker.ok(["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", "echo one; read line; echo $line; exit 6"]);
    let mut follower = Running::spawn(&mut docker.command(["logs", "-f", "box"]));
    assert_eq!(follower.line(), "one");
    let mut attached = Running::spawn(&mut docker.command(["attach", "box"]));
    attached.write("two\n");
    assert_eq!(follower.line(), "two");
    follower.finish().ends_with(0);
    attached.finish().ends_with(6);
    assert_eq!(docker.ok(["logs", "--tail", "1", "box"]), "two");
    assert!(docker.ok(["logs", "-t", "box"]).lines().all(|line| line.contains("Z ")));
}

#[test]
fn docker_exec_has_a_terminal_an_exit_code_and_settings() {
    let docker = Engine::start();
    docker.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    docker.docker(["exec", "box", "sh", "-c", "exit 42"]).ends_with(42);
    let missing = docker.docker(["exec", "box", "no-such-program"]);
    // Docker 20.10 says that it cannot be executed.
    assert!(missing.code == 127 || (!docker.is_ours() && missing.code == 126), "{missing:?}");
    let told = docker.ok(["exec", "-e", "A=b", "-w", "/etc", "-u", "nobody", "box", "sh", "-c", "echo $A; pwd; id -u"]);
    assert_eq!(told, "b\n/etc\n65534");
    let mut session = docker.on_terminal("exec -it box sh");
    session.write("echo si''ze $(stty size); exit 9\n");
    session.until("size 31 97");
    session.finish().ends_with(9);
    let mut session = docker.on_terminal("run -it --rm busybox sh");
    session.write("tty; exit 8\n");
    session.until("/dev/pts/0");
    session.finish().ends_with(8);
    docker.ok(["pause", "box"]);
    docker.docker(["exec", "box", "true"]).ends_with(1);
    docker.ok(["unpause", "box"]);
}

#[test]
fn docker_joins_the_ipc_namespace_of_one_that_shares_it() {
    let docker = Engine::start();
    docker.ok(["run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sleep", "1000"]);
    docker.ok(["run", "-d", "--name", "private", "busybox", "sleep", "1000"]);
    docker.ok(["exec", "donor", "sh", "-c", "echo shared > /dev/shm/file"]);
    let namespace = docker.ok(["exec", "donor", "readlink", "/proc/self/ns/ipc"]);
    let script = "cat /dev/shm/file; readlink /proc/self/ns/ipc; echo back > /dev/shm/answer";
    let told = docker.ok(["run", "--rm", "--ipc", "container:donor", "busybox", "sh", "-c", script]);
    assert_eq!(told, format!("shared\n{namespace}"));
    assert_eq!(docker.ok(["exec", "donor", "cat", "/dev/shm/answer"]), "back");
    let refused = docker.docker(["run", "--rm", "--ipc", "container:private", "busybox", "true"]);
    assert!(refused.code != 0 && refused.err.contains("non-shareable IPC"), "{}", refused.err);
    docker.ok(["stop", "-t", "0", "donor"]);
    let refused = docker.docker(["run", "--rm", "--ipc", "container:donor", "busybox", "true"]);
    assert!(refused.code != 0 && refused.err.contains("not running"), "{}", refused.err);
}

#[test]
fn docker_builds_with_its_classic_builder() {
    let docker = Engine::start();
    let dockerfile = "FROM busybox AS base\nARG V=1\nRUN echo $V > /v\nFROM base\nCOPY file /file\nENV E=f\nCMD [\"cat\", \"/v\", \"/file\"]\n";
    let context =
        docker.context(&[("Dockerfile", dockerfile), ("file", "copied"), (".dockerignore", "*.log\n"), ("x.log", "")]);
    let context = context.to_str().expect("path");
    let ran = docker.docker(["build", "-t", "made", "--build-arg", "V=2", context]).ends_with(0);
    assert!(ran.out.contains("Step 1/") && ran.out.contains("Successfully tagged made:latest"), "{}", ran.out);
    assert_eq!(docker.ok(["run", "--rm", "made"]), "2\ncopied");
    let again = docker.docker(["build", "-t", "made", "--build-arg", "V=2", context]).ends_with(0);
    assert!(again.out.contains("Using cache"), "{}", again.out);
    assert!(docker.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]).contains("made:latest"));
    assert!(docker.ok(["history", "-q", "made"]).lines().count() >= 4);
    docker.context(&[("Dockerfile", "FROM busybox\nRUN exit 7\n")]);
    let failed = docker.docker(["build", context]).ends_with(7);
    assert!(failed.err.contains("returned a non-zero code: 7"), "{}", failed.err);
}

#[test]
fn docker_commits_tags_pushes_pulls_saves_and_loads() {
    let docker = Engine::start();
    let registry = Registry::start();
    let name = format!("{}/box:v2", registry.address());
    docker.ok(["run", "--name", "box", "busybox", "sh", "-c", "echo kept > /kept"]);
    let id = docker.ok(["commit", "-m", "message", "-a", "author", "-c", "CMD [\"cat\", \"/kept\"]", "box", &name]);
    assert!(docker.ok(["diff", "box"]).contains("A /kept"));
    docker.ok(["rm", "box"]);
    docker.ok(["push", &name]);
    docker.ok(["rmi", &name]);
    docker.docker(["run", "--rm", "--pull", "never", &name]).ends_with(125);
    let pulled = docker.ok(["pull", &name]);
    assert!(pulled.contains("Digest: sha256:") && pulled.contains("Status: Downloaded newer image"), "{pulled}");
    assert_eq!(docker.ok(["inspect", "-f", "{{.Id}}", &name]), id);
    assert_eq!(docker.ok(["run", "--rm", &name]), "kept");
    let archive = docker.folder().join("saved.tar");
    docker.ok(["save", "-o", archive.to_str().expect("path"), &name]);
    docker.ok(["rmi", &name]);
    assert!(docker.ok(["load", "-i", archive.to_str().expect("path")]).contains(&name));
    docker.ok(["tag", &name, "other:1"]);
    assert_eq!(docker.ok(["run", "--rm", "other:1"]), "kept");
}

#[test]
fn docker_copies_files_in_and_out() {
    let docker = Engine::start();
    docker.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    tree(docker.folder(), &[("in/a", "from outside"), ("in/deep/b", "deeper")]);
    let source = docker.folder().join("in");
    docker.ok(["cp", source.to_str().expect("path"), "box:/tmp/came"]);
    assert_eq!(docker.ok(["exec", "box", "cat", "/tmp/came/a", "/tmp/came/deep/b"]), "from outsidedeeper");
    docker.ok(["exec", "box", "sh", "-c", "echo changed > /tmp/came/a"]);
    let out = docker.folder().join("out");
    docker.ok(["cp", "box:/tmp/came", out.to_str().expect("path")]);
    assert_eq!(std::fs::read_to_string(out.join("a")).expect("read"), "changed\n");
    let missing = docker.docker(["cp", "box:/no/such", out.to_str().expect("path")]).ends_with(1);
    assert!(missing.err.contains("/no/such"), "{}", missing.err);
    docker.ok(["stop", "-t", "0", "box"]);
    docker.ok(["cp", "box:/tmp/came/deep/b", out.join("c").to_str().expect("path")]);
    assert_eq!(std::fs::read_to_string(out.join("c")).expect("read"), "deeper");
}

#[test]
fn docker_manages_volumes_and_tells_of_the_engine() {
    let docker = Engine::start();
    assert_eq!(docker.ok(["volume", "create", "--label", "a=b", "data"]), "data");
    docker.ok(["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo x > /data/x"]);
    docker.ok(["run", "--rm", "--mount", "source=data,target=/d,readonly", "busybox", "cat", "/d/x"]);
    assert_eq!(docker.ok(["volume", "inspect", "-f", "{{.Labels.a}} {{.Driver}}", "data"]), "b local");
    assert_eq!(docker.ok(["volume", "ls", "-q"]), "data");
    docker.ok(["volume", "rm", "data"]);
    let networks = docker.ok(["network", "ls", "--format", "{{.Name}} {{.Driver}}"]);
    let mut networks: Vec<_> = networks.lines().collect();
    networks.sort_unstable();
    assert_eq!(networks, ["bridge bridge", "host host", "none null"]);
    assert_eq!(docker.ok(["info", "--format", "{{.OSType}} {{.Containers}} {{.Images}}"]), "linux 0 1");
    assert_eq!(docker.ok(["version", "--format", "{{.Server.Os}}"]), "linux");
    assert!(docker.ok(["system", "df"]).contains("Images"));
}

#[test]
fn docker_runs_lists_shows_and_removes() {
    let docker = Engine::start();
    let ran = docker.docker(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3"]).ends_with(3);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
    let line = ["run", "-d", "--name", "box", "-e", "A=1", "-p", "127.0.0.1::80", "busybox", "sh", "-c"];
    let id = docker.ok(line.into_iter().chain(["echo up; exec httpd -f -h /etc"]));
    assert_eq!(docker.ok(["ps", "-q", "--no-trunc"]), id);
    let row = docker.ok(["ps", "--format", "{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Ports}}"]);
    assert!(row.starts_with("box busybox \"sh -c 'echo up; exe…\" running 127.0.0.1:"), "{row}");
    assert!(row.ends_with("->80/tcp"), "{row}");
    assert_eq!(Running::spawn(&mut docker.command(["logs", "-f", "box"])).line(), "up");
    let template = "{{.State.Running}} {{.Name}} {{json .Config.Env}} {{.HostConfig.NetworkMode}}";
    let shown = docker.ok(["inspect", "-f", template, "box"]);
    // Docker 20.10 shows what was asked for.
    let network = if docker.is_ours() { "bridge" } else { "default" };
    assert!(shown.starts_with("true /box [\"A=1\",") && shown.ends_with(network), "{shown}");
    let port = docker.ok(["port", "box", "80/tcp"]);
    let port = port.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert!(fetch(port, "/passwd").contains("root:x:0:0"));
    docker.docker(["rm", "box"]).ends_with(1);
    assert_eq!(docker.ok(["stop", "-t", "0", "box"]), "box");
    assert_eq!(docker.ok(["wait", "box"]), "137");
    assert_eq!(docker.ok(["rm", "box"]), "box");
    docker.docker(["run", "--rm", "busybox", "no-such-program"]).ends_with(127);
    docker.docker(["run", "--rm", "busybox", "/etc"]).ends_with(126);
    docker.docker(["run", "--rm", "--name", "a b", "busybox"]).ends_with(125);
    assert_eq!(docker.ok(["ps", "-aq"]), "");
}

#[test]
fn docker_checks_health_and_lets_go_of_terminals() {
    let docker = Engine::start();
    let line = ["run", "-d", "-it", "--name", "box", "--health-cmd", "echo looked; test -e /well"];
    let line = line.into_iter().chain(["--health-interval", "50ms", "--health-retries", "2", "busybox", "sh"]);
    docker.ok(line);
    let health = |wanted: &str| {
        let health = "{{.State.Health.Status}} {{(index .State.Health.Log 0).Output}}";
        eventually(wanted, || docker.docker(["inspect", "-f", health, "box"]).out.starts_with(wanted).then_some(()));
    };
    health("unhealthy looked");
    docker.ok(["exec", "box", "touch", "/well"]);
    health("healthy looked");
    assert!(docker.ok(["ps", "--filter", "health=healthy", "--format", "{{.Status}}"]).ends_with("(healthy)"));
    let filters = ["--since", "1", "--filter", "event=health_status", "--format", "{{.Action}}"];
    let mut told = Running::spawn(&mut docker.command(["events"].into_iter().chain(filters)));
    assert_eq!((told.line(), told.line()), ("health_status: unhealthy".into(), "health_status: healthy".into()));
    let mut session = docker.on_terminal("attach box");
    // What the container says comes only when the client has the terminal to itself.
    session.write("echo lo''ud\n");
    session.until("loud");
    session.write("\x10\x11");
    session.finish();
    assert_eq!(docker.ok(["inspect", "-f", "{{.State.Running}}", "box"]), "true");
    docker.ok(["rm", "-f", "box"]);
}

#[test]
fn docker_hears_of_events_and_sees_processes_and_figures() {
    let docker = Engine::start();
    let filters =
        ["--since", "1", "--filter", "container=box", "--filter", "type=container", "--format", "{{.Action}}"];
    let mut events = Running::spawn(&mut docker.command(["events"].into_iter().chain(filters)));
    docker.ok(["run", "-d", "--name", "box", "-m", "64m", "busybox", "sleep", "1000"]);
    assert_eq!(events.line(), "create");
    assert_eq!(events.line(), "start");
    assert!(docker.ok(["top", "box"]).contains("sleep 1000"));
    let figures = docker.ok(["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "box"]);
    let told = figures.starts_with("box 1 ") && figures.ends_with("/ 64MiB");
    assert!(told || (!docker.is_ours() && figures == "box 0 0B / 0B"), "{figures}");
    docker.ok(["update", "-m", "128m", "--memory-swap", "128m", "box"]);
    assert_eq!(docker.ok(["inspect", "-f", "{{.HostConfig.Memory}}", "box"]), "134217728");
    docker.ok(["rename", "box", "bin"]);
    docker.ok(["restart", "-t", "0", "bin"]);
    docker.ok(["kill", "bin"]);
    docker.ok(["rm", "bin"]);
}
