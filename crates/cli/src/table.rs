//! The one table of commands: parsing, help, man pages and completions all come from here.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::commands as c;
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
    Local(fn(&ArgMatches, &Faces) -> Result<ExitCode, Failure>),
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
    perform: fn(&ArgMatches, &Faces) -> Result<ExitCode, Failure>,
) -> Entry {
    let action = Action::Local(perform);
    Entry { name, aliases: &[], usage, about, stops: false, hidden: false, arguments: A::augment_args, action }
}

/// What most people need on most days, in the order of help.
pub(crate) const COMMON: &[Entry] = &[
    verb::<c::run::Run>("run"),
    verb::<c::exec::Exec>("exec"),
    verb::<c::ps::Ps>("ps"),
    verb::<c::build::Build>("build"),
    verb::<c::pull::Pull>("pull"),
    verb::<c::push::Push>("push"),
    verb::<c::images::Images>("images"),
    verb::<c::login::Login>("login"),
    verb::<c::login::Logout>("logout"),
    verb::<c::version::Version>("version"),
    verb::<c::info::Info>("info"),
];

/// The other commands, by name.
pub(crate) const OTHERS: &[Entry] = &[
    verb::<c::attach::Attach>("attach"),
    verb::<c::commit::Commit>("commit"),
    local::<c::completion::Completion>("completion", "SHELL", c::completion::ABOUT, c::completion::perform),
    verb::<c::run::Create>("create"),
    local::<DaemonArguments>("daemon", "", "Run the daemon in the foreground", c::daemon::perform),
    verb::<c::diff::Diff>("diff"),
    verb::<c::events::Events>("events"),
    verb::<c::export::Export>("export"),
    verb::<c::history::History>("history"),
    verb::<c::import::Import>("import"),
    verb::<c::inspect::Inspect>("inspect"),
    verb::<c::lifecycle::Kill>("kill"),
    verb::<c::load::Load>("load"),
    verb::<c::logs::Logs>("logs"),
    MAN,
    verb::<c::lifecycle::Pause>("pause"),
    verb::<c::port::Port>("port"),
    verb::<c::lifecycle::Rename>("rename"),
    verb::<c::lifecycle::Restart>("restart"),
    verb::<c::rm::Rm>("rm"),
    verb::<c::rmi::Rmi>("rmi"),
    verb::<c::save::Save>("save"),
    verb::<c::start::Start>("start"),
    verb::<c::lifecycle::Stop>("stop"),
    verb::<c::tag::Tag>("tag"),
    verb::<c::top::Top>("top"),
    verb::<c::lifecycle::Unpause>("unpause"),
    verb::<c::wait::Wait>("wait"),
];

type DaemonArguments = c::daemon::DaemonArgs;

const MAN: Entry = {
    let mut entry = local::<c::man::Man>("man", "FOLDER", "Write the manual pages to a folder", c::man::perform);
    entry.hidden = true;
    entry
};

/// Commands about one kind of object, by that kind.
pub(crate) fn groups() -> Vec<Group> {
    let group = |name, about, entries| Group { name, about, entries };
    vec![
        group(
            "builder",
            "Manage builds",
            vec![verb::<c::build::Build>("build"), verb::<c::prune::BuildPrune>("prune")],
        ),
        group("container", "Manage containers", containers()),
        group("image", "Manage images", images()),
        group(
            "network",
            "Manage networks",
            vec![
                verb::<c::network::Connect>("connect"),
                verb::<c::network::Create>("create"),
                verb::<c::network::Disconnect>("disconnect"),
                verb::<c::network::NetworkInspect>("inspect"),
                verb::<c::network::List>("ls").aka(&["list"]),
                verb::<c::prune::NetworkPrune>("prune"),
                verb::<c::network::Remove>("rm").aka(&["remove"]),
            ],
        ),
        group(
            "registry",
            "Run an image registry",
            vec![local::<c::registry::RegistryArgs>("serve", "", c::registry::ABOUT, c::registry::perform)],
        ),
        group(
            "system",
            "Manage teu",
            vec![
                verb::<c::df::Df>("df"),
                verb::<c::events::Events>("events"),
                verb::<c::info::Info>("info"),
                verb::<c::prune::SystemPrune>("prune"),
            ],
        ),
        group(
            "volume",
            "Manage volumes",
            vec![
                verb::<c::volume::Create>("create"),
                verb::<c::volume::VolumeInspect>("inspect"),
                verb::<c::volume::List>("ls").aka(&["list"]),
                verb::<c::prune::VolumePrune>("prune"),
                verb::<c::volume::Remove>("rm").aka(&["remove"]),
            ],
        ),
    ]
}

fn containers() -> Vec<Entry> {
    vec![
        verb::<c::attach::Attach>("attach"),
        verb::<c::commit::Commit>("commit"),
        verb::<c::run::Create>("create"),
        verb::<c::diff::Diff>("diff"),
        verb::<c::exec::Exec>("exec"),
        verb::<c::export::Export>("export"),
        verb::<c::inspect::ContainerInspect>("inspect"),
        verb::<c::lifecycle::Kill>("kill"),
        verb::<c::logs::Logs>("logs"),
        verb::<c::ps::Ps>("ls").aka(&["list", "ps"]),
        verb::<c::lifecycle::Pause>("pause"),
        verb::<c::port::Port>("port"),
        verb::<c::prune::ContainerPrune>("prune"),
        verb::<c::lifecycle::Rename>("rename"),
        verb::<c::lifecycle::Restart>("restart"),
        verb::<c::rm::Rm>("rm").aka(&["remove"]),
        verb::<c::run::Run>("run"),
        verb::<c::start::Start>("start"),
        verb::<c::lifecycle::Stop>("stop"),
        verb::<c::top::Top>("top"),
        verb::<c::lifecycle::Unpause>("unpause"),
        verb::<c::wait::Wait>("wait"),
    ]
}

fn images() -> Vec<Entry> {
    vec![
        verb::<c::build::Build>("build"),
        verb::<c::history::History>("history"),
        verb::<c::import::Import>("import"),
        verb::<c::inspect::ImageInspect>("inspect"),
        verb::<c::load::Load>("load"),
        verb::<c::images::Images>("ls").aka(&["list"]),
        verb::<c::prune::ImagePrune>("prune"),
        verb::<c::pull::Pull>("pull"),
        verb::<c::push::Push>("push"),
        verb::<c::rmi::Rmi>("rm").aka(&["remove"]),
        verb::<c::save::Save>("save"),
        verb::<c::tag::Tag>("tag"),
    ]
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

/// The flags before the command's name.
pub(crate) fn globals() -> Command {
    Command::new("teu")
        .about("Build, ship and run containers")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("string")
                .help("Folder of the client's config.json (default $DOCKER_CONFIG or ~/.docker)"),
        )
        .arg(
            Arg::new("host")
                .short('H')
                .long("host")
                .value_name("string")
                .help("Daemon to talk to, unix:///path or tcp://address:port (default $TEU_HOST, $DOCKER_HOST)"),
        )
        .arg(
            Arg::new("no_autostart")
                .long("no-autostart")
                .action(ArgAction::SetTrue)
                .help("Do not start a daemon when none answers"),
        )
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
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_fault_with_the_table() {
        tree().debug_assert();
    }

    #[test]
    fn every_command_and_flag_says_what_it_does() {
        let every = COMMON.iter().chain(OTHERS).copied().chain(groups().into_iter().flat_map(|group| group.entries));
        for entry in every {
            assert!(!entry.about.is_empty(), "{}", entry.name);
            for arg in entry.command().get_arguments().filter(|arg| !arg.is_positional()) {
                assert!(arg.get_help().is_some(), "{} --{}", entry.name, arg.get_id());
            }
        }
    }

    #[test]
    fn a_typing_mistake_finds_its_command() {
        assert_eq!(nearest("", "rnu"), Some("run"));
        assert_eq!(nearest("", "imges"), Some("images"));
        assert_eq!(nearest("image", "pul"), Some("pull"));
        assert_eq!(nearest("", "kubernetes"), None);
    }
}
