//! Builds that are going on: one request asks for an image and waits, others say what to build, look on, and bring the
//! result back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use teu_builder::Solved;
use tokio::sync::mpsc;
use tonic::Status;

use crate::board::Board;
use crate::waiting::Waiting;
use crate::wire::control::{Exporter, SolveRequest};

/// How long a build that is over can still be looked at.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// The builds of a daemon.
#[derive(Default)]
pub(crate) struct Jobs(Waiting<Arc<Job>>);

impl Jobs {
    /// Begins a build; the other half of what comes back takes its result.
    pub(crate) fn begin(&self, request: SolveRequest) -> Result<(Arc<Job>, mpsc::Receiver<Returned>), Status> {
        let (returned, results) = mpsc::channel(1);
        let job = Arc::new(Job::new(request, returned));
        match self.0.put(&job.reference, job.clone()) {
            true => Ok((job, results)),
            false => Err(Status::already_exists(format!("a build {} is going on", job.reference))),
        }
    }

    /// The build of that name, when it is there, or comes soon.
    pub(crate) async fn get(&self, reference: &str) -> Result<Arc<Job>, Status> {
        let found = self.0.find(|all| all.get(reference).cloned()).await;
        found.ok_or_else(|| Status::not_found(format!("no such job {reference}")))
    }

    fn end(&self, job: &Arc<Job>) {
        let mut all = self.0.lock();
        if all.get(&job.reference).is_some_and(|have| Arc::ptr_eq(have, job)) {
            all.remove(&job.reference);
        }
    }
}

/// What the client says came out: the name of a result, or why there is none.
pub(crate) type Returned = Result<Option<String>, Status>;

/// One build.
pub(crate) struct Job {
    /// The client's name for it.
    pub(crate) reference: String,
    /// The session of its client.
    pub(crate) session: String,
    /// What it may ask for beyond the usual.
    pub(crate) entitlements: Vec<String>,
    /// What becomes of the result.
    pub(crate) exporters: Vec<Exporter>,
    /// What is told of it.
    pub(crate) board: Arc<Board>,
    /// What came out so far, by the names that the client was given.
    results: Mutex<HashMap<String, Arc<Solved>>>,
    returned: mpsc::Sender<Returned>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("reference", &self.reference).finish_non_exhaustive()
    }
}

impl Job {
    fn new(request: SolveRequest, returned: mpsc::Sender<Returned>) -> Self {
        let old = Exporter { kind: request.exporter_deprecated, attrs: request.exporter_attrs_deprecated };
        let exporters = match (request.exporters.is_empty(), old.kind.is_empty()) {
            (true, false) => vec![old],
            _ => request.exporters,
        };
        Self {
            reference: request.reference,
            session: request.session,
            entitlements: request.entitlements,
            exporters,
            board: Arc::default(),
            results: Mutex::default(),
            returned,
        }
    }

    /// Keeps a result, and gives it a name.
    pub(crate) fn keep(&self, solved: Solved) -> String {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{}-{}", self.reference, results.len());
        results.insert(name.clone(), Arc::new(solved));
        name
    }

    /// A result by its name.
    pub(crate) fn result(&self, name: &str) -> Option<Arc<Solved>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Brings the client's word to whoever waits for it.
    pub(crate) fn bring(&self, returned: Returned) {
        // A second one has nothing to say.
        let _ = self.returned.try_send(returned);
    }
}

/// Keeps a build in the list until it is over, and a little longer if somebody still looks on.
pub(crate) struct Going {
    pub(crate) front: crate::Buildkit,
    pub(crate) job: Arc<Job>,
}

impl Drop for Going {
    fn drop(&mut self) {
        self.job.board.close();
        if let Ok(mut results) = self.job.results.lock() {
            results.clear();
        }
        let (front, job) = (self.front.clone(), self.job.clone());
        // Who looks on may come later than the end.
        tokio::spawn(async move {
            for _ in 0..AFTERWARDS.as_secs() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if job.board.is_done() {
                    break;
                }
            }
            front.0.jobs.end(&job);
        });
    }
}
