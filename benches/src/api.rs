//! The API of a busy engine: how long each call takes beside 200 running containers, how long `ps` takes as they grow in
//! number, how soon a hundred listeners have heard of an event, and what the daemon's memory is.
//!
//! Every call is a connection of its own, as a command line's is. `BENCH_CONTAINERS=500` is the greatest number.

use std::io::BufRead;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::engine::Engine;
use crate::failure::{Failure, While};
use crate::http::{ask, listen};
use crate::process::timed;
use crate::report::Report;
use crate::works::IMAGE;

/// So many containers run while calls are timed.
const BESIDE: usize = 200;
const LISTENERS: usize = 100;
/// Containers that are made at the same time.
const WORKERS: usize = 4;

/// Before each round, with the rest before each measurement: what the last one's container has left to the kernel is no
/// part of the next.
const PAUSE: Duration = Duration::from_millis(100);

/// What is only read.
const READS: &[(&str, &str)] = &[
    ("_ping", "/_ping"),
    ("version", "/version"),
    ("info", "/info"),
    ("list of containers", "/containers/json"),
    ("inspect a container", "/containers/busy0/json"),
    ("logs of a container", "/containers/busy0/logs?stdout=1"),
    ("top of a container", "/containers/busy0/top"),
    ("stats of a container, one sample", "/containers/busy0/stats?stream=0&one-shot=1"),
    ("changes of a container", "/containers/busy0/changes"),
    ("list of images", "/images/json"),
    ("inspect an image", "/images/teu-bench/json"),
    ("history of an image", "/images/teu-bench/history"),
    ("list of networks", "/networks"),
    ("list of volumes", "/volumes"),
    ("events of the past", "/events?since=1&until=2"),
    ("system df", "/system/df"),
];

/// All of it. What grows with the containers is looked at with one engine after the other: a start looks at every process
/// of the machine, and those of the other engine's containers would count as well.
pub(crate) fn measure(engines: &[Engine], rounds: usize, report: &mut Report) -> Result<(), Failure> {
    let most = std::env::var("BENCH_CONTAINERS").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    for engine in engines {
        let mut running = 0;
        for count in [0, 10, 100, BESIDE, 500].into_iter().filter(|count| *count <= most) {
            start(engine.socket(), running..count)?;
            running = count;
            grown(engine, count, rounds, report)?;
        }
        remove(engine.socket(), running)?;
    }
    if BESIDE > most {
        return Ok(());
    }
    for engine in engines {
        start(engine.socket(), 0..BESIDE)?;
    }
    calls(engines, rounds, report)?;
    fan_out(engines, rounds, report)?;
    engines.iter().try_for_each(|engine| remove(engine.socket(), BESIDE))
}

fn remove(socket: &Path, count: usize) -> Result<(), Failure> {
    at_once(0..count, |number| ask(socket, "DELETE", &format!("/containers/busy{number}?force=1"), None).map(drop))
}

fn start(socket: &Path, numbers: std::ops::Range<usize>) -> Result<(), Failure> {
    let config = json!({"Image": IMAGE, "Cmd": ["sleep", "1000000"], "HostConfig": {"NetworkMode": "none"}});
    at_once(numbers, |number| {
        ask(socket, "POST", &format!("/containers/create?name=busy{number}"), Some(&config))?;
        ask(socket, "POST", &format!("/containers/busy{number}/start"), None).map(drop)
    })
}

/// Does something for each number, several at a time.
fn at_once(numbers: std::ops::Range<usize>, work: impl Fn(usize) -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    let next = AtomicUsize::new(numbers.start);
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return Ok(());
            }
            work(number)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(Failure("a worker panicked".into()))))
    })
}

/// `ps`, one more start, and the daemon's memory.
fn grown(engine: &Engine, count: usize, rounds: usize, report: &mut Report) -> Result<(), Failure> {
    for _ in 0..rounds {
        std::thread::sleep(PAUSE);
        let took = timed(&mut engine.command(&["ps"]))?;
        report.time(&ps(count), engine.contender, took);
        let took = start_one(engine.socket())?;
        report.time(&start_beside(count), engine.contender, took);
    }
    let memory = engine.daemon_memory()?.resident;
    report.memory(&format!("daemon beside {count} running containers, resident"), engine.contender, memory);
    Ok(())
}

/// The work of `ps` beside so many containers.
pub(crate) fn ps(count: usize) -> String {
    format!("ps beside {count} running containers")
}

/// The work of starting one more beside so many.
pub(crate) fn start_beside(count: usize) -> String {
    format!("start a container with the bridge beside {count} running containers, by the API")
}

fn start_one(socket: &Path) -> Result<Duration, Failure> {
    let config = json!({"Image": IMAGE, "Cmd": ["sleep", "1000000"]});
    ask(socket, "POST", "/containers/create?name=more", Some(&config))?;
    let took = ask(socket, "POST", "/containers/more/start", None)?.took;
    ask(socket, "DELETE", "/containers/more?force=1", None)?;
    Ok(took)
}

fn calls(engines: &[Engine], rounds: usize, report: &mut Report) -> Result<(), Failure> {
    let name = |call: &str| format!("API beside {BESIDE} running containers: {call}");
    for round in 0..=rounds {
        for engine in engines {
            let mut note = |call: &str, took| {
                if round > 0 {
                    report.time(&name(call), engine.contender, took);
                }
            };
            for (call, path) in READS {
                note(call, ask(engine.socket(), "GET", path, None)?.took);
            }
            life(engine.socket(), &mut note)?;
        }
    }
    Ok(())
}

/// A container, a network and a volume from their making to their end.
fn life(socket: &Path, note: &mut impl FnMut(&str, Duration)) -> Result<(), Failure> {
    let config = json!({"Image": IMAGE, "Cmd": ["sleep", "1000000"], "HostConfig": {"NetworkMode": "none"}});
    let mut post = |call: &str, path: &str, body: Option<&serde_json::Value>| {
        let answer = ask(socket, "POST", path, body)?;
        note(call, answer.took);
        Ok::<_, Failure>(answer)
    };
    post("create a container", "/containers/create?name=one", Some(&config))?;
    post("start a container", "/containers/one/start", None)?;
    let exec = post("create an exec", "/containers/one/exec", Some(&json!({"Cmd": ["/true"]})))?.text("Id")?;
    post("start an exec, detached", &format!("/exec/{exec}/start"), Some(&json!({"Detach": true})))?;
    post("pause a container", "/containers/one/pause", None)?;
    post("unpause a container", "/containers/one/unpause", None)?;
    post("update a container", "/containers/one/update", Some(&json!({"Memory": 64 << 20, "MemorySwap": -1})))?;
    post("rename a container", "/containers/one/rename?name=other", None)?;
    post("kill a container", "/containers/other/kill", None)?;
    post("wait for a container that has ended or is about to", "/containers/other/wait", None)?;
    post(
        "create a network (Docker lays no rules)",
        "/networks/create",
        Some(&json!({"Name": "benched", "Internal": true})),
    )?;
    post("create a volume", "/volumes/create", Some(&json!({"Name": "benched"})))?;
    let mut delete = |call: &str, path: &str| {
        note(call, ask(socket, "DELETE", path, None)?.took);
        Ok::<_, Failure>(())
    };
    delete("remove a container", "/containers/other")?;
    delete("remove a network (Docker has no rules)", "/networks/benched")?;
    delete("remove a volume", "/volumes/benched")
}

/// From the request that makes an event until each listener has it.
fn fan_out(engines: &[Engine], rounds: usize, report: &mut Report) -> Result<(), Failure> {
    for engine in engines {
        let path = "/events?filters=%7B%22type%22%3A%5B%22volume%22%5D%7D";
        let mut listeners = (0..LISTENERS).map(|_| listen(engine.socket(), path)).collect::<Result<Vec<_>, _>>()?;
        for round in 0..rounds {
            let name = format!("told{round}");
            let begin = Instant::now();
            ask(engine.socket(), "POST", "/volumes/create", Some(&json!({"Name": name})))?;
            for listener in &mut listeners {
                let mut line = String::new();
                while !(line.contains("\"create\"") && line.contains(&name)) {
                    line.clear();
                    if listener.read_line(&mut line).while_doing("listen for events")? == 0 {
                        return Err(Failure("a stream of events ended".into()));
                    }
                }
            }
            report.time(&format!("an event reaches {LISTENERS} listeners"), engine.contender, begin.elapsed());
            ask(engine.socket(), "DELETE", &format!("/volumes/{name}"), None)?;
        }
    }
    Ok(())
}
