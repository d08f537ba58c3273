//! Devices: those that are asked for by name, and what a container may do to disks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Daemon, cgroup_of, run};

/// A specification with one device that uses all there is, told of in `folder`.
fn specification(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
cdiVersion: "0.7.0"
kind: vendor.com/thing
containerEdits:
  env: ["KIND=thing"]
devices:
- name: "0"
  containerEdits:
    env: ["NAME=zero", "PATH=/bin"]
    deviceNodes:
    - path: /dev/nothing
      hostPath: /dev/kmsg
      fileMode: 0640
      permissions: w
      gid: 7
    mounts:
    - hostPath: {folder}
      containerPath: /mnt/thing
      options: [ro, nosuid, nodev, rbind]
    additionalGids: [77]
    hooks:
    - hookName: createContainer
      path: /bin/sh
      args: [sh, -c, "echo linked > ./by-hook"]
    - hookName: poststart
      path: /bin/sh
      args: [sh, -c, "cat > {folder}/told/started"]
    - hookName: poststop
      path: /bin/sh
      args: [sh, -c, "cat > {folder}/told/stopped"]
- name: broken
  containerEdits:
    deviceNodes: [{{path: /dev/there-is-none}}]
"#
    )
}

/// A daemon that looks for devices in a folder of the test's own, and that folder.
fn with_devices() -> (Daemon, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("folder");
    let daemon = Daemon::with(&["--cdi-spec-dir", folder.path().to_str().expect("path")]);
    daemon.load();
    fs::create_dir(folder.path().join("told")).expect("folder");
    fs::write(folder.path().join("vendor.yaml"), specification(folder.path())).expect("write");
    (daemon, folder)
}

#[test]
fn a_device_by_name_brings_nodes_variables_mounts_groups_and_hooks() {
    let (daemon, folder) = with_devices();
    let script = "echo $KIND $NAME $PATH; stat -c '%a %t %T %g' /dev/nothing; cat /by-hook; id -G; ls /mnt/thing; \
        touch /mnt/thing/x 2>&1; head -c 1 /dev/nothing";
    let line = ["run", "--name", "has-it", "--device", "vendor.com/thing=0", "busybox", "sh", "-c", script];
    let ran = daemon.teu(line).ends_with(1);
    assert!(ran.err.contains("/dev/nothing: Operation not permitted"), "{}", ran.err);
    let expected = "thing zero /bin\n640 1 b 7\nlinked\n0 77\ntold\nvendor.yaml\ntouch: /mnt/thing/x: Read-only";
    assert!(ran.out.starts_with(expected), "{}", ran.out);
    let asked = daemon.inspect("has-it", "{{json .HostConfig.DeviceRequests}}");
    assert!(asked.contains(r#""Driver":"cdi""#) && asked.contains(r#"["vendor.com/thing=0"]"#), "{asked}");
    let told = |name: &str| fs::read_to_string(folder.path().join("told").join(name)).expect("what a hook was told");
    assert!(told("started").contains(r#""status":"running""#) && told("stopped").contains(r#""status":"stopped""#));
    let info = daemon.ok(["info"]);
    let listed = format!("{}\n Discovered Devices:\n  cdi: vendor.com/thing=0", folder.path().display());
    assert!(info.contains(&listed), "{info}");
}

#[test]
fn a_device_that_is_not_there_is_said_in_dockers_words() {
    let (daemon, folder) = with_devices();
    let refused = |flags: [&str; 2], words: &str| {
        daemon.teu(["run", "--rm", flags[0], flags[1], "busybox", "true"]).refused(125, &[words]);
    };
    let injection = "CDI device injection failed: unresolvable CDI devices vendor.com/thing=1";
    refused(["--device", "vendor.com/thing=1"], injection);
    let broken = daemon.teu(["run", "--rm", "--device", "vendor.com/thing=broken", "busybox", "true"]);
    broken.refused(127, &["stat CDI host device \"/dev/there-is-none\": no such file or directory"]);
    refused(["--gpus", "all"], "could not select device driver \"\" with capabilities: [[gpu]]");
    refused(["--gpus", "driver=fpga,count=1"], "could not select device driver \"fpga\" with capabilities: [[gpu]]");
    // A specification of GPUs makes the same flag mean something.
    let gpu = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: all\n  containerEdits: {env: [GPU=every]}\n\
        - name: GPU-7\n  containerEdits: {env: [GPU=seven]}\n";
    fs::write(folder.path().join("nvidia.yaml"), gpu).expect("write");
    let env = |gpus: &str| daemon.ok(["run", "--rm", "--gpus", gpus, "busybox", "sh", "-c", "echo $GPU"]);
    assert_eq!(env("all"), "every");
    assert_eq!(env("device=GPU-7"), "seven");
    refused(["--gpus", "1"], "unresolvable CDI devices nvidia.com/gpu=0");
    // What is wrong with a file is told by info.
    fs::write(folder.path().join("wrong.json"), "{}").expect("write");
    let warnings = daemon.ok(["info", "-f", "{{json .Warnings}}"]);
    assert!(warnings.contains("wrong.json"), "{warnings}");
}

/// Block devices that the scheduler with weights looks after.
fn weighed_devices() -> Vec<String> {
    let entries = fs::read_dir("/sys/block").expect("/sys/block").flatten();
    let weighed = entries.filter(|entry| {
        fs::read_to_string(entry.path().join("queue/scheduler")).is_ok_and(|text| text.contains("[bfq]"))
    });
    weighed.map(|entry| format!("/dev/{}", entry.file_name().to_string_lossy())).collect()
}

#[test]
fn a_disks_weight_is_in_force_or_refused_by_name() {
    let daemon = Daemon::start();
    daemon.teu(["create", "--blkio-weight-device", "/dev/null:300", "busybox"]).refused(1, &["not a block device"]);
    daemon.teu(["create", "--blkio-weight-device", "/dev/null:5", "busybox"]).refused(125, &["invalid"]);
    let entries = fs::read_dir("/sys/block").expect("/sys/block").flatten();
    let any = entries
        .map(|entry| format!("/dev/{}", entry.file_name().to_string_lossy()))
        .find(|path| Path::new(path).exists());
    let device = weighed_devices().pop().or(any).expect("a block device");
    let asked = format!("{device}:300");
    let line = ["create", "--name", "weighed", "--blkio-weight-device", &asked, "busybox", "sleep", "1000"];
    let id = daemon.ok(line);
    let kept = daemon.inspect("weighed", "{{json .HostConfig.BlkioWeightDevice}}");
    assert_eq!(kept, format!(r#"[{{"Path":"{device}","Weight":300}}]"#));
    let started = daemon.teu(["start", "weighed"]);
    if started.code != 0 {
        assert!(started.err.contains("weight"), "{}", started.err);
        return;
    }
    let files = ["blkio.weight_device", "blkio.bfq.weight_device", "io.bfq.weight", "io.weight"];
    let read = |folder: &PathBuf| files.iter().find_map(|file| fs::read_to_string(folder.join(file)).ok());
    let text = cgroup_of(&id).iter().find_map(read).expect("a file of weights");
    assert!(text.lines().any(|line| line.ends_with(" 300") || line.ends_with(" 2930")), "{text}");
    daemon.ok(["rm", "-f", "weighed"]);
}

/// Asks for a change of limits, as the API takes it since 1.55.
fn update(daemon: &Daemon, name: &str, body: &str) {
    let mut curl = Command::new("curl");
    curl.args(["-sf", "-H", "Content-Type: application/json", "--data-binary", body, "--unix-socket"]);
    run(curl.arg(daemon.socket()).arg(format!("http://localhost/v1.55/containers/{name}/update"))).ok();
}

#[test]
fn limits_of_disks_change_while_a_container_runs() {
    let daemon = Daemon::start();
    let entries = fs::read_dir("/sys/block").expect("/sys/block").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let disk = names.filter(|name| Path::new(&format!("/dev/{name}")).exists()).min().expect("a disk");
    let numbers = fs::read_to_string(format!("/sys/block/{disk}/dev")).expect("numbers").trim().to_owned();
    let asked = format!("/dev/{disk}:1mb");
    let id = daemon.ok(["run", "-d", "--name", "box", "--device-read-bps", &asked, "busybox", "sleep", "1000"]);
    let limits = || {
        let read = |folder: &PathBuf| {
            let files = ["blkio.throttle.read_bps_device", "blkio.throttle.write_iops_device", "io.max"];
            let texts = files.iter().filter_map(|file| fs::read_to_string(folder.join(file)).ok());
            Some(texts.collect::<String>()).filter(|text| !text.is_empty())
        };
        let text = cgroup_of(&id).iter().filter_map(read).collect::<String>();
        text.lines().filter(|line| line.starts_with(&numbers)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(limits().iter().any(|line| line.contains("1048576")), "{:?}", limits());
    let body = format!(r#"{{"BlkioDeviceReadBps":[],"BlkioDeviceWriteIOps":[{{"Path":"/dev/{disk}","Rate":77}}]}}"#);
    update(&daemon, "box", &body);
    let now = limits();
    let of = |limit: &str| now.iter().any(|line| line.contains(limit));
    assert!(of("77") && !of("1048576"), "{now:?}");
    let kept = "{{json .HostConfig.BlkioDeviceReadBps}} {{json .HostConfig.BlkioDeviceWriteIOps}}";
    assert_eq!(daemon.inspect("box", kept), format!(r#"[] [{{"Path":"/dev/{disk}","Rate":77}}]"#));
    update(&daemon, "box", r#"{"BlkioDeviceWriteIOps":[]}"#);
    assert_eq!(limits(), [""; 0]);
    // Older versions leave them alone, and so does whoever says nothing of them.
    update(&daemon, "box", r#"{"CpuShares":512}"#);
    daemon.ok(["rm", "-f", "box"]);
}

/// A file system with project quotas, mounted for as long as this lives.
struct Quotas(tempfile::TempDir);

impl Quotas {
    /// None where the kernel has no quotas.
    fn make() -> Option<Self> {
        let folder = tempfile::tempdir().expect("folder");
        let image = folder.path().join("image");
        fs::File::create(&image).and_then(|file| file.set_len(256 << 20)).expect("image");
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-O", "project,quota", "-E", "quotatype=prjquota"]);
        run(make.arg(&image)).ok();
        let place = folder.path().join("mounted");
        fs::create_dir(&place).expect("folder");
        let mounted = run(Command::new("mount").args(["-o", "loop,prjquota"]).arg(&image).arg(&place));
        (mounted.code == 0).then_some(Self(folder))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("mounted")
    }
}

impl Drop for Quotas {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn write_layers_grow_to_their_limit(daemon: &mut Daemon) {
    let script = "dd if=/dev/zero of=/tmp/a bs=1M count=6 2>&1 && dd if=/dev/zero of=/b bs=1M count=8; ls /tmp";
    let limited = ["run", "--name", "limited", "--storage-opt", "size=10M", "busybox", "sh", "-c", script];
    let is_told = |text: &str| text.contains("No space left on device") || text.contains("Disk quota exceeded");
    let ran = daemon.teu(limited).ends_with(0);
    assert!(is_told(&ran.err) && ran.out.ends_with("a\n"), "{ran:?}");
    assert_eq!(daemon.inspect("limited", "{{json .HostConfig.StorageOpt}}"), r#"{"size":"10M"}"#);
    // It is this container's limit and lasts over a restart of the daemon; an image of it has none.
    daemon.stop();
    daemon.restart();
    let full = daemon.teu(["start", "-a", "limited"]).ends_with(0);
    assert!(is_told(&full.err), "{full:?}");
    daemon.ok(["run", "--rm", "busybox", "sh", "-c", "dd if=/dev/zero of=/a bs=1M count=20 2>/dev/null"]);
    daemon.ok(["commit", "limited", "kept"]);
    assert!(daemon.ok(["diff", "limited"]).contains("A /tmp/a"));
    let out = daemon.folder().join("out");
    daemon.ok(["cp", "limited:/tmp/a", out.to_str().expect("path")]);
    assert_eq!(fs::metadata(out).expect("copied").len(), 6 << 20);
    daemon.ok(["rm", "limited"]);
    daemon.ok(["run", "--rm", "kept", "sh", "-c", "ls /tmp/a && dd if=/dev/zero of=/c bs=1M count=20 2>/dev/null"]);
    let own = ["run", "--rm", "--storage-opt", "size=20M", "busybox", "sh", "-c"];
    daemon.ok(own.into_iter().chain(["dd if=/dev/zero of=/c bs=1M count=14 2>/dev/null"]));
}

#[test]
fn a_write_layer_grows_to_its_limit_and_no_further() {
    let mut daemon = Daemon::start();
    write_layers_grow_to_their_limit(&mut daemon);
    let root = daemon.root();
    daemon.teu(["create", "--storage-opt", "colour=red", "busybox"]).refused(1, &["Unknown option colour"]);
    daemon.teu(["create", "--storage-opt", "size=much", "busybox"]).refused(1, &["invalid size: 'much'"]);
    daemon.ok(["create", "--name", "idle", "--storage-opt", "size=10M", "busybox"]);
    daemon.ok(["rm", "idle"]);
    let images = fs::read_dir(root.join("layer-images")).map_or(0, Iterator::count);
    assert_eq!(images, 0, "files of layers that are gone");
}

#[test]
fn project_quotas_limit_write_layers_where_the_kernel_has_them() {
    let Some(quotas) = Quotas::make() else {
        let has_them = Command::new("modprobe").args(["-q", "quota_v2"]).status().is_ok_and(|status| status.success());
        assert!(!has_them, "this kernel has quotas, and a file system with them cannot be mounted");
        return;
    };
    write_layers_grow_to_their_limit(&mut Daemon::on(&quotas.path().join("root")));
    let images = quotas.path().join("root/layer-images");
    assert!(!images.exists(), "{} was made beside the quotas", images.display());
}
