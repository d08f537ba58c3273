//! The table is held to the rules of the house and to Docker's own list of commands.

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

/// A command of Docker's: its names, and its flags as `[-x ]--name[ type]`.
struct Docker {
    names: Vec<String>,
    flags: Vec<String>,
}

fn docker() -> Vec<Docker> {
    let mut commands: Vec<Docker> = Vec::new();
    for line in include_str!("../../tests/docker-commands.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match (line.strip_prefix("  "), commands.last_mut()) {
            (Some(flag), Some(command)) => command.flags.push(flag.to_owned()),
            _ => {
                let names = line.split(", ").map(str::to_owned).collect();
                commands.push(Docker { names, flags: Vec::new() });
            }
        }
    }
    commands
}

/// The entry that a command line finds.
fn entry(name: &str) -> Option<Entry> {
    let mut words = name.split(' ');
    match (find(words.next()?)?, words.next()) {
        (Node::Verb(entry), None) => Some(entry),
        (Node::Group(group), Some(word)) => group.find(word),
        _ => None,
    }
}

#[test]
fn every_command_of_docker_is_there_with_each_flag_of_the_right_type() {
    let mut wrong = Vec::new();
    for command in docker() {
        for name in &command.names {
            let Some(entry) = entry(name) else {
                wrong.push(format!("{name} is missing"));
                continue;
            };
            let clap = entry.command();
            let ours: Vec<String> = clap.get_arguments().filter_map(flag).collect();
            let missing = command.flags.iter().filter(|flag| !ours.contains(flag));
            wrong.extend(missing.map(|flag| {
                let long = flag.split(' ').find(|word| word.starts_with("--")).unwrap_or_default();
                let near = ours.iter().find(|own| own.split(' ').any(|word| word == long));
                format!("{name} lacks {flag}; it has {near:?}")
            }));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A flag as the list writes it.
fn flag(arg: &clap::Arg) -> Option<String> {
    let short = arg.get_short().map(|short| format!("-{short} ")).unwrap_or_default();
    let kind = crate::help::kind(arg).map(|kind| format!(" {kind}")).unwrap_or_default();
    Some(format!("{short}--{}{kind}", arg.get_long()?))
}

#[test]
fn what_is_not_supported_is_refused_in_one_sentence() {
    for name in ["swarm", "service", "stack", "node", "secret", "config", "plugin", "trust"] {
        let refusal = crate::commands::refused::reason(name).unwrap();
        assert!(refusal.message.contains(name) && !refusal.message.contains('\n'), "{}", refusal.message);
        assert!(find(name).is_none(), "{name}");
    }
}
