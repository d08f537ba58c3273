//! Runs one container by the runtime's own functions, in a process with one thread, as tests tell it.
//!
//! `teu-runtime-try SCRIPT RESULT` reads a [`Script`] and writes what happened, a JSON value for each step, to RESULT.
//! The container has this program's own stdin, stdout and stderr; what its terminal shows goes to stdout.
//! `teu-runtime-try SCRIPT --time N` runs the container N times and prints how long it took.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};
use teu_oci::runtime::{Process, Resources, Spec};
use teu_runtime::{Cgroup, Rootfs, Stock, Zygote};

#[derive(Deserialize)]
struct Script {
    id: String,
    spec: Spec,
    rootfs: Rootfs,
    zygote: bool,
    steps: Vec<Step>,
}

/// What is done with the container, in order. When the steps are done its end is awaited.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Run one more process and wait for it.
    Exec(Box<Process>),
    /// Send a signal to the first process.
    Signal(i32),
    /// Freeze and thaw.
    FreezeAndThaw,
    /// Change limits.
    Update(Box<Resources>),
    /// Report what was used.
    Stats,
    /// Wait until the container has written a file, below its root as this process sees it.
    AwaitFile(String),
    /// Kill everything in the cgroup.
    Kill,
    /// Try to make the same container once more.
    CreateAgain,
    /// As the only step: drop the container before it is started, and another zygote unused.
    Discard,
    /// As the only step: die with a zygote unused, after saying where its cgroups are.
    DieWithZygote,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let script: Script = serde_json::from_slice(&std::fs::read(&args[1])?)?;
    if matches!(script.steps[..], [Step::DieWithZygote]) {
        let zygote = Zygote::prepare()?;
        std::fs::write(&args[2], serde_json::to_vec(&await_zygote_cgroups()?)?)?;
        std::mem::forget(zygote);
        return Ok(());
    }
    if args[2] == "--time" {
        return time(&script, args[3].parse()?);
    }
    let results = match run(&script) {
        Ok(results) => results,
        Err(error) => vec![json!({ "error": error })],
    };
    std::fs::write(&args[2], serde_json::to_vec(&results)?)?;
    Ok(())
}

fn run(script: &Script) -> Result<Vec<Value>, teu_runtime::Error> {
    let zygote = script.zygote.then(Zygote::prepare).transpose().expect("a zygote");
    let mut created = teu_runtime::create(&script.id, &script.spec, &script.rootfs, None, zygote, &Stock::default())?;
    if matches!(script.steps[..], [Step::Discard]) {
        drop(created);
        drop(Zygote::prepare());
        return Ok(vec![json!("discarded")]);
    }
    let terminal = created.terminal();
    let container = created.start()?;
    let mut results = vec![json!({ "pid": container.pid })];
    for step in &script.steps {
        results.push(perform(step, script, &container));
    }
    let exit = teu_sys::process::wait(&container.pidfd).expect("an exit");
    show(terminal);
    let processes = container.cgroup.processes().unwrap_or_default();
    let oom_kills = container.cgroup.oom_kills();
    container.cgroup.remove().expect("a removed cgroup");
    results.push(json!({ "code": exit.code, "signal": exit.signal, "processes": processes, "oom_kills": oom_kills }));
    Ok(results)
}

fn perform(step: &Step, script: &Script, container: &teu_runtime::Process) -> Value {
    let cgroup = &container.cgroup;
    match step {
        Step::Exec(process) => {
            match teu_runtime::exec(container.pidfd.as_fd(), &script.spec, process, None, &Stock::default()) {
                Ok(process) => {
                    let exit = teu_sys::process::wait(&process.pidfd).expect("an exit");
                    show(process.terminal);
                    json!({ "code": exit.code, "signal": exit.signal })
                }
                Err(error) => json!({ "error": error }),
            }
        }
        Step::Signal(number) => json!(teu_sys::process::send_signal(&container.pidfd, *number).is_ok()),
        Step::FreezeAndThaw => {
            cgroup.freeze().expect("frozen");
            cgroup.thaw().expect("thawed");
            json!(true)
        }
        Step::Update(resources) => json!({ "error": cgroup.update(resources).err() }),
        Step::Stats => json!(cgroup.stats().expect("stats")),
        Step::AwaitFile(path) => {
            let path = format!("/proc/{}/root{path}", container.pid);
            while !Path::new(&path).exists() {
                std::thread::yield_now();
            }
            json!(true)
        }
        Step::CreateAgain => {
            let zygote = script.zygote.then(Zygote::prepare).transpose().expect("a zygote");
            let again = teu_runtime::create(&script.id, &script.spec, &script.rootfs, None, zygote, &Stock::default());
            json!({ "error": again.err() })
        }
        Step::Discard | Step::DieWithZygote => json!(null),
        Step::Kill => {
            json!(Cgroup::open(Path::new("/").join(cgroup.path()).as_path()).expect("a cgroup").kill().is_ok())
        }
    }
}

/// Copies a terminal's output; when its last user is gone the read fails.
fn show(terminal: Option<OwnedFd>) {
    let Some(terminal) = terminal else { return };
    let mut bytes = [0; 4096];
    let mut file = std::fs::File::from(terminal);
    while let Ok(length @ 1..) = std::io::Read::read(&mut file, &mut bytes) {
        std::io::stdout().write_all(&bytes[..length]).expect("stdout");
    }
}

fn time(script: &Script, runs: usize) -> Result<(), Failure> {
    let mut times: [Vec<f64>; 4] = Default::default();
    for run in 0..runs {
        let rootfs = fresh(&script.rootfs, run)?;
        let zygote = script.zygote.then(Zygote::prepare).transpose()?;
        // Time for a zygote to settle, and for the kernel to forget the burst before.
        std::thread::sleep(std::time::Duration::from_millis(40));
        let begin = Instant::now();
        let created = teu_runtime::create(&script.id, &script.spec, &rootfs, None, zygote, &Stock::default())?;
        times[0].push(begin.elapsed().as_secs_f64() * 1e3);
        let container = created.start()?;
        times[1].push(begin.elapsed().as_secs_f64() * 1e3);
        teu_sys::process::wait(&container.pidfd)?;
        times[2].push(begin.elapsed().as_secs_f64() * 1e3);
        container.cgroup.remove()?;
        times[3].push(begin.elapsed().as_secs_f64() * 1e3);
    }
    for (name, times) in ["created", "started", "exited", "removed"].iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!("{name}: min {:.3} p50 {:.3} p95 {:.3} ms", times[0], times[runs / 2], times[runs * 95 / 100]);
    }
    Ok(())
}

/// The same overlay with an upper of its own: one that was mounted volatile cannot be mounted again.
fn fresh(rootfs: &Rootfs, run: usize) -> Result<Rootfs, Failure> {
    let Rootfs::Overlay(overlay) = rootfs else { return Ok(rootfs.clone()) };
    let mut overlay = overlay.clone();
    for directory in [&mut overlay.upper, &mut overlay.work].into_iter().flatten() {
        directory.push(format!("{}-{run}", std::process::id()));
        std::fs::create_dir(&*directory)?;
    }
    Ok(Rootfs::Overlay(overlay))
}

/// The cgroups of this process' only child, once it is in a nameless one.
fn await_zygote_cgroups() -> Result<Vec<String>, Failure> {
    let me = std::process::id();
    loop {
        let pid = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children"))?;
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.trim()))?;
        let warm =
            |line: &str| line.split(':').nth(2).filter(|path| path.starts_with("/teu/.warm-")).map(str::to_owned);
        let paths: Vec<String> = text.lines().filter_map(warm).collect();
        if paths.len() >= 3 {
            return Ok(paths);
        }
        std::thread::yield_now();
    }
}
