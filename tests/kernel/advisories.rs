//! What went wrong in other engines does not go wrong here: one test for each advisory, named after it. Asserted from
//! inside the container, or by a canary of the host's. Those that need a race are in `advisories_races`.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::support::{Bundle, Daemon, TEU, eventually, probe, run};

const EROFS: i32 = 30;
const ETXTBSY: i32 = 26;
/// Inheritable and ambient capabilities.
const INHERITED: &str = "grep -E 'Cap(Inh|Amb)' /proc/self/status | cut -f 2 | sort -u";
const NONE: &str = "0000000000000000";

#[test]
fn cve_2019_5736_the_runtimes_program_cannot_be_written_through_a_process_that_shows_it() {
    let before = fs::read(TEU).expect("the program");
    let bundle = Bundle::new("sleep 1000");
    // A script that is interpreted by the very program that executes it.
    fs::write(bundle.rootfs().join("bin/entry"), "#!/proc/self/exe\n").expect("a script");
    run(std::process::Command::new("chmod").arg("755").arg(bundle.rootfs().join("bin/entry"))).ok();
    let null = || File::open("/dev/null").expect("null");
    let mut create = bundle.command(&["create", &bundle.id]);
    assert!(create.stdin(null()).stdout(null()).stderr(null()).status().expect("ran").success());
    let path = format!("/proc/{}/exe", bundle.state("pid"));
    let refused = File::options().write(true).open(&path).expect_err("it is being executed").raw_os_error();
    assert!(matches!(refused, Some(EROFS | ETXTBSY)), "{refused:?}");
    // What was got hold of while it ran is tried when it does not run any more.
    let held = File::open(&path).expect("opened for reading");
    bundle.runtime(&["start", &bundle.id]).ok();
    bundle.runtime(&["exec", &bundle.id, "/bin/entry"]);
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    let again = File::options().write(true).open(format!("/proc/self/fd/{}", held.as_raw_fd()));
    // Other tests may be executing the same file.
    assert!(matches!(again.expect_err("refused").raw_os_error(), Some(EROFS | ETXTBSY)));
    let flags = rustix::fs::fstatvfs(&held).expect("statvfs").f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "its mount can be written");
    assert!(fs::read(TEU).expect("the program") == before, "the program was changed");
}

#[test]
fn cve_2019_5736_the_supervisors_program_cannot_be_written_either() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let first = daemon.inspect("box", "{{.State.Pid}}");
    let stat = fs::read_to_string(format!("/proc/{first}/stat")).expect("its first process");
    // After the name, in parentheses: the state and the parent.
    let supervisor = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)).expect("a parent");
    let held = File::open(format!("/proc/{supervisor}/exe")).expect("opened for reading");
    daemon.ok(["rm", "-f", "box"]);
    let flags = rustix::fs::fstatvfs(&held).expect("statvfs").f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "its mount can be written");
    let again = File::options().write(true).open(format!("/proc/self/fd/{}", held.as_raw_fd()));
    assert!(matches!(again.expect_err("refused").raw_os_error(), Some(EROFS | ETXTBSY)));
}

#[test]
fn cve_2016_9962_a_process_on_its_way_in_shows_no_descriptor() {
    // Whoever comes from outside has no parent here. Root may list the numbers of its descriptors, whatever it does; what
    // they lead to is what must not be had.
    let look = "grep -q 'PPid:.0$' $p/status && [ $p != /proc/1 ] && \
                for fd in $p/fd/*; do readlink $fd >/dev/null && echo ${fd##*/}; done";
    let script =
        format!("while [ ! -e /tmp/end ]; do for p in /proc/[0-9]*; do {look}; done; done 2>/dev/null | sort -u");
    let bundle = Bundle::new(&format!("{script} >/tmp/seen; echo end; cat /tmp/seen; sleep 1000"));
    let mut watching = bundle.spawn();
    eventually("it runs", || (bundle.runtime(&["state", &bundle.id]).out.contains("running")).then_some(()));
    for _ in 0..40 {
        bundle.exec("true");
    }
    // A folder: what makes a file has a descriptor of it for a moment.
    bundle.exec("mkdir /tmp/end");
    watching.until("end\n");
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    let seen = watching.finish().out;
    assert!(seen.lines().all(|number| matches!(number, "0" | "1" | "2")), "{seen}");
}

#[test]
fn cve_2024_21626_no_working_directory_leads_out_and_no_descriptor_comes_in() {
    for number in [3, 4, 5, 6, 7, 8, 9, 10, 12, 20] {
        let mut bundle = Bundle::new("pwd; ls /proc/self/cwd/");
        bundle.config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        let ran = bundle.run();
        assert_ne!(ran.code, 0, "working directory /proc/self/fd/{number}: {}", ran.out);
    }
    let bundle = Bundle::new("ls /proc/self/fd");
    assert_eq!(bundle.run().ok().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

#[test]
fn cve_2016_3697_a_number_is_a_user_id_whatever_the_image_calls_its_users() {
    let daemon = Daemon::start();
    let script = "printf '1000:x:0:0::/:/bin/sh\\n' >>/etc/passwd";
    daemon.ok(["run", "--name", "liar", "--network", "none", "busybox", "sh", "-c", script]);
    daemon.ok(["commit", "liar", "liar"]);
    let told = daemon.ok(["run", "--rm", "--network", "none", "-u", "1000", "liar", "id", "-u"]);
    assert_eq!(told, "1000");
}

#[test]
fn cve_2019_16884_and_cve_2015_3629_nothing_is_mounted_over_proc() {
    for destination in ["/proc", "/proc/self/attr", "/proc/sys", "/proc/asound", "/proc/timer_stats"] {
        let mut bundle = Bundle::new("true");
        let volume = bundle.outside("volume");
        bundle.bind(&volume, destination, &["rw"]);
        let ran = bundle.run();
        assert_ne!(ran.code, 0, "a volume at {destination}");
        assert!(ran.err.contains("/proc"), "{}", ran.err);
    }
}

#[test]
fn cve_2019_19921_proc_and_sys_are_never_reached_through_a_link() {
    for name in ["proc", "sys"] {
        let bundle = Bundle::new("true");
        fs::remove_dir(bundle.rootfs().join(name)).expect("removed");
        symlink("/tmp", bundle.rootfs().join(name)).expect("a link");
        let ran = bundle.run();
        assert_ne!(ran.code, 0);
        assert!(ran.err.contains("symbolic link"), "{}", ran.err);
    }
}

#[test]
fn cve_2022_29162_nothing_is_inheritable_or_ambient_in_run_and_exec() {
    let daemon = Daemon::start();
    assert_eq!(daemon.sh(INHERITED), NONE);
    assert_eq!(daemon.ok(["run", "--rm", "--privileged", "busybox", "sh", "-c", INHERITED]), NONE);
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    assert_eq!(daemon.ok(["exec", "box", "sh", "-c", INHERITED]), NONE);
    assert_eq!(daemon.ok(["exec", "--privileged", "box", "sh", "-c", INHERITED]), NONE);
    let bundle = Bundle::new(INHERITED);
    assert_eq!(bundle.run().ok(), NONE);
}

#[test]
fn cve_2016_8867_a_user_other_than_root_has_no_ambient_capability() {
    let mut bundle = Bundle::new(INHERITED);
    bundle.config["process"]["user"] = json!({ "uid": 1234, "gid": 1234 });
    assert_eq!(bundle.run().ok(), NONE);
}

#[test]
fn cve_2022_36109_the_groups_are_exactly_those_asked_for() {
    let daemon = Daemon::start();
    let line = ["run", "--rm", "--network", "none", "-u", "1000:1001", "--group-add", "5", "busybox", "id", "-G"];
    assert_eq!(daemon.ok(line), "1001 5");
    let mut bundle = Bundle::new("id -G");
    bundle.config["process"]["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": [9, 10] });
    assert_eq!(bundle.run().ok(), "8 9 10");
}

#[test]
fn cve_2024_40635_an_id_beyond_the_range_is_refused() {
    let daemon = Daemon::start();
    for user in ["4294967296", "2147483648:4294967296", "-1", "4294967295"] {
        let ran = daemon.teu(["run", "--rm", "--network", "none", "--user", user, "busybox", "id"]);
        assert_ne!(ran.code, 0, "user {user}: {}", ran.out);
    }
    let bundle = Bundle::new("sleep 1000");
    let mut running = bundle.spawn();
    eventually("it runs", || (bundle.runtime(&["state", &bundle.id]).out.contains("running")).then_some(()));
    for user in ["4294967296", "-1", "4294967295", "1:4294967295"] {
        assert_eq!(bundle.runtime(&["exec", "--user", user, &bundle.id, "id"]).code, 255, "user {user}");
    }
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    running.close();
    running.finish();
}

#[test]
fn cve_2025_31133_a_mask_is_an_inode_of_our_own() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read");
    let mut bundle = Bundle::new("echo '|/evil' >/proc/kcore; cat /proc/kcore | wc -c; echo '|/evil' >/dev/null; true");
    // The image's own /dev/null leads to a kernel setting, and nothing is mounted over it.
    bundle.config["mounts"]
        .as_array_mut()
        .expect("mounts")
        .retain(|one| !one["destination"].as_str().is_some_and(|path| path.starts_with("/dev")));
    symlink("/proc/sys/kernel/core_pattern", bundle.rootfs().join("dev/null")).expect("a link");
    let ran = bundle.run();
    assert!(ran.out.starts_with('0') || ran.code != 0, "{}", ran.out);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read"), pattern);
}

#[test]
fn cve_2025_52565_the_console_lands_on_no_link() {
    let mut bundle = Bundle::new("echo hello >/dev/console");
    let canary = bundle.path().join("canary");
    fs::write(&canary, "safe").expect("a canary");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["mounts"].as_array_mut().expect("mounts").retain(|one| one["destination"] != "/dev");
    fs::create_dir_all(bundle.rootfs().join("dev/pts")).expect("folder");
    symlink(&canary, bundle.rootfs().join("dev/console")).expect("a link");
    bundle.run();
    assert_eq!(fs::read_to_string(&canary).expect("the canary"), "safe");
}

#[test]
fn cve_2025_52881_kernel_parameters_are_written_where_the_kernel_is() {
    let mut bundle = Bundle::new("cat /real/sys/net/ipv4/ip_forward");
    // Where a procfs would be there is something that looks like one.
    for mount in bundle.config["mounts"].as_array_mut().expect("mounts") {
        if mount["destination"] == "/proc" {
            mount["destination"] = json!("/real");
        }
    }
    let bait = bundle.rootfs().join("proc/sys/net/ipv4");
    fs::create_dir_all(&bait).expect("folder");
    fs::write(bait.join("ip_forward"), "bait").expect("a bait");
    bundle.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    bundle.config["linux"]["maskedPaths"] = json!([]);
    bundle.config["linux"]["readonlyPaths"] = json!([]);
    assert_eq!(bundle.run().ok(), "1");
    assert_eq!(fs::read_to_string(bait.join("ip_forward")).expect("the bait"), "bait");
}

#[test]
fn cve_2026_41579_a_link_in_the_place_of_dev_leads_nowhere() {
    let bundle = Bundle::new("true");
    let canary = bundle.outside("canary");
    fs::remove_dir(bundle.rootfs().join("dev")).expect("removed");
    symlink("../../../../../../../../../..".to_owned() + canary.to_str().expect("a path"), bundle.rootfs().join("dev"))
        .expect("a link");
    bundle.run();
    assert_eq!(fs::read_dir(&canary).expect("the canary").count(), 0);
}

#[test]
fn cve_2019_18837_and_cve_2024_9341_files_of_the_image_are_read_inside_and_never_waited_for() {
    let home = "echo $HOME";
    let mut bundle = Bundle::new(home);
    bundle.config["process"]["env"] = json!(["PATH=/bin"]);
    let evil = bundle.path().join("passwd");
    fs::write(&evil, "root:x:0:0::/evil:/bin/sh\n").expect("a canary");
    symlink(&evil, bundle.rootfs().join("etc/passwd")).expect("a link");
    assert_eq!(bundle.run().ok(), "/");
    fs::remove_file(bundle.rootfs().join("etc/passwd")).expect("removed");
    run(std::process::Command::new("mkfifo").arg(bundle.rootfs().join("etc/passwd"))).ok();
    assert_eq!(bundle.run().ok(), "/");
}

#[test]
fn cve_2018_10892_what_shows_the_machine_is_masked() {
    // Docker's list of 2026 and what is left of earlier ones.
    let masked = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ];
    let script = masked.map(|path| {
        format!("if [ -d {path} ]; then ls -A {path}; elif [ -e {path} ]; then cat {path}; fi; echo x >{path} && echo {path};")
    });
    let script = format!("({}) 2>/dev/null; true", script.concat());
    let daemon = Daemon::start();
    assert_eq!(daemon.sh(&script), "");
    let read_only = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    let script =
        read_only.map(|path| format!("[ ! -e {path} ] || grep -q \" {path} proc ro\" /proc/mounts || echo {path};"));
    assert_eq!(daemon.sh(&script.concat()), "");
}

#[test]
fn cve_2022_0492_no_cgroup_can_be_mounted_and_no_namespace_made() {
    let daemon = Daemon::start();
    let script = "mkdir /tmp/c; mount -t cgroup -o memory c /tmp/c && echo mounted; unshare -UrmC true && echo unshared; \
                  echo x >/sys/fs/cgroup/release_agent && echo written; true";
    let told =
        daemon.ok(["run", "--rm", "--network", "none", "busybox", "sh", "-c", &format!("({script}) 2>/dev/null")]);
    assert_eq!(told, "");
}

#[test]
fn cve_2022_0185_cve_2024_1086_cve_2026_31431_calls_that_reached_kernel_bugs_are_refused() {
    let daemon = Daemon::start();
    let probe = format!("{}:/probe:ro", probe().display());
    let told = daemon.ok(["run", "--rm", "--network", "none", "-v", &probe, "busybox", "/probe", "calls"]);
    let told: Vec<_> = told.lines().collect();
    let (eperm, enosys) = (1, 38);
    let mut expected: Vec<String> =
        ["af_alg", "af_vsock", "unshare_user", "clone_user"].map(|n| format!("{n} {eperm}")).into();
    expected.push(format!("clone3 {enosys}"));
    let more = ["fsopen", "mount", "add_key", "keyctl", "bpf", "io_uring", "open_by_handle", "nf_tables"];
    expected.extend(more.map(|name| format!("{name} {eperm}")));
    if cfg!(target_arch = "x86_64") {
        expected.extend(["socketcall_alg", "socketcall_vsock"].map(|name| format!("{name} {eperm}")));
    }
    assert_eq!(told, expected);
}

#[test]
fn keys_are_the_containers_own() {
    // Row 89: without any filter, the session keyring is a new one, named after the container.
    let mut bundle = Bundle::new("/probe keyring");
    bundle.bind(&probe(), "/probe", &["ro"]);
    let keyring = bundle.run().ok();
    assert!(keyring.ends_with(&format!(";_ses.{}", bundle.id)), "{keyring}");
}

#[test]
fn cve_2022_0811_a_parameter_holds_one_value() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read");
    let daemon = Daemon::start();
    for value in [
        "net.ipv4.ip_forward=1+kernel.core_pattern=|/evil",
        "net.ipv4.ip_forward=1\nkernel.core_pattern=|/evil",
        "kernel.core_pattern=|/evil",
        "kernel.shm_rmid_forced=1+kernel.core_pattern=|/evil",
    ] {
        let ran = daemon.teu(["run", "--rm", "--sysctl", value, "busybox", "true"]);
        assert_ne!(ran.code, 0, "{value}");
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read"), pattern);
}

#[test]
fn cve_2022_1227_top_executes_nothing_of_the_containers() {
    let daemon = Daemon::start();
    let script = "rm /bin/ps; printf '#!/bin/sh\\ntouch /pwned\\n' >/bin/ps; chmod 755 /bin/ps; sleep 1000";
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    eventually("it sleeps", || daemon.ok(["top", "box"]).contains("sleep").then_some(()));
    assert_eq!(daemon.ok(["exec", "box", "sh", "-c", "[ -e /pwned ] || echo clean"]), "clean");
}

#[test]
fn cve_2014_6408_an_image_sets_no_security_option() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "liar", "busybox"]);
    let labels = "LABEL io.teu.privileged=true com.docker.security-opt=seccomp=unconfined";
    daemon.ok(["commit", "--change", labels, "liar", "liar"]);
    let script = "grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status";
    let plain = daemon.sh(script);
    assert_eq!(daemon.ok(["run", "--rm", "--network", "none", "liar", "sh", "-c", script]), plain);
}

#[test]
fn cve_2025_47291_a_user_namespace_takes_no_limit_away() {
    let mut bundle =
        Bundle::new("cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; id -u");
    map_users(&mut bundle.config);
    run(std::process::Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.rootfs())).ok();
    run(std::process::Command::new("chmod").arg("755").arg(bundle.path())).ok();
    bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
    assert_eq!(bundle.run().ok(), format!("{}\n0", 64 << 20));
}

/// Gives a container a user namespace of its own.
fn map_users(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}
