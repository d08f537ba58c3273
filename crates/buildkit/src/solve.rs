//! A build from what a client says to what it gets.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use teu_builder::{Context, Entitlements, GitUrl, Named, Options, Progress, Solved};
use tokio::sync::mpsc;
use tonic::Status;

use crate::Buildkit;
use crate::attributes::{self, Attributes, Inputs, Place, refused};
use crate::board::{Board, Step, follow};
use crate::earlier;
use crate::export;
use crate::files::{self, Before, Received, Wanted};
use crate::job::{Going, Job};
use crate::reference;
use crate::session::Session;
use crate::wire::control::{Definition, Exporter, SolveRequest, SolveResponse};
use crate::wire::gateway;

/// The frontends that a Dockerfile is for; the second is what a client says whose `# syntax` names an image.
const FRONTENDS: [&str; 2] = ["dockerfile.v0", "gateway.v0"];
/// Bytes that a Dockerfile or an ignore file may have.
const LONGEST: u64 = 16 << 20;

/// A Dockerfile and its ignore file, as text.
type Written = (String, Option<String>);

const HOST_NETWORK: &str = "network.host";
const INSECURE: &str = "security.insecure";

impl Buildkit {
    /// Builds what the request says, or what its client says afterwards, and gives it to the exporter. A client that goes away
    /// ends it.
    pub(crate) async fn solve(self, request: SolveRequest) -> Result<SolveResponse, Status> {
        check(&request)?;
        let (frontend, attrs) = (request.frontend.clone(), request.frontend_attrs.clone());
        // A definition of nothing; without any the client says later what to build.
        let scratch = frontend.is_empty() && request.definition.is_some();
        let (job, mut returned) = self.0.jobs.begin(request)?;
        let _going = Going { front: self.clone(), job: job.clone() };
        let name = if scratch {
            None
        } else if frontend.is_empty() {
            let gone = || Status::cancelled("the client did not say what came out");
            returned.recv().await.ok_or_else(gone)??
        } else {
            Some(job.keep(self.dockerfile(&job, attributes::read(&attrs)?).await?))
        };
        let result = name.and_then(|name| job.result(&name));
        match result {
            Some(solved) => self.export(&job, &solved).await,
            // A request that was not for an image, or for no output.
            None => Ok(SolveResponse::default()),
        }
    }

    /// Builds for a client that brings the result back by itself.
    pub(crate) async fn frontend(
        &self,
        job: &Arc<Job>,
        request: gateway::SolveRequest,
    ) -> Result<gateway::SolveResponse, Status> {
        if !FRONTENDS.contains(&request.frontend.as_str()) {
            return Err(refused("the low-level language (LLB)"));
        }
        let mut wanted = attributes::read(&request.frontend_opt)?;
        for (name, definition) in &request.frontend_inputs {
            let given = reference::named(definition);
            let given = given.ok_or_else(|| refused("a context in the low-level language (LLB)"))?;
            wanted.inputs.insert(name.clone(), given);
        }
        let solved = self.dockerfile(job, wanted).await?;
        let config = serde_json::to_vec(solved.config()).map_err(|error| Status::internal(error.to_string()))?;
        let id = job.keep(solved);
        let result = gateway::Outcome {
            refs: Some(gateway::Refs::One(gateway::Ref {
                definition: Some(reference::definition(&job.reference, &id)),
                id,
            })),
            metadata: [("containerimage.config".to_owned(), config)].into(),
        };
        Ok(gateway::SolveResponse { result: Some(result) })
    }

    /// Does all steps of a Dockerfile.
    pub(crate) async fn dockerfile(&self, job: &Arc<Job>, wanted: Attributes) -> Result<Solved, Status> {
        let session = self.0.sessions.get(&job.session).await?;
        let Attributes { mut options, context, dockerfile, filename, named, inputs, warnings } = wanted;
        let allowed = |name: &str| job.entitlements.iter().any(|have| have == name);
        options.allow = Entitlements { host_network: allowed(HOST_NETWORK), insecure: allowed(INSECURE) };
        if options.host.network_mode == "host" && !options.allow.host_network {
            return Err(Status::permission_denied(format!("{HOST_NETWORK} is not allowed")));
        }
        options.requester = Some(Arc::new(session.clone()));
        let context = match (&context, dockerfile) {
            (Place::Local(name), folder) => {
                let folder = folder.unwrap_or_else(|| "dockerfile".into());
                let definition = Some((folder.as_str(), filename.as_str()));
                let (tree, definition) = self.local(&session, &job.board, name, definition).await?;
                options.definition = definition;
                tree
            }
            (_, Some(folder)) => {
                options.definition = Some(self.definition(&session, &job.board, &folder, &filename).await?);
                Arc::new(self.place(&session, &job.board, &context, &options).await?)
            }
            (_, None) => Arc::new(self.place(&session, &job.board, &context, &options).await?),
        };
        for (name, place) in named {
            let one = match place {
                Place::Image(reference) => Named::Image(reference),
                Place::Input(input) => Named::Result(self.result(&inputs, &input).await?),
                Place::Local(name) => Named::Tree(self.local(&session, &job.board, &name, None).await?.0),
                place => Named::Tree(Arc::new(self.place(&session, &job.board, &place, &options).await?)),
            };
            options.contexts.insert(name, one);
        }
        if !warnings.is_empty() {
            let step = Step::begin(&job.board, "[internal] cache imports").await;
            for warning in &warnings {
                step.warn(warning).await;
            }
            step.end(false, None).await;
        }
        self.steps(job, context, options).await
    }

    /// Does the steps, and tells of them.
    pub(crate) async fn steps(
        &self,
        job: &Arc<Job>,
        context: impl Into<Arc<Context>>,
        options: Options,
    ) -> Result<Solved, Status> {
        let (events, heard) = mpsc::channel(64);
        let telling = follow(job.board.clone(), heard);
        let building = teu_builder::solve(&self.0.engine, context, options, Progress::events(events));
        let (solved, ()) = tokio::join!(building, telling);
        solved.map_err(failure)
    }

    /// What another build came to.
    async fn result(&self, inputs: &Inputs, name: &str) -> Result<Arc<Solved>, Status> {
        let missing = || Status::invalid_argument(format!("the input {name} is missing"));
        let (build, result) = inputs.get(name).ok_or_else(missing)?;
        let gone = || Status::not_found(format!("the result {result} is gone"));
        self.0.jobs.get(build).await?.result(result).ok_or_else(gone)
    }

    /// A tree that is no folder of the client's.
    async fn place(
        &self,
        session: &Session,
        board: &Arc<Board>,
        place: &Place,
        options: &Options,
    ) -> Result<Context, Status> {
        match place {
            Place::Local(name) => Err(refused(&format!("the folder {name} in that place"))),
            Place::Upload(path) => {
                let step = Step::begin(board, "[internal] load remote build context").await;
                let received = async {
                    let (tar, store) = (files::upload(session, path).await?, self.0.engine.store().clone());
                    blocking(move || Context::receive(&store, tar).map_err(failure)).await
                };
                let received = received.await;
                step.settle(received).await
            }
            Place::Url(url) => self.fetched(board, url, options).await,
            Place::Image(reference) => Err(refused(&format!("the image {reference} as the context"))),
            Place::Input(name) => Err(refused(&format!("the result {name} as the context"))),
        }
    }

    /// The files at a URL, which may be that of a repository.
    pub(crate) async fn fetched(&self, board: &Arc<Board>, url: &str, options: &Options) -> Result<Context, Status> {
        // A repository's URL without what stands before its host.
        let repository = GitUrl::context(url).and_then(Result::ok);
        let shown = repository.as_ref().map_or(url, GitUrl::remote);
        let step = Step::begin(board, format!("[internal] load remote build context {shown}")).await;
        let fetched = Context::at(&self.0.engine, url, options).await.map_err(failure);
        step.settle(fetched).await
    }

    /// A folder of the client's, without what its ignore file names; a Dockerfile may lie in another one.
    async fn local(
        &self,
        session: &Session,
        board: &Arc<Board>,
        name: &str,
        dockerfile: Option<(&str, &str)>,
    ) -> Result<(Arc<Context>, Option<Written>), Status> {
        let (definition, ignore) = match dockerfile {
            None => (None, self.ignore(session, board, name).await?),
            Some((folder, filename)) => {
                let (text, own) = self.definition(session, board, folder, filename).await?;
                let ignore = match own {
                    Some(own) => Some(own),
                    None => self.ignore(session, board, name).await?,
                };
                (Some(text), ignore)
            }
        };
        let exclude = patterns(ignore.as_deref().unwrap_or_default());
        let title = match dockerfile {
            Some(_) => "[internal] load build context".to_owned(),
            None => format!("[context {name}] load from client"),
        };
        let wanted = Wanted { name: name.into(), exclude, ..Wanted::default() };
        let folder = session.folder(name);
        let earlier = folder.as_deref().and_then(|folder| self.0.earlier.get(folder));
        let shown = (title, "transferring context:");
        let (context, received) = self.transfer(session, board, shown, &wanted, earlier.as_ref()).await?;
        let context = match earlier {
            Some(earlier) if received.unchanged => earlier.files,
            Some(earlier) => {
                context.inherit(&earlier.files, received.same.into_iter());
                Arc::new(context)
            }
            None => Arc::new(context),
        };
        if let (Some(folder), false) = (folder, received.unchanged) {
            let tree = earlier::Tree { files: context.clone(), print: received.print };
            self.0.earlier.keep(folder, tree, received.size);
        }
        Ok((context, definition.map(|text| (text, ignore))))
    }

    /// A Dockerfile, and its own ignore file if it has one.
    async fn definition(
        &self,
        session: &Session,
        board: &Arc<Board>,
        folder: &str,
        filename: &str,
    ) -> Result<Written, Status> {
        let own = format!("{filename}.dockerignore");
        let lower = filename.strip_suffix("Dockerfile").map(|before| format!("{before}dockerfile"));
        let paths = [filename.to_owned(), own.clone()].into_iter().chain(lower.clone()).collect();
        let wanted = Wanted { name: folder.into(), paths, ..Wanted::default() };
        let title = format!("[internal] load build definition from {filename}");
        let shown = (title, "transferring dockerfile:");
        let (tree, _) = self.transfer(session, board, shown, &wanted, None).await?;
        let mut text = read(&tree, filename)?;
        if let (None, Some(lower)) = (&text, &lower) {
            text = read(&tree, lower)?;
        }
        let missing =
            || Status::not_found(format!("failed to read dockerfile: open {filename}: no such file or directory"));
        Ok((text.ok_or_else(missing)?, read(&tree, &own)?))
    }

    async fn ignore(&self, session: &Session, board: &Arc<Board>, name: &str) -> Result<Option<String>, Status> {
        let paths = vec![".dockerignore".to_owned()];
        let wanted = Wanted { name: name.into(), paths, ..Wanted::default() };
        let title = "[internal] load .dockerignore".to_owned();
        let (tree, _) = self.transfer(session, board, (title, "transferring context:"), &wanted, None).await?;
        read(&tree, ".dockerignore")
    }

    /// Brings files of the client's into a tree that goes with what holds it.
    async fn transfer(
        &self,
        session: &Session,
        board: &Arc<Board>,
        (title, part): (String, &str),
        wanted: &Wanted,
        earlier: Option<&earlier::Tree>,
    ) -> Result<(Context, Received), Status> {
        let mut step = Step::begin(board, title).await;
        let store = self.0.engine.store().clone();
        let received = async {
            let context = blocking(move || Context::empty(&store).map_err(failure)).await?;
            let before = earlier.map(|earlier| Before { root: earlier.files.root(), print: earlier.print.as_ref() });
            let received = files::receive(session, wanted, context.root(), before).await?;
            Ok((context, received))
        };
        let received = received.await;
        if let Ok((_, Received { sent, .. })) = &received {
            step.part(part, (*sent, 0), true).await;
        }
        step.settle(received).await
    }
}

/// Refuses what a request says that would be left out in silence.
fn check(request: &SolveRequest) -> Result<(), Status> {
    let exports = !request.exporters.is_empty() || !request.exporter_deprecated.is_empty();
    let language =
        |definition: &Definition| !definition.operations.is_empty() || request.frontend.is_empty() && exports;
    if request.definition.as_ref().is_some_and(language) || !request.frontend_inputs.is_empty() {
        return Err(refused("the low-level language (LLB)"));
    }
    if !request.frontend.is_empty() && !FRONTENDS.contains(&request.frontend.as_str()) {
        return Err(refused(&format!("the frontend {}", request.frontend)));
    }
    if request.source_policy.is_some() || !request.source_policy_session.is_empty() {
        return Err(refused("a policy for sources"));
    }
    if let Some(other) = request.entitlements.iter().find(|name| ![HOST_NETWORK, INSECURE].contains(&name.as_str())) {
        return Err(refused(&format!("to allow \"{other}\"")));
    }
    let old = Exporter { kind: "image".into(), attrs: request.exporter_attrs_deprecated.clone() };
    export::check(request.exporters.iter().chain([&old]))?;
    let exports = request.cache.iter().flat_map(|cache| &cache.exports);
    // The history of an image is in the image: that is all that "inline" wants.
    match exports.into_iter().find(|export| export.kind != "inline") {
        Some(export) => Err(refused(&format!("a cache export of type {}", export.kind))),
        None => Ok(()),
    }
}

/// The patterns of an ignore file, as clients expect them: clean, relative, without comments.
fn patterns(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
    let clean = |line: &str| {
        let (mark, pattern) = line.strip_prefix('!').map_or(("", line), |rest| ("!", rest.trim()));
        let pattern = if pattern.is_empty() { String::new() } else { teu_api::path::clean(pattern) };
        let pattern = if pattern.len() > 1 { pattern.trim_start_matches('/') } else { &pattern };
        format!("{mark}{pattern}")
    };
    lines.filter(|line| !line.is_empty()).map(clean).collect()
}

fn read(tree: &Context, path: &str) -> Result<Option<String>, Status> {
    let file = match tree.root().open_file(Path::new(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Status::unknown(format!("read {path}: {error}"))),
    };
    let mut text = String::new();
    let length = file.take(LONGEST + 1).read_to_string(&mut text);
    match length.map_err(|error| Status::unknown(format!("read {path}: {error}")))? as u64 {
        0..=LONGEST => Ok(Some(text)),
        _ => Err(Status::invalid_argument(format!("{path} is longer than {LONGEST} bytes"))),
    }
}

/// What went wrong, in the words that clients of BuildKit look for.
pub(crate) fn failure(error: teu_builder::Error) -> Status {
    match error {
        teu_builder::Error::Cancelled => Status::cancelled("context canceled"),
        other => Status::unknown(other.in_other_words()),
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignore_files_become_patterns() {
        let text = "\u{feff}# no\n\n /a/b/ \n!c\n! /d\n./e\n**/*.o\n";
        assert_eq!(patterns(text), ["a/b", "!c", "!d", "e", "**/*.o"]);
    }

    #[test]
    fn what_would_be_left_out_is_refused() {
        let refused = |request: SolveRequest| check(&request).expect_err("refused").message().to_owned();
        let allow = SolveRequest { entitlements: vec!["device".into()], ..SolveRequest::default() };
        assert!(refused(allow).contains("device"));
        let other = SolveRequest { frontend: "other.v0".into(), ..SolveRequest::default() };
        assert!(refused(other).contains("other.v0"));
        let nothing = SolveRequest { definition: Some(Definition::default()), ..SolveRequest::default() };
        assert!(check(&nothing).is_ok());
        let image = Exporter { kind: "image".into(), ..Exporter::default() };
        assert!(refused(SolveRequest { exporters: vec![image], ..nothing }).contains("LLB"));
        assert!(check(&SolveRequest { entitlements: vec![HOST_NETWORK.into()], ..SolveRequest::default() }).is_ok());
    }
}
