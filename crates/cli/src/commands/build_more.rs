//! The flags of `build` that came with buildx: contexts by name, what follows the build, and how it is shown. What is not
//! done is refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::try_join_all;
use serde_json::json;

use crate::Session;
use crate::build_context;
use crate::commands::push;
use crate::failure::{Failure, Naming};
use crate::grammar;
use crate::output::progress::Place;

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct More {
    /// Add an annotation to the image
    #[arg(long, value_name = "stringArray", hide = true)]
    annotation: Vec<String>,
    /// Attestations (type=TYPE,disabled=true alone)
    #[arg(long, value_name = "stringArray", hide = true)]
    attest: Vec<String>,
    /// Another tree or image under a name (name=PATH, name=URL, name=docker-image://IMAGE)
    #[arg(long, value_name = "stringArray", value_parser = context)]
    build_context: Vec<(String, String)>,
    /// The builder: the daemon is the only one
    #[arg(long, hide = true)]
    builder: Option<String>,
    /// Where the cache is exported to (type=inline alone: it is in the image)
    #[arg(long, value_name = "stringArray")]
    cache_to: Vec<String>,
    /// How the Dockerfile is looked at (build alone)
    #[arg(long, hide = true)]
    call: Option<String>,
    /// Check the Dockerfile
    #[arg(long, hide = true)]
    check: bool,
    /// Make an image of the result (as always)
    #[arg(long)]
    load: bool,
    /// Write what came out to the file, as JSON
    #[arg(long)]
    metadata_file: Option<String>,
    /// Stages that do not use the cache
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// How the steps are shown
    #[arg(long, value_parser = ["auto", "plain", "tty", "quiet"])]
    progress: Option<String>,
    /// Say where the image comes from (false alone)
    #[arg(long, hide = true)]
    provenance: Option<String>,
    /// Push the image to the registries of its names
    #[arg(long)]
    push: bool,
    /// Say what the image is made of (false alone)
    #[arg(long, hide = true)]
    sbom: Option<String>,
    /// SSH agents for RUN --mount=type=ssh
    #[arg(long, value_name = "stringArray", hide = true)]
    ssh: Vec<String>,
}

impl More {
    /// Refuses what is not done.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let off = |text: &Option<String>| text.as_deref().is_none_or(|text| matches!(text, "false" | "0"));
        let inline = |text: &String| text == "inline" || text == "type=inline";
        let checks = [
            (self.annotation.is_empty(), "--annotation"),
            (self.attest.iter().all(|text| text.contains("disabled=true")), "--attest"),
            (self.builder.as_deref().is_none_or(|name| name == "default"), "--builder of another name than default"),
            (self.cache_to.iter().all(inline), "--cache-to of other types than inline"),
            (self.call.as_deref().is_none_or(|call| call == "build"), "--call"),
            (!self.check, "--check"),
            (off(&self.provenance), "--provenance"),
            (off(&self.sbom), "--sbom"),
            (self.ssh.is_empty(), "--ssh"),
        ];
        match checks.iter().find(|(done, _)| !done) {
            Some((_, what)) => Err(Failure::new(format!("{what} is not supported by this version of teu")).code(125)),
            None => Ok(()),
        }
    }

    /// Nothing is shown but the id.
    pub(crate) fn quiet(&self) -> bool {
        self.progress.as_deref() == Some("quiet")
    }

    /// The image is pushed.
    pub(crate) fn push(&self) -> bool {
        self.push
    }

    /// Stages without cache, as the API has them.
    pub(crate) fn fresh(&self) -> Option<String> {
        (!self.no_cache_filter.is_empty()).then(|| self.no_cache_filter.join(","))
    }

    /// Contexts by name, as the API has them, and the folders whose archives are brought beside the request.
    pub(crate) fn contexts(&self, build: &str) -> Result<Contexts, Failure> {
        let mut contexts = Contexts::default();
        for (name, place) in &self.build_context {
            let folder = Path::new(place);
            let place = match folder.is_dir() {
                true => {
                    let upload = format!("{build}-{}", contexts.folders.len());
                    let value = format!("upload:{upload}");
                    contexts.folders.push((upload, build_context::named(folder)?));
                    value
                }
                false if place.contains("://") || place.starts_with("git@") => place.clone(),
                false => return Err(Failure::new(format!("build context {name}: {place} is no folder")).code(125)),
            };
            contexts.places.insert(name.clone(), place);
        }
        Ok(contexts)
    }

    /// What is left to do with an image that has these names.
    pub(crate) async fn finish(
        &self,
        session: &Session,
        id: &str,
        names: &[String],
        place: Place,
    ) -> Result<(), Failure> {
        if let Some(file) = &self.metadata_file {
            let all = json!({
                "containerimage.config.digest": id,
                "containerimage.digest": id,
                "image.name": names.join(","),
            });
            let text = serde_json::to_string_pretty(&all).unwrap_or_default();
            std::fs::write(file, text).or_fail(format!("write {file}"))?;
        }
        if self.push {
            if names.is_empty() {
                return Err(Failure::new("--push takes a name for the image: -t NAME"));
            }
            for name in names {
                push::push(session, name, false, None, place).await?;
            }
        }
        Ok(())
    }
}

/// Contexts by name.
#[derive(Default)]
pub(crate) struct Contexts {
    /// Where each is.
    pub(crate) places: BTreeMap<String, String>,
    folders: Vec<(String, build_context::Source)>,
}

impl Contexts {
    /// Brings the archives; each request ends when its archive has been read.
    pub(crate) async fn bring(self, session: &Session) -> Result<(), Failure> {
        let client = session.client();
        let bring = |(upload, source): (String, build_context::Source)| {
            let call = client.post("/build").query("buildid", format!("upload-request:{upload}"));
            let call = call.header("content-type", "application/x-tar");
            let call = match source.into_body() {
                Some(body) => call.body(body),
                None => call,
            };
            call.done()
        };
        try_join_all(self.folders.into_iter().map(bring)).await.map(drop)
    }
}

/// Reads `--build-context`: `name=place`.
fn context(text: &str) -> Result<(String, String), String> {
    let fields = grammar::fields(text)?;
    let pair = fields.first().and_then(|field| field.split_once('=')).filter(|_| fields.len() == 1);
    let (name, place) = pair.ok_or("it is not of the form name=place")?;
    match name.is_empty() || place.is_empty() {
        true => Err("it is not of the form name=place".into()),
        false => Ok((name.to_ascii_lowercase(), place.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_have_a_name_and_a_place() {
        assert_eq!(context("A=docker-image://b").unwrap(), ("a".into(), "docker-image://b".into()));
        assert!(context("a").is_err() && context("=b").is_err() && context("a=").is_err());
    }
}
