//! Git repositories: as the context, and as what ADD brings.
//!
//! Git runs with nobody's settings and keys: who builds here is not who keeps the machine. What a repository wants to know comes
//! with the request, in the secrets that BuildKit knows for it.

use std::path::Path;

use teu_engine::Engine;
use teu_git::{Checkout, GitUrl, Identity, Options, Resolved};

use super::{Context, Secrets, Solver, blocking};
use crate::Error;
use crate::plan::CopyStep;

impl Context {
    /// Fetches a repository's files.
    ///
    /// # Errors
    /// When they cannot be had.
    pub async fn repository(engine: &Engine, url: &GitUrl, secrets: &Secrets) -> Result<Self, Error> {
        let store = engine.store().clone();
        let (context, upper) = blocking(move || Self::make(store)).await?;
        let checkout = teu_git::checkout(url, &upper, &secrets.git(url)).await?;
        context.below(&checkout.folder)
    }
}

impl Solver<'_> {
    /// Which commit a step brings that brings one repository and nothing else.
    pub(super) async fn find_repository(&self, step: &CopyStep) -> Result<Option<Resolved>, Error> {
        let alone = step.sources.is_empty() && step.files.is_empty() && step.remotes.is_empty();
        let ([repository], true) = (step.repositories.as_slice(), alone) else { return Ok(None) };
        Ok(Some(teu_git::resolve(repository, &self.options.secrets.git(repository)).await?))
    }

    /// Fetches a repository into a new folder.
    pub(super) async fn clone_one(
        &self,
        repository: &GitUrl,
        found: Option<&Resolved>,
        folder: &Path,
    ) -> Result<Checkout, Error> {
        std::fs::create_dir(folder).map_err(Error::io("make a folder to fetch into"))?;
        let options = self.options.secrets.git(repository);
        Ok(match found {
            Some(found) => teu_git::checkout_resolved(repository, found, folder, &options).await?,
            None => teu_git::checkout(repository, folder, &options).await?,
        })
    }
}

impl Secrets {
    /// How git shows who builds.
    fn git(&self, url: &GitUrl) -> Options {
        Options { identity: Identity::Nobody, authorization: url.authorization(|id| self.0.get(id).cloned()) }
    }
}
