//! Files that ADD fetches: each into a folder of its own, from where they are copied like those of a context.
//!
//! ```text
//! <upper of a scratch tree>/<number>/<name>        0600, the time that the server says
//!                           <number>/…             a repository's files
//! ```

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use teu_engine::Fetched;
use teu_git::Resolved;
use teu_oci::{Digest, DigestHasher};
use teu_sys::fs::Root;

use super::layer::Work;
use super::source::{Entry, Tree, keyword, refuse};
use super::trees::copying;
use super::{Solver, blocking, copy};
use crate::Error;
use crate::dockerfile::ignore::Ignore;
use crate::plan::{CopyStep, Remote};

/// What was fetched.
pub(super) struct Downloads {
    root: Root,
    /// Each file, and whether it is unpacked.
    files: Vec<(Vec<Entry>, bool)>,
    /// Holds them.
    _work: Work,
    /// A repository is at another commit than was found before.
    pub(super) moved: bool,
}

impl Solver<'_> {
    /// Fetches what a step wants; `found` says which commit the only repository is at.
    pub(super) async fn fetch(&self, step: &CopyStep, found: Option<&Resolved>) -> Result<Option<Downloads>, Error> {
        if step.remotes.is_empty() && step.repositories.is_empty() {
            return Ok(None);
        }
        let store = self.engine.store().clone();
        let work = blocking(move || Work::begin(&store, None)).await?;
        let upper = work.overlay().upper.clone().unwrap_or_default();
        let upper = upper.canonicalize().map_err(Error::io("open what is fetched into"))?;
        let mut sources = Vec::new();
        for (number, remote) in step.remotes.iter().enumerate() {
            let folder = upper.join(number.to_string());
            let name = self.fetch_one(step, remote, &folder).await?;
            sources.push((format!("{number}/{name}"), remote.unpack));
        }
        let mut moved = false;
        for (number, repository) in step.repositories.iter().enumerate() {
            let folder = upper.join((step.remotes.len() + number).to_string());
            let checkout = self.clone_one(repository, found, &folder).await?;
            moved |= found.is_some_and(|found| found.commit != checkout.commit);
            let below = checkout.folder.strip_prefix(&upper).unwrap_or(&checkout.folder);
            sources.push((below.to_string_lossy().into_owned(), false));
        }
        let exclude = step.exclude.clone();
        let root = Root::open(&upper).map_err(Error::io("open what was fetched"))?;
        blocking(move || {
            let tree = Tree { root: &root, ignore: &Ignore::default(), keep_owner: false, known: None };
            let gather = |(source, unpack): (String, bool)| {
                let step = CopyStep { exclude: exclude.clone(), ..copying(&source, "/") };
                Ok((tree.gather(&step)?, unpack))
            };
            let files = sources.into_iter().map(gather).collect::<Result<_, Error>>()?;
            Ok(Some(Downloads { root, files, _work: work, moved }))
        })
        .await
    }

    /// Fetches one file into a new folder; its name.
    async fn fetch_one(&self, step: &CopyStep, remote: &Remote, folder: &Path) -> Result<String, Error> {
        let place = folder.join("fetched");
        let open = || {
            fs::create_dir(folder)?;
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&place)
        };
        let file = Arc::new(open().map_err(Error::io("make a file to fetch into"))?);
        let fetched = self.engine.images.fetch(&remote.url, &file).await?;
        // Where the destination is the file itself, nobody sees the name.
        let name = remote.name().map(str::to_owned).or_else(|| fetched.name.clone());
        let name = match name {
            Some(name) => name,
            None if step.destination.ends_with('/') => {
                let reason = format!("cannot determine filename for source {}", remote.url);
                return Err(refuse(step, reason));
            }
            None => "fetched".into(),
        };
        let (wanted, keyword, url) = (remote.checksum.clone(), keyword(step), remote.url.clone());
        let target = folder.join(&name);
        blocking(move || {
            if let Some(wanted) = wanted {
                let found = digest(&place).map_err(Error::io(format!("read {url}")))?;
                if found != wanted {
                    return Err(Error::Copy {
                        keyword,
                        reason: format!("digest mismatch {url}: {found}: want {wanted}"),
                    });
                }
            }
            let furnish = || file.set_modified(modified(&fetched)).and_then(|()| fs::rename(&place, &target));
            furnish().map_err(Error::io(format!("keep {url}")))
        })
        .await?;
        Ok(name)
    }
}

impl Downloads {
    fn tree(&self) -> Tree<'_> {
        static NOTHING: std::sync::LazyLock<Ignore> = std::sync::LazyLock::new(Ignore::default);
        Tree { root: &self.root, ignore: &NOTHING, keep_owner: false, known: None }
    }

    /// The name of what was fetched.
    pub(super) fn digest(&self) -> Result<Digest, Error> {
        let all: Vec<Entry> = self.files.iter().flat_map(|(entries, _)| entries.clone()).collect();
        self.tree().digest(&all)
    }

    /// Puts it into `target`.
    pub(super) fn place(&self, target: &Root, step: &CopyStep) -> Result<(), Error> {
        for (entries, unpack) in &self.files {
            let step = CopyStep { unpack: *unpack, files: vec![], sources: vec![], ..step.clone() };
            copy::place(&self.tree(), entries, target, &step)?;
        }
        Ok(())
    }
}

/// When the server says that the file was changed, RFC 9110 section 8.8.2; else the beginning of time, so that the same file
/// makes the same layer.
fn modified(fetched: &Fetched) -> SystemTime {
    let text = fetched.modified.as_deref().unwrap_or_default();
    let seconds = jiff::fmt::rfc2822::parse(text).map_or(0, |time| time.timestamp().as_second());
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn digest(path: &Path) -> std::io::Result<Digest> {
    let mut hasher = DigestHasher::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_as_old_as_its_server_says() {
        let seconds = |text: &str| {
            let fetched = Fetched { modified: Some(text.into()), ..Fetched::default() };
            modified(&fetched).duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs()
        };
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), 1_445_412_480);
        assert_eq!(seconds("yesterday"), 0);
    }
}
