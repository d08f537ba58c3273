//! The fourth face, `teu runtime`: runc's command line on this room's calls, for engines that drive an OCI runtime.
//!
//! ```text
//! create ── Created::leave ──▶ init waits at the gate ◀── start
//! run    ── Created::start, then in the foreground until the end
//! exec   ── exec_with
//! checkpoint, restore ── crate::checkpoint
//! others ── the state on disk, the process, the cgroup
//! ```
//!
//! It is single-threaded and starts before anything of the other faces is looked at. What enters a container must not be
//! writable from there, so the verbs that do first execute themselves again from a read-only mount ([`seal`]).
//!
//! Deliberately absent: any second way to make a container.

mod arguments;
mod checkpoint;
mod config;
mod console;
mod events;
mod exec;
mod features;
mod foreground;
mod home;
mod launch;
mod life;
mod log;
mod notify;
mod seal;
mod show;
mod state;
mod template;
mod update;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::rootless;
use arguments::{Given, Verb};
use log::Log;

/// Where state is kept unless it is said.
const ROOT: &str = "/run/teu-runtime";

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    /// What the command ends with.
    code: u8,
    /// There is no such container.
    absent: bool,
}

impl Failure {
    fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), code: 1, absent: false }
    }

    fn absent() -> Failure {
        Failure { message: "container does not exist".into(), code: 1, absent: true }
    }

    /// The same, with what was being done in front.
    fn during(self, what: &str) -> Failure {
        Failure { message: format!("{what}: {}", self.message), ..self }
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

/// What every verb needs.
struct Context {
    /// The name it was called by.
    program: String,
    root: PathBuf,
    /// Whether the root was named.
    root_given: bool,
    log: Log,
    systemd: bool,
    /// Whether there may be no cgroup that can be used, as for an ordinary user.
    rootless: bool,
}

/// Whether a program called `name` is this face: what engines that know no verb in front call.
pub fn is_called(name: &Path) -> bool {
    name.file_name().is_some_and(|name| name == "teu-runtime" || name == "runc")
}

/// Runs the command line `args`, of a program called `program`.
pub fn run(program: &str, args: &[OsString]) -> u8 {
    let words: Vec<String> = args.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match answer(program, &words) {
        Ok(code) => code,
        Err((log, failure)) => {
            log.error(&failure.message);
            failure.code
        }
    }
}

fn answer(program: &str, words: &[String]) -> Result<u8, (Log, Failure)> {
    let early = |failure: Failure| (Log::default(), failure);
    let global = arguments::parse(arguments::GLOBAL, words, true).map_err(early)?;
    let log = Log::new(global.value("log"), global.value("log-format"), global.has("debug")).map_err(early)?;
    if global.has("version") {
        println!("{program} version {}\ncommit: none\nspec: {}", env!("CARGO_PKG_VERSION"), teu_oci::runtime::VERSION);
        return Ok(0);
    }
    let Some((name, rest)) = global.arguments.split_first() else {
        print!("{}", arguments::help(program, None));
        return Ok(0);
    };
    let name = if name == "help" || name == "h" { rest.first() } else { Some(name) };
    let Some(verb) = arguments::VERBS.iter().find(|verb| Some(verb.name) == name.map(String::as_str)) else {
        return match name {
            Some(name) => Err((log, Failure { code: 3, ..Failure::new(format!("No help topic for '{name}'")) })),
            None => {
                print!("{}", arguments::help(program, None));
                Ok(0)
            }
        };
    };
    let context = Context::new(program, &global, log)?;
    act(&context, verb, rest).map_err(|failure| (context.log, failure))
}

impl Context {
    fn new(program: &str, global: &Given, log: Log) -> Result<Context, (Log, Failure)> {
        let rootless = match choice(global.value("rootless").unwrap_or_default()) {
            Ok(choice) => choice.unwrap_or_else(|| rootless::is_ordinary() || rootless::in_user_namespace()),
            Err(failure) => return Err((log, failure)),
        };
        let given = global.value("root").filter(|root| !root.is_empty());
        let root = match (given, users_directory()) {
            (Some(root), _) => PathBuf::from(root),
            (None, Some(directory)) => directory.join("teu-runtime"),
            (None, None) => PathBuf::from(ROOT),
        };
        let root = match std::path::absolute(&root) {
            Ok(root) => root,
            Err(error) => return Err((log, error.into())),
        };
        let systemd = global.has("systemd-cgroup");
        Ok(Context { program: program.to_owned(), root, root_given: given.is_some(), log, systemd, rootless })
    }
}

/// What is said of a thing that can be left open: true, false, or `auto`.
fn choice(text: &str) -> Result<Option<bool>, Failure> {
    match text {
        "" | "auto" => Ok(None),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        other => Err(Failure::new(format!("invalid --rootless: \"{other}\" is neither true, false nor auto"))),
    }
}

/// Where a user's programs keep what lasts until the user has left: of an ordinary user, or of one who is root in a user
/// namespace only.
fn users_directory() -> Option<PathBuf> {
    let not_root = || std::env::var_os("USER").is_none_or(|name| name != "root");
    let own = rootless::is_ordinary() || rootless::in_user_namespace() && not_root();
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| own && !directory.is_empty())?;
    Some(PathBuf::from(directory))
}

fn act(context: &Context, verb: &Verb, words: &[String]) -> Result<u8, Failure> {
    let given = arguments::parse(verb.flags, words, verb.foreign_tail)?;
    if given.has("help") {
        print!("{}", arguments::help(&context.program, Some(verb)));
        return Ok(0);
    }
    arguments::check_count(&context.program, verb, &given)?;
    context.log.debug(&format!("{} {}", verb.name, given.arguments.join(" ")));
    if matches!(verb.name, "create" | "run" | "exec") {
        seal::seal()?;
    }
    match verb.name {
        "create" => launch::create(context, &given),
        "run" => launch::run(context, &given),
        "start" => life::start(context, &given),
        "kill" => life::kill(context, &given),
        "delete" => life::delete(context, &given),
        "pause" => life::pause(context, &given),
        "resume" => life::resume(context, &given),
        "exec" => exec::exec(context, &given),
        "state" => show::state(context, &given),
        "list" => show::list(context, &given),
        "ps" => show::ps(context, &given),
        "events" => events::events(context, &given),
        "update" => update::update(context, &given),
        "spec" => template::spec(&given),
        "features" => features::features(),
        "checkpoint" => checkpoint::checkpoint(context, &given),
        "restore" => checkpoint::restore(context, &given),
        other => unreachable!("{other} is in the table of verbs"),
    }
    .map(|()| 0)
    .or_else(|failure| if failure.message.is_empty() { Ok(failure.code) } else { Err(failure) })
}

/// The command ends with this, and says nothing.
fn end_with(code: i32) -> Failure {
    Failure { message: String::new(), code: u8::try_from(code).unwrap_or(255), absent: false }
}
