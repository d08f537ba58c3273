//! Words become a command, by Go's flag rules, which users of container tools know by heart.
//!
//! The rules that differ from clap's: global flags come before the command; `run`, `create` and `exec` stop reading
//! flags at the first word that is none, so that `run image ls -l` needs no `--`; a boolean may be written
//! `--rm=false`; a value may begin with a dash (`--memory-swap -1`). This file reads words by these rules against the
//! command's own clap definition and hands clap the plain form, `--flag=value … -- words`.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::commands::refused;
use crate::failure::Failure;
use crate::grammar::boolean;
use crate::table::{self, Entry, Node};
use crate::{Session, help, plugins};

/// What the words ask for.
pub(crate) enum Reading {
    /// A text to print.
    Help(String),
    /// A command to perform.
    Command {
        /// Its surroundings.
        session: Box<Session>,
        /// Its place in the table.
        entry: Entry,
        /// Its arguments.
        matches: Box<ArgMatches>,
    },
}

/// Reads a command line without the program's name.
pub(crate) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Reading, Failure> {
    let mut words = words.into_iter().map(text).collect::<Result<Vec<String>, Failure>>()?.into_iter();
    let root = table::globals();
    let line = Line { called: "teu", usage: "Usage:  teu [OPTIONS] COMMAND [ARG...]".into() };
    let globals = scan(&root, &mut words, Stop::AtFirst, &line)?;
    let version = globals.version;
    let mut rest = globals.words.into_iter().chain(words);
    let matches = parse(root, globals.flags, Vec::new(), &line)?;
    if version {
        return Ok(Reading::Help(format!("teu version {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let Some(name) = rest.next() else { return Ok(Reading::Help(help::root())) };
    if globals.help {
        return help_for(std::iter::once(name).chain(rest));
    }
    if name == "help" {
        return help_for(rest);
    }
    if let Some(refusal) = refused::reason(&name) {
        return Err(refusal);
    }
    let node = match table::find(&name) {
        Some(node) => node,
        None => return elsewhere(&matches, &name, rest.collect()),
    };
    let (entry, called) = match node {
        Node::Verb(entry) => (entry, format!("teu {name}")),
        Node::Group(group) => match rest.next() {
            None => return Ok(Reading::Help(help::group(&group))),
            Some(word) if word == "--help" || word == "-h" => return Ok(Reading::Help(help::group(&group))),
            Some(word) => {
                let called = format!("teu {name} {word}");
                let entry = group.find(&word).ok_or_else(|| unknown_command(&format!("teu {name}"), &word))?;
                (entry, called)
            }
        },
    };
    command(&matches, entry, called, rest.collect())
}

/// A word that is no command of ours: an alias of the user's, or a program that adds a command.
fn elsewhere(globals: &ArgMatches, name: &str, rest: Vec<String>) -> Result<Reading, Failure> {
    let session = Session::new(globals, format!("teu {name}"))?;
    if let Some(alias) = session.file.alias(name) {
        let mut words = alias.split_whitespace().map(str::to_owned).chain(rest);
        let Some(first) = words.next() else { return Err(unknown_command("teu", name)) };
        return match table::find(&first) {
            Some(Node::Verb(entry)) => command(globals, entry, format!("teu {first}"), words.collect()),
            Some(Node::Group(group)) => {
                let word = words.next().unwrap_or_default();
                let called = format!("teu {first} {word}");
                let entry = group.find(&word).ok_or_else(|| unknown_command(&format!("teu {first}"), &word))?;
                command(globals, entry, called, words.collect())
            }
            None => Err(Failure::new(format!("teu: the alias '{name}' stands for '{alias}', which is no command"))),
        };
    }
    match plugins::find(&session, name) {
        Some(program) => {
            let words: Vec<String> = std::iter::once(name.to_owned()).chain(rest).collect();
            Err(plugins::become_it(&session, &program, &words))
        }
        None if name == "buildx" => buildx(globals, rest),
        None => Err(unknown_command("teu", name)),
    }
}

/// What Docker's command line has in a program of its own, as far as it is here without that.
fn buildx(globals: &ArgMatches, rest: Vec<String>) -> Result<Reading, Failure> {
    let mut words = rest.into_iter();
    let word = words.next().unwrap_or_default();
    let wanted = if word == "b" { "build" } else { word.as_str() };
    let group = match table::find("builder") {
        Some(Node::Group(group)) => group,
        _ => return Err(unknown_command("teu", "buildx")),
    };
    match group.find(wanted) {
        Some(entry) => command(globals, entry, format!("teu buildx {word}"), words.collect()),
        None => Err(Failure::new(format!("teu: buildx {word}: the program docker-buildx is not installed"))
            .hint("without it there are 'teu buildx build' and 'teu buildx prune'")),
    }
}

/// Reads the words after a command's name.
fn command(globals: &ArgMatches, entry: Entry, called: String, words: Vec<String>) -> Result<Reading, Failure> {
    let leaf = entry.command();
    let line = Line { called: &called, usage: help::usage(&leaf, entry.usage, &called) };
    let stop = if entry.stops { Stop::AtFirst } else { Stop::Never };
    let mut words = words.into_iter();
    let scanned = scan(&leaf, &mut words, stop, &line)?;
    if scanned.help {
        return Ok(Reading::Help(help::verb(&entry, &called)));
    }
    let plain = scanned.words.into_iter().chain(words).collect();
    let matches = Box::new(parse(leaf, scanned.flags, plain, &line)?);
    Ok(Reading::Command { session: Box::new(Session::new(globals, called)?), entry, matches })
}

fn help_for(mut names: impl Iterator<Item = String>) -> Result<Reading, Failure> {
    let Some(name) = names.next() else { return Ok(Reading::Help(help::root())) };
    match table::find(&name).ok_or_else(|| unknown_command("teu", &name))? {
        Node::Verb(entry) => Ok(Reading::Help(help::verb(&entry, &format!("teu {name}")))),
        Node::Group(group) => match names.next().and_then(|word| group.find(&word).map(|entry| (word, entry))) {
            Some((word, entry)) => Ok(Reading::Help(help::verb(&entry, &format!("teu {name} {word}")))),
            None => Ok(Reading::Help(help::group(&group))),
        },
    }
}

fn text(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|word| Failure::new(format!("argument {} is not UTF-8", word.display())).code(125))
}

fn unknown_command(parent: &str, name: &str) -> Failure {
    let group = parent.strip_prefix("teu ").unwrap_or_default();
    let usage = if group.is_empty() { String::new() } else { format!("Usage:  {parent} COMMAND\n\n") };
    if name.starts_with('-') {
        return unknown_flag(name, &Line { called: parent, usage: format!("Usage:  {parent} COMMAND") });
    }
    let failure = Failure::new(format!("teu: unknown command: {parent} {name}"));
    let failure = failure.help(format!("{usage}Run '{parent} --help' for more information"));
    match table::nearest(group, name) {
        Some(near) => failure.hint(format!("did you mean '{parent} {near}'?")),
        None => failure,
    }
}

/// What a line of words is read for: how the command was called, and how it is used.
struct Line<'a> {
    called: &'a str,
    usage: String,
}

impl Line<'_> {
    /// A mistake in the flags: how the command is used goes along; exit code 125.
    fn mistake(&self, failure: Failure) -> Failure {
        failure.help(format!("{}\n\nRun '{} --help' for more information", self.usage, self.called)).code(125)
    }
}

/// When flags end.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    /// At the first word that is no flag.
    AtFirst,
    /// At `--` only.
    Never,
}

/// Words by their kind.
#[derive(Debug, Default)]
struct Scanned {
    flags: Vec<String>,
    words: Vec<String>,
    help: bool,
    version: bool,
}

/// Splits words into flags (in the plain form) and the rest.
fn scan(
    command: &Command,
    input: &mut std::vec::IntoIter<String>,
    stop: Stop,
    line: &Line<'_>,
) -> Result<Scanned, Failure> {
    let mut scanned = Scanned::default();
    while let Some(word) = input.next() {
        if word == "--" {
            scanned.words.extend(input.by_ref());
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = split_value(long);
            match find_long(command, name) {
                Some(arg) => push(&mut scanned.flags, arg, value, input, || format!("--{name}"))
                    .map_err(|failure| line.mistake(failure))?,
                None if name == "help" => scanned.help = true,
                None if name == "version" && line.called == "teu" => scanned.version = true,
                None => {
                    let failure = unknown_flag(&format!("--{name}"), line);
                    return Err(match nearest_flag(command, name) {
                        Some(near) => failure.hint(format!("did you mean --{near}?")),
                        None => failure,
                    });
                }
            }
        } else if word.len() > 1 && word.starts_with('-') {
            cluster(command, &word, input, &mut scanned, line)?;
        } else {
            scanned.words.push(word);
            if stop == Stop::AtFirst {
                break;
            }
        }
    }
    Ok(scanned)
}

/// Reads `-it`, `-p80:80`, `-p 80:80`, `-i=false`.
fn cluster(
    command: &Command,
    word: &str,
    input: &mut std::vec::IntoIter<String>,
    scanned: &mut Scanned,
    line: &Line<'_>,
) -> Result<(), Failure> {
    let mut rest = &word[1..];
    while let Some(short) = rest.chars().next() {
        rest = &rest[short.len_utf8()..];
        let Some(arg) = command.get_arguments().find(|arg| arg.get_short() == Some(short)) else {
            match short {
                'h' => scanned.help = true,
                'v' if line.called == "teu" => scanned.version = true,
                _ => return Err(unknown_flag(&format!("'{short}' in {word}"), line)),
            }
            continue;
        };
        let name = || format!("'{short}' in {word}");
        let value = match rest.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if takes_value(arg) && !rest.is_empty() => Some(rest.to_owned()),
            None => None,
        };
        let ends = value.is_some();
        push(&mut scanned.flags, arg, value, input, name).map_err(|failure| line.mistake(failure))?;
        if ends {
            break;
        }
    }
    Ok(())
}

fn split_value(long: &str) -> (&str, Option<String>) {
    match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    }
}

fn find_long<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    })
}

/// Whether the flag needs a value (a boolean does not, though it may have one).
pub(crate) fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values() && arg.get_num_args().is_none_or(|range| range.min_values() > 0)
}

/// Adds one flag in the plain form.
fn push(
    flags: &mut Vec<String>,
    arg: &Arg,
    value: Option<String>,
    input: &mut std::vec::IntoIter<String>,
    name: impl Fn() -> String,
) -> Result<(), Failure> {
    let plain = match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => return Ok(()),
    };
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        let on = value.as_deref().map_or(Ok(true), |value| boolean(value).ok_or(value));
        let on = on.map_err(|value| {
            Failure::new(format!("invalid argument \"{value}\" for \"{}\" flag: not true or false", name()))
        })?;
        flags.retain(|flag| *flag != plain);
        if on {
            flags.push(plain);
        }
        return Ok(());
    }
    let value = match value {
        Some(value) if !takes_value(arg) => boolean(&value)
            .ok_or_else(|| {
                Failure::new(format!("invalid argument \"{value}\" for \"{}\" flag: not true or false", name()))
            })?
            .to_string(),
        Some(value) => value,
        None if !takes_value(arg) => "true".to_owned(),
        None => input.next().ok_or_else(|| Failure::new(format!("flag needs an argument: {}", name())))?,
    };
    flags.push(format!("{plain}={value}"));
    Ok(())
}

/// The flag most like `name`, when one is near.
fn nearest_flag<'c>(command: &'c Command, name: &str) -> Option<&'c str> {
    let flags = command.get_arguments().filter_map(Arg::get_long);
    let near = flags.map(|flag| (table::distance(flag, name), flag)).min()?;
    (near.0 <= 2 && near.0 < name.chars().count()).then_some(near.1)
}

fn unknown_flag(name: &str, line: &Line<'_>) -> Failure {
    line.mistake(Failure::new(match name.strip_prefix("--") {
        Some(_) => format!("unknown flag: {name}"),
        None => format!("unknown shorthand flag: {name}"),
    }))
}

/// Lets clap read the plain form.
fn parse(command: Command, flags: Vec<String>, words: Vec<String>, line: &Line<'_>) -> Result<ArgMatches, Failure> {
    let (least, most) = counts(&command);
    let plain =
        std::iter::once(line.called.to_owned()).chain(flags).chain(std::iter::once("--".to_owned())).chain(words);
    let mut command = command;
    command.try_get_matches_from_mut(plain).map_err(|error| match error.kind() {
        ErrorKind::MissingRequiredArgument | ErrorKind::UnknownArgument => wrong_count(least, most, line),
        _ => line.mistake(Failure::new(explain(&error, &command))),
    })
}

/// The least and the most words that a command takes.
fn counts(command: &Command) -> (usize, Option<usize>) {
    let words = || command.get_arguments().filter(|arg| arg.is_positional());
    let endless = words().any(|arg| matches!(arg.get_action(), ArgAction::Append));
    (words().filter(|arg| arg.is_required_set()).count(), (!endless).then(|| words().count()))
}

/// Too few or too many words, in Docker's words.
fn wrong_count(least: usize, most: Option<usize>, line: &Line<'_>) -> Failure {
    let count = |number| format!("{number} argument{}", if number == 1 { "" } else { "s" });
    let (rule, read) = match (least, most) {
        (0, Some(0)) => ("accepts no arguments".to_owned(), "Run"),
        (_, Some(most)) if most == least => (format!("requires {}", count(most)), "Run"),
        (0, Some(most)) => (format!("requires at most {}", count(most)), "Run"),
        (_, Some(most)) => (format!("requires at least {least} and at most {}", count(most)), "Run"),
        (_, None) => (format!("requires at least {}", count(least)), "See"),
    };
    let Line { called, usage } = line;
    Failure::new(format!("teu: '{called}' {rule}"))
        .help(format!("{usage}\n\n{read} '{called} --help' for more information"))
}

/// clap's error about a flag in the field's words.
fn explain(error: &clap::Error, command: &Command) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let flag = context(ContextKind::InvalidArg);
            let flag = flag.split([' ', '=']).next().unwrap_or_default();
            let short = find_long(command, flag.trim_start_matches('-')).and_then(Arg::get_short);
            let flag = short.map_or(flag.to_owned(), |short| format!("-{short}, {flag}"));
            let known = context(ContextKind::ValidValue);
            let reason = match std::error::Error::source(error) {
                Some(reason) => reason.to_string(),
                None if known.is_empty() => "not a value it knows".to_owned(),
                None => format!("it is one of {known}"),
            };
            format!("invalid argument \"{}\" for \"{flag}\" flag: {reason}", context(ContextKind::InvalidValue))
        }
        _ => error.to_string().trim().trim_start_matches("error: ").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_words(words: &[&str]) -> Result<(Vec<String>, Vec<String>), Failure> {
        let leaf = match table::find(words[0]) {
            Some(Node::Verb(entry)) => entry,
            _ => panic!("{} is no command", words[0]),
        };
        let mut input = words[1..].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>().into_iter();
        let stop = if leaf.stops { Stop::AtFirst } else { Stop::Never };
        let line = Line { called: "teu x", usage: String::new() };
        let scanned = scan(&leaf.command(), &mut input, stop, &line)?;
        Ok((scanned.flags, scanned.words.into_iter().chain(input).collect()))
    }

    fn own(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn run_stops_reading_flags_at_the_image() {
        let (flags, words) = run_words(&["run", "-it", "--rm", "-p8080:80", "busybox", "ls", "-l", "--rm"]).unwrap();
        assert_eq!(flags, own(&["--interactive", "--tty", "--rm", "--publish=8080:80"]));
        assert_eq!(words, own(&["busybox", "ls", "-l", "--rm"]));
    }

    #[test]
    fn ps_reads_flags_anywhere() {
        let (flags, words) = run_words(&["stop", "web", "-t", "3", "db"]).unwrap();
        assert_eq!(flags, own(&["--timeout=3"]));
        assert_eq!(words, own(&["web", "db"]));
    }

    #[test]
    fn booleans_take_values_and_values_take_dashes() {
        let (flags, _) = run_words(&["run", "--rm", "--rm=false", "--memory-swap", "-1", "-i=true", "x"]).unwrap();
        assert_eq!(flags, own(&["--memory-swap=-1", "--interactive"]));
        assert!(run_words(&["run", "--rm=maybe", "x"]).unwrap_err().message.contains("\"maybe\""));
    }

    #[test]
    fn mistakes_have_dockers_words_and_code() {
        for (words, message) in [
            (&["run", "--nope", "x"][..], "unknown flag: --nope"),
            (&["run", "-xit", "x"][..], "unknown shorthand flag: 'x' in -xit"),
            (&["run", "--name"][..], "flag needs an argument: --name"),
            (&["run", "-p"][..], "flag needs an argument: 'p' in -p"),
        ] {
            let failure = run_words(words).unwrap_err();
            assert_eq!(failure.message.lines().next(), Some(message));
            assert_eq!(failure.code, 125);
        }
    }

    #[test]
    fn a_whole_line_is_read() {
        let read = |line: &str| read(line.split(' ').map(OsString::from));
        match read("-H unix:///x container run --name=a img cmd").ok().unwrap() {
            Reading::Command { session, matches, .. } => {
                assert_eq!(session.called, "teu container run");
                assert_eq!(session.host().unwrap().address.to_string(), "unix:///x");
                assert_eq!(matches.get_one::<String>("name").map(String::as_str), Some("a"));
            }
            Reading::Help(_) => panic!("help was not asked for"),
        }
        assert!(matches!(read("run --help"), Ok(Reading::Help(text)) if text.contains("Usage:  teu run")));
        assert!(matches!(read("help image pull"), Ok(Reading::Help(text)) if text.contains("Usage:  teu image pull")));
        let failure = read("rnu img").err().unwrap();
        assert_eq!((failure.code, failure.hint.as_deref()), (1, Some("did you mean 'teu run'?")));
        assert_eq!(read("run --cpus x img").err().unwrap().code, 125);
    }

    #[test]
    fn too_few_and_too_many_words_are_told_as_docker_tells_it() {
        for (words, sentence) in [
            ("run", "teu: 'teu run' requires at least 1 argument"),
            ("exec a", "teu: 'teu exec' requires at least 2 arguments"),
            ("rename a", "teu: 'teu rename' requires 2 arguments"),
            ("image pull a b", "teu: 'teu image pull' requires 1 argument"),
            ("ps x", "teu: 'teu ps' accepts no arguments"),
            ("volume create a b", "teu: 'teu volume create' requires at most 1 argument"),
            ("port", "teu: 'teu port' requires at least 1 and at most 2 arguments"),
        ] {
            let failure = read(words.split(' ').map(OsString::from)).err().unwrap();
            assert_eq!((failure.message.as_str(), failure.code), (sentence, 1));
        }
        let help = read(["rename"].map(OsString::from)).err().unwrap().help;
        let expected = "Usage:  teu rename CONTAINER NEW_NAME\n\nRun 'teu rename --help' for more information";
        assert_eq!(help.as_deref(), Some(expected));
    }

    #[test]
    fn a_value_that_does_not_fit_is_told_with_its_flag() {
        let failure = read("run -m lots x".split(' ').map(OsString::from)).err().unwrap();
        assert!(failure.message.starts_with("invalid argument \"lots\" for \"-m, --memory\" flag: "), "{failure:?}");
        assert!(failure.help.unwrap().starts_with("Usage:  teu run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun "));
    }
}
