//! teu side by side with its peers and with the kernel's floor, interleaved in one run.
//!
//! ```text
//! teu-bench [--teu PROGRAM] [--out FOLDER] [--only WORK]    BENCH_RUNS=30: how often the short kinds of work are done
//! ```
//!
//! It starts teu's daemon and Docker's on private roots, gives both the same images, lets all contenders take turns at
//! each kind of work, and writes `results.md` and `results.json`. It measures and never judges: a mark that is missed
//! is printed, a peer that is not installed is named, and neither makes it fail. Root; run from the repository.

mod api;
mod buildx;
mod engine;
mod failure;
mod files;
mod floor;
mod ground;
mod http;
mod memory;
mod ports;
mod process;
mod registry;
mod report;
mod runtimes;
mod works;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use engine::Engine;
use failure::{Failure, While};
use floor::Floor;
use ground::Ground;
use registry::Registry;
use report::{Contender, Report};
use runtimes::Runtime;

/// What the command line says.
struct Arguments {
    teu: PathBuf,
    out: PathBuf,
    /// One kind of work alone; all when empty.
    only: PathBuf,
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return match ports::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    match arguments().and_then(|arguments| bench(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("teu-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, Failure> {
    let mut arguments =
        Arguments { teu: "target/release/teu".into(), out: "target/bench".into(), only: PathBuf::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--teu" => &mut arguments.teu,
            "--out" => &mut arguments.out,
            "--only" => &mut arguments.only,
            _ => {
                return Err(Failure(format!(
                    "unknown argument {word}; usage: teu-bench [--teu PROGRAM] [--out FOLDER] [--only WORK]"
                )));
            }
        };
        *place = words.next().ok_or_else(|| Failure(format!("{word} needs a value")))?.into();
    }
    Ok(arguments)
}

fn runs() -> Result<usize, Failure> {
    match std::env::var("BENCH_RUNS") {
        Ok(text) => {
            text.parse().ok().filter(|runs| *runs > 0).ok_or_else(|| Failure(format!("BENCH_RUNS={text}: not a count")))
        }
        Err(_) => Ok(30),
    }
}

fn bench(arguments: &Arguments) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure("making containers takes root: run it as root".into()));
    }
    let teu = fs::canonicalize(&arguments.teu).while_doing(format!("{}: make build", arguments.teu.display()))?;
    let ground = Ground::new()?;
    let mut report = Report::default();
    report.facts = machine();
    let mut engines = vec![Engine::teu(&teu, &ground.path("teu"))?];
    engines.extend(there(&mut report, Engine::docker(&ground.path("docker"))));
    let runtimes = Runtime::all(&teu, &ground.rootfs(), &ground.path("runtimes"));
    let runtimes: Vec<Runtime> = runtimes.into_iter().filter_map(|runtime| there(&mut report, runtime)).collect();
    let mut registries = vec![Registry::Teu(teu.clone())];
    let debian = process::find("docker-registry").map(Registry::Docker);
    registries.extend(there(
        &mut report,
        debian.ok_or_else(|| Failure("docker-registry is not installed: apt-get install docker-registry".into())),
    ));
    report.facts.extend(engines.iter().map(|engine| (engine.contender.name().into(), engine.version.clone())));
    let theirs = runtimes.iter().filter(|runtime| runtime.contender != Contender::Teu);
    report.facts.extend(theirs.map(|runtime| (runtime.contender.name().into(), runtime.version.clone())));
    for registry in &registries {
        report.facts.push((registry.name().into(), registry.version()?));
    }

    measure(arguments, &teu, &engines, runtimes, &registries, &ground, &mut report)?;
    set_marks(&mut report);
    write(&report, &arguments.out)
}

/// All kinds of work, one after the other.
fn measure(
    arguments: &Arguments,
    teu: &Path,
    engines: &[Engine],
    mut runtimes: Vec<Runtime>,
    registries: &[Registry],
    ground: &Ground,
    report: &mut Report,
) -> Result<(), Failure> {
    let runs = runs()?;
    for engine in engines {
        works::prepare(engine, ground, report)?;
    }
    let mut floor = Floor::new(&ground.rootfs(), "/true", ground.path("floor"))?;
    let few = runs.div_ceil(10);
    let begin = |work: &str| begins(work, arguments);
    if begin("api") {
        let measured = api::measure(engines, runs, report);
        there(report, measured);
    }
    if begin("run") {
        let measured = works::run(engines, &mut runtimes, &mut floor, runs, report);
        there(report, measured);
    }
    if begin("exec") {
        let measured = works::exec(engines, &mut runtimes, &floor, ground, runs, report);
        there(report, measured);
    }
    if begin("starts at once") {
        let measured = works::at_once(engines, few, report);
        there(report, measured);
    }
    if begin("published ports") {
        let measured = ports::measure(teu, ground, few, report);
        there(report, measured);
    }
    if begin("files and output") {
        let measured = files::measure(engines, works::IMAGE, ground, few, report);
        there(report, measured);
    }
    if begin("build") {
        let measured = works::build(engines, ground, few, report);
        there(report, measured);
    }
    if begin("build by buildx") {
        let measured = buildx::measure(engines, ground, few, report);
        there(report, measured);
    }
    if begin("push and pull") {
        let measured = works::transfer(engines, registries, ground, few, report);
        there(report, measured);
    }
    Ok(())
}

/// The contender, or a note that it is not there.
fn there<T>(report: &mut Report, contender: Result<T, Failure>) -> Option<T> {
    contender
        .inspect_err(|why| {
            eprintln!("teu-bench: NOT MEASURED: {why}");
            report.missing.push(why.to_string());
        })
        .ok()
}

/// What the machine is, as far as it matters for the numbers.
fn machine() -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let model =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let pure = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false);
    vec![
        ("kernel".into(), read("/proc/sys/kernel/osrelease").trim().into()),
        ("processors".into(), format!("{processors} × {}", model.unwrap_or("unknown"))),
        ("cgroups".into(), if pure { "v2" } else { "v1 hybrid" }.into()),
    ]
}

/// The marks; what they are held against was measured in the same run.
fn set_marks(report: &mut Report) {
    report.mark_at_most(works::BUNDLE, 2.0, Contender::Floor);
    report.mark_faster(works::BUNDLE, 5.0, Contender::Runc);
    report.mark_at_most(works::RUN_WITHOUT_NETWORK, 3.0, Contender::Floor);
    report.mark_at_most(works::RUN, 3.0, Contender::Floor);
    report.mark_even(works::RUN, 3.0);
    report.mark_faster(works::RUN, 15.0, Contender::Docker);
    report.mark_at_most(works::EXEC, 2.0, Contender::Floor);
    report.mark_faster(works::EXEC, 10.0, Contender::Docker);
    report.mark_at_most(works::EXEC_ALONE, 2.0, Contender::Floor);
    report.mark_faster(works::STARTS, 5.0, Contender::Docker);
    for count in [100, 500] {
        report.mark_flat(&api::start_beside(count), 1.25, &api::start_beside(10));
    }
    let passing = [files::LARGE_IN, files::LARGE_OUT, files::MANY_IN, files::MANY_OUT, files::ATTACH];
    for work in passing.into_iter().chain([files::FOLLOW, files::LOGS, files::LOGS_DEFAULT]) {
        report.mark_faster(work, 1.0, Contender::Docker);
    }
    report.mark_below(works::DAEMON, 15.0 * 1024.0);
    report.mark_below(works::SUPERVISOR, 1024.0);
}

fn write(report: &Report, out: &Path) -> Result<(), Failure> {
    fs::create_dir_all(out).while_doing(format!("make {}", out.display()))?;
    let page = report.markdown();
    let json = serde_json::to_string_pretty(&report.json()).while_doing("write the report as JSON")?;
    for (name, text) in [("results.md", &page), ("results.json", &json)] {
        let path = out.join(name);
        fs::write(&path, format!("{}\n", text.trim_end())).while_doing(path.display())?;
    }
    print!("{page}");
    Ok(())
}

/// Says what is measured now, unless only other kinds of work are wanted.
fn begins(work: &str, arguments: &Arguments) -> bool {
    let wanted = arguments.only.to_str().is_none_or(|only| work.contains(only));
    if wanted {
        eprintln!("teu-bench: {work}");
    }
    wanted
}
