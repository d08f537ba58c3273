//! The one table of commands: parsing, help, man pages and completions all come from here.

mod commands;
mod globals;

use std::future::Future;
use std::pin::Pin;

use clap::{ArgMatches, Command};

pub(crate) use commands::{COMMON, OTHERS, groups};
pub(crate) use globals::globals;

use crate::failure::Failure;
use crate::{Faces, Session};

/// A command's work, ready to be waited for; its value is the exit code.
pub(crate) type Work<'s> = Pin<Box<dyn Future<Output = Result<u8, Failure>> + 's>>;

/// A command that talks to the daemon.
pub(crate) trait Verb: clap::Args {
    /// Its words after the flags, as usage shows them.
    const USAGE: &'static str;
    /// What it does, in one line.
    const ABOUT: &'static str;
    /// Whether flags end at the first word that is none.
    const STOPS: bool = false;

    /// Performs it and tells the exit code.
    fn run(self, session: &Session) -> impl Future<Output = Result<u8, Failure>>;
}

/// How a command is performed.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// By talking to the daemon.
    Client(for<'s> fn(&ArgMatches, &'s Session) -> Result<Work<'s>, Failure>),
    /// Right here, without a daemon.
    Local(fn(&ArgMatches, &Faces) -> Result<u8, Failure>),
}

/// A command in the table.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// Name.
    pub(crate) name: &'static str,
    /// Further names.
    pub(crate) aliases: &'static [&'static str],
    /// Words after the flags.
    pub(crate) usage: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    /// Flags end at the first word that is none.
    pub(crate) stops: bool,
    /// Left out of help.
    pub(crate) hidden: bool,
    /// Its flags and words.
    arguments: fn(Command) -> Command,
    /// How it is performed.
    pub(crate) action: Action,
}

impl Entry {
    /// Its clap definition.
    pub(crate) fn command(&self) -> Command {
        let bare = Command::new(self.name).disable_help_flag(true).disable_version_flag(true);
        // The arguments' struct says what it is in the code; the table says what users read.
        let full = (self.arguments)(bare).about(self.about).long_about(None);
        full.visible_aliases(self.aliases).hide(self.hidden)
    }

    const fn aka(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// Commands about one kind of object.
#[derive(Clone)]
pub(crate) struct Group {
    /// Name.
    pub(crate) name: &'static str,
    /// What it is about.
    pub(crate) about: &'static str,
    /// Its commands.
    pub(crate) entries: Vec<Entry>,
}

impl Group {
    /// The command of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.answers_to(name)).copied()
    }
}

/// A place in the table.
pub(crate) enum Node {
    /// A command.
    Verb(Entry),
    /// Commands about one kind of object.
    Group(Group),
}

fn start<'s, V: Verb + 'static>(matches: &ArgMatches, session: &'s Session) -> Result<Work<'s>, Failure> {
    let verb = V::from_arg_matches(matches).map_err(|error| Failure::new(error.to_string()).code(125))?;
    Ok(Box::pin(verb.run(session)))
}

const fn verb<V: Verb + 'static>(name: &'static str) -> Entry {
    Entry {
        name,
        aliases: &[],
        usage: V::USAGE,
        about: V::ABOUT,
        stops: V::STOPS,
        hidden: false,
        arguments: <V as clap::Args>::augment_args,
        action: Action::Client(start::<V>),
    }
}

const fn local<A: clap::Args>(
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    perform: fn(&ArgMatches, &Faces) -> Result<u8, Failure>,
) -> Entry {
    let action = Action::Local(perform);
    Entry { name, aliases: &[], usage, about, stops: false, hidden: false, arguments: A::augment_args, action }
}

/// Whether `teu image NAME` is a command.
pub(crate) fn is_image_command(name: &str) -> bool {
    commands::images().iter().any(|entry| entry.answers_to(name))
}

/// The command or group of that name.
pub(crate) fn find(name: &str) -> Option<Node> {
    if let Some(entry) = COMMON.iter().chain(OTHERS).find(|entry| entry.answers_to(name)) {
        return Some(Node::Verb(*entry));
    }
    groups().into_iter().find(|group| group.name == name).map(Node::Group)
}

/// The name most like `name` in a group (empty: at the top), when one is near.
pub(crate) fn nearest(group: &str, name: &str) -> Option<&'static str> {
    let names: Vec<&'static str> = match find(group) {
        Some(Node::Group(group)) => group.entries.iter().map(|entry| entry.name).collect(),
        _ => COMMON.iter().chain(OTHERS).map(|e| e.name).chain(groups().iter().map(|group| group.name)).collect(),
    };
    let near = names.into_iter().map(|known| (distance(known, name), known)).min()?;
    (near.0 <= 2 && near.0 < name.chars().count()).then_some(near.1)
}

/// Single-letter edits (a swap of neighbours counts as one) between two words.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The whole table as one clap command, for manual pages and completions.
pub(crate) fn tree() -> Command {
    let group = |group: &Group| {
        Command::new(group.name)
            .about(group.about)
            .disable_help_flag(true)
            .subcommand_required(true)
            .subcommands(group.entries.iter().map(Entry::command))
    };
    globals()
        .subcommand_required(true)
        .subcommands(COMMON.iter().chain(OTHERS).map(Entry::command))
        .subcommands(groups().iter().map(group))
}

#[cfg(test)]
mod tests;
