//! Git repositories: as the context, and as what ADD brings.
//!
//! Git runs with nobody's settings and keys: who builds here is not who keeps the machine. What a repository wants to know comes
//! with the request, or from who is asked for it, in the secrets that BuildKit knows for it.

use std::collections::BTreeMap;
use std::path::Path;

use teu_engine::Engine;
use teu_git::{Checkout, GitUrl, Identity, Resolved};

use super::{Context, Options, Solver, blocking};
use crate::Error;
use crate::plan::CopyStep;

/// The build argument that keeps `.git` in the context.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

impl Context {
    /// Fetches what is at a URL: the files of a git repository, an archive, or a Dockerfile alone.
    ///
    /// # Errors
    /// When the URL means nothing, or nothing can be had there.
    pub async fn at(engine: &Engine, url: &str, options: &Options) -> Result<Self, Error> {
        let Some(repository) = repository(url, &options.build_args)? else { return Self::fetch(engine, url).await };
        let store = engine.store().clone();
        let (context, upper) = blocking(move || Self::make(store)).await?;
        let checkout = teu_git::checkout(&repository, &upper, &options.git(&repository).await?).await?;
        context.below(&checkout.folder)
    }
}

/// The repository that a context's URL names, if it names one.
fn repository(url: &str, arguments: &BTreeMap<String, String>) -> Result<Option<GitUrl>, Error> {
    let Some(found) = GitUrl::context(url) else { return Ok(None) };
    let mut found = found.map_err(|error| teu_git::Error::Url(error.to_string()))?;
    found.keep_git_dir |= matches!(arguments.get(KEEP_GIT_DIR).map(String::as_str), Some("1" | "true"));
    Ok(Some(found))
}

impl Solver<'_> {
    /// Which commit a step brings that brings one repository and nothing else.
    pub(super) async fn find_repository(&self, step: &CopyStep) -> Result<Option<Resolved>, Error> {
        let alone = step.sources.is_empty() && step.files.is_empty() && step.remotes.is_empty();
        let ([repository], true) = (step.repositories.as_slice(), alone) else { return Ok(None) };
        Ok(Some(teu_git::resolve(repository, &self.options.git(repository).await?).await?))
    }

    /// Fetches a repository into a new folder.
    pub(super) async fn clone_one(
        &self,
        repository: &GitUrl,
        found: Option<&Resolved>,
        folder: &Path,
    ) -> Result<Checkout, Error> {
        std::fs::create_dir(folder).map_err(Error::io("make a folder to fetch into"))?;
        let options = self.options.git(repository).await?;
        Ok(match found {
            Some(found) => teu_git::checkout_resolved(repository, found, folder, &options).await?,
            None => teu_git::checkout(repository, folder, &options).await?,
        })
    }
}

impl Options {
    /// How git shows who builds.
    async fn git(&self, url: &GitUrl) -> Result<teu_git::Options, Error> {
        let mut secrets = BTreeMap::new();
        for id in url.secret_ids() {
            if let Some(secret) = self.secret(&id).await? {
                secrets.insert(id, secret);
            }
        }
        let authorization = url.authorization(|id| secrets.get(id).cloned());
        Ok(teu_git::Options { identity: Identity::Nobody, authorization })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_a_repository_by_its_url() {
        let at = |url: &str, keep: &[(&str, &str)]| {
            repository(url, &keep.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
        };
        assert!(at("https://host/x.git#main", &[]).expect("read").is_some_and(|url| !url.keep_git_dir));
        let kept = at("github.com/u/r", &[(KEEP_GIT_DIR, "1")]).expect("read");
        assert!(kept.is_some_and(|url| url.keep_git_dir));
        assert!(at("https://host/x.tar", &[]).expect("read").is_none());
        assert!(at("git://-host/x", &[]).expect_err("refused").is_bad_request());
    }
}
