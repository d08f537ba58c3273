//! How a word may go on: decided from the words before it, without asking anybody.

use clap::{Arg, ArgAction, Command};

use super::objects::{self, Kind};
use crate::Session;
use crate::arguments::takes_value;
use crate::table::{self, COMMON, Entry, Node, OTHERS};

/// What may stand at a place.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    /// These words, each with what it is.
    Words(Vec<(String, String)>),
    /// Objects of the daemon, or files, after a prefix that stays (`--network=`).
    Objects(Kind, String),
    /// Nothing that is known.
    Nothing,
}

/// What the last word may be.
pub(super) fn wanted(before: &[String], current: &str) -> Wanted {
    let globals = table::globals();
    let mut rest = before;
    let mut waiting = None;
    // The flags before the command.
    while let Some((word, after)) = rest.split_first() {
        if !word.starts_with('-') {
            break;
        }
        rest = after;
        waiting = value_of(&globals, word);
        if waiting.is_some() && !rest.is_empty() {
            rest = &rest[1..];
            waiting = None;
        }
    }
    if let Some(flag) = waiting {
        return value(flag, "teu", String::new());
    }
    let Some((name, rest)) = rest.split_first() else {
        return if current.starts_with('-') { flags(&globals, "teu", current) } else { top() };
    };
    match table::find(name) {
        Some(Node::Verb(entry)) => of_command(&entry, entry.name, rest, current),
        Some(Node::Group(group)) => match rest.split_first() {
            None => Wanted::Words(group.entries.iter().filter(|entry| !entry.hidden).map(described).collect()),
            Some((word, rest)) => match group.find(word) {
                Some(entry) => of_command(&entry, entry.name, rest, current),
                None => Wanted::Nothing,
            },
        },
        None => Wanted::Nothing,
    }
}

fn described(entry: &Entry) -> (String, String) {
    (entry.name.to_owned(), entry.about.to_owned())
}

/// Every command and group.
fn top() -> Wanted {
    let mut all: Vec<(String, String)> =
        COMMON.iter().chain(OTHERS).filter(|entry| !entry.hidden).map(described).collect();
    all.extend(table::groups().iter().map(|group| (group.name.to_owned(), group.about.to_owned())));
    Wanted::Words(all)
}

/// Within a command: a flag, a flag's value, or one of its words.
fn of_command(entry: &Entry, name: &str, before: &[String], current: &str) -> Wanted {
    let command = entry.command();
    let (mut words, mut waiting, mut plain) = (0, None, false);
    for word in before {
        if waiting.take().is_some() {
            continue;
        }
        if word == "--" {
            plain = true;
        } else if !plain && word.len() > 1 && word.starts_with('-') {
            waiting = value_of(&command, word);
        } else {
            words += 1;
            plain |= entry.stops;
        }
    }
    if let Some(flag) = waiting {
        return value(flag, name, String::new());
    }
    if !plain && current.starts_with('-') {
        return flags(&command, name, current);
    }
    let positions: Vec<&Arg> = command.get_arguments().filter(|arg| arg.is_positional()).collect();
    let endless = |arg: &&&Arg| matches!(arg.get_action(), ArgAction::Append);
    match positions.get(words).or(positions.last().filter(endless)) {
        Some(arg) => match objects::kind_of_word(first_name(arg), name) {
            Some(kind) => Wanted::Objects(kind, String::new()),
            None => fixed(arg),
        },
        None => Wanted::Nothing,
    }
}

/// The flag that waits for a value after this word.
fn value_of<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    if word.contains('=') {
        return None;
    }
    let mut arguments = command.get_arguments();
    let found = match word.strip_prefix("--") {
        Some(long) => arguments.find(|arg| {
            arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
        }),
        // Of a cluster, `-it`, only the last may wait.
        None => arguments.find(|arg| arg.get_short().is_some_and(|short| word.ends_with(short))),
    };
    found.filter(|arg| takes_value(arg))
}

/// The flags, or the value of `--flag=`.
fn flags(command: &Command, name: &str, current: &str) -> Wanted {
    if let Some((flag, _)) = current.split_once('=') {
        return match value_of(command, flag) {
            Some(arg) => value(arg, name, format!("{flag}=")),
            None => Wanted::Nothing,
        };
    }
    let visible = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    let mut words: Vec<(String, String)> = visible
        .filter_map(|arg| {
            let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("--{}", arg.get_long()?), about.lines().next().unwrap_or_default().to_owned()))
        })
        .collect();
    words.push(("--help".into(), "Print how it is used".into()));
    words.sort();
    Wanted::Words(words)
}

fn value(arg: &Arg, command: &str, prefix: String) -> Wanted {
    let long = arg.get_long().unwrap_or_default();
    if let Some(kind) = objects::kind_of_flag(long, command) {
        return Wanted::Objects(kind, prefix);
    }
    let known = objects::values_of_flag(long, command);
    let words: Vec<String> = match known.is_empty() {
        true => arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
        false => known.iter().map(|word| (*word).to_owned()).collect(),
    };
    Wanted::Words(words.into_iter().map(|word| (format!("{prefix}{word}"), String::new())).collect())
}

fn fixed(arg: &Arg) -> Wanted {
    let values = arg.get_possible_values();
    Wanted::Words(values.iter().map(|value| (value.get_name().to_owned(), String::new())).collect())
}

fn first_name(arg: &Arg) -> &str {
    arg.get_value_names().and_then(|names| names.first()).map_or("", clap::builder::Str::as_str)
}

/// The candidates that begin like the word, as the shells read them.
pub(super) async fn lines(wanted: Wanted, current: &str, session: &Session) -> String {
    let (words, files) = match wanted {
        Wanted::Nothing => return String::new(),
        Wanted::Words(words) => (words, false),
        Wanted::Objects(Kind::Files, _) => (Vec::new(), true),
        Wanted::Objects(kind, prefix) => {
            let names = objects::names(kind, session).await;
            (names.into_iter().map(|(name, about)| (format!("{prefix}{name}"), about)).collect(), false)
        }
    };
    let mut text = String::new();
    for (word, about) in words.iter().filter(|(word, _)| word.starts_with(current)) {
        text.push_str(word);
        if !about.is_empty() {
            text.push('\t');
            text.push_str(about);
        }
        text.push('\n');
    }
    if files {
        text.push_str(":files\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Wanted {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (current, before) = words.split_last().unwrap();
        wanted(before, current)
    }

    fn words(line: &str) -> Vec<String> {
        match at(line) {
            Wanted::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn commands_and_flags_are_offered() {
        assert!(words("").contains(&"run".to_owned()) && words("").contains(&"image".to_owned()));
        assert!(!words("").contains(&"__complete".to_owned()));
        assert!(words("image ").contains(&"pull".to_owned()));
        assert!(words("run --").contains(&"--publish".to_owned()));
        assert!(words("--").contains(&"--context".to_owned()));
    }

    #[test]
    fn objects_are_offered_where_they_belong() {
        assert_eq!(at("stop "), Wanted::Objects(Kind::Running, String::new()));
        assert_eq!(at("rm a "), Wanted::Objects(Kind::Containers, String::new()));
        assert_eq!(at("-H unix:///x run -it "), Wanted::Objects(Kind::Images, String::new()));
        assert_eq!(at("run --network "), Wanted::Objects(Kind::Networks, String::new()));
        assert_eq!(at("run --net "), Wanted::Objects(Kind::Networks, String::new()));
        assert_eq!(at("run --network=b"), Wanted::Objects(Kind::Networks, "--network=".into()));
        assert_eq!(at("volume rm "), Wanted::Objects(Kind::Volumes, String::new()));
        assert_eq!(at("load -i "), Wanted::Objects(Kind::Files, String::new()));
        assert_eq!(at("--context "), Wanted::Objects(Kind::Contexts, String::new()));
        assert_eq!(words("run --restart "), ["no", "always", "on-failure", "unless-stopped"]);
        // What follows the image is the container's affair.
        assert_eq!(at("run busybox -"), Wanted::Words(Vec::new()));
    }
}
