//! `--chown`: names looked up in the image's own passwd(5) and group(5), never the host's.

use std::io::Read;

use teu_sys::fs::Root;

/// A file larger than this is no passwd of an image.
const LARGEST: u64 = 8 << 20;

/// Resolves `user[:group]`: a user given by number has the group of that number, one given by name its own.
pub(super) fn resolve(root: &Root, wanted: &str) -> Result<(u32, u32), String> {
    let (user, group) = wanted.split_once(':').map_or((wanted, None), |(user, group)| (user, Some(group)));
    let (uid, own_group) = match id(user) {
        Some(number) => (number, number),
        None if user.is_empty() => (0, 0),
        None => find_user(&text(root, "etc/passwd"), user)?,
    };
    let gid = match group {
        None | Some("") => own_group,
        Some(group) => match id(group) {
            Some(number) => number,
            None => find_group(&text(root, "etc/group"), group)?,
        },
    };
    Ok((uid, gid))
}

/// A number that the kernel takes as an id.
fn id(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|number| i32::try_from(*number).is_ok())
}

fn find_user(passwd: &str, name: &str) -> Result<(u32, u32), String> {
    let mut rows = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let row = rows.find(|row| row.len() >= 4 && row[0] == name);
    let ids = row.and_then(|row| Some((id(row[2])?, id(row[3])?)));
    ids.ok_or_else(|| format!("unable to find user {name}: no matching entries in passwd file"))
}

fn find_group(group: &str, name: &str) -> Result<u32, String> {
    let mut rows = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let row = rows.find(|row| row.len() >= 3 && row[0] == name);
    row.and_then(|row| id(row[2]))
        .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))
}

/// The text of a file of the image; nothing when there is none.
fn text(root: &Root, path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = root.open_file(path) {
        // What could not be read finds no name, and that is told.
        let _ = file.take(LARGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_looked_up_in_the_image() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/passwd"), "root:x:0:0::/:\nweb:x:33:34::/:\n7:x:0:0::/:\n").unwrap();
        std::fs::write(folder.path().join("etc/group"), "root:x:0:\nstaff:x:50:\n").unwrap();
        let root = Root::open(folder.path()).unwrap();
        for (text, want) in [
            ("web", Ok((33, 34))),
            ("web:staff", Ok((33, 50))),
            ("web:7", Ok((33, 7))),
            ("web:", Ok((33, 34))),
            ("5", Ok((5, 5))),
            ("7", Ok((7, 7))),
            ("5:staff", Ok((5, 50))),
            (":staff", Ok((0, 50))),
            ("none", Err("unable to find user none")),
            ("web:none", Err("unable to find group none")),
            ("4294967295", Err("unable to find user")),
        ] {
            match (resolve(&root, text), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{text}: {got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
