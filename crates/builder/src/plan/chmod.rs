//! `--chmod`: permission bits, in octal or as chmod(1) writes changes of them (`u=rwX,go+r`). Pure.

use std::fmt;

/// What the mode of each file becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// These bits, whatever it had.
    Bits(u32),
    /// What it had, with these changes one after the other; the text as written.
    Changes(String, Vec<Change>),
}

/// One change: of whose bits, which way, to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The bits that it may touch.
    who: u32,
    /// `+`, `-` or `=`.
    way: char,
    what: What,
}

/// What bits become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// These; execution besides, when `X` asks for it and there is some already.
    Bits { bits: u32, execute: bool },
    /// Those of the owner, the group or the others, by how far they are from the right.
    Copy(u32),
}

/// The owner's bits, the group's and the others', with those that are special to them: inode(7).
const OWNER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o1007;
const EXECUTE: u32 = 0o111;

impl Chmod {
    /// Reads a mode; none when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|char: char| char.is_ascii_digit()) {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).map(Self::Bits);
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            read(clause, &mut changes)?;
        }
        Some(Self::Changes(text.to_owned(), changes))
    }

    /// The mode of a file that had `mode`.
    #[must_use]
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Bits(bits) => *bits,
            Self::Changes(_, changes) => changes.iter().fold(mode & 0o7777, |mode, change| change.apply(mode, is_dir)),
        }
    }
}

impl fmt::Display for Chmod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits(bits) => write!(f, "{bits:o}"),
            Self::Changes(text, _) => f.write_str(text),
        }
    }
}

/// `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`.
fn read(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let ways = ['+', '-', '='];
    let first = clause.find(ways)?;
    let who = clause[..first].chars().try_fold(0, |who, char| Some(who | whose(char)?))?;
    let who = if who == 0 { 0o7777 } else { who };
    let mut rest = &clause[first..];
    while let Some(way) = rest.chars().next() {
        let end = rest[1..].find(ways).map_or(rest.len(), |at| at + 1);
        changes.push(Change { who, way, what: what(&rest[1..end])? });
        rest = &rest[end..];
    }
    Some(())
}

fn whose(char: char) -> Option<u32> {
    Some(match char {
        'u' => OWNER,
        'g' => GROUP,
        'o' => OTHERS,
        'a' => 0o7777,
        _ => return None,
    })
}

fn what(text: &str) -> Option<What> {
    match text {
        "u" => return Some(What::Copy(6)),
        "g" => return Some(What::Copy(3)),
        "o" => return Some(What::Copy(0)),
        _ => {}
    }
    let (mut bits, mut execute) = (0, false);
    for char in text.chars() {
        match char {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= EXECUTE,
            'X' => execute = true,
            's' => bits |= 0o6000,
            't' => bits |= 0o1000,
            _ => return None,
        }
    }
    Some(What::Bits { bits, execute })
}

impl Change {
    fn apply(self, mode: u32, is_dir: bool) -> u32 {
        let bits = match self.what {
            What::Bits { bits, execute } if execute && (is_dir || mode & EXECUTE != 0) => bits | EXECUTE,
            What::Bits { bits, .. } => bits,
            What::Copy(from) => (mode >> from & 0o7) * EXECUTE,
        } & self.who;
        match self.way {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => mode & !self.who | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_changes_them() {
        for (text, mode, is_dir, wanted) in [
            ("644", 0o777, false, 0o644),
            ("0755", 0, true, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("go=", 0o777, false, 0o700),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("g=u", 0o640, false, 0o660),
            ("o=g-w", 0o670, false, 0o675),
            ("u+s,g+s,+t", 0o755, false, 0o7755),
            ("u-s", 0o4755, false, 0o755),
            ("ug+rw-x", 0o711, false, 0o661),
        ] {
            assert_eq!(Chmod::parse(text).map(|chmod| chmod.apply(mode, is_dir)), Some(wanted), "{text} {mode:o}");
        }
        for wrong in ["", "999", "77777", "u", "x+r", "u+q", "u+x,", "rwx"] {
            assert_eq!(Chmod::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Chmod::parse("0640").unwrap().to_string(), "640");
        assert_eq!(Chmod::parse("u+x").unwrap().to_string(), "u+x");
    }
}
