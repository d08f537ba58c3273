//! `teu images`: which images there are.

mod tree;

use serde_json::Value;
use teu_api::Reference;
use teu_api::image::Summary;

use super::filters;
use crate::Session;
use crate::failure::Failure;
use crate::grammar::environment;
use crate::output::list::{Column, List, Row, row};
use crate::output::units;
use crate::table::{self, Verb};

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
    #[arg(short, long, value_name = "filter", value_parser = environment::filter)]
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
    /// Show images with what they hold for each platform
    #[arg(long)]
    tree: bool,
    /// Show only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

pub(super) const COLUMNS: &[Column] = &[
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
const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\n\
                   virtual_size: {{.Size}}\n";
const RAW_WITH_DIGESTS: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\n\
                                created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";

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
        if self.tree {
            self.check_tree()?;
            tree::show(&call.query("manifests", "1").read::<Vec<Value>>().await?, self.all)?;
            return Ok(0);
        }
        let images: Vec<Summary> = call.read().await?;
        let own = if self.quiet { None } else { session.file.format("imagesFormat") };
        let format = self.format.as_deref().filter(|format| !format.is_empty()).or(own);
        let digests = self.digests || format.is_some_and(|format| format.contains("{{.Digest}}"));
        let rows: Vec<Row> =
            images.iter().flat_map(|image| rows(image, digests, self.digests, self.no_trunc)).collect();
        let (default, raw) = if self.digests { (WITH_DIGESTS, RAW_WITH_DIGESTS) } else { (TABLE, RAW) };
        let (quiet, raw) = if self.quiet { (Some("{{.ID}}"), "image_id: {{.ID}}") } else { (None, raw) };
        List { columns: COLUMNS, default, quiet, raw, format }.print(rows)?;
        self.hint(images.is_empty(), &session.called);
        Ok(0)
    }
}

impl Images {
    /// What a tree cannot show yet.
    fn check_tree(&self) -> Result<(), Failure> {
        let others = [
            ("--quiet", self.quiet),
            ("--no-trunc", self.no_trunc),
            ("--digests", self.digests),
            ("--format", self.format.is_some()),
        ];
        match others.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Failure::new(format!("{flag} cannot be used with --tree"))),
            None => Ok(()),
        }
    }

    /// `teu images ls` lists images named `ls`, which nobody means.
    fn hint(&self, nothing: bool, called: &str) {
        let name = self.name.as_deref().unwrap_or_default();
        if nothing && called == "teu images" && table::is_image_command(name) {
            crate::output::note!("\nNo images found matching \"{name}\": did you mean \"teu image {name}\"?");
        }
    }
}

/// One row for each name of an image; one for an image without.
fn rows(image: &Summary, with_digests: bool, digest_rows: bool, whole: bool) -> Vec<Row> {
    let none = || "<none>".to_owned();
    let digests: Vec<(String, &str)> = image.repo_digests.iter().filter_map(|name| split_digest(name)).collect();
    let mut names: Vec<[String; 3]> = Vec::new();
    for tag in image.repo_tags.iter().filter(|tag| tag.as_str() != "<none>:<none>") {
        let (repository, tag) = split(tag);
        let of_name = digests.iter().filter(|(name, _)| with_digests && *name == repository);
        let before = names.len();
        names.extend(of_name.map(|(_, digest)| [repository.clone(), tag.clone(), (*digest).to_owned()]));
        if names.len() == before {
            names.push([repository, tag, none()]);
        }
    }
    for (repository, digest) in &digests {
        if digest_rows || !names.iter().any(|[known, ..]| known == repository) {
            let known = names.iter().any(|[name, tag, _]| name == repository && tag != "<none>");
            let digest = if digest_rows { (*digest).to_owned() } else { String::new() };
            names.extend((!known).then(|| [repository.clone(), none(), digest]));
        }
    }
    if names.is_empty() {
        names.push([none(), none(), none()]);
    }
    names.iter().map(|[repository, tag, digest]| cells(image, [repository, tag, digest], whole)).collect()
}

/// The row of `system df`: an image by its first name.
pub(super) fn first_row(image: &Summary, whole: bool) -> Row {
    let none = "<none>".to_owned();
    let (repository, tag) = match image.repo_tags.first().filter(|tag| tag.as_str() != "<none>:<none>") {
        Some(tag) => split(tag),
        None => (none.clone(), none),
    };
    cells(image, [&repository, &tag, &String::new()], whole)
}

/// Repository, as users write it, and digest.
fn split_digest(reference: &str) -> Option<(String, &str)> {
    let (name, digest) = reference.split_once('@').filter(|(name, _)| *name != "<none>")?;
    Some((name.parse::<Reference>().map_or(name.to_owned(), |name| name.familiar_repository()), digest))
}

/// Repository and tag, as users write them.
fn split(reference: &str) -> (String, String) {
    match reference.parse::<Reference>() {
        Ok(parsed) => (parsed.familiar_repository(), parsed.tag().unwrap_or("<none>").to_owned()),
        Err(_) => (reference.to_owned(), "<none>".to_owned()),
    }
}

fn cells(image: &Summary, [repository, tag, digest]: [&String; 3], whole: bool) -> Row {
    let count = |count: i64| if count < 0 { "N/A".to_owned() } else { count.to_string() };
    let size = |size: i64| if size < 0 { "N/A".to_owned() } else { units::long_size(size.unsigned_abs()) };
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
        ("VirtualSize", Value::from(size(image.size))),
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
        let rows = rows(&image, false, false, false);
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (&rows[1].cells["Repository"], &rows[1].cells["Tag"]),
            (&Value::from("localhost:5000/x"), &Value::from("v2"))
        );
        assert_eq!(
            (&rows[0].cells["Size"], &rows[0].cells["ID"]),
            (&Value::from("4.26MB"), &Value::from("aaaaaaaaaaaa"))
        );
        assert_eq!(super::rows(&Summary::default(), false, false, false)[0].cells["Repository"], "<none>");
    }
}
