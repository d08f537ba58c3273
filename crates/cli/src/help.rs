//! Help texts, drawn from the table in the layout users of container tools know.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};

use crate::arguments::takes_value;
use crate::table::{self, COMMON, Entry, Group, OTHERS};

/// `teu --help`.
pub(crate) fn root() -> String {
    let mut text = String::from("Usage:  teu [OPTIONS] COMMAND\n\nBuild, ship and run containers\n");
    section(&mut text, "Common Commands", COMMON.iter().map(|entry| (entry.name, entry.about)));
    let groups = table::groups();
    section(&mut text, "Management Commands", groups.iter().map(|group| (group.name, group.about)));
    section(&mut text, "Commands", OTHERS.iter().filter(|e| !e.hidden).map(|entry| (entry.name, entry.about)));
    text.push_str("\nGlobal Options:\n");
    options(&mut text, table::globals().get_arguments());
    text.push_str("      --version         Print the version and quit\n");
    text.push_str("\nRun 'teu COMMAND --help' for more information on a command.\n");
    text
}

/// `teu image --help`.
pub(crate) fn group(group: &Group) -> String {
    let mut text = format!("Usage:  teu {} COMMAND\n\n{}\n", group.name, group.about);
    section(&mut text, "Commands", group.entries.iter().filter(|e| !e.hidden).map(|entry| (entry.name, entry.about)));
    let _ = write!(text, "\nRun 'teu {} COMMAND --help' for more information on a command.\n", group.name);
    text
}

/// `teu run --help`.
pub(crate) fn verb(entry: &Entry, called: &str) -> String {
    let command = entry.command();
    let mut text = usage(&command, entry.usage, called);
    let _ = write!(text, "\n\n{}\n", entry.about);
    let names = names(entry);
    if names.len() > 1 {
        let _ = write!(text, "\nAliases:\n  {}\n", names.join(", "));
    }
    if has_options(&command) {
        text.push_str("\nOptions:\n");
        let mut arguments: Vec<&Arg> = command.get_arguments().collect();
        arguments.sort_by_key(|arg| arg.get_long().unwrap_or_default());
        options(&mut text, arguments);
    }
    text
}

/// The line, or lines, that show how a command is called: `Usage:  teu run [OPTIONS] IMAGE`.
pub(crate) fn usage(command: &Command, synopsis: &str, called: &str) -> String {
    let flags = if has_options(command) { " [OPTIONS]" } else { "" };
    let lines = synopsis.split('\n').map(|words| format!("{called}{flags} {words}").trim_end().to_owned());
    format!("Usage:  {}", lines.collect::<Vec<_>>().join("\n\t"))
}

fn has_options(command: &Command) -> bool {
    command.get_arguments().any(|arg| !arg.is_positional() && !arg.is_hide_set())
}

/// Every way to call a command.
fn names(entry: &Entry) -> Vec<String> {
    let same = |other: &&Entry| other.about == entry.about;
    let mut names: Vec<String> = Vec::new();
    for group in table::groups() {
        for found in group.entries.iter().filter(same) {
            names.push(format!("teu {} {}", group.name, found.name));
            names.extend(found.aliases.iter().map(|alias| format!("teu {} {alias}", group.name)));
        }
    }
    names.extend(COMMON.iter().chain(OTHERS).filter(same).map(|found| format!("teu {}", found.name)));
    names
}

fn section<'a>(text: &mut String, title: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) {
    let _ = write!(text, "\n{title}:\n");
    for (name, about) in rows {
        let _ = writeln!(text, "  {name:<11} {about}");
    }
}

fn options<'a>(text: &mut String, arguments: impl IntoIterator<Item = &'a Arg>) {
    let rows: Vec<(String, String)> =
        arguments.into_iter().filter(|arg| !arg.is_positional() && !arg.is_hide_set()).map(row).collect();
    let width = rows.iter().map(|(flag, _)| flag.len()).max().unwrap_or(0);
    for (flag, about) in rows {
        let mut lines = about.lines();
        let _ = writeln!(text, "  {flag:<width$}   {}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "  {:<width$}   {line}", "");
        }
    }
}

/// The type of a flag's value as help shows it; none for a boolean.
pub(crate) fn kind(arg: &Arg) -> Option<&str> {
    if !takes_value(arg) {
        return None;
    }
    let many = matches!(arg.get_action(), ArgAction::Append);
    let name = arg.get_value_names().and_then(|names| names.first()).map(clap::builder::Str::as_str);
    // clap derives the value's name from the field's; such a name (upper case) says nothing.
    let name = name.filter(|name| name.chars().any(char::is_lowercase));
    Some(name.unwrap_or(if many { "list" } else { "string" }))
}

fn row(arg: &Arg) -> (String, String) {
    let mut flag = match arg.get_short() {
        Some(short) => format!("-{short}"),
        None => "  ".to_owned(),
    };
    if let Some(long) = arg.get_long() {
        flag.push_str(if arg.get_short().is_some() { ", --" } else { "  --" });
        flag.push_str(long);
    }
    if let Some(kind) = kind(arg) {
        let _ = write!(flag, " {kind}");
    }
    let mut about = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<String> = arg.get_default_values().iter().map(|value| value.display().to_string()).collect();
    if !defaults.is_empty() && !matches!(arg.get_action(), ArgAction::SetTrue) {
        let _ = write!(about, " (default {})", defaults.join(","));
    }
    (flag, about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Node;

    fn of(name: &str) -> String {
        match table::find(name) {
            Some(Node::Verb(entry)) => verb(&entry, &format!("teu {name}")),
            Some(Node::Group(found)) => group(&found),
            None => panic!("{name} is no command"),
        }
    }

    #[test]
    fn the_front_page_groups_commands_as_people_expect() {
        let text = root();
        let order = [
            "Usage:  teu [OPTIONS] COMMAND",
            "Common Commands:",
            "  run         Create and run a new container",
            "Management Commands:",
            "  container   Manage containers",
            "\nCommands:",
            "  attach",
            "Global Options:",
            "-H, --host string",
        ];
        let mut from = 0;
        for wanted in order {
            let at = text[from..].find(wanted).unwrap_or_else(|| panic!("{wanted:?} is missing or out of order"));
            from += at;
        }
        assert!(!text.contains("manual pages"), "hidden commands are hidden");
    }

    #[test]
    fn a_commands_page_has_usage_aliases_and_flags() {
        let text = of("stop");
        assert_eq!(
            text,
            "Usage:  teu stop [OPTIONS] CONTAINER [CONTAINER...]\n\n\
             Stop one or more running containers\n\n\
             Aliases:\n  teu container stop, teu stop\n\n\
             Options:\n  \
             -s, --signal string   Signal to send to the container\n  \
             -t, --timeout int     Seconds to wait before killing the container\n"
        );
        assert!(of("run").contains("-p, --publish list"));
        assert!(of("volume").contains("  ls          List volumes"));
    }

    #[test]
    fn no_line_of_help_is_wider_than_a_wide_terminal() {
        for entry in COMMON.iter().chain(OTHERS) {
            for line in verb(entry, &format!("teu {}", entry.name)).lines() {
                assert!(line.len() <= 120, "{}: {line}", entry.name);
            }
        }
    }
}
