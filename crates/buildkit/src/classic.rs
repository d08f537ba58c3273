//! Builds by `POST /build?version=2`: how Docker's command line spoke to BuildKit before buildx. The request says how to
//! build, the session has the files, and what happens comes back as messages that hold what `Control.Status` tells.
//!
//! ```text
//! {"id":"moby.buildkit.trace","aux":"<StatusResponse in base64>"}
//! {"id":"moby.image.id","aux":{"ID":"sha256:…"}}
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use teu_api::stream::JsonMessage;
use teu_builder::{Context, Named, Options};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::Buildkit;
use crate::attributes::{Attributes, Place};
use crate::board;
use crate::export;
use crate::job::{Going, Job};
use crate::solve::{blocking, failure};
use crate::waiting::{PATIENCE, Waiting};
use crate::wire::control::{Exporter, SolveRequest, SolveResponse};

const TRACE: &str = "moby.buildkit.trace";
const IMAGE: &str = "moby.image.id";

/// Where the files of a build are.
pub enum Source {
    /// In a folder of the client's that its session has.
    Session,
    /// At a URL.
    Url(String),
    /// In an archive that another request brings.
    Upload,
    /// Here.
    Here(Context),
}

/// A build that is asked for in one request.
pub struct Build {
    /// The client's name for it; empty where it has none.
    pub id: String,
    /// The client's session; empty where it has none.
    pub session: String,
    /// How to build.
    pub options: Options,
    /// What from.
    pub source: Source,
    /// What becomes of the result, as kind and attributes; an image if empty.
    pub outputs: Vec<(String, BTreeMap<String, String>)>,
    /// Nothing is told but the image's id.
    pub quiet: bool,
}

impl Buildkit {
    /// Builds, and tells what happens as messages.
    ///
    /// # Errors
    /// Why there is no result, in the words that clients of BuildKit look for.
    pub async fn build(&self, build: Build, messages: mpsc::Sender<JsonMessage>) -> Result<(), String> {
        let request = SolveRequest {
            reference: if build.id.is_empty() { board::digest() } else { build.id.clone() },
            session: build.session.clone(),
            exporters: exporters(&build),
            entitlements: entitlements(&build.options),
            ..SolveRequest::default()
        };
        let said = |status: Status| status.message().to_owned();
        export::check(&request.exporters).map_err(said)?;
        let (job, _) = self.0.jobs.begin(request).map_err(said)?;
        let quiet = build.quiet;
        let telling = tokio::spawn(tell(job.clone(), (!quiet).then(|| messages.clone())));
        let going = Going { front: self.clone(), job: job.clone() };
        let done = self.work(&job, build).await;
        drop(going);
        let _ = telling.await;
        let response = done.map_err(said)?;
        if let Some(id) = response.exporter_response.get("containerimage.digest") {
            if quiet {
                let _ = messages.send(JsonMessage::output(format!("{id}\n"))).await;
                return Ok(());
            }
            let aux = Some(serde_json::json!({ "ID": id }));
            let _ = messages.send(JsonMessage { id: Some(IMAGE.into()), aux, ..JsonMessage::default() }).await;
        }
        Ok(())
    }

    async fn work(&self, job: &Arc<Job>, build: Build) -> Result<SolveResponse, Status> {
        let Build { options, source, id, .. } = build;
        let store = self.0.engine.store().clone();
        let filename = match options.dockerfile.as_str() {
            "" | "." => "Dockerfile".to_owned(),
            name => name.to_owned(),
        };
        let mut options = Options { dockerfile: filename.clone(), ..options };
        if !job.session.is_empty() {
            options.requester = Some(Arc::new(self.0.sessions.get(&job.session).await?));
        }
        let context = match source {
            Source::Session => {
                let wanted = Attributes { options, filename, ..Attributes::default() };
                return self.export(job, &Arc::new(self.dockerfile(job, wanted).await?)).await;
            }
            Source::Url(url) => self.fetched(&job.board, &url, &options).await?,
            Source::Here(context) => context,
            Source::Upload => {
                let tar = self.0.uploads.take(&id).await?;
                blocking(move || Context::receive(&store, tar).map_err(failure)).await?
            }
        };
        self.export(job, &Arc::new(self.steps(job, context, options).await?)).await
    }

    /// What names stand for: `docker-image://` and an image, a URL, or `upload:` and the name of an archive that another request
    /// brings.
    ///
    /// # Errors
    /// When one is neither, or cannot be had.
    pub async fn contexts(
        &self,
        places: BTreeMap<String, String>,
        options: &Options,
    ) -> Result<BTreeMap<String, Named>, String> {
        let said = |status: Status| status.message().to_owned();
        let mut all = BTreeMap::new();
        for (name, place) in places {
            let one = match place.strip_prefix("upload:") {
                Some(upload) => {
                    let (tar, store) =
                        (self.0.uploads.take(upload).await.map_err(said)?, self.0.engine.store().clone());
                    let context = blocking(move || Context::receive(&store, tar).map_err(failure)).await;
                    Named::Tree(Arc::new(context.map_err(said)?))
                }
                None => match Place::read(&name, &place).map_err(said)? {
                    Place::Image(reference) => Named::Image(reference),
                    Place::Url(url) => {
                        let fetched = Context::at(&self.0.engine, &url, options).await;
                        Named::Tree(Arc::new(fetched.map_err(|error| error.to_string())?))
                    }
                    _ => return Err(format!("the context {name}={place} needs a session")),
                },
            };
            all.insert(name, one);
        }
        Ok(all)
    }

    /// Keeps an archive for the build of that name until it has been read.
    ///
    /// # Errors
    /// When no build wants it.
    pub async fn upload(&self, build: &str, tar: Box<dyn Read + Send>) -> Result<(), String> {
        self.0.uploads.give(build, tar).await
    }
}

fn exporters(build: &Build) -> Vec<Exporter> {
    if build.outputs.is_empty() {
        let names: Vec<String> = build.options.tags.iter().map(ToString::to_string).collect();
        return vec![Exporter { kind: "moby".into(), attrs: [("name".into(), names.join(","))].into() }];
    }
    let outputs = build.outputs.iter().cloned();
    outputs.map(|(kind, attrs)| Exporter { kind, attrs: attrs.into_iter().collect() }).collect()
}

/// What the options allow, and what goes without saying: who asks for the host's network gets it.
fn entitlements(options: &Options) -> Vec<String> {
    let host = options.allow.host_network || options.host.network_mode == "host";
    let all = [("network.host", host), ("security.insecure", options.allow.insecure)];
    all.iter().filter(|(_, allowed)| *allowed).map(|(name, _)| (*name).to_owned()).collect()
}

/// Passes on what is told of a build, if anybody wants it.
async fn tell(job: Arc<Job>, messages: Option<mpsc::Sender<JsonMessage>>) {
    let Some(reader) = job.board.read() else { return };
    while let Some(status) = reader.next().await {
        let Some(messages) = &messages else { continue };
        let aux = Some(STANDARD.encode(status.encode_to_vec()).into());
        let message = JsonMessage { id: Some(TRACE.into()), aux, ..JsonMessage::default() };
        if messages.send(message).await.is_err() {
            return;
        }
    }
}

/// Archives that wait for their builds.
#[derive(Default)]
pub(crate) struct Uploads(Waiting<Upload>);

/// An archive, and who waits for it to be read.
struct Upload {
    tar: Box<dyn Read + Send>,
    read: oneshot::Sender<()>,
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.tar.read(buffer)
    }
}

impl Uploads {
    async fn give(&self, build: &str, tar: Box<dyn Read + Send>) -> Result<(), String> {
        let (read, mut done) = oneshot::channel();
        if !self.0.put(build, Upload { tar, read }) {
            return Err(format!("build {build} has an archive"));
        }
        // It ends when the archive is dropped: after it was read, or with the build.
        if tokio::time::timeout(PATIENCE, &mut done).await.is_ok() {
            return Ok(());
        }
        if self.0.lock().remove(build).is_some() {
            return Err(format!("no build {build} wants the archive"));
        }
        let _ = done.await;
        Ok(())
    }

    async fn take(&self, build: &str) -> Result<Upload, Status> {
        let found = self.0.find(|all| all.remove(build)).await;
        found.ok_or_else(|| Status::not_found("the archive of the build did not come"))
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("read", &self.read).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upload_waits_until_it_is_read() {
        let uploads = Arc::new(Uploads::default());
        let giving = tokio::spawn({
            let uploads = uploads.clone();
            async move { uploads.give("a", Box::new(&b"text"[..])).await }
        });
        let mut upload = uploads.take("a").await.expect("there");
        assert!(!giving.is_finished());
        let mut text = String::new();
        upload.read_to_string(&mut text).expect("read");
        drop(upload);
        giving.await.expect("joined").expect("taken");
        assert_eq!(text, "text");
    }

    #[tokio::test(start_paused = true)]
    async fn neither_waits_for_ever() {
        let uploads = Uploads::default();
        assert!(uploads.give("a", Box::new(std::io::empty())).await.is_err());
        assert!(uploads.take("a").await.is_err());
    }
}
