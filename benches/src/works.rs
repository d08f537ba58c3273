//! The kinds of work. Contenders take turns within each, so that a machine that slows down slows all of them.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::engine::Engine;
use crate::failure::Failure;
use crate::floor::Floor;
use crate::ground::Ground;
use crate::http::ask;
use crate::process::timed;
use crate::registry::Registry;
use crate::report::{Contender, Report};
use crate::runtimes::Runtime;

pub(crate) const RUN_WITHOUT_NETWORK: &str = "run --rm of a static true, no network";
pub(crate) const RUN: &str = "run --rm of a static true, bridge";
pub(crate) const BUNDLE: &str = "a bundle with a static true, run by the runtime alone";
pub(crate) const EXEC: &str = "exec of a static true";
const EXEC_WITHOUT_COMMAND: &str = "entering the namespaces and a static true, by a process that runs already";
pub(crate) const EXEC_ALONE: &str = "exec of a static true, by the runtime alone";
pub(crate) const STARTS: &str = "100 starts at once with the bridge, each of them";
pub(crate) const BUILD: &str = "build of four steps, no cache";
pub(crate) const BUILD_CACHED: &str = "build of four steps, cached";
pub(crate) const DAEMON: &str = "idle daemon, resident";
pub(crate) const SUPERVISOR: &str = "process beside a running container, private";

/// The image that holds the static `true`.
pub(crate) const IMAGE: &str = "teu-bench";
/// How many containers run when the memory beside them is read.
const CONTAINERS: usize = 5;
/// How many start at once.
const CROWD: usize = 100;
/// Turns that are taken before the clock counts.
const WARMING: usize = 2;

/// How long nobody asks for anything before a daemon counts as idle.
const IDLE: Duration = Duration::from_secs(12);

/// Gives an engine its images, and reads what its daemon holds before it has run anything.
pub(crate) fn prepare(engine: &Engine, ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    load(engine, ground)?;
    std::thread::sleep(IDLE);
    report.memory(DAEMON, engine.contender, engine.daemon_memory()?.resident);
    Ok(())
}

/// Gives an engine its images.
pub(crate) fn load(engine: &Engine, ground: &Ground) -> Result<(), Failure> {
    engine.output(&["load", "-i", &ground.base_image().display().to_string()])?;
    engine.output(&["build", "-t", IMAGE, &ground.path("small").display().to_string()])?;
    Ok(())
}

/// `run --rm`, with and without network, and runtimes by themselves, against the floor.
pub(crate) fn run(
    engines: &[Engine],
    runtimes: &mut [Runtime],
    floor: &mut Floor,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    for round in 0..rounds + WARMING {
        let mut note = |work: &str, contender, took| {
            if round >= WARMING {
                report.time(work, contender, took);
            }
        };
        for engine in engines {
            let words = ["run", "--rm", "--network", "none", IMAGE, "/true"];
            note(RUN_WITHOUT_NETWORK, engine.contender, timed(&mut engine.command(&words))?);
        }
        for runtime in &mut *runtimes {
            let took = runtime.run()?;
            note(BUNDLE, runtime.contender, took);
            if runtime.contender != Contender::Teu {
                note(RUN_WITHOUT_NETWORK, runtime.contender, took);
            }
        }
        let times = floor.run()?;
        for work in [RUN_WITHOUT_NETWORK, BUNDLE, RUN] {
            note(work, Contender::Floor, times.exit);
        }
        note("the floor alone, until the program is reached", Contender::Floor, times.exec);
        for engine in engines {
            note(RUN, engine.contender, timed(&mut engine.command(&["run", "--rm", IMAGE, "/true"]))?);
        }
    }
    Ok(())
}

/// `exec` in a container that runs, and the memory beside several of them.
pub(crate) fn exec(
    engines: &[Engine],
    runtimes: &mut [Runtime],
    floor: &Floor,
    ground: &Ground,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let name = |number: usize| format!("bench{number}");
    for engine in engines {
        for number in 0..CONTAINERS {
            engine.output(&["run", "-d", "--name", &name(number), IMAGE, "sleep", "100000"])?;
        }
    }
    let ours = engines.iter().find(|engine| engine.contender == Contender::Teu);
    let inside = ours.map(|engine| engine.pid(&name(0))).transpose()?;
    let holds = runtimes.iter_mut().map(Runtime::hold).collect::<Result<Vec<_>, _>>()?;
    for round in 0..rounds + WARMING {
        let mut note = |work, contender, took| {
            if round >= WARMING {
                report.time(work, contender, took);
            }
        };
        for engine in engines {
            note(EXEC, engine.contender, timed(&mut engine.command(&["exec", &name(0), "/true"]))?);
        }
        for held in &holds {
            note(EXEC_ALONE, held.contender(), held.enter()?);
        }
        if let Some(pid) = inside {
            // A command has to be started itself.
            let took = timed(&mut ground.enter(pid))?;
            note(EXEC, Contender::Floor, took);
            note(EXEC_ALONE, Contender::Floor, took);
            note(EXEC_WITHOUT_COMMAND, Contender::Floor, floor.enter(pid)?);
        }
    }
    drop(holds);
    for engine in engines {
        for number in 0..CONTAINERS {
            let memory = engine.supervisor_memory(&name(number))?;
            report.memory(SUPERVISOR, engine.contender, memory.private);
            report.memory("process beside a running container, resident", engine.contender, memory.resident);
        }
        let resident = engine.daemon_memory()?.resident;
        report.memory("daemon after the runs, with containers, resident", engine.contender, resident);
        for number in 0..CONTAINERS {
            engine.output(&["rm", "-f", &name(number)])?;
        }
    }
    Ok(())
}

/// A hundred containers that start at the same moment, and that are stopped at the same moment.
pub(crate) fn at_once(engines: &[Engine], rounds: usize, report: &mut Report) -> Result<(), Failure> {
    let config = json!({"Image": IMAGE, "Cmd": ["sleep", "1000000"], "StopSignal": "SIGKILL"});
    for _ in 0..rounds {
        for engine in engines {
            let socket = engine.socket();
            for number in 0..CROWD {
                ask(socket, "POST", &format!("/containers/create?name=crowd{number}"), Some(&config))?;
            }
            let mut all = |verb: &str, each: &str, together: &str| {
                let begin = Instant::now();
                let times =
                    crowd(|number| Ok(ask(socket, "POST", &format!("/containers/crowd{number}/{verb}"), None)?.took))?;
                report.time(together, engine.contender, begin.elapsed());
                times.into_iter().for_each(|took| report.time(each, engine.contender, took));
                Ok::<_, Failure>(())
            };
            all("start", STARTS, "100 starts at once with the bridge, all of them")?;
            all("stop", "100 stops at once, each of them", "100 stops at once, all of them")?;
            for number in 0..CROWD {
                ask(socket, "DELETE", &format!("/containers/crowd{number}"), None)?;
            }
        }
    }
    Ok(())
}

/// Does something a hundred times, each time by a thread of its own, begun at the same moment.
fn crowd(work: impl Fn(usize) -> Result<Duration, Failure> + Sync) -> Result<Vec<Duration>, Failure> {
    let gate = Barrier::new(CROWD);
    std::thread::scope(|scope| {
        let thread = |number| {
            let (gate, work) = (&gate, &work);
            scope.spawn(move || {
                gate.wait();
                work(number)
            })
        };
        let threads: Vec<_> = (0..CROWD).map(thread).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Failure("a thread panicked".into()))))
            .collect()
    })
}

/// A build of four steps, without cache and with.
pub(crate) fn build(engines: &[Engine], ground: &Ground, rounds: usize, report: &mut Report) -> Result<(), Failure> {
    let context = ground.path("steps").display().to_string();
    for _ in 0..rounds {
        for engine in engines {
            let took = timed(&mut engine.command(&["build", "--no-cache", "-t", "steps", &context]))?;
            report.time(BUILD, engine.contender, took);
        }
        for engine in engines {
            report.time(
                BUILD_CACHED,
                engine.contender,
                timed(&mut engine.command(&["build", "-t", "steps", &context]))?,
            );
        }
    }
    Ok(())
}

/// A fresh image of 100 MB goes to a fresh registry and comes back.
pub(crate) fn transfer(
    engines: &[Engine],
    registries: &[Registry],
    ground: &Ground,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let context = ground.path("large").display().to_string();
    let mut seed = 0;
    for _ in 0..rounds {
        for registry in registries {
            seed += 1;
            ground.fill_large(seed)?;
            for engine in engines {
                let serving = registry.serve(&ground.path("registry"))?;
                let image = format!("{}/large:{seed}", serving.address);
                engine.output(&["build", "--no-cache", "-t", &image, &context])?;
                let push = timed(&mut engine.command(&["push", &image]))?;
                report.time(&format!("push of 100 MB to {}", registry.name()), engine.contender, push);
                engine.output(&["rmi", "-f", &image])?;
                let pull = timed(&mut engine.command(&["pull", &image]))?;
                report.time(&format!("pull of 100 MB from {}", registry.name()), engine.contender, pull);
                engine.output(&["rmi", "-f", &image])?;
            }
        }
    }
    Ok(())
}
