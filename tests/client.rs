//! The command line as its users meet it: the bytes of the stock `docker` command on the same daemon, contexts, settings,
//! dry runs, completions.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::{Daemon, Ran, Running, TEU, run, run_with, tree};

/// The stock client on this daemon, with the folder of settings that teu uses too.
fn docker(daemon: &Daemon, words: &[&str]) -> Ran {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", settings(daemon)).env_remove("DOCKER_CONTEXT");
    run(command.args(words))
}

fn settings(daemon: &Daemon) -> std::path::PathBuf {
    daemon.folder().join("settings")
}

/// A command of teu with that folder of settings.
fn teu(daemon: &Daemon, words: &[&str]) -> Command {
    let mut command = daemon.command(words);
    command.env("DOCKER_CONFIG", settings(daemon));
    command
}

fn write_settings(daemon: &Daemon, text: &str) {
    tree(&settings(daemon), &[("config.json", text)]);
}

/// A script that can be run.
fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("folder")).expect("folder");
    fs::write(path, text).expect("script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
}

/// What prints the same bytes as the stock client.
const SAME: &[&[&str]] = &[
    &["ps"],
    &["ps", "-a", "--no-trunc"],
    &["ps", "-aq"],
    &["ps", "-as"],
    &["ps", "-a", "--format", "json"],
    &["ps", "-a", "--format", "raw"],
    &["ps", "-a", "--format", "table {{.Names}}\t{{.Label \"com.a.b-c\"}}\t{{upper .State}}"],
    &["ps", "-a", "--format", "{{.ID}} {{.Ports}} {{json .Labels}} {{.Mounts}} {{.Networks}} {{.LocalVolumes}}"],
    &["ps", "-n", "1"],
    &["container", "ls", "-a", "--filter", "name=web"],
    &["images"],
    &["images", "--digests"],
    &["images", "-q", "--no-trunc"],
    &["images", "--format", "json"],
    &["images", "--format", "raw"],
    &["image", "ls", "--format", "table {{.Repository}}:{{.Tag}}\t{{.Size}}"],
    &["history", "busybox"],
    &["history", "--no-trunc", "-H=false", "busybox"],
    &["history", "-q", "busybox"],
    &["system", "df"],
    &["system", "df", "-v"],
    &["system", "df", "--format", "json"],
    &["network", "ls"],
    &["network", "ls", "--format", "json"],
    &["network", "ls", "-q"],
    &["volume", "ls", "-q"],
    &["inspect", "web"],
    &["inspect", "--format", "json", "web", "old"],
    &["inspect", "-s", "-f", "{{.SizeRootFs}}", "web"],
    &["inspect", "-f", "{{.Config.Env}} {{.NetworkSettings.Ports}} {{.HostConfig.RestartPolicy}}", "web"],
    &["inspect", "-f", "{{json .Config}}", "web"],
    &["inspect", "-f", "{{range .Mounts}}{{.Source}}{{end}}{{index .Config.Labels \"com.a.b-c\"}}", "web"],
    &[
        "inspect",
        "-f",
        "{{define \"x\"}}<{{.}}>{{end}}{{template \"x\" .Name}}{{block \"y\" .Path}}{{.}}{{end}}",
        "web",
    ],
    &[
        "inspect",
        "-f",
        "{{.State.Health}} {{if .State.Health}}x{{end}}{{range .Args}}{{printf \"%q|%6s\" . .}}{{end}}",
        "web",
    ],
    &["inspect", "-f", "{{.HostConfig.LogConfig}} {{.Config.Labels.none}} {{index .Config.Labels \"none\"}}|", "web"],
    &[
        "inspect",
        "-f",
        "{{printf \"%T %v %05d %x\" .RestartCount .State.Running 7 .Name}} {{print 1 2 \"a\" 3}}",
        "web",
    ],
    &["inspect", "-f", "{{or true (index .Args 9)}} {{html .Config.Env}} {{slice .Id 0 5 | len}}", "web"],
    &["inspect", "--type", "image", "busybox"],
    &["logs", "--since", "-5m", "web"],
    &["logs", "--since", "2013-01-02T15:04", "--until", "1h0.5s", "old"],
    &["logs", "--since", "", "old"],
    &["ps", "--format", "table {{printf \"%-9s\" .Names}} {{slice .Image 0 3}} {{len .Names}} {{truncate .ID 4}}"],
    &["ps", "--filter", ""],
    &["image", "inspect", "busybox"],
    &["port", "web"],
    &["port", "web", "80"],
    &["top", "web"],
    &["diff", "old"],
    &["context", "show"],
    &["context", "ls", "-q"],
    &["wait", "old"],
];

#[test]
fn lists_and_inspections_have_the_bytes_of_dockers_own() {
    let daemon = Daemon::start();
    daemon.ok([
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1::80",
        "-l",
        "com.a.b-c=d",
        "-e",
        "A=<1>",
        "busybox",
        "sleep",
        "1000",
    ]);
    daemon.ok(["run", "--name", "old", "busybox", "true"]);
    for line in SAME {
        // Between the two a second may pass, and "1 second ago" become "2 seconds ago".
        let both = || (run(&mut teu(&daemon, line)), docker(&daemon, line));
        let differ = |(ours, theirs): &(Ran, Ran)| (ours.code, &ours.out) != (theirs.code, &theirs.out);
        let mut pair = both();
        for _ in 0..4 {
            if differ(&pair) {
                pair = both();
            }
        }
        let (ours, theirs) = pair;
        assert_eq!((ours.code, ours.out), (theirs.code, theirs.out), "{line:?}\n{}", ours.err);
    }
}

#[test]
fn filters_take_expressions_and_refuse_what_means_nothing() {
    let daemon = Daemon::start();
    for name in ["web1", "web2", "db1"] {
        daemon.ok(["create", "--name", name, "busybox"]);
    }
    let names = |filter: &str| daemon.ok(["ps", "-a", "--filter", filter, "--format", "{{.Names}}"]);
    assert_eq!(names("name=web"), "web2\nweb1");
    assert_eq!(names("name=^/web1$"), "web1");
    assert_eq!(names("name=^(web|db)1$"), "db1\nweb1");
    assert_eq!((names("name=("), names("name=^eb")), (String::new(), String::new()));
    for wrong in ["exited=x", "publish=x", "expose=9-1", "is-task=x", "status=asleep"] {
        daemon.teu(["ps", "--filter", wrong]).refused(1, &["invalid filter"]);
    }
    assert_eq!(daemon.ok(["images", "-q", "--filter", "until=1960-01-01T10"]), "");
    for command in [&["ps"][..], &["images"], &["volume", "ls"], &["network", "ls"], &["events"]] {
        let line = [command, &["--filter", "foo"]].concat();
        let sentence = "invalid argument \"foo\" for \"-f, --filter\" flag: bad format of filter (expected name=value)";
        daemon.teu(line).refused(125, &[sentence]);
    }
}

#[test]
fn flags_that_mean_nothing_are_refused_in_dockers_words() {
    let daemon = Daemon::start();
    for command in [&["create"][..], &["volume", "create"], &["network", "create"]] {
        let line = [command, &["--label", "=x", "busybox"]].concat();
        daemon.teu(line).refused(125, &["invalid argument \"=x\" for", "flag: invalid label '=x': empty name"]);
    }
    let sentence = "invalid argument \"=x\" for \"-e, --env\" flag: invalid environment variable: =x";
    daemon.teu(["create", "-e", "=x", "busybox"]).refused(125, &[sentence]);
    let known = "must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \
                 \"service\", \"task\", \"volume\"";
    daemon.teu(["inspect", "--type", "foo", "x"]).refused(1, &[&format!("unknown type: \"foo\": {known}")]);
    daemon.teu(["inspect", "--type", "", "x"]).refused(1, &[&format!("type is empty: {known}")]);
    daemon.teu(["inspect", "--type", "config", "x"]).refused(1, &["this node is not a swarm manager"]);
    let sentence = "invalid value for \"since\": failed to parse value as time or duration: \"foo\"";
    daemon.teu(["logs", "--since", "foo", "x"]).refused(1, &[sentence]);
    daemon.teu(["events", "--since", "1h", "--until", "2h"]).refused(1, &["cannot be after `until` time"]);
    daemon.teu(["ps", "--format", "{{.Nope}}"]).ends_with(0);
    daemon.ok(["create", "--name", "box", "busybox"]);
    daemon
        .teu(["ps", "-a", "--format", "{{.Nope}}"])
        .refused(1, &["failed to execute template: template: :1:2: executing"]);
    // An end alone asks for what was before it.
    let asked =
        ["events", "--until", "0s", "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}}"];
    assert_eq!(daemon.ok(asked), "create box");
}

#[test]
fn a_version_has_all_its_facts() {
    let daemon = Daemon::bare();
    let format = "{{.Server.GitCommit}}{{.Server.GoVersion}}{{.Server.BuildTime}}{{.Server.Experimental}} {{.Server.MinAPIVersion}} \
                  {{with index .Server.Components 0}}{{range $name, $ := .Details}}{{$name}} {{end}}{{end}}\
                  {{.Client.GitCommit}}{{.Client.GoVersion}}{{.Client.BuildTime}}{{.Client.Context}}";
    let names = "ApiVersion Arch BuildTime Experimental GitCommit GoVersion KernelVersion MinAPIVersion Os";
    assert_eq!(daemon.ok(["version", "--format", format]), format!("false 1.24 {names} default"));
}

#[test]
fn a_context_leads_to_its_daemon_and_can_be_copied_and_carried() {
    let daemon = Daemon::start();
    let far = |words: &[&str]| {
        let mut command = teu(&daemon, words);
        command.env_remove("TEU_HOST");
        run(&mut command)
    };
    let at = format!("host={}", daemon.host());
    assert_eq!(far(&["context", "create", "far", "--description", "far away", "--docker", &at]).ok(), "far");
    far(&["context", "create", "far"]).refused(1, &["context \"far\" already exists"]);
    far(&["context", "create", "a b"]).refused(1, &["\"a b\" is invalid"]);
    assert_eq!(far(&["--context", "far", "images", "--format", "{{.Repository}}"]).ok(), "busybox");
    far(&["context", "use", "far"]).ok();
    assert_eq!(far(&["context", "show"]).ok(), "far");
    assert_eq!(far(&["images", "-q"]).ok().lines().count(), 1);
    let archive = daemon.folder().join("far.tar");
    let archive = archive.to_str().expect("path");
    far(&["context", "export", "far", archive]).ok();
    far(&["context", "import", "copy", archive]).ok();
    assert_eq!(far(&["context", "inspect", "-f", "{{.Endpoints.docker.Host}}", "copy"]).ok(), daemon.host());
    far(&["context", "update", "copy", "--docker", "host=tcp://127.0.0.1:1,skip-tls-verify=true"]).ok();
    far(&["--context", "copy", "ps"]).refused(1, &["127.0.0.1:1"]);
    // The stock client sees the same contexts.
    let theirs = run(Command::new("docker")
        .env("DOCKER_CONFIG", settings(&daemon))
        .env_remove("DOCKER_HOST")
        .args(["context", "ls", "-q"]));
    assert_eq!(theirs.ok(), "copy\ndefault\nfar");
    far(&["context", "rm", "far"]).refused(1, &["is in use"]);
    assert_eq!(far(&["context", "rm", "--dry-run", "copy"]).ok(), "copy");
    far(&["context", "rm", "-f", "copy", "far"]).ok();
    assert_eq!(far(&["context", "show"]).ok(), "default");
    far(&["--context", "far", "ps"]).refused(1, &["context \"far\" does not exist"]);
    far(&["--context", "x", "-H", "unix:///y", "ps"]).refused(1, &["cannot specify both --host and --context"]);
}

#[test]
fn another_machine_is_reached_through_ssh() {
    let daemon = Daemon::start();
    // Stands in for ssh: the last word is what the shell of the other machine is told.
    let bin = daemon.folder().join("bin");
    let told = daemon.folder().join("told");
    let text = format!(
        "#!/bin/sh\necho \"$@\" >> {}\nfor last; do :; done\nTEU_HOST={} exec sh -c \"$last\"\n",
        told.display(),
        daemon.host()
    );
    script(&bin.join("ssh"), &text);
    std::os::unix::fs::symlink(TEU, bin.join("teu")).expect("link");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
    let ssh = |words: &[&str]| {
        let mut command = Command::new(TEU);
        command.env("PATH", &path).env("HOME", daemon.folder()).env_remove("DOCKER_HOST").env_remove("TEU_HOST");
        command.args(["-H", "ssh://ann@far:2222"]).args(words);
        command
    };
    assert_eq!(run(&mut ssh(&["images", "--format", "{{.Repository}}"])).ok(), "busybox");
    let ran = run_with(&mut ssh(&["run", "--rm", "-i", "busybox", "sh", "-c", "cat; exit 7"]), b"over the wire\n");
    assert_eq!(ran.ends_with(7).out, "over the wire\n");
    assert!(
        fs::read_to_string(told).expect("told").starts_with("-l ann -p 2222 -o ConnectTimeout=30 -T -- far sh -c ")
    );
    run(Command::new(TEU).args(["-H", "ssh://-oProxyCommand=x", "ps"])).refused(1, &["invalid host"]);
}

#[test]
fn settings_of_the_config_file_are_heeded() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "box", "busybox"]);
    write_settings(
        &daemon,
        r#"{"psFormat": "{{.Names}}!", "imagesFormat": "{{.Tag}}", "aliases": {"lsa": "container ls -a", "bad": "nope"},
            "proxies": {"default": {"httpProxy": "http://proxy:1"}}, "detachKeys": "ctrl-e,e", "unknown": 1}"#,
    );
    let ok = |words: &[&str]| run(&mut teu(&daemon, words)).ok();
    assert_eq!(ok(&["ps", "-a"]), "box!");
    assert_eq!(ok(&["lsa"]), "box!");
    assert_eq!(ok(&["ps", "-aq"]).len(), 12);
    assert_eq!(ok(&["images"]), "latest");
    assert_eq!(
        ok(&["run", "--rm", "busybox", "sh", "-c", "echo $HTTP_PROXY $http_proxy"]),
        "http://proxy:1 http://proxy:1"
    );
    assert_eq!(ok(&["run", "--rm", "-e", "http_proxy=x", "busybox", "sh", "-c", "echo $http_proxy"]), "x");
    run(&mut teu(&daemon, &["bad"])).refused(1, &["the alias 'bad' stands for 'nope'"]);
    write_settings(&daemon, "{ broken");
    let ran = run(&mut teu(&daemon, &["ps", "-q"])).ends_with(0);
    assert!(ran.err.contains("Error loading config file"), "{}", ran.err);
}

#[test]
fn credentials_are_kept_by_the_helper_that_is_named() {
    let registry = support::Registry::start();
    let daemon = Daemon::bare();
    let bin = daemon.folder().join("bin");
    let kept = daemon.folder().join("kept");
    let text = format!(
        "#!/bin/sh\ncase $1 in store) cat > {0};; get) cat {0} 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }};; erase) rm -f {0};; list) echo '{{}}';; esac\n",
        kept.display()
    );
    script(&bin.join("docker-credential-fake"), &text);
    write_settings(&daemon, r#"{"credsStore": "fake"}"#);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
    let address = registry.address();
    let words = ["login", "-u", "ann", "--password-stdin", &address];
    let ran = run_with(teu(&daemon, &words).env("PATH", &path), b"secret\n").ends_with(0);
    assert!(ran.out.contains("Login Succeeded") && !ran.err.contains("unencrypted"), "{}{}", ran.out, ran.err);
    assert!(fs::read_to_string(&kept).expect("kept").contains("\"Secret\":\"secret\""));
    let file = fs::read_to_string(settings(&daemon).join("config.json")).expect("settings");
    assert!(!file.contains("c2VjcmV0") && file.contains(&address), "{file}");
    let out = run(teu(&daemon, &["logout", &address]).env("PATH", &path)).ok();
    assert!(out.contains("Removing login credentials for"), "{out}");
    assert!(!kept.exists());
}

#[test]
fn a_dry_run_says_what_would_go_and_changes_nothing() {
    let daemon = Daemon::start();
    daemon.ok(["run", "--name", "old", "busybox", "true"]);
    daemon.ok(["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    daemon.ok(["tag", "busybox", "other:1"]);
    assert_eq!(daemon.ok(["rm", "--dry-run", "old"]), "old");
    daemon.teu(["rm", "--dry-run", "web"]).refused(1, &["container is running"]);
    assert_eq!(daemon.ok(["rm", "--dry-run", "-f", "web"]), "web");
    assert_eq!(daemon.ok(["rmi", "--dry-run", "other:1"]), "Would untag: other:1");
    daemon.ok(["rmi", "other:1"]);
    daemon.teu(["rmi", "--dry-run", "busybox"]).refused(1, &["image is being used by running container"]);
    let id = daemon.ok(["ps", "-aq", "--no-trunc", "--filter", "name=old"]);
    assert_eq!(daemon.ok(["container", "prune", "--dry-run"]), format!("Would delete Containers:\n{id}"));
    assert_eq!(daemon.ok(["image", "prune", "-a", "--dry-run"]), "");
    daemon.ok(["volume", "create", "free"]);
    daemon.ok(["network", "create", "free"]);
    daemon.ok(["create", "--name", "user", "-v", "used:/v", "busybox"]);
    assert_eq!(daemon.ok(["volume", "rm", "--dry-run", "free"]), "free");
    daemon.teu(["volume", "rm", "--dry-run", "used"]).refused(1, &["remove used: volume is in use - ["]);
    daemon.teu(["volume", "rm", "--dry-run", "none"]).refused(1, &["no such volume"]);
    assert_eq!(daemon.ok(["network", "rm", "--dry-run", "free"]), "free");
    daemon.teu(["network", "rm", "--dry-run", "bridge"]).refused(1, &["pre-defined network"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "free\nused");
    assert_eq!(daemon.ok(["network", "ls", "-q", "--filter", "name=free"]).lines().count(), 1);
    assert_eq!(daemon.ok(["ps", "-aq"]).lines().count(), 3);
    assert_eq!(daemon.ok(["images", "-q"]).lines().count(), 1);
}

#[test]
fn what_destroys_asks_first() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "old", "busybox"]);
    let said_no = daemon.teu_with(["container", "prune"], b"n\n").ends_with(0);
    let question = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
    assert_eq!(said_no.out, format!("{question}\n"));
    assert_eq!(daemon.ok(["ps", "-aq"]).lines().count(), 1);
    let said_yes = daemon.teu_with(["container", "prune"], b"y\n").ends_with(0);
    assert!(said_yes.out.contains("Deleted Containers:\n"), "{}", said_yes.out);
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
    let system = daemon.teu_with(["system", "prune", "--volumes"], b"\n").ends_with(0);
    assert!(system.out.starts_with("WARNING! This will remove:\n  - all stopped containers\n  - all networks"));
}

#[test]
fn a_pipe_that_closes_and_an_older_daemon_are_no_trouble() {
    let daemon = Daemon::start();
    let line = format!(
        "{TEU} -H {} run --rm busybox yes 2>&1 | head -1; {TEU} -H {} --help | head -1",
        daemon.host(),
        daemon.host()
    );
    assert_eq!(run(Command::new("sh").args(["-c", &line])).ok(), "y\nUsage:  teu [OPTIONS] COMMAND");
    let mut old = daemon.command(["version", "--format", "{{.Client.ApiVersion}}"]);
    assert_eq!(run(old.env("DOCKER_API_VERSION", "1.41")).ok(), "1.41");
    let mut new = daemon.command(["version"]);
    run(new.env("DOCKER_API_VERSION", "9.9")).ends_with(1);
    let mut headers = daemon.command(["ps"]);
    run(headers.env("DOCKER_CUSTOM_HEADERS", "nonsense")).refused(1, &["DOCKER_CUSTOM_HEADERS", "nonsense"]);
}

#[test]
fn the_shell_is_told_how_a_word_goes_on() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    daemon.ok(["create", "--name", "other", "busybox"]);
    let told = |words: &[&str]| {
        let out = daemon.ok(["__complete", "--"].iter().chain(words));
        out.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(&["stop", ""]), ["web"]);
    assert_eq!(told(&["rm", "ot"]), ["other"]);
    assert_eq!(told(&["run", "-it", "busy"]), ["busybox:latest"]);
    assert_eq!(told(&["run", "--network=h"]), ["--network=host"]);
    assert_eq!(told(&["volu"]), ["volume"]);
    let bash = format!(
        "source <({TEU} completion bash); COMP_WORDS=(teu ima); COMP_CWORD=1; teu() {{ {TEU} \"$@\"; }}; _teu; echo ${{COMPREPLY[@]}}"
    );
    assert_eq!(run(Command::new("bash").args(["-c", &bash])).ok(), "images image");
}

#[test]
fn the_doctor_looks_at_everything_and_says_it_to_programs_too() {
    let daemon = Daemon::bare();
    let report: serde_json::Value = serde_json::from_str(&daemon.ok(["doctor", "--format", "json"])).expect("JSON");
    assert_eq!(report["Healthy"], true);
    let areas: Vec<&str> =
        report["Findings"].as_array().expect("list").iter().filter_map(|f| f["Area"].as_str()).collect();
    for area in ["Kernel", "Control groups", "Storage", "Firewall and forwarding", "User namespaces", "Daemon"] {
        assert!(areas.contains(&area), "{area}");
    }
    let mut known = daemon.command(["doctor"]);
    let ran = run(known.env("TEU_HOST", "unix:///no/such.sock").env("TEU_DATA_ROOT", daemon.root()));
    assert!(ran.ends_with(0).out.contains("none runs at /no/such.sock yet"));
    let ran = run(Command::new(TEU).env_remove("TEU_HOST").env("DOCKER_HOST", "unix:///no/such.sock").arg("doctor"));
    assert!(ran.ends_with(1).out.contains("FAIL  none answers at /no/such.sock"));
}

#[test]
fn figures_are_shown_once_or_as_a_screen() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "web", "-m", "64m", "busybox", "sleep", "1000"]);
    let out = daemon.ok(["stats", "--no-stream"]);
    let mut lines = out.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("CONTAINER ID   NAME      CPU %")), "{out}");
    assert!(lines.next().is_some_and(|line| line.contains("web") && line.contains("/ 64MiB")), "{out}");
    daemon.teu(["stats", "--no-stream", "nobody"]).refused(1, &["No such container: nobody"]);
    let mut screen = Running::spawn(&mut daemon.on_terminal_of("24", "100", "stats"));
    screen.until("/ 64MiB");
    daemon.ok(["rm", "-f", "web"]);
    screen.until("\u{1b}[H");
    screen.write("\u{3}");
    screen.finish();
}
