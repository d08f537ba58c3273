//! Promises about a container, asserted from inside it: root, real namespaces, real cgroups.

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;
use support::{Bench, CAPABILITIES, existing_cgroups, process};

#[test]
fn namespaces_are_not_the_hosts_and_init_is_process_1() {
    let kinds = ["mnt", "pid", "uts", "ipc", "net", "cgroup"];
    let outcome = Bench::shell("cd /proc/self/ns; for n in *; do echo $n: $(readlink $n); done; echo self: $$").run();
    for kind in kinds {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
        assert_ne!(outcome.field(kind), host.to_string_lossy(), "{kind}");
    }
    assert_eq!(outcome.field("self"), "1");
    assert_eq!(outcome.exit()["code"], 0);
}

#[test]
fn only_the_containers_own_mounts_are_there() {
    let outcome = Bench::shell("cat /proc/self/mounts").run();
    let first = outcome.output.lines().next().expect("a mount");
    assert!(first.starts_with("overlay / overlay"), "{first}");
    let roots = outcome.output.lines().filter(|line| line.split(' ').nth(1) == Some("/")).count();
    assert_eq!(roots, 1, "{}", outcome.output);
    assert!(!outcome.output.contains("ext4"), "{}", outcome.output);
}

#[test]
fn the_host_name_is_the_containers() {
    assert_eq!(Bench::new(&["hostname"]).run().output, "boxy\n");
}

#[test]
fn the_exit_status_is_the_programs() {
    assert_eq!(Bench::shell("exit 42").run().exit()["code"], 42);
    let mut bench = Bench::shell("trap 'exit 9' TERM; touch /ready; while :; do sleep 0.01; done");
    bench.steps = vec![json!({ "await_file": "/ready" }), json!({ "signal": 15 })];
    assert_eq!(bench.run().exit()["code"], 9);
    bench = Bench::shell("touch /ready; while :; do sleep 1; done");
    bench.steps = vec![json!({ "await_file": "/ready" }), json!({ "signal": 9 })];
    let outcome = bench.run();
    assert_eq!((&outcome.exit()["code"], &outcome.exit()["signal"]), (&json!(137), &json!(9)));
}

#[test]
fn the_end_of_init_is_the_end_of_all() {
    let outcome = Bench::shell("sleep 1000 & sleep 1000 & exit 3").run();
    assert_eq!(outcome.exit()["code"], 3);
    assert_eq!(outcome.exit()["processes"], json!([]));
}

#[test]
fn a_container_of_a_zygote_is_like_any_other() {
    let mut bench = Bench::shell("echo self: $$; exit 5");
    bench.zygote = true;
    // The zygote itself, which is in the cgroup when init is born, does not count.
    bench.spec["linux"]["resources"]["pids"] = json!({ "limit": 1 });
    let outcome = bench.run();
    assert_eq!((outcome.field("self"), &outcome.exit()["code"]), ("1", &json!(5)));
}

#[test]
fn a_cgroup_namespace_begins_at_the_containers_cgroup() {
    for zygote in [false, true] {
        let mut bench = Bench::new(&["cat", "/proc/self/cgroup"]);
        bench.zygote = zygote;
        let outcome = bench.run();
        assert!(outcome.output.lines().all(|line| line.ends_with(":/") || line.contains("/..")), "{}", outcome.output);
        let counting = outcome.output.lines().filter(|line| line.contains("memory") || line.starts_with("0::"));
        assert!(
            counting.clone().count() > 0 && counting.clone().all(|line| line.ends_with(":/")),
            "{}",
            outcome.output
        );
    }
}

#[test]
fn a_process_over_the_memory_limit_is_killed_and_counted() {
    let mut bench = Bench::new(&["busybox", "tail", "-c", "300000000", "/dev/zero"]);
    bench.spec["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20 });
    let outcome = bench.run();
    assert_eq!(outcome.exit()["signal"], 9);
    assert_eq!(outcome.exit()["oom_kills"], 1);
}

#[test]
fn the_limit_on_processes_holds() {
    let mut bench = Bench::shell("sleep 100 & sleep 100 & sleep 100 & echo not reached");
    bench.spec["linux"]["resources"]["pids"] = json!({ "limit": 3 });
    let outcome = bench.run();
    assert!(outcome.output.contains("can't fork"), "{}", outcome.output);
}

#[test]
fn limits_of_a_running_container_change() {
    let mut bench = Bench::shell("touch /ready; while [ ! -e /go ]; do sleep 0.01; done");
    bench.spec["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
    let raised = json!({ "memory": { "limit": 128 << 20 }, "cpu": { "shares": 512, "cpus": "0" } });
    bench.steps = vec![
        json!({ "await_file": "/ready" }),
        json!({ "update": raised }),
        json!("stats"),
        json!("freeze_and_thaw"),
        json!({ "exec": process(&["grep", "Cpus_allowed_list", "/proc/1/status"]) }),
        json!("kill"),
    ];
    let outcome = bench.run();
    assert_eq!(outcome.results[2]["error"], json!(null));
    assert_eq!(outcome.results[3]["memory"]["limit"], 128 << 20);
    assert!(outcome.results[3]["pids"]["current"].as_u64() >= Some(1));
    assert!(outcome.results[3]["cpu"]["usage"].as_u64() > Some(0));
    assert!(outcome.output.contains("Cpus_allowed_list:\t0\n"), "{}", outcome.output);
    assert_eq!(outcome.exit()["signal"], 9);
}

#[test]
fn masked_paths_are_empty_and_stay_so() {
    let outcome = Bench::shell(
        "wc() { cat $1 | head -c 1 | grep -c .; }; echo keys: $(wc /proc/keys); echo irq: $(wc /proc/interrupts); \
         echo firmware: $(ls /sys/firmware); echo x > /proc/keys && echo written; mount -o remount,rw /proc/keys; true",
    );
    let outcome = outcome.run();
    assert_eq!((outcome.field("keys"), outcome.field("irq"), outcome.field("firmware")), ("0", "0", ""));
    assert!(!outcome.output.contains("written"), "{}", outcome.output);
}

#[test]
fn read_only_paths_cannot_be_written() {
    let outcome = Bench::shell("echo x > /proc/sys/kernel/hostname; hostname; touch /fine && echo fine").run();
    assert!(outcome.output.contains("Read-only file system"), "{}", outcome.output);
    assert!(outcome.output.ends_with("boxy\nfine\n"), "{}", outcome.output);
}

#[test]
fn a_read_only_root_cannot_be_written() {
    let mut bench = Bench::shell("touch /x; touch /dev/shm/fine && echo fine");
    bench.spec["root"] = json!({ "path": "", "readonly": true });
    let outcome = bench.run();
    assert!(outcome.output.contains("/x: Read-only file system") && outcome.output.ends_with("fine\n"));
}

#[test]
fn capabilities_are_exactly_those_asked_for() {
    let bits = CAPABILITIES.map(|name| teu_sys::credentials::capability(name).expect("a capability"));
    let expected = format!("{:016x}", bits.iter().fold(0, |set, bit| set | bit));
    for zygote in [false, true] {
        let mut bench = Bench::new(&["cat", "/proc/self/status"]);
        bench.zygote = zygote;
        let outcome = bench.run();
        for (field, value) in [
            ("CapBnd", expected.as_str()),
            ("CapPrm", &expected),
            ("CapEff", &expected),
            ("CapInh", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
        ] {
            assert_eq!(outcome.field(field), value, "{field}");
        }
    }
}

#[test]
fn a_user_has_its_groups_and_no_others_and_no_capability() {
    let mut bench = Bench::new(&["cat", "/proc/self/status"]);
    bench.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 9], "umask": 0o27 });
    let outcome = bench.run();
    assert_eq!(outcome.field("Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(outcome.field("Gid"), "1001\t1001\t1001\t1001");
    assert_eq!(outcome.field("Groups"), "7 9");
    assert_eq!(outcome.field("CapEff"), "0000000000000000");
    assert_eq!(outcome.field("Umask"), "0027");
}

#[test]
fn a_user_that_is_not_root_can_open_its_own_output() {
    let mut bench = Bench::shell("echo told > /dev/stdout");
    bench.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    assert_eq!(bench.run().output, "told\n");
}

#[test]
fn no_descriptor_of_the_host_is_open() {
    for zygote in [false, true] {
        let mut bench = Bench::shell("for fd in /proc/self/fd/*; do echo $fd; done");
        bench.zygote = zygote;
        // The shell itself opens the directory to expand the pattern.
        let outcome = bench.run();
        let open: Vec<&str> = outcome.output.lines().collect();
        assert!(open.len() <= 4 && open[..3] == ["/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"], "{open:?}");
    }
}

#[test]
fn a_program_that_is_missing_is_told_from_one_that_cannot_run() {
    let missing = Bench::new(&["nope"]).run();
    assert_eq!(missing.error(), &json!({ "NoSuchProgram": { "name": "nope" } }));
    let bench = Bench::new(&["/plain"]);
    std::fs::write(bench.image().join("plain"), "text").expect("a file");
    assert_eq!(bench.run().error(), &json!({ "NotExecutable": { "name": "/plain", "errno": 13 } }));
    let bench = Bench::new(&["/garbage"]);
    std::fs::write(bench.image().join("garbage"), "text").expect("a file");
    std::fs::set_permissions(bench.image().join("garbage"), PermissionsExt::from_mode(0o755)).expect("a mode");
    assert_eq!(bench.run().error(), &json!({ "NotExecutable": { "name": "/garbage", "errno": 8 } }));
}

#[test]
fn the_working_directory_is_made_and_entered() {
    let mut bench = Bench::shell("pwd");
    bench.spec["process"]["cwd"] = json!("/work/deep");
    assert_eq!(bench.run().output, "/work/deep\n");
    let mut bench = Bench::shell("pwd");
    std::fs::write(bench.image().join("file"), "").expect("a file");
    bench.spec["process"]["cwd"] = json!("/file");
    assert_eq!(bench.run().error(), &json!({ "WorkingDirectory": { "path": "/file", "errno": 20 } }));
}

#[test]
fn a_terminal_is_the_controlling_one_and_the_console() {
    let mut bench = Bench::shell("tty; stat -c %t:%T:%u /dev/console; stty size < /dev/tty");
    symlink("busybox", bench.image().join("bin/stty")).expect("a link");
    bench.spec["process"]["terminal"] = json!(true);
    bench.spec["process"]["consoleSize"] = json!({ "height": 33, "width": 101 });
    let outcome = bench.run();
    assert_eq!(outcome.output.replace('\r', ""), "/dev/pts/0\n88:0:0\n33 101\n");
}

#[test]
fn an_exec_is_inside_under_the_same_rules() {
    let mut bench = Bench::shell("touch /ready; while :; do sleep 0.01; done");
    let mut on_terminal = process(&["tty"]);
    on_terminal["terminal"] = json!(true);
    bench.steps = vec![
        json!({ "await_file": "/ready" }),
        json!({ "exec": process(&["sh", "-c", "hostname; grep -E 'CapBnd|CapEff|NoNew' /proc/self/status; exit 7"]) }),
        json!({ "exec": process(&["cat", "/proc/self/cgroup"]) }),
        json!({ "exec": on_terminal }),
        json!({ "exec": process(&["nope"]) }),
        json!({ "exec": process(&["/bin"]) }),
        json!({ "signal": 9 }),
    ];
    let outcome = bench.run();
    assert_eq!(outcome.results[2]["code"], 7);
    assert!(outcome.output.starts_with("boxy\n"), "{}", outcome.output);
    assert_eq!((outcome.field("CapBnd"), outcome.field("NoNewPrivs")), ("00000000000000a1", "1"));
    let memory = outcome.output.lines().find(|line| line.contains("memory") || line.starts_with("0::"));
    assert!(memory.is_some_and(|line| line.ends_with(":/")), "{}", outcome.output);
    assert!(outcome.output.contains("/dev/pts/0"), "{}", outcome.output);
    assert_eq!(outcome.results[5]["error"], json!({ "NoSuchProgram": { "name": "nope" } }));
    assert_eq!(outcome.results[6]["error"], json!({ "NotExecutable": { "name": "/bin", "errno": 13 } }));
}

#[test]
fn a_bind_mount_shows_the_hosts_files_and_makes_its_target() {
    let mut bench = Bench::shell("cat /data/deep/x /etc/one; touch /data/deep/y; touch /etc/one; ls /data");
    let outside = bench.outside("volume");
    std::fs::write(outside.join("x"), "from the host\n").expect("a file");
    std::fs::write(outside.join("one"), "one file\n").expect("a file");
    let options = ["rbind", "rro"];
    bench.mount(json!({ "destination": "/data/deep", "type": "bind", "source": outside, "options": options }));
    bench.mount(json!({ "destination": "/etc/one", "source": outside.join("one"), "options": ["bind", "ro"] }));
    let outcome = bench.run();
    assert!(outcome.output.starts_with("from the host\none file\n"), "{}", outcome.output);
    assert_eq!(outcome.output.matches("Read-only file system").count(), 2, "{}", outcome.output);
    assert!(!outside.join("y").exists());
}

#[test]
fn a_link_in_the_image_leads_no_mount_out() {
    let mut bench = Bench::shell("ls /etc");
    let outside = bench.outside("volume");
    let host = bench.outside("host");
    symlink(&host, bench.image().join("etc")).expect("a link");
    bench.mount(json!({ "destination": "/etc/made", "type": "bind", "source": outside, "options": ["rbind"] }));
    bench.run();
    assert_eq!(std::fs::read_dir(&host).expect("a directory").count(), 0, "something was made on the host");
    let inside = bench.upper().join(host.strip_prefix("/").expect("absolute")).join("made");
    assert!(inside.is_dir(), "{}", inside.display());
}

#[test]
fn a_proc_that_is_a_link_is_refused_and_so_is_a_mount_inside_it() {
    let bench = Bench::new(&["true"]);
    symlink("/tmp", bench.image().join("proc")).expect("a link");
    let what = "mount /proc: it must be mounted on ordinary directory, and a symbolic link is on the way";
    assert_eq!(bench.run().error(), &json!({ "Refused": { "what": what } }));
    let mut bench = Bench::new(&["true"]);
    let outside = bench.outside("volume");
    bench.mount(json!({ "destination": "/proc/sys", "type": "bind", "source": outside, "options": ["bind"] }));
    assert_eq!(bench.run().error(), &json!({ "Refused": { "what": "mount /proc/sys: inside /proc" } }));
}

#[test]
fn devices_are_there_and_others_cannot_be_used() {
    let mut bench = Bench::shell(
        "echo x > /dev/null && head -c 4 /dev/zero | stat -c %F /dev/null; ls -l /dev/mem2; cat /dev/mem2; \
         readlink /dev/fd",
    );
    let device = json!({ "path": "/dev/mem2", "type": "c", "major": 1, "minor": 1, "fileMode": 0o600, "uid": 0 });
    bench.spec["linux"]["devices"] = json!([device]);
    let outcome = bench.run();
    assert!(outcome.output.starts_with("character special file\ncrw-------"), "{}", outcome.output);
    assert!(outcome.output.contains("can't open '/dev/mem2': Operation not permitted"), "{}", outcome.output);
    assert!(outcome.output.ends_with("/proc/self/fd\n"), "{}", outcome.output);
}

#[test]
fn kernel_parameters_are_the_containers() {
    let mut bench = Bench::shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni");
    bench.spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "7", "kernel.shmmni": "99" });
    assert_eq!(bench.run().output, "7\n99\n");
    bench.spec["linux"]["sysctl"] = json!({ "kernel.panic": "1" });
    assert!(bench.run().error()["Refused"].is_object());
}

#[test]
fn limits_of_resources_are_set() {
    let mut bench = Bench::new(&["cat", "/proc/self/limits"]);
    bench.spec["process"]["rlimits"] = json!([
        { "type": "RLIMIT_NOFILE", "soft": 111, "hard": 222 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615_u64 },
    ]);
    bench.spec["process"]["oomScoreAdj"] = json!(321);
    let outcome = bench.run();
    let line = outcome.output.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    assert_eq!(line.split_ascii_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["111", "222"]);
}

#[test]
fn a_joined_network_namespace_is_shared() {
    let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    let mut bench = Bench::new(&["readlink", "/proc/self/ns/net"]);
    bench.spec["linux"]["namespaces"][4]["path"] = json!("/proc/self/ns/net");
    assert_eq!(bench.run().output.trim(), own.to_string_lossy());
}

#[test]
fn a_joined_pid_namespace_is_shared() {
    let own = std::fs::read_link("/proc/self/ns/pid").expect("a namespace");
    for zygote in [false, true] {
        let mut bench = Bench::new(&["readlink", "/proc/self/ns/pid"]);
        bench.zygote = zygote;
        bench.spec["linux"]["namespaces"][1]["path"] = json!("/proc/self/ns/pid");
        assert_eq!(bench.run().output.trim(), own.to_string_lossy());
    }
}

#[test]
fn the_seccomp_filter_is_loaded() {
    let rule = json!({ "names": ["uname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 });
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    for no_new_privileges in [true, false] {
        let mut bench = Bench::shell("grep Seccomp: /proc/self/status; hostname");
        bench.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bench.spec["linux"]["seccomp"] = filter.clone();
        let outcome = bench.run();
        assert_eq!(outcome.field("Seccomp"), "2");
        assert!(!outcome.output.contains("boxy"), "{}", outcome.output);
    }
}

#[test]
fn a_limit_without_a_controller_is_refused_before_anything_is_made() {
    let mut bench = Bench::new(&["true"]);
    bench.spec["linux"]["resources"]["unified"] = json!({ "nosuch.max": "1" });
    let expected = json!({ "NoCgroupController": { "controller": "nosuch", "setting": "unified" } });
    assert_eq!(bench.run().error(), &expected);
}

#[test]
fn a_cgroup_that_somebody_is_in_is_not_taken_and_nobody_is_hurt() {
    let mut bench = Bench::shell("touch /ready; while [ ! -e /go ]; do sleep 0.01; done");
    bench.steps = vec![json!({ "await_file": "/ready" }), json!("create_again"), json!({ "signal": 9 })];
    for zygote in [false, true] {
        bench.zygote = zygote;
        let outcome = bench.run();
        assert!(outcome.results[2]["error"].is_object(), "{:?}", outcome.results);
        assert_eq!(outcome.results[3], true, "the first container is there to be killed");
        assert_eq!(outcome.exit()["signal"], 9);
        std::fs::remove_file(bench.upper().join("ready")).expect("a file");
    }
}

#[test]
fn a_container_that_is_never_started_leaves_nothing() {
    for zygote in [false, true] {
        let mut bench = Bench::new(&["true"]);
        bench.zygote = zygote;
        bench.steps = vec![json!("discard")];
        assert_eq!(bench.run().results[0], json!("discarded"));
    }
}

#[test]
fn a_zygote_whose_supervisor_dies_leaves_nothing() {
    if std::fs::read_to_string("/proc/self/cgroup").expect("cgroups").lines().count() == 1 {
        // On a machine with cgroup v2 alone there are no zygotes.
        return;
    }
    let mut bench = Bench::new(&["true"]);
    bench.steps = vec![json!("die_with_zygote")];
    // The output ends when the zygote, which has it open too, has ended.
    let outcome = bench.run();
    let path = outcome.results[0].as_str().expect("a path");
    assert!(path.starts_with("/teu/.warm-") && existing_cgroups(path).is_empty(), "{path}");
}
