//! The OpenAPI document: it is valid, it is served, and what it allows and does not allow harms nobody.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::Value;
use support::{Daemon, Ran, base_image, eventually, packages, run, script};

/// Asks over the socket; the status is the last line.
fn ask(daemon: &Daemon, method: &str, path: &str) -> Ran {
    let mut command = Command::new("curl");
    command.args(["-sS", "--path-as-is", "-X", method, "-w", "\n%{http_code}", "--unix-socket"]);
    run(command.arg(daemon.socket()).arg(format!("http://localhost{path}")))
}

/// Sends JSON, and gives the answer's message.
fn send(daemon: &Daemon, path: &str, body: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "-H", "Content-Type: application/json", "--data-binary", body, "--unix-socket"]);
    let answer = run(command.arg(daemon.socket()).arg(format!("http://localhost{path}"))).ok();
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["message"].as_str().unwrap_or_default().to_owned()
}

fn json(daemon: &Daemon, path: &str) -> Value {
    let answer = ask(daemon, "GET", path).ok();
    serde_json::from_str(answer.rsplit_once('\n').expect("a status").0).expect("JSON")
}

fn status(daemon: &Daemon, method: &str, path: &str) -> String {
    ask(daemon, method, path).ok().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_cards_address_is_told_where_each_version_looks_for_it() {
    let daemon = Daemon::start();
    let address = "02:42:ac:11:00:0a";
    let body = format!(r#"{{"Image":"busybox","Cmd":["sleep","60"],"MacAddress":"{address}"}}"#);
    send(&daemon, "/v1.43/containers/create?name=old", &body);
    send(&daemon, "/v1.52/containers/create?name=new", &body);
    let body =
        r#"{"Image":"busybox","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:ac:11:00:0b"}}}}"#;
    send(&daemon, "/v1.44/containers/create?name=card", body);
    daemon.ok(["start", "old"]);
    let told = |name: &str, version: &str, path: &str| {
        let container = json(&daemon, &format!("{version}/containers/{name}/json"));
        container.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    for version in ["/v1.43", "/v1.51"] {
        assert_eq!(told("old", version, "/Config/MacAddress"), address);
        assert_eq!(told("old", version, "/NetworkSettings/MacAddress"), address);
        assert_eq!(told("card", version, "/Config/MacAddress"), "02:42:ac:11:00:0b");
    }
    for version in ["/v1.43", "/v1.51", "/v1.52", "/v1.56"] {
        assert_eq!(told("old", version, "/NetworkSettings/Networks/bridge/MacAddress"), address);
        assert_eq!(told("new", version, "/Config/MacAddress"), "");
    }
    // Since 1.52 with the networks alone.
    for path in ["/Config/MacAddress", "/NetworkSettings/MacAddress"] {
        assert_eq!(told("old", "/v1.56", path), "");
    }
}

#[test]
fn the_document_is_valid_and_served_with_and_without_a_version() {
    let daemon = Daemon::bare();
    let body = |path: &str| ask(&daemon, "GET", path).ok().rsplit_once('\n').expect("a status").0.to_owned();
    let document = body("/openapi.json");
    assert_eq!(document, body("/v1.41/openapi.json"));
    let file = daemon.folder().join("openapi.json");
    fs::write(&file, &document).expect("written");
    run(Command::new(packages("python").join("bin/openapi-spec-validator")).arg(&file)).ok();
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert!(document["paths"]["/containers/{id}/attach/ws"]["get"].is_object());
}

#[test]
fn names_with_slashes_are_names() {
    let daemon = Daemon::start();
    daemon.ok(["tag", "busybox", "registry.example:5000/team/image:1"]);
    for name in
        ["registry.example:5000/team/image:1", "registry.example:5000%2Fteam%2Fimage:1", "docker.io/library/busybox"]
    {
        for door in ["json", "history"] {
            assert_eq!(status(&daemon, "GET", &format!("/v1.47/images/{name}/{door}")), "200", "{name} {door}");
        }
        assert_eq!(status(&daemon, "GET", &format!("/images/{name}/nothing")), "404");
    }
    let name = "registry.example:5000/team/image";
    assert_eq!(status(&daemon, "POST", &format!("/images/{name}:1/tag?repo=a/b/json&tag=2")), "201");
    assert_eq!(status(&daemon, "DELETE", &format!("/v1.40/images/{name}:1")), "200");
    assert_eq!(status(&daemon, "DELETE", "/images/a/b/json:2"), "200");
    assert_eq!(daemon.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]), "busybox:latest");
    assert_eq!(status(&daemon, "POST", "/plugins/a/b/enable"), "501");
}

#[test]
fn an_unhealthy_container_meets_what_it_was_promised() {
    let daemon = Daemon::start();
    let run = |name: &str, consequence: &str| {
        let health = ["--health-cmd", "test -e /well", "--health-interval", "50ms", "--health-retries", "1"];
        let line = ["run", "-d", "--name", name, "--network", "none", "--health-on-failure", consequence];
        let program = ["busybox", "sh", "-c", "trap 'exit 7' TERM; sleep 1000 & wait"];
        daemon.ok(line.iter().chain(&health).chain(&program));
    };
    run("stopped", "stop");
    assert_eq!(daemon.ok(["wait", "stopped"]), "7");
    run("killed", "kill");
    assert_eq!(daemon.ok(["wait", "killed"]), "137");
    run("again", "restart");
    let started = || daemon.inspect("again", "{{.State.StartedAt}}");
    let first = started();
    eventually("it is started again", || (started() != first).then_some(()));
    run("left", "none");
    let health = || daemon.inspect("left", "{{.State.Health.Status}} {{.State.Running}}");
    eventually("it is unhealthy", || (health() == "unhealthy true").then_some(()));
    daemon.teu(["run", "--health-on-failure", "pray", "busybox"]).refused(125, &["pray", "--health-on-failure"]);
}

#[test]
fn an_image_is_for_its_own_platform_alone() {
    let daemon = Daemon::start();
    let platform = |name: &str| format!("%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22{name}%22%7D");
    let own = daemon.inspect("busybox", "{{.Architecture}}");
    for (door, good) in [("json", "200"), ("history", "200"), ("get", "200")] {
        let path = |name: &str| format!("/images/busybox/{door}?platform={}", platform(name));
        // An archive is no text.
        let told = |name: &str| {
            run(Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket"])
                .arg(daemon.socket())
                .arg(format!("http://localhost{}", path(name))))
            .ok()
        };
        assert_eq!((told(&own), told("s390x")), (good.into(), "404".into()), "{door}");
    }
    assert_eq!(status(&daemon, "DELETE", &format!("/images/busybox?platforms={}", platform("s390x"))), "404");
    let two = format!("/images/load?platform={}&platform={}", platform("s390x"), platform("amd64"));
    assert_eq!(status(&daemon, "POST", &two), "400");
    assert_eq!(status(&daemon, "GET", "/images/busybox/json?platform=linux"), "400");
}

/// Descriptors that the daemon has open.
fn descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("descriptors").count()
}

#[test]
fn whatever_is_asked_there_is_an_answer_and_nothing_stays() {
    let daemon = Daemon::start();
    let setting = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.into());
    let (seed, examples) = (setting("TEU_FUZZ_SEED", "1"), setting("TEU_FUZZ_EXAMPLES", "6"));
    // Once before counting: what is made on first use stays.
    daemon.ok(["run", "--rm", "busybox", "true"]);
    daemon.ok(["network", "create", "first"]);
    daemon.ok(["network", "rm", "first"]);
    let before = descriptors(&daemon);
    let mut command = Command::new(packages("python").join("bin/python"));
    command.arg(script("fuzz.py")).arg(daemon.socket()).arg(base_image()).args([&seed, &examples]);
    let ran = command.output().expect("python");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    println!("{told}");
    assert!(ran.status.success(), "the findings are above");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    assert_eq!(daemon.ok(["ps", "-aq"]) + &daemon.ok(["volume", "ls", "-q"]), "");
    eventually("no descriptor stays", || (descriptors(&daemon) <= before).then_some(()));
}

#[test]
fn what_is_wrong_with_a_request_is_told_in_dockers_words() {
    let daemon = Daemon::start();
    let words = send(&daemon, "/containers/create", "{invalid json");
    assert_eq!(words, "invalid JSON: invalid character 'i' looking for beginning of object key string");
    assert_eq!(send(&daemon, "/volumes/create", "{} more"), "unexpected content after JSON");
    let id = daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    for (query, words) in [
        ("h=1", "invalid resize width \\\"\\\": invalid syntax"),
        ("h=-1&w=1", "invalid resize height \\\"-1\\\": value out of range"),
    ] {
        assert!(ask(&daemon, "POST", &format!("/containers/box/resize?{query}")).ok().contains(words), "{query}");
    }
    let exec = |body: &str| send(&daemon, "/containers/box/exec", body);
    assert_eq!(
        exec(r#"{"User":"ghost","Cmd":["true"]}"#),
        "unable to find user ghost: no matching entries in passwd file"
    );
    assert!(ask(&daemon, "GET", "/containers/box/archive?path=/etc/passwd/").ok().contains("not a directory"));
    assert_eq!(status(&daemon, "POST", "/containers/box/rename?name=box"), "400");
    let create =
        |host: &str| send(&daemon, "/containers/create", &format!(r#"{{"Image":"busybox","HostConfig":{host}}}"#));
    assert!(create(r#"{"VolumesFrom":["ghost"]}"#).contains("No such container: ghost"));
    assert!(create(r#"{"PidMode":"container:ghost"}"#).contains("No such container: ghost"));
    let root = daemon.root().display().to_string();
    assert!(create(&format!(r#"{{"Binds":["{root}:/x:private"]}}"#)).contains("within the daemon root"));
    daemon.ok(["rm", "-f", &id]);
}

/// Posts with the offer of the connection; the head of the answer, and all that comes after.
fn offer(daemon: &Daemon, target: &str, body: &str) -> (String, Vec<u8>) {
    let mut stream = UnixStream::connect(daemon.socket()).expect("connected");
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: tcp\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let said = answer.split_off(end);
    (String::from_utf8(answer).expect("text"), said)
}

#[test]
fn a_container_runs_at_once_where_that_is_asked_for() {
    let daemon = Daemon::start();
    let run = |query: &str, rest: &str| {
        let body = format!(r#"{{"Image":"busybox","AttachStdout":true,"AttachStderr":true,{rest}}}"#);
        let (head, said) = offer(&daemon, &format!("/containers/create{query}"), &body);
        (head[9..12].to_owned(), head, said)
    };
    let words = r#""Cmd":["sh","-c","echo out; exit 42"]"#;
    let removed = format!(r#"{words},"HostConfig":{{"AutoRemove":true}}"#);
    let said = b"\x01\0\0\0\0\0\0\x04out\n\x04\0\0\0\0\0\0\x0242".to_vec();
    let (status, head, output) = run("?start=1&name=gone", &removed);
    assert_eq!((status.as_str(), output), ("101", said.clone()));
    assert!(head.contains(r#"x-teu-run: {"Id":""#) && head.contains(r#""Started":true}"#), "{head}");
    assert_eq!(daemon.ok(["ps", "-aq"]), "", "it is gone when its end is told");
    assert_eq!(run("?start=1&name=kept", words).2, said);
    assert_eq!(daemon.ok(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).split(" (").next(), Some("kept Exited"));
    // One that cannot be started is made all the same.
    let (status, _, answer) = run("?start=1&name=broken", r#""Cmd":["/nothing"]"#);
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((status.as_str(), &answer["Started"]), ("201", &Value::Bool(false)));
    assert!(answer["Error"].as_str().expect("a reason").contains("/nothing"), "{answer}");
    assert_eq!(daemon.ok(["inspect", "-f", "{{.State.Status}}", "broken"]), "created");
    // Without the word it waits, as for Docker; without streams to attach, or with a terminal, it runs by itself.
    let id = |answer: &[u8]| serde_json::from_slice::<Value>(answer).expect("JSON");
    let made = id(&run("?name=waiting", r#""Cmd":["true"]"#).2);
    assert_eq!((&made["Started"], made["Warnings"].as_array().map(Vec::len)), (&Value::Null, Some(0)));
    assert_eq!(daemon.ok(["inspect", "-f", "{{.State.Status}}", "waiting"]), "created");
    let alone =
        offer(&daemon, "/containers/create?start=1&name=alone", r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#);
    let terminal = run("?start=1&name=terminal", r#""Tty":true,"Cmd":["sleep","1000"]"#);
    for (name, made) in [("alone", alone.1), ("terminal", terminal.2)] {
        assert_eq!(id(&made)["Started"], Value::Bool(true), "{name}");
        assert_eq!(daemon.ok(["inspect", "-f", "{{.State.Status}}", name]), "running");
    }
    daemon.ok(["rm", "-f", "kept", "broken", "waiting", "alone", "terminal"]);
}

#[test]
fn an_exec_runs_at_once_where_that_is_asked_for() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let exec = |query: &str, body: &str| {
        let (head, said) = offer(&daemon, &format!("/containers/box/exec{query}"), body);
        (head[9..12].to_owned(), said)
    };
    let body = r#"{"AttachStdout":true,"AttachStderr":true,"Cmd":["sh","-c","echo out; exit 42"]}"#;
    assert_eq!(exec("?start=1", body), ("101".into(), b"\x01\0\0\0\0\0\0\x04out\n\x04\0\0\0\0\0\0\x0242".to_vec()));
    let (status, said) = exec("?start=1", r#"{"AttachStdout":true,"AttachStderr":true,"Cmd":["/nothing"]}"#);
    assert_eq!((status.as_str(), said.first()), ("101", Some(&2)), "on standard error");
    assert!(said.ends_with(b"\x04\0\0\0\0\0\0\x03127"), "{said:?}");
    // Without the word, and with a terminal, it is made and waits.
    let terminal = r#"{"Tty":true,"AttachStdout":true,"Cmd":["true"]}"#;
    for (query, body) in [("", body), ("?start=0", body), ("?start=1", terminal)] {
        assert_eq!(exec(query, body).0, "201", "{query} {body}");
    }
    daemon.ok(["rm", "-f", "box"]);
}

#[test]
fn an_attached_client_that_has_read_all_finds_the_container_ended() {
    let daemon = Daemon::start();
    // Its output ends a second before it does.
    let script = "echo out; exec >/dev/null 2>&1; sleep 1; exit 7";
    let path = "/containers/box/attach?stream=1&stdout=1&stderr=1";
    let hijacked = |daemon: &Daemon| {
        let mut stream = UnixStream::connect(daemon.socket()).expect("connected");
        let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        stream.read_to_end(&mut Vec::new()).expect("read");
    };
    let plain = |daemon: &Daemon| assert!(ask(daemon, "POST", path).ok().ends_with("200"));
    for read in [&hijacked as &dyn Fn(&Daemon), &plain] {
        daemon.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
        read(&daemon);
        assert_eq!(daemon.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
        daemon.ok(["rm", "box"]);
    }
    daemon.ok(["create", "--name", "box", "busybox", "/nothing"]);
    let filters = ["--since", "0", "--filter", "container=box", "--filter", "event=attach", "--format", "{{.Action}}"];
    let mut events = daemon.spawn(["events"].into_iter().chain(filters));
    std::thread::scope(|scope| {
        let client = scope.spawn(|| hijacked(&daemon));
        assert_eq!([events.line(), events.line(), events.line()], ["attach"; 3]);
        daemon.teu(["start", "box"]).refused(1, &["/nothing"]);
        client.join().expect("a start that fails ends the stream");
    });
}

#[test]
fn a_session_takes_h2c_alone() {
    let daemon = Daemon::bare();
    let start = |headers: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "5", "-X", "POST", "-w", "\n%{http_code}"]);
        command.args(headers.iter().flat_map(|header| ["-H", header]));
        run(command.arg("--unix-socket").arg(daemon.socket()).arg("http://localhost/session")).out
    };
    assert!(start(&[]).contains("no upgrade proto in request") && start(&[]).ends_with("400"));
    let other = start(&["Connection: Upgrade", "Upgrade: foo"]);
    assert!(other.contains("protocol foo not supported") && other.ends_with("400"), "{other}");
}

#[test]
fn whoever_names_networks_is_not_on_the_default_one_as_well() {
    let daemon = Daemon::start();
    assert_eq!(json(&daemon, "/networks/"), json(&daemon, "/networks"));
    for name in ["one", "two", "three"] {
        daemon.ok(["network", "create", name]);
    }
    let body = r#"{"Image":"busybox","Cmd":["sleep","1000"],"NetworkingConfig":{"EndpointsConfig":{
        "one":{"DriverOpts":{"com.docker.network.endpoint.ifname":"eth1"}},"two":{}}}}"#;
    send(&daemon, "/containers/create?name=box", body);
    daemon.ok(["start", "box"]);
    let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(daemon.inspect("box", networks).trim(), "one two");
    daemon.ok(["exec", "box", "ip", "addr", "show", "eth1"]);
    let clash = "com.docker.network.endpoint.ifname=eth0";
    daemon
        .teu(["network", "connect", "--driver-opt", clash, "three", "box"])
        .refused(1, &["error renaming interface", "file exists"]);
    daemon.ok(["rm", "-f", "box"]);
}

#[test]
fn images_are_listed_by_the_names_that_were_asked_for() {
    let daemon = Daemon::start();
    for name in ["utest:tag1", "utest/image:tag2", "utest:5000/image:tag3"] {
        daemon.ok(["tag", "busybox", name]);
    }
    let listed = |filter: &str| daemon.ok(["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", filter]);
    assert_eq!(listed("reference=utest"), "utest:tag1");
    assert_eq!(listed("reference=utest*/*").lines().count(), 2);
    assert_eq!(listed("reference=nothing"), "");
    daemon.teu(["tag", "busybox", "sha256:tag"]).refused(1, &["ambiguous tag"]);
    // A repository is saved with all its tags.
    daemon.ok(["tag", "busybox", "utest:tag2"]);
    let archive = daemon.folder().join("utest.tar");
    daemon.ok(["save", "-o", archive.to_str().expect("a path"), "utest"]);
    let listed = run(Command::new("tar").args(["-xOf", archive.to_str().expect("a path"), "manifest.json"])).ok();
    assert!(listed.contains("utest:tag1") && listed.contains("utest:tag2") && !listed.contains("busybox"), "{listed}");
    // Of an image in use a prune of all leaves one name.
    daemon.ok(["create", "--name", "box", "busybox"]);
    let told = daemon.ok(["image", "prune", "-af"]);
    assert!(!told.contains("deleted:"), "{told}");
    assert_eq!(daemon.ok(["images", "-q"]).lines().count(), 1);
    let id = daemon.inspect("box", "{{.Image}}");
    daemon.ok(["image", "inspect", &id]);
}

#[test]
fn only_what_was_asked_for_is_counted() {
    let daemon = Daemon::start();
    let usage = json(&daemon, "/system/df?type=image");
    assert!(usage["Images"].as_array().is_some_and(|images| images.len() == 1));
    assert!(usage["Containers"].is_null() && usage["Volumes"].is_null() && usage["BuildCache"].is_null());
    assert_eq!(json(&daemon, "/system/df")["Volumes"], serde_json::json!([]));
}

#[test]
fn each_version_is_told_things_its_own_way() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "--health-cmd", "true", "busybox", "sleep", "1000"]);
    let (old, new) = ("/v1.51", "");
    let get = |version: &str, path: &str| json(&daemon, &format!("{version}{path}"));
    assert_eq!(get(new, "/version")["ApiVersion"], "1.56");
    // A container's health is in its row, and addresses are with the networks they are of.
    let row = |version| get(version, "/containers/json")[0].clone();
    assert!(row(old).get("Health").is_none() && row(new)["Health"]["Status"].is_string());
    let settings = |version| get(version, "/containers/box/json")["NetworkSettings"].clone();
    let address = settings(new)["Networks"]["bridge"]["IPAddress"].clone();
    assert!(settings(old)["IPAddress"] == address && settings(new).get("IPAddress").is_none());
    assert_eq!(daemon.inspect("box", "{{.NetworkSettings.IPAddress}}"), address.as_str().expect("an address"));
    let config = |version| get(version, "/images/busybox/json")["Config"].clone();
    assert!(config(new).as_object().is_some_and(|members| members.values().all(|value| !value.is_null())));
    assert_eq!(config(new)["Cmd"], config(old)["Cmd"]);
    let stats = |version| get(version, "/containers/box/stats?stream=0&one-shot=1");
    assert!(stats(old).get("os_type").is_none() && stats(new)["os_type"] == "linux");
    assert!(
        get("/v1.48", "/info").get("FirewallBackend").is_none() && get(old, "/info")["FirewallBackend"].is_object()
    );
    // Networks are without IPv4 since 1.48.
    for (version, ipv4) in [("/v1.47", true), ("/v1.48", false)] {
        send(&daemon, &format!("{version}/networks/create"), r#"{"Name":"net","EnableIPv4":false,"EnableIPv6":true}"#);
        assert_eq!(get(new, "/networks/net")["EnableIPv4"], ipv4, "{version}");
        daemon.ok(["network", "rm", "net"]);
    }
    // What takes room, in sums and in lists.
    let usage = get(new, "/system/df");
    assert_eq!((&usage["ImageUsage"]["TotalCount"], &usage["ContainerUsage"]["ActiveCount"]), (&1.into(), &1.into()));
    assert!(usage["Images"].is_array() && usage["ImageUsage"].get("Items").is_none());
    let usage = get(new, "/system/df?verbose=1");
    assert!(usage["ImageUsage"]["Items"].is_array() && usage.get("Images").is_none());
    assert!(get(old, "/system/df?verbose=1").get("ImageUsage").is_none());
    assert_eq!(status(&daemon, "GET", "/images/busybox/attestations"), "501");
    assert_eq!(status(&daemon, "GET", "/images/nothing/attestations"), "404");
}

#[test]
fn rows_of_containers_have_the_members_that_are_asked_for() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "box", "--label", "a=b", "busybox", "true"]);
    for version in ["/v1.24", "/v1.41", "/v1.51", ""] {
        let rows = json(&daemon, &format!("{version}/containers/json?all=1&fields=State,Labels&fields=Names"));
        let whole = json(&daemon, &format!("{version}/containers/json?all=1"));
        let names = ["Names", "Labels", "State"];
        assert_eq!(rows[0].as_object().map(serde_json::Map::len), Some(names.len()), "{version}: {rows}");
        names.iter().for_each(|name| assert_eq!(rows[0][name], whole[0][name], "{version}"));
    }
    assert_eq!(status(&daemon, "GET", "/containers/json?fields=Colour"), "400");
    let told =
        daemon.ok(["ps", "-a", "--format", "{{.Label \"a\"}} {{.Names}} {{.State}} {{.Networks}} {{.LocalVolumes}}"]);
    assert_eq!(told, "b box created bridge 0");
    let told = daemon.ok(["ps", "-a", "--format", "json"]);
    assert!(["\"Networks\":\"bridge\"", "\"Labels\":\"a=b\""].iter().all(|part| told.contains(part)), "{told}");
}

#[test]
fn events_come_in_the_form_that_is_asked_for() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "box", "busybox"]);
    let told = |version: &str, accept: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-i", "-H", &format!("Accept: {accept}"), "--unix-socket"]).arg(daemon.socket());
        let path = "/events?since=1&until=2000000000.0&filters=%7B%22event%22%3A%5B%22create%22%5D%7D";
        // The last moment is far away: what has happened is enough.
        curl.args(["-m", "1"]).arg(format!("http://localhost{version}{path}"));
        let out = String::from_utf8_lossy(&curl.output().expect("curl").stdout).into_owned();
        let (head, body) = out.split_once("\r\n\r\n").expect("a body");
        let kind = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-type: ").map(str::to_owned));
        (kind.expect("a type"), body.lines().last().expect("an event").to_owned())
    };
    let (kind, event) = told("/v1.51", "*/*");
    assert!(kind == "application/json" && event.contains(r#""status":"create""#), "{kind} {event}");
    let (kind, event) = told("", "*/*");
    assert!(kind == "application/jsonl" && !event.contains(r#""status""#), "{kind} {event}");
    let (kind, event) = told("", "application/json-seq");
    assert!(kind == "application/json-seq" && event.starts_with("\u{1e}{"), "{kind} {event}");
    assert_eq!(told("/v1.51", "application/x-ndjson").0, "application/x-ndjson");
}

#[test]
fn a_cache_of_a_build_lasts_until_it_is_pruned_and_leaves_nothing_in_the_image() {
    let mut daemon = Daemon::start();
    let build = |daemon: &Daemon, script: &str| {
        let file = format!(
            "FROM busybox\nRUN --mount=type=cache,target=/var/store/own,id=own --mount=type=tmpfs,target=/scratch {script}\n"
        );
        daemon.teu_with(["build", "--no-cache", "-t", "made", "-"], file.as_bytes()).ok()
    };
    build(
        &daemon,
        "echo kept >/var/store/own/file && echo gone >/scratch/file && mount | grep -q '/scratch type tmpfs'",
    );
    assert_eq!(daemon.ok(["run", "--rm", "made", "ls", "/"]), daemon.ok(["run", "--rm", "busybox", "ls", "/"]));
    daemon.stop();
    daemon.restart();
    build(&daemon, "grep kept /var/store/own/file");
    let rows = json(&daemon, "/system/df?type=build-cache");
    let rows = rows["BuildCache"].as_array().expect("a list");
    let mounts: Vec<&Value> = rows.iter().filter(|row| row["Type"] == "exec.cachemount").collect();
    assert!(mounts.len() == 1 && mounts[0]["Size"] == 5, "{rows:?}");
    daemon.ok(["builder", "prune", "-af"]);
    build(&daemon, "test ! -e /var/store/own/file");
    daemon.ok(["builder", "prune", "-af"]);
}

#[test]
fn a_builders_session_is_taken_and_held() {
    let daemon = Daemon::bare();
    let open = |headers: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "1", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"]);
        command.args(["-H", "Connection: Upgrade", "--unix-socket"]).arg(daemon.socket());
        command.args(headers.iter().flat_map(|header| ["-H", header]));
        run(command.arg("http://localhost/session"))
    };
    let id = "X-Docker-Expose-Session-Uuid: one";
    // curl knows nothing of what comes, or waits until its patience ends: the connection is not closed.
    let ran = open(&["Upgrade: h2c", id]);
    assert!((ran.code == 28 || ran.code == 52) && ran.out == "101", "{ran:?}");
    for headers in [&["Upgrade: h2c"][..], &["Upgrade: websocket", id], &[id]] {
        assert_eq!(open(headers).out, "400", "{headers:?}");
    }
}
