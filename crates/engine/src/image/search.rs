//! Searching registries for images.

use teu_api::Filters;
use teu_api::image::SearchResult;
use teu_api::system::AuthConfig;

use super::{DOCKER_HUB, Images};
use crate::error::{Error, Result};

/// How many are found unless somebody says.
const USUAL: i64 = 25;
const MOST: i64 = 100;

impl Images {
    /// The repositories that a registry's index finds for `term`; a host before the first slash says which registry.
    ///
    /// # Errors
    /// When a filter or the limit has no meaning, or the registry does not answer.
    pub async fn search(
        &self,
        term: &str,
        limit: Option<i64>,
        filters: &Filters,
        auth: Option<AuthConfig>,
    ) -> Result<Vec<SearchResult>> {
        let wanted = Wanted::of(filters)?;
        let limit = limit.filter(|limit| *limit != 0).unwrap_or(USUAL);
        let count = u32::try_from(limit).ok().filter(|_| (1..=MOST).contains(&limit));
        let count = count.ok_or_else(|| Error::bad(format!("limit {limit} is outside the range of [1, {MOST}]")))?;
        let (domain, term) = place(term)?;
        let found = self.client(&domain, auth, 1).search(&domain, &term, count).await;
        let found = found.map_err(|error| Error::new(super::pull::kind(&error), error.to_string()))?;
        let rows = found.into_iter().map(|found| SearchResult {
            star_count: found.star_count,
            is_official: found.is_official,
            name: found.name,
            is_automated: false,
            description: found.description.unwrap_or_default(),
        });
        Ok(rows.filter(|row| wanted.takes(row)).collect())
    }
}

/// What of the results is wanted.
struct Wanted {
    official: Option<bool>,
    automated: bool,
    stars: i64,
}

impl Wanted {
    fn of(filters: &Filters) -> Result<Self> {
        if let Some(unknown) = filters.unknown(&["is-automated", "is-official", "stars"]) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        let flag =
            |name: &str| filters.flag(name).map_err(|value| Error::bad(format!("invalid filter '{name}={value}'")));
        let stars = filters
            .get("stars")
            .iter()
            .map(|text| text.parse::<i64>().map_err(|_| Error::bad(format!("invalid filter 'stars={text}'"))));
        let stars = stars.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0);
        Ok(Self { official: flag("is-official")?, automated: flag("is-automated")?.unwrap_or(false), stars })
    }

    fn takes(&self, row: &SearchResult) -> bool {
        // Nothing is built automatically any more.
        !self.automated
            && self.official.is_none_or(|official| official == row.is_official)
            && row.star_count >= self.stars
    }
}

/// The registry and what to search it for.
fn place(term: &str) -> Result<(String, String)> {
    if term.is_empty() || term.contains("://") {
        return Err(Error::bad(format!("invalid repository name ({term}), cannot be empty or have a scheme")));
    }
    let (domain, rest) = teu_oci::split_domain(term);
    // Docker Hub's index knows its own repositories without the folder they are in.
    let rest = rest.strip_prefix("library/").filter(|_| domain == DOCKER_HUB).unwrap_or(rest);
    Ok((domain.into(), rest.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_says_where_to_search() {
        for (term, domain, rest) in [
            ("busybox", "docker.io", "busybox"),
            ("library/busybox", "docker.io", "busybox"),
            ("team/app", "docker.io", "team/app"),
            ("docker.io/app", "docker.io", "app"),
            ("localhost/app", "localhost", "app"),
            ("registry.example:5000/a/b", "registry.example:5000", "a/b"),
        ] {
            assert_eq!(place(term).unwrap(), (domain.into(), rest.into()), "{term}");
        }
        for term in ["", "https://x/y"] {
            assert!(place(term).is_err(), "{term}");
        }
    }
}
