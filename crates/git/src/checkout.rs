//! From a URL to a folder: which commit it names, and its files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::command::Git;
use crate::url::{hexadecimal, is_commit};
use crate::{Error, GitUrl};

/// Whose settings and keys git uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Nobody's: for work that others ask for.
    #[default]
    Nobody,
    /// Those of whoever runs this process; what their agents and helpers do not know is not asked for.
    Person,
}

/// How to get at a repository.
#[derive(Clone, Default)]
pub struct Options {
    /// Whose settings and keys are used.
    pub identity: Identity,
    /// The value of an Authorization header (RFC 9110 section 11.6.2) for the repository's host.
    pub authorization: Option<String>,
}

/// A commit that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its full name below `refs/`; none for a commit by its id.
    reference: Option<String>,
    /// The commit's id.
    pub commit: String,
}

/// Files that were fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The folder that was asked for, in the one that was given.
    pub folder: PathBuf,
    /// The commit's id.
    pub commit: String,
}

/// Finds which commit a URL names now, without fetching it.
///
/// # Errors
/// No git, no such repository or reference, a commit whose id is another one.
pub async fn resolve(url: &GitUrl, options: &Options) -> Result<Resolved, Error> {
    if let Some(commit) = url.commit() {
        verify(url, &[commit])?;
        return Ok(Resolved { reference: None, commit: commit.into() });
    }
    if url.fetch_by_commit {
        let Some(commit) = url.checksum.as_deref().filter(|text| is_commit(text)) else {
            return Err(Error::Url("fetch-by-commit requires a full commit SHA".into()));
        };
        return Ok(Resolved { reference: None, commit: commit.into() });
    }
    let git = Git::new(url, options, Path::new("/"));
    let name = url.reference.as_deref().unwrap_or("HEAD");
    let told = git.run(&["ls-remote", "--symref", "--", &url.remote, name, &format!("{name}^{{}}")]).await?;
    let missing = || Error::Missing { url: url.remote.clone(), reference: name.into() };
    let found = chosen(&told, name).ok_or_else(missing)?;
    let ids: Vec<&str> = std::iter::once(found.commit.as_str()).chain(found.object.as_deref()).collect();
    verify(url, &ids)?;
    Ok(Resolved { reference: Some(found.reference), commit: found.commit })
}

struct Found {
    reference: String,
    commit: String,
    /// The annotated tag that names the commit.
    object: Option<String>,
}

/// What of git-ls-remote(1)'s output a name means: a full name, then a branch, then a tag.
fn chosen(told: &str, name: &str) -> Option<Found> {
    let lines: Vec<(&str, &str)> = told.lines().filter_map(|line| line.split_once('\t')).collect();
    let id = |wanted: &str| lines.iter().find(|(id, name)| *name == wanted && is_commit(id)).map(|(id, _)| *id);
    if name == "HEAD" {
        let branch =
            lines.iter().find(|(_, name)| *name == "HEAD").and_then(|(target, _)| target.strip_prefix("ref: "));
        let reference = branch.unwrap_or("HEAD").to_owned();
        return Some(Found { reference, commit: id("HEAD")?.into(), object: None });
    }
    let below = |prefix: &str| format!("{prefix}{}", name.strip_prefix(prefix).unwrap_or(name));
    let names = [below("refs/"), below("refs/heads/"), below("refs/tags/")];
    let reference = names.into_iter().find(|name| id(name).is_some())?;
    let object = id(&reference)?;
    let peeled = id(&format!("{reference}^{{}}"));
    Some(Found { commit: peeled.unwrap_or(object).into(), object: peeled.map(|_| object.into()), reference })
}

/// Holds a commit, or the tag that names it, against what it is to be.
fn verify(url: &GitUrl, ids: &[&str]) -> Result<(), Error> {
    match &url.checksum {
        Some(wanted) if !ids.iter().any(|id| id.starts_with(wanted.as_str())) => {
            Err(Error::Checksum { wanted: wanted.clone(), found: ids.join(" or ") })
        }
        _ => Ok(()),
    }
}

impl GitUrl {
    /// The same, but its commit has to be this one as well.
    ///
    /// # Errors
    /// When that is no hexadecimal number, or the URL says another.
    pub fn with_checksum(mut self, checksum: &str) -> Result<Self, Error> {
        let checksum = hexadecimal(checksum).map_err(|error| Error::Url(error.to_string()))?;
        match self.checksum.take() {
            Some(have) if have != checksum => Err(Error::Url(format!("checksum conflicts: {have:?} vs {checksum:?}"))),
            _ => {
                self.checksum = Some(checksum);
                Ok(self)
            }
        }
    }
}

/// Fetches a commit, shallow, and lays its files out in `into`, an empty folder. Dropping the future ends it; what has come
/// to be in the folder is the caller's to remove.
///
/// # Errors
/// As [`resolve`]; a folder that is not there or leads out of the repository; submodules that cannot be had.
pub async fn checkout(url: &GitUrl, into: &Path, options: &Options) -> Result<Checkout, Error> {
    let resolved = resolve(url, options).await?;
    checkout_resolved(url, &resolved, into, options).await
}

/// The same for a commit that was found already.
///
/// # Errors
/// As [`checkout`].
pub async fn checkout_resolved(
    url: &GitUrl,
    resolved: &Resolved,
    into: &Path,
    options: &Options,
) -> Result<Checkout, Error> {
    let git = Git::new(url, options, into);
    let format = if resolved.commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    git.run(&["-c", "init.defaultBranch=master", "init", "-q", "--template=", format]).await?;
    git.run(&["remote", "add", "--", "origin", &url.remote]).await?;
    fetch(&git, resolved).await?;
    let commit = commit(&git, resolved).await?;
    match resolved.reference.as_deref().and_then(|name| name.strip_prefix("refs/heads/")) {
        Some(branch) => git.run(&["checkout", "-q", "-f", "-B", branch, &commit, "--"]).await?,
        None => git.run(&["checkout", "-q", "-f", "--detach", &commit, "--"]).await?,
    };
    let with_submodules = url.submodules && into.join(".gitmodules").symlink_metadata().is_ok();
    if with_submodules {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
        // A server may give no submodule's commit alone.
        if git.run(&[&update[..], &["--depth=1"]].concat()).await.is_err() {
            git.run(&update).await?;
        }
    }
    let (root, subdir, keep) = (into.to_owned(), url.subdir.clone(), url.keep_git_dir);
    let finish = move || {
        let folder = inside(&root, &subdir)?;
        if !keep {
            strip(&root, with_submodules).map_err(Error::io("remove .git"))?;
        }
        Ok(folder)
    };
    let folder = tokio::task::spawn_blocking(finish)
        .await
        .map_err(|error| Error::io("check out")(io::Error::other(error)))??;
    Ok(Checkout { folder, commit })
}

/// Fetches one commit without history; all of a repository whose server does not give that.
async fn fetch(git: &Git<'_>, resolved: &Resolved) -> Result<(), Error> {
    let flags = ["fetch", "-q", "--no-tags", "--no-recurse-submodules"];
    let wanted = match resolved.reference.as_deref() {
        None => resolved.commit.clone(),
        Some(name) => match name.strip_prefix("refs/heads/") {
            Some(branch) => format!("+{name}:refs/remotes/origin/{branch}"),
            None if name.starts_with("refs/tags/") => format!("+{name}:{name}"),
            None => name.to_owned(),
        },
    };
    let Err(first) = git.run(&[&flags[..], &["--depth=1", "origin", &wanted]].concat()).await else { return Ok(()) };
    let whole = match resolved.reference {
        Some(_) => git.run(&[&flags[..], &["origin", &wanted]].concat()).await,
        None => {
            git.run(&[
                "fetch",
                "-q",
                "--tags",
                "--no-recurse-submodules",
                "origin",
                "+refs/heads/*:refs/remotes/origin/*",
            ])
            .await
        }
    };
    whole.map(drop).map_err(|_| first)
}

/// The commit that was fetched, which is a newer one where the reference has moved meanwhile.
async fn commit(git: &Git<'_>, resolved: &Resolved) -> Result<String, Error> {
    let name = match resolved.reference {
        Some(_) => "FETCH_HEAD",
        None => resolved.commit.as_str(),
    };
    let id = |name: String| async move { git.run(&["rev-parse", "-q", "--verify", &name]).await };
    let missing = |_| Error::Missing { url: git.url.remote.clone(), reference: resolved.commit.clone() };
    let object = id(format!("{name}^{{object}}")).await.map_err(missing)?;
    let commit = id(format!("{name}^{{commit}}")).await.map_err(missing)?;
    let (object, commit) = (object.trim(), commit.trim());
    let (ids, distinct) = ([commit, object], if object == commit { 1 } else { 2 });
    verify(git.url, &ids[..distinct])?;
    Ok(commit.to_owned())
}

/// A folder of a tree, links followed as long as they stay in it.
fn inside(root: &Path, subdir: &str) -> Result<PathBuf, Error> {
    let refused = |reason| Error::Subdir { subdir: subdir.into(), reason };
    let root = root.canonicalize().map_err(Error::io("find the checkout"))?;
    let folder = root.join(subdir).canonicalize().map_err(|_| refused("does not exist"))?;
    let within = folder.strip_prefix(&root).map_err(|_| refused("is outside of it"))?;
    if within.components().any(|part| part.as_os_str() == ".git") {
        return Err(refused("is none of its files"));
    }
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(refused("is no folder")),
    }
}

/// Removes what git keeps for itself, which no repository can hold as a file.
fn strip(folder: &Path, with_submodules: bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        match entry.file_name() == ".git" {
            true if kind.is_dir() => fs::remove_dir_all(entry.path())?,
            true => fs::remove_file(entry.path())?,
            false if with_submodules && kind.is_dir() => strip(&entry.path(), true)?,
            false => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_name_comes_before_a_branch_and_a_branch_before_a_tag() {
        let (a, b, c, d) = ("a".repeat(40), "b".repeat(40), "c".repeat(40), "d".repeat(40));
        let told = format!(
            "{a}\trefs/heads/x\n{b}\trefs/tags/x\n{c}\trefs/tags/x^{{}}\n{d}\trefs/heads/deep/x\n{d}\trefs/tags/y\n"
        );
        let found = |name: &str| chosen(&told, name).map(|found| (found.reference, found.commit, found.object));
        assert_eq!(found("x"), Some(("refs/heads/x".into(), a.clone(), None)));
        assert_eq!(found("refs/tags/x"), Some(("refs/tags/x".into(), c.clone(), Some(b.clone()))));
        assert_eq!(found("tags/x"), Some(("refs/tags/x".into(), c, Some(b))));
        assert_eq!(found("y"), Some(("refs/tags/y".into(), d, None)));
        assert_eq!(found("z"), None);
        let head = format!("ref: refs/heads/main\tHEAD\n{a}\tHEAD\n");
        assert_eq!(chosen(&head, "HEAD").map(|found| found.reference).as_deref(), Some("refs/heads/main"));
        assert!(chosen("", "HEAD").is_none());
    }

    #[test]
    fn a_checksum_is_how_the_commit_or_its_tag_begins() {
        let url = |checksum: &str| {
            let url = GitUrl::source("https://h/b.git").expect("a repository").expect("a URL");
            url.with_checksum(checksum).expect("a checksum")
        };
        assert!(verify(&url("AB"), &["abcd"]).is_ok() && verify(&url("cd"), &["ab", "cd"]).is_ok());
        assert_eq!(
            verify(&url("ff"), &["ab", "cd"]).unwrap_err().to_string(),
            "expected checksum to match ff, got ab or cd"
        );
        assert!(url("ab").with_checksum("ac").is_err() && url("ab").with_checksum("x").is_err());
    }
}
