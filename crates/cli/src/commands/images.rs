//! `teu images`: which images there are.

use serde_json::Value;
use teu_api::Reference;
use teu_api::image::Summary;

use super::filters;
use crate::Session;
use crate::failure::Failure;
use crate::output::listing::{Column, Listing, row};
use crate::output::{line, units};
use crate::table::Verb;

/// Lists images.
#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    /// Show all images (also intermediate ones)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only what matches (name=value)
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Do not shorten output
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

const COLUMNS: &[Column] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

const TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const WITH_DIGESTS: &str = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

impl Verb for Images {
    const USAGE: &'static str = "[REPOSITORY[:TAG]]";
    const ABOUT: &'static str = "List images";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut filters = filters(&self.filter)?;
        if let Some(name) = &self.name {
            filters.add("reference", name);
        }
        let client = session.client();
        let call = client.get("/images/json").flag("all", self.all).flag("digests", self.digests).filters(&filters);
        let images: Vec<Summary> = call.read().await?;
        if self.quiet && self.format.is_none() {
            let id =
                |image: &Summary| if self.no_trunc { image.id.clone() } else { units::short_id(&image.id).to_owned() };
            images.iter().try_for_each(|image| line(&id(image)))?;
            return Ok(0);
        }
        let rows: Vec<Value> = images.iter().flat_map(|image| rows(image, self.digests, self.no_trunc)).collect();
        let default = if self.digests { WITH_DIGESTS } else { TABLE };
        Listing { columns: COLUMNS, default, format: self.format.as_deref() }.print(&rows)?;
        Ok(0)
    }
}

/// One row for each name of an image; one for an image without.
fn rows(image: &Summary, digests: bool, whole: bool) -> Vec<Value> {
    let none = "<none>".to_owned();
    let mut names: Vec<(String, String, String)> = Vec::new();
    for tag in image.repo_tags.iter().filter(|tag| tag.as_str() != "<none>:<none>") {
        let (repository, tag) = split(tag);
        let digest = image.repo_digests.iter().find_map(|digest| digest.strip_prefix(&format!("{repository}@")));
        names.push((repository, tag, digest.map_or(none.clone(), str::to_owned)));
    }
    for digest in image.repo_digests.iter().filter(|digest| !digest.starts_with("<none>")) {
        let Some((repository, digest)) = digest.split_once('@') else { continue };
        let known = names.iter().any(|(name, ..)| name == repository);
        if !known && (digests || names.is_empty()) {
            names.push((repository.to_owned(), none.clone(), digest.to_owned()));
        }
    }
    if names.is_empty() {
        names.push((none.clone(), none.clone(), none));
    }
    names.iter().map(|(repository, tag, digest)| cells(image, [repository, tag, digest], whole)).collect()
}

/// Repository and tag, as users write them.
fn split(reference: &str) -> (String, String) {
    match reference.parse::<Reference>() {
        Ok(parsed) => (parsed.familiar_repository(), parsed.tag().unwrap_or("<none>").to_owned()),
        Err(_) => (reference.to_owned(), "<none>".to_owned()),
    }
}

fn cells(image: &Summary, [repository, tag, digest]: [&String; 3], whole: bool) -> Value {
    let count = |count: i64| if count < 0 { "N/A".to_owned() } else { count.to_string() };
    let size = |size: i64| if size < 0 { "N/A".to_owned() } else { units::size(size) };
    let unique = if image.shared_size < 0 { -1 } else { image.size - image.shared_size };
    row([
        ("ID", Value::from(if whole { &image.id } else { units::short_id(&image.id) })),
        ("Repository", Value::from(repository.as_str())),
        ("Tag", Value::from(tag.as_str())),
        ("Digest", Value::from(digest.as_str())),
        ("CreatedSince", Value::from(units::ago(image.created))),
        ("CreatedAt", Value::from(units::date(image.created))),
        ("Size", Value::from(units::size(image.size))),
        ("Containers", Value::from(count(image.containers))),
        ("SharedSize", Value::from(size(image.shared_size))),
        ("UniqueSize", Value::from(size(unique))),
        ("VirtualSize", Value::from(units::size(image.size))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_row_for_each_of_its_names() {
        let image = Summary {
            id: format!("sha256:{}", "a".repeat(64)),
            repo_tags: vec!["busybox:latest".into(), "localhost:5000/x:v2".into()],
            size: 4_261_550,
            ..Summary::default()
        };
        let rows = rows(&image, false, false);
        assert_eq!(rows.len(), 2);
        assert_eq!((&rows[1]["Repository"], &rows[1]["Tag"]), (&Value::from("localhost:5000/x"), &Value::from("v2")));
        assert_eq!((&rows[0]["Size"], &rows[0]["ID"]), (&Value::from("4.26MB"), &Value::from("aaaaaaaaaaaa")));
        assert_eq!(super::rows(&Summary::default(), false, false)[0]["Repository"], "<none>");
    }
}
