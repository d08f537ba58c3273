//! Git repositories: as the context, and as what ADD brings.
//!
//! Git runs with nobody's settings and keys: who builds here is not who keeps the machine. What a repository wants to know comes
//! with the request, in the secrets that BuildKit knows for it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
        let (context, upper) = blocking(move || Self::empty(store)).await?;
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
    /// How git shows who builds: `GIT_AUTH_HEADER`, else `GIT_AUTH_TOKEN`, those of the host alone first.
    fn git(&self, url: &GitUrl) -> Options {
        let text = |id: String| self.0.get(&id).map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        let token = |text: String| format!("Basic {}", STANDARD.encode(format!("x-access-token:{text}")));
        let of = |end: &str| {
            let header = text(format!("GIT_AUTH_HEADER{end}"));
            header.or_else(|| text(format!("GIT_AUTH_TOKEN{end}")).map(token))
        };
        let authorization = url.http_host().and_then(|host| of(&format!(".{host}")).or_else(|| of("")));
        Options { identity: Identity::Nobody, authorization }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_own_secret_comes_first() {
        let all = [("GIT_AUTH_TOKEN", "t\n"), ("GIT_AUTH_HEADER.h:8", "Bearer b"), ("GIT_AUTH_TOKEN.i", "u")];
        let secrets = Secrets(all.map(|(id, text)| (id.to_owned(), text.as_bytes().to_vec())).into());
        let of = |text: &str| secrets.git(&GitUrl::source(text).expect("a repository").expect("a URL")).authorization;
        let token = |text: &str| Some(format!("Basic {}", STANDARD.encode(format!("x-access-token:{text}"))));
        assert_eq!(of("http://h:8/b.git").as_deref(), Some("Bearer b"));
        assert_eq!(of("http://h/b.git"), token("t"));
        assert_eq!(of("http://i/b.git"), token("u"));
        assert_eq!(of("git://i/b"), None);
    }
}
