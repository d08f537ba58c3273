//! `teu runtime --systemd-cgroup`, where systemd is: in a container that boots it.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::support::{Bundle, Daemon, Ran, TEU, base_image, eventually, systemd_image};

/// A machine that runs systemd, with the bundle where it is outside.
fn boot(bundle: &Bundle) -> Daemon {
    let daemon = Daemon::start();
    daemon.ok(["load", "-q", "-i", systemd_image().to_str().expect("a path")]);
    let (program, place) = (format!("{TEU}:/usr/bin/teu:ro"), format!("{0}:{0}", bundle.path().display()));
    let line = [
        "run",
        "-d",
        "--name",
        "machine",
        "--privileged",
        "--cgroupns",
        "private",
        "--tmpfs",
        "/run",
        "--tmpfs",
        "/tmp",
    ];
    daemon.ok([&line[..], &["-v", "/var/lib/teu", "-v", &program, "-v", &place, "systemd:bookworm"]].concat());
    // Whatever it waits for beyond that may never be there in a container: terminals.
    let up = ["exec", "machine", "systemctl", "is-active", "--quiet", "basic.target"];
    eventually("systemd is up", || (daemon.teu(up).code == 0).then_some(()));
    daemon
}

fn runtime(daemon: &Daemon, bundle: &Bundle, args: &[&str]) -> Ran {
    // The configuration is written as for a command that is run outside.
    bundle.command(&[]);
    let face = ["exec", "machine", "teu", "runtime", "--root", "/run/containers", "--systemd-cgroup"];
    daemon.teu([&face[..], args].concat())
}

fn property(daemon: &Daemon, unit: &str, name: &str) -> String {
    daemon.ok(["exec", "machine", "systemctl", "show", "--value", "-p", name, unit])
}

#[test]
fn systemd_makes_the_cgroup_keeps_its_limits_and_forgets_it() {
    let mut bundle = Bundle::new("while :; do sleep 0.05; done");
    bundle.config["linux"]["cgroupsPath"] = json!("pods-one.slice:cri:box");
    bundle.config["linux"]["resources"] = json!({ "memory": { "limit": 33_554_432 }, "pids": { "limit": 40 }, "cpu": { "quota": 50_000, "period": 100_000 } });
    bundle.config["annotations"] = json!({ "org.systemd.property.CollectMode": "'inactive-or-failed'" });
    let daemon = boot(&bundle);
    let place = bundle.path().display().to_string();
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let limit = if unified { "MemoryMax" } else { "MemoryLimit" };
    runtime(&daemon, &bundle, &["run", "-d", "--bundle", &place, "box"]).ok();

    let unit = "cri-box.scope";
    assert_eq!(property(&daemon, unit, "ActiveState"), "active");
    assert_eq!(property(&daemon, unit, "Slice"), "pods-one.slice");
    assert_eq!(property(&daemon, unit, "Delegate"), "yes");
    assert_eq!(property(&daemon, unit, limit), "33554432");
    assert_eq!(property(&daemon, unit, "TasksMax"), "40");
    assert_eq!(property(&daemon, unit, "CPUQuotaPerSecUSec"), "500ms");
    assert_eq!(property(&daemon, unit, "CollectMode"), "inactive-or-failed");
    let entered = runtime(&daemon, &bundle, &["exec", "box", "cat", "/proc/1/cmdline"]).ok();
    assert!(entered.contains("sleep 0.05"), "{entered}");
    let listed = daemon.ok(["exec", "machine", "systemd-cgls", "--no-pager", "-u", "pods-one.slice"]);
    assert!(listed.contains(unit) && !listed.contains(" cat"), "no placeholder stays: {listed}");

    let file = if unified { "memory.max" } else { "memory/memory.limit_in_bytes" };
    let directory = "pods.slice/pods-one.slice/cri-box.scope";
    let (tree, name) = file.rsplit_once('/').unwrap_or(("", file));
    let read = || daemon.ok(["exec", "machine", "cat", &format!("/sys/fs/cgroup/{tree}/{directory}/{name}")]);
    assert_eq!(read(), "33554432");
    runtime(&daemon, &bundle, &["update", "--memory", "67108864", "box"]).ok();
    daemon.ok(["exec", "machine", "systemctl", "daemon-reload"]);
    assert_eq!((read(), property(&daemon, unit, limit)), ("67108864".to_owned(), "67108864".to_owned()));

    runtime(&daemon, &bundle, &["kill", "box", "KILL"]).ok();
    eventually("it is stopped", || runtime(&daemon, &bundle, &["state", "box"]).out.contains("stopped").then_some(()));
    runtime(&daemon, &bundle, &["delete", "box"]).ok();
    assert_eq!(property(&daemon, unit, "LoadState"), "not-found");
    daemon.ok([
        "exec",
        "machine",
        "sh",
        "-c",
        &format!("! ls -d /sys/fs/cgroup/*/{directory} /sys/fs/cgroup/{directory} 2>/dev/null"),
    ]);
    // The name is free at once, for a container in the foreground too; its end is the scope's.
    bundle.config["process"]["args"] = json!(["sh", "-c", "exit 3"]);
    for _ in 0..3 {
        let ran = runtime(&daemon, &bundle, &["run", "--bundle", &place, "box"]);
        assert_eq!(ran.code, 3, "{}", ran.err);
    }
    assert_eq!(property(&daemon, unit, "LoadState"), "not-found");
    bundle.config["linux"]["cgroupsPath"] = json!("/pods/box");
    let refused = runtime(&daemon, &bundle, &["run", "--bundle", &place, "box"]);
    assert!(refused.code != 0 && refused.err.contains("slice:prefix:name"), "{}", refused.err);
}

#[test]
fn an_engine_has_systemd_make_the_cgroups_of_its_containers() {
    let bundle = Bundle::new("true");
    fs::copy(base_image(), bundle.path().join("busybox.tar")).expect("copied");
    let daemon = boot(&bundle);
    let machine = |words: &[&str]| daemon.teu([&["exec", "machine"], words].concat());
    let refused = machine(&["teu", "daemon", "--validate", "--exec-opt", "native.cgroupdriver=runc"]);
    assert!(refused.code != 0 && refused.err.contains("native.cgroupdriver=systemd"), "{}", refused.err);
    let start = ["systemd-run", "-q", "--unit", "teu", "teu", "daemon", "--exec-opt", "native.cgroupdriver=systemd"];
    machine(&start).ok();
    eventually("the daemon answers", || (machine(&["teu", "--no-autostart", "version"]).code == 0).then_some(()));
    assert_eq!(machine(&["teu", "info", "--format", "{{.CgroupDriver}}"]).ok(), "systemd");
    machine(&["teu", "load", "-q", "-i", &format!("{}/busybox.tar", bundle.path().display())]).ok();
    let line = ["teu", "run", "-d", "--network", "none", "-m", "64m", "--pids-limit", "9", "busybox", "sleep", "1000"];
    let id = machine(&line).ok();
    let unit = format!("teu-{id}.scope");
    assert_eq!(property(&daemon, &unit, "ActiveState"), "active");
    assert_eq!(
        (property(&daemon, &unit, "Slice"), property(&daemon, &unit, "TasksMax")),
        ("system.slice".into(), "9".into())
    );
    assert_eq!(machine(&["teu", "exec", &id, "echo", "inside"]).ok(), "inside");
    let stats = machine(&["teu", "stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", &id]).ok();
    assert!(stats.starts_with("1 ") && stats.ends_with("/ 64MiB"), "{stats}");
    machine(&["teu", "update", "-m", "32m", "--memory-swap", "-1", &id]).ok();
    assert!(machine(&["teu", "stats", "--no-stream", "--format", "{{.MemUsage}}", &id]).ok().ends_with("/ 32MiB"));
    machine(&["teu", "pause", &id]).ok();
    machine(&["teu", "unpause", &id]).ok();
    machine(&["teu", "rm", "-f", &id]).ok();
    assert_eq!(property(&daemon, &unit, "LoadState"), "not-found");
    let line =
        ["teu", "run", "--rm", "--network", "none", "--cgroup-parent", "pods-a.slice", "busybox", "sh", "-c", "exit 4"];
    assert_eq!(machine(&line).code, 4);
    let wrong = machine(&["teu", "run", "--rm", "--cgroup-parent", "/pods", "busybox", "true"]);
    assert!(wrong.code == 125 && wrong.err.contains("xxx.slice"), "{}", wrong.err);
    assert_eq!(machine(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "teu-*.scope"]).ok(), "");
}
