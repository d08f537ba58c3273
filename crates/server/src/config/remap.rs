//! `userns-remap`: which of the host's ids the containers of a daemon have, as subuid(5) and subgid(5) give them to a user.

use std::io::{self, Write};
use std::path::Path;

/// Whose ids `default` stands for.
const DEFAULT: &str = "dockremap";
/// How many there must be.
const COUNT: u32 = 65536;
/// Where the ids begin that nobody has been given, if nobody has been given any.
const FIRST: u32 = 100_000;

/// subuid(5), subgid(5), passwd(5).
pub(crate) const TABLES: [&str; 3] = ["/etc/subuid", "/etc/subgid", "/etc/passwd"];

/// The first of 65536 ids that a user and a group (`user[:group]`, by name or number) have been given; for a `default` that
/// has none, of those that [`record`] gives it. None when they have not as many, or not from the same number on: a
/// container's user and group ids are shifted alike.
pub(super) fn first(text: &str, [users, groups, names]: [&Path; 3]) -> Option<u32> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let default = text == "default";
    let [user, group] = [user, group].map(|name| if default { DEFAULT } else { name });
    let of =
        |file: &Path, name: &str| range(&std::fs::read_to_string(file).unwrap_or_default(), &known_as(name, names));
    match (of(users, user), of(groups, group)) {
        (Some(first), Some(same)) if first == same => Some(first),
        (None, None) if default => next([users, groups]),
        _ => None,
    }
}

/// A name and the number that goes with it, or the other way round.
fn known_as(name: &str, names: &Path) -> Vec<String> {
    let table = std::fs::read_to_string(names).unwrap_or_default();
    let entries =
        table.lines().filter_map(|line| line.split_once(':')?.1.split_once(':').map(|(_, rest)| (line, rest)));
    let pairs = entries.filter_map(|(line, rest)| Some((line.split(':').next()?, rest.split(':').next()?)));
    let other = pairs.filter_map(|(known, id)| match name {
        _ if name == known => Some(id.to_owned()),
        _ if name == id => Some(known.to_owned()),
        _ => None,
    });
    other.chain([name.to_owned()]).collect()
}

fn range(table: &str, names: &[String]) -> Option<u32> {
    let entries = table.lines().filter_map(entry);
    let mut own = entries.filter(|(name, _, count)| names.iter().any(|known| known == name) && *count >= COUNT);
    own.next().map(|(_, first, _)| first)
}

/// `name:first:count`
fn entry(line: &str) -> Option<(&str, u32, u32)> {
    let mut parts = line.trim().split(':');
    Some((parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Where the ids begin that nobody has, behind those that others have.
fn next(files: [&Path; 2]) -> Option<u32> {
    let tables = files.map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let ends = tables.iter().flat_map(|table| table.lines()).filter_map(entry);
    let first = ends.map(|(_, first, count)| first.saturating_add(count)).max().unwrap_or(FIRST).max(FIRST);
    first.checked_add(COUNT).map(|_| first)
}

/// Writes down that the ids from `first` on are the default user's, so that nobody else is given them.
///
/// # Errors
/// As open(2) and write(2).
pub(crate) fn record(first: u32, files: [&Path; 2]) -> io::Result<()> {
    for file in files {
        let table = std::fs::read_to_string(file).unwrap_or_default();
        if table.lines().filter_map(entry).any(|(name, ..)| name == DEFAULT) {
            continue;
        }
        let gap = if table.is_empty() || table.ends_with('\n') { "" } else { "\n" };
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
        file.write_all(format!("{gap}{DEFAULT}:{first}:{COUNT}\n").as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_user_has_the_ids_that_the_tables_say() {
        let folder = tempfile::tempdir().expect("folder");
        let [users, groups, names] = ["subuid", "subgid", "passwd"].map(|name| folder.path().join(name));
        fs::write(&users, "ann:100000:65536\nbob:200000:1000\n1002:300000:70000\ndan:400000:65536\n").expect("written");
        fs::write(&groups, "ann:100000:65536\nbob:200000:65536\neve:300000:65536\ndan:500000:65536").expect("written");
        fs::write(&names, "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:\neve:x:1002:1002::/:\n").expect("written");
        let first = |text: &str| first(text, [&users, &groups, &names]);
        assert_eq!((first("ann"), first("1000"), first("ann:1000")), (Some(100_000), Some(100_000), Some(100_000)));
        assert_eq!(first("eve"), Some(300_000), "by number in one, by name in the other");
        assert_eq!((first("bob"), first("dan"), first("nobody")), (None, None, None));
        assert_eq!(first("default"), Some(565_536));
        assert!(!fs::read_to_string(&users).expect("read").contains(DEFAULT), "looking gives nobody anything");
        for _ in 0..2 {
            record(565_536, [&users, &groups]).expect("written");
            assert_eq!(first("default"), Some(565_536), "once");
        }
        let table = fs::read_to_string(&groups).expect("read");
        assert!(table.ends_with("dan:500000:65536\ndockremap:565536:65536\n"), "{table}");
    }
}
