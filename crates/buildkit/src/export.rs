//! What becomes of a result: an image in the engine, which may be pushed, or files for the client.

use std::sync::Arc;

use teu_api::stream::JsonMessage;
use teu_builder::{Output, Requester, Solved};
use teu_oci::Reference;
use tokio::sync::mpsc;
use tonic::Status;

use crate::Buildkit;
use crate::attributes::refused;
use crate::board::{Step, pulled};
use crate::files;
use crate::job::Job;
use crate::solve::{blocking, failure};
use crate::wire::control::{Exporter, SolveResponse};

/// The keys of what a client is told of an image.
const DIGEST: &str = "containerimage.digest";
const CONFIG: &str = "containerimage.config.digest";
const NAME: &str = "image.name";

impl Buildkit {
    /// Makes of a result what the client wants.
    pub(crate) async fn export(&self, job: &Arc<Job>, solved: &Arc<Solved>) -> Result<SolveResponse, Status> {
        let mut response = SolveResponse::default();
        for (number, exporter) in job.exporters.iter().enumerate() {
            match exporter.kind.as_str() {
                // An image in the engine is what both are here.
                "moby" | "image" => self.image(job, solved, exporter, &mut response).await?,
                "local" | "tar" | "docker" | "oci" => {
                    let step = Step::begin(&job.board, "exporting to client").await;
                    let sent = self.send(job, solved, exporter, number).await;
                    step.settle(sent).await?;
                }
                other => return Err(refused(&format!("the exporter {other}"))),
            }
        }
        Ok(response)
    }

    /// Sends a result to the client's output of that number.
    async fn send(
        &self,
        job: &Arc<Job>,
        solved: &Arc<Solved>,
        exporter: &Exporter,
        number: usize,
    ) -> Result<(), Status> {
        let session = self.0.sessions.get(&job.session).await?;
        if exporter.kind == "local" {
            let tree = solved.clone();
            let root = blocking(move || tree.tree().map_err(failure)).await?;
            return files::send_tree(&session, number, root).await;
        }
        if exporter.attrs.get("tar").is_some_and(|tar| matches!(tar.as_str(), "false" | "0")) {
            return Err(refused(&format!("the exporter {} with tar=false", exporter.kind)));
        }
        let output = if exporter.kind == "tar" { Output::Tree } else { Output::Archive };
        let bytes = solved.stream(output, names(exporter)?).await.map_err(failure)?;
        files::send_bytes(&session, number, bytes).await
    }

    /// Keeps a result as an image, and pushes it if the client wants that.
    async fn image(
        &self,
        job: &Arc<Job>,
        solved: &Arc<Solved>,
        exporter: &Exporter,
        response: &mut SolveResponse,
    ) -> Result<(), Status> {
        let names = names(exporter)?;
        let is = |name: &str| exporter.attrs.get(name).is_some_and(|value| matches!(value.as_str(), "true" | "1"));
        if is("push-by-digest") {
            return Err(refused("push-by-digest"));
        }
        let mut step = Step::begin(&job.board, "exporting to image").await;
        step.part("exporting layers", (0, 0), true).await;
        let made = solved.image(names.clone()).await.map_err(failure);
        if let Ok(id) = &made {
            step.part(&format!("writing image {id}"), (0, 0), true).await;
            for name in &names {
                step.part(&format!("naming to {name}"), (0, 0), true).await;
            }
        }
        let id = step.settle(made).await?.to_string();
        let all = &mut response.exporter_response;
        all.insert(DIGEST.into(), id.clone());
        all.insert(CONFIG.into(), id);
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            all.insert(NAME.into(), names.join(","));
        }
        if is("push") {
            for name in &names {
                if let Some(digest) = self.push(job, name).await? {
                    all.insert(DIGEST.into(), digest);
                }
            }
        }
        Ok(())
    }

    /// Pushes an image; the digest that the registry knows it by.
    async fn push(&self, job: &Arc<Job>, name: &Reference) -> Result<Option<String>, Status> {
        let session = self.0.sessions.get(&job.session).await?;
        let mut step = Step::begin(&job.board, format!("pushing {name}")).await;
        let auth = session.credentials(name.domain()).await.map_err(failure);
        let (sender, mut messages) = mpsc::channel::<JsonMessage>(16);
        let (repository, tag) = (name.repository(), name.tag().map(str::to_owned));
        let pushing = async {
            let images = &self.0.engine.images;
            images
                .push(&repository, tag.as_deref(), auth?, sender)
                .await
                .map_err(|error| Status::unknown(error.message))
        };
        let telling = async {
            let mut digest = None;
            while let Some(message) = messages.recv().await {
                let found = message.aux.as_ref().and_then(|aux| aux["Digest"].as_str());
                digest = found.map(str::to_owned).or(digest);
                pulled(&mut step, message).await;
            }
            digest
        };
        let (pushed, digest) = tokio::join!(pushing, telling);
        step.settle(pushed.map(|()| digest)).await
    }
}

/// What exporters may be told, without what means nothing here: images are of one platform, and what form an image has
/// follows from where it goes.
const KNOWN: [&str; 18] = [
    "name",
    "name-canonical",
    "dangling-name-prefix",
    // Whatever is built is an image of the engine's.
    "load",
    // The digest that is told is one by which the engine finds the image.
    "prefer-image-digest",
    "oci-artifact",
    "buildinfo-attrs",
    "push",
    "push-by-digest",
    "tar",
    "dest",
    "unpack",
    "store",
    "context",
    "oci-mediatypes",
    "platform-split",
    "attestation-prefix",
    "attestation-inline",
];

/// Refuses what exporters are told and would leave out in silence.
pub(crate) fn check<'e>(exporters: impl IntoIterator<Item = &'e Exporter>) -> Result<(), Status> {
    for exporter in exporters {
        let unknown = exporter.attrs.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())).min();
        if let Some((name, value)) = unknown {
            return Err(refused(&format!("the exporter {} with {name}={value}", exporter.kind)));
        }
    }
    Ok(())
}

/// The names for an image.
fn names(exporter: &Exporter) -> Result<Vec<Reference>, Status> {
    let given = exporter.attrs.get("name").map(String::as_str).unwrap_or_default();
    let names = given.split(',').filter(|name| !name.is_empty()).map(str::parse::<Reference>);
    names.collect::<Result<_, _>>().map_err(|error| Status::invalid_argument(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_may_have_several_names() {
        let exporter = |names: &str| Exporter { attrs: [("name".into(), names.into())].into(), ..Exporter::default() };
        let all = names(&exporter("one,registry:5000/two:3")).expect("names");
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["docker.io/library/one:latest", "registry:5000/two:3"]);
        assert!(names(&exporter("")).expect("none").is_empty() && names(&exporter("UPPER::")).is_err());
    }

    #[test]
    fn what_clients_say_by_themselves_is_taken() {
        // Compose says the first, newer buildx the second.
        for name in ["load", "prefer-image-digest"] {
            let told = Exporter { kind: "moby".into(), attrs: [(name.into(), "true".into())].into() };
            assert!(check([&told]).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_an_exporter_would_leave_out_is_refused() {
        let told = |name: &str| Exporter { kind: "image".into(), attrs: [(name.into(), "true".into())].into() };
        assert!(check(&[told("name"), told("oci-mediatypes")]).is_ok());
        let refused = check(&[told("name"), told("annotation.a")]).expect_err("refused");
        assert!(refused.message().contains("annotation.a=true"), "{}", refused.message());
    }
}
