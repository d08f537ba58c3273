//! What a path asks for, by its text: as Docker's command reads it. Pure.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// `CONTAINER:PATH`, or a path of this machine. A path with a colon is told from the former by a leading `/` or `.`.
pub(super) fn split(argument: &str) -> (Option<&str>, &str) {
    if argument.starts_with(['/', '.']) {
        return (None, argument);
    }
    match argument.split_once(':') {
        Some((container, path)) => (Some(container).filter(|name| !name.is_empty()), path),
        None => (None, argument),
    }
}

/// Ends with a slash: a directory is meant, and a link is followed.
pub(super) fn ends_with_slash(path: &str) -> bool {
    path.ends_with('/')
}

/// Ends with `/.`: what is in the directory is meant.
pub(super) fn means_contents(path: &str) -> bool {
    path.is_empty() || path == "." || path.trim_end_matches('/').ends_with("/.")
}

/// Says that it is a directory.
pub(super) fn means_directory(path: &str) -> bool {
    ends_with_slash(path) || means_contents(path)
}

/// Directory and last name; the name of contents is `.`.
pub(super) fn directory_and_name(path: &str) -> (String, String) {
    let cleaned = teu_api::path::clean(path);
    if means_contents(path) {
        return (cleaned, ".".into());
    }
    match cleaned.rsplit_once('/') {
        Some(("", "")) => ("/".into(), "/".into()),
        Some(("", name)) => ("/".into(), name.into()),
        Some((directory, name)) => (directory.into(), name.into()),
        None => (".".into(), cleaned),
    }
}

/// Cleaned, with the slash or dot that it ends with.
pub(super) fn clean_but_end(path: &str) -> String {
    let cleaned = teu_api::path::clean(path);
    match path {
        _ if means_contents(path) && cleaned != "." => format!("{}/.", cleaned.trim_end_matches('/')),
        _ if ends_with_slash(path) && cleaned != "/" => format!("{cleaned}/"),
        _ => cleaned,
    }
}

/// The source of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    /// As it is asked for in the end.
    pub(super) path: String,
    pub(super) is_directory: bool,
    /// The name it goes by, when a link led to one of another name.
    pub(super) called: Option<String>,
}

impl Source {
    /// The name of the archive's top, which means nothing when it is empty: only what is in it goes along.
    pub(super) fn name(&self) -> String {
        self.called.clone().unwrap_or_else(|| name_in_archive(&self.path))
    }
}

/// What the top of an archive of `path` is called; contents and a whole tree have no name.
pub(super) fn name_in_archive(path: &str) -> String {
    let (_, name) = directory_and_name(path);
    if matches!(name.as_str(), "/" | ".") { String::new() } else { name }
}

/// The target of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) is_directory: bool,
}

/// Where an archive is extracted, and what its top becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) directory: String,
    /// The name that the top gets, if not its own.
    pub(super) rename: Option<OsString>,
}

/// What a copy of `source` to `target` means: cp(1)'s rules.
pub(super) fn plan(source: &Source, target: &Target) -> Result<Plan, &'static str> {
    if target.exists && target.is_directory {
        return Ok(Plan { directory: target.path.clone(), rename: None });
    }
    if target.exists && source.is_directory {
        return Err("cannot copy directory");
    }
    if !target.exists && !source.is_directory && means_directory(&target.path) {
        return Err("no such directory");
    }
    let (directory, new) = directory_and_name(&target.path);
    Ok(Plan { directory, rename: Some(new.into()) })
}

/// The name that an archive of `path` is to have when a link was followed to `resolved`; none when it is the same.
pub(super) fn rebased(path: &str, resolved: &str) -> (String, Option<String>) {
    let mut resolved = resolved.to_owned();
    if means_contents(path) && !means_contents(&resolved) {
        resolved.push_str("/.");
    }
    if ends_with_slash(path) && !ends_with_slash(&resolved) {
        resolved.push('/');
    }
    let base = |path: &str| {
        let last = Path::new(path.trim_end_matches('/')).components().next_back();
        match last {
            _ if means_contents(path) => ".".to_owned(),
            Some(Component::Normal(name)) => name.to_string_lossy().into_owned(),
            _ => "/".to_owned(),
        }
    };
    let (wanted, found) = (base(path), base(&resolved));
    (resolved, (wanted != found).then_some(wanted))
}

/// A path of this machine from the root, with the slash or dot that it ends with.
pub(super) fn local(path: &str, folder: &Path) -> String {
    let whole = if path.starts_with('/') { PathBuf::from(path) } else { folder.join(path) };
    let text = whole.to_string_lossy().into_owned();
    // Joining drops the dot that the user wrote.
    let text = if means_contents(path) && !means_contents(&text) { format!("{text}/.") } else { text };
    clean_but_end(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_names_a_container_or_a_path() {
        for (argument, expected) in [
            ("box:/a", (Some("box"), "/a")),
            ("box:a:b", (Some("box"), "a:b")),
            ("/a:b", (None, "/a:b")),
            ("./a:b", (None, "./a:b")),
            ("../a", (None, "../a")),
            ("a", (None, "a")),
            ("-", (None, "-")),
        ] {
            assert_eq!(split(argument), expected, "{argument}");
        }
    }

    #[test]
    fn ends_of_paths_say_what_is_meant() {
        for (path, cleaned) in [
            ("/a//b/../c", "/a/c"),
            ("/a/", "/a/"),
            ("/a/.", "/a/."),
            ("/", "/"),
            ("/.", "/."),
            ("a/./b/", "a/b/"),
            ("/../a", "/a"),
        ] {
            assert_eq!(clean_but_end(path), cleaned, "{path}");
        }
        assert_eq!(local(".", Path::new("/home/u")), "/home/u/.");
        assert_eq!(local("x/", Path::new("/home/u")), "/home/u/x/");
        assert_eq!(directory_and_name("/a/b/"), ("/a".into(), "b".into()));
        assert_eq!(directory_and_name("/a/b/."), ("/a/b".into(), ".".into()));
        assert_eq!(directory_and_name("/"), ("/".into(), "/".into()));
        assert_eq!(directory_and_name("/a"), ("/".into(), "a".into()));
    }

    #[test]
    fn a_copy_means_what_cp_means() {
        let file = |path: &str| Source { path: path.into(), ..Source::default() };
        let dir = |path: &str| Source { is_directory: true, ..file(path) };
        let there = |path: &str, is_directory| Target { path: path.into(), exists: true, is_directory };
        let not_there = |path: &str| Target { path: path.into(), ..Target::default() };
        let ok = |directory: &str, rename: Option<&str>| {
            Ok(Plan { directory: directory.into(), rename: rename.map(Into::into) })
        };
        assert_eq!(plan(&file("/s/f"), &there("/d", true)), ok("/d", None));
        assert_eq!(plan(&file("/s/f"), &there("/d/g", false)), ok("/d", Some("g")));
        assert_eq!(plan(&file("/s/f"), &not_there("/d/g")), ok("/d", Some("g")));
        assert_eq!(plan(&file("/s/f"), &not_there("/d/g/")), Err("no such directory"));
        assert_eq!(plan(&dir("/s/f"), &there("/d/g", false)), Err("cannot copy directory"));
        assert_eq!(plan(&dir("/s/f"), &not_there("/d/g")), ok("/d", Some("g")));
        assert_eq!(plan(&dir("/s/f/."), &not_there("/d/g")), ok("/d", Some("g")));
        assert_eq!(plan(&dir("/s/f/."), &there("/d", true)), ok("/d", None));
        for (path, name) in [("/s/f", "f"), ("/s/f/", "f"), ("/s/f/.", ""), ("/", "")] {
            assert_eq!(file(path).name(), name, "{path}");
        }
    }

    #[test]
    fn a_followed_link_keeps_its_name() {
        assert_eq!(rebased("/a/link", "/b/target"), ("/b/target".into(), Some("link".into())));
        assert_eq!(rebased("/a/link/", "/b/target"), ("/b/target/".into(), Some("link".into())));
        assert_eq!(rebased("/a/link/.", "/b/target"), ("/b/target/.".into(), None));
        assert_eq!(rebased("/a/f", "/b/f"), ("/b/f".into(), None));
    }
}
