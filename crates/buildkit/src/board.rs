//! What is told of a build while it goes on: vertices (steps), how far each is, what its process says.
//!
//! One reader is sent everything, and a build that tells faster than it reads is slowed down. Where nobody reads, the build goes
//! on, and what its processes say is dropped once there is more than [`ROOM`] of it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use teu_api::stream::{JsonMessage, StreamKind};
use teu_builder::progress::{Event, What};
use tokio::sync::{Notify, mpsc};

use crate::wire::Timestamp;
use crate::wire::control::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};

/// Bytes that may wait to be read.
const ROOM: usize = 1 << 20;

/// What waits to be read.
#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<StatusResponse>,
    bytes: usize,
    read: bool,
    closed: bool,
    /// Somebody has read to the end.
    seen: bool,
}

/// Everything that is told of one build.
#[derive(Debug, Default)]
pub(crate) struct Board {
    queue: Mutex<Queue>,
    told: Notify,
    taken: Notify,
}

impl Board {
    /// Tells; waits for room if there is a reader.
    async fn tell(&self, message: StatusResponse) {
        let size = message.encoded_len();
        loop {
            let taken = self.taken.notified();
            {
                let mut queue = self.lock();
                if queue.bytes < ROOM || !queue.read {
                    if queue.bytes >= ROOM && !message.logs.is_empty() {
                        return;
                    }
                    queue.bytes += size;
                    queue.messages.push_back(message);
                    break;
                }
            }
            taken.await;
        }
        self.told.notify_waiters();
    }

    /// Nothing more will be told.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.told.notify_waiters();
    }

    /// Somebody has been told everything.
    pub(crate) fn is_done(&self) -> bool {
        self.lock().seen
    }

    /// Becomes the reader; whoever comes second is told nothing but the end.
    pub(crate) fn read(self: &Arc<Self>) -> Option<Reader> {
        let first = !std::mem::replace(&mut self.lock().read, true);
        first.then(|| Reader(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who reads.
#[derive(Debug)]
pub(crate) struct Reader(Arc<Board>);

impl Reader {
    /// What was told next; none at the end.
    pub(crate) async fn next(&self) -> Option<StatusResponse> {
        loop {
            let told = self.0.told.notified();
            {
                let mut queue = self.0.lock();
                if let Some(message) = queue.messages.pop_front() {
                    queue.bytes = queue.bytes.saturating_sub(message.encoded_len());
                    drop(queue);
                    self.0.taken.notify_waiters();
                    return Some(message);
                }
                if queue.closed {
                    queue.seen = true;
                    return None;
                }
            }
            told.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().read = false;
        self.0.taken.notify_waiters();
    }
}

/// A step that was begun.
#[derive(Debug)]
pub(crate) struct Step {
    board: Arc<Board>,
    vertex: Vertex,
    /// When each part of it began.
    parts: HashMap<String, Timestamp>,
}

impl Step {
    /// Begins a step.
    pub(crate) async fn begin(board: &Arc<Board>, name: impl Into<String>) -> Self {
        let vertex =
            Vertex { digest: digest(), name: name.into(), started: Some(Timestamp::now()), ..Vertex::default() };
        board.tell(StatusResponse { vertexes: vec![vertex.clone()], ..StatusResponse::default() }).await;
        Self { board: board.clone(), vertex, parts: HashMap::new() }
    }

    /// How far a part of it is: `current` of `total`, which is 0 where nobody knows.
    pub(crate) async fn part(&mut self, name: &str, (current, total): (u64, u64), done: bool) {
        let now = Timestamp::now();
        let started = *self.parts.entry(name.to_owned()).or_insert(now);
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let status = VertexStatus {
            id: name.into(),
            vertex: self.vertex.digest.clone(),
            name: String::new(),
            current: number(current),
            total: number(total),
            timestamp: Some(now),
            started: Some(started),
            completed: done.then_some(now),
        };
        self.board.tell(StatusResponse { statuses: vec![status], ..StatusResponse::default() }).await;
    }

    /// What its process says.
    pub(crate) async fn output(&self, stream: StreamKind, text: String) {
        let log = VertexLog {
            vertex: self.vertex.digest.clone(),
            timestamp: Some(Timestamp::now()),
            stream: if stream == StreamKind::Stderr { 2 } else { 1 },
            msg: text.into_bytes(),
        };
        self.board.tell(StatusResponse { logs: vec![log], ..StatusResponse::default() }).await;
    }

    /// Something that whoever builds should know.
    pub(crate) async fn warn(&self, text: &str) {
        let warning = VertexWarning { vertex: self.vertex.digest.clone(), level: 1, short: text.as_bytes().to_vec() };
        self.board.tell(StatusResponse { warnings: vec![warning], ..StatusResponse::default() }).await;
    }

    /// Ends it; `error` says why it failed.
    pub(crate) async fn end(mut self, cached: bool, error: Option<String>) {
        self.vertex.cached = cached;
        self.vertex.error = error.unwrap_or_default();
        self.vertex.completed = Some(Timestamp::now());
        let (board, vertexes) = (self.board, vec![self.vertex]);
        board.tell(StatusResponse { vertexes, ..StatusResponse::default() }).await;
    }

    /// Ends it as a result says, and gives that back.
    pub(crate) async fn settle<T>(self, result: Result<T, tonic::Status>) -> Result<T, tonic::Status> {
        let error = result.as_ref().err().map(|status| status.message().to_owned());
        self.end(false, error).await;
        result
    }
}

/// Tells what a builder tells, until it has no more.
pub(crate) async fn follow(board: Arc<Board>, mut events: mpsc::Receiver<Event>) {
    let mut steps: HashMap<usize, Step> = HashMap::new();
    while let Some(Event { step, what }) = events.recv().await {
        match what {
            What::Began(name) => drop(steps.insert(step, Step::begin(&board, name).await)),
            What::Output(stream, text) => {
                if let Some(step) = steps.get(&step) {
                    step.output(stream, text).await;
                }
            }
            What::Pull(message) => {
                if let Some(step) = steps.get_mut(&step) {
                    pulled(step, *message).await;
                }
            }
            What::Ended { cached, error } => {
                if let Some(step) = steps.remove(&step) {
                    step.end(cached, error).await;
                }
            }
        }
    }
}

/// A layer on its way, as a part of the step that pulls or pushes it.
pub(crate) async fn pulled(step: &mut Step, message: JsonMessage) {
    let (Some(layer), Some(status)) = (message.id, message.status) else { return };
    let done = matches!(status.as_str(), "Pull complete" | "Already exists" | "Pushed" | "Layer already exists");
    let detail = message.progress_detail.unwrap_or_default();
    if done || matches!(status.as_str(), "Downloading" | "Pushing") {
        let far = (detail.current.unwrap_or(0), detail.total.unwrap_or(0));
        step.part(&format!("layer {layer}"), far, done).await;
    }
}

/// A name that no other step or build has, in the form of a digest.
pub(crate) fn digest() -> String {
    let mut bytes = [0; 32];
    // Two steps with the same name would be drawn as one; nothing worse.
    let _ = getrandom::fill(&mut bytes);
    teu_oci::Digest::sha256(&bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_is_told_everything_in_order() {
        let board = Arc::new(Board::default());
        let step = Step::begin(&board, "[1/1] RUN a").await;
        step.output(StreamKind::Stderr, "text".into()).await;
        step.end(true, None).await;
        board.close();
        let reader = board.read().expect("the first");
        assert!(board.read().is_none());
        let began = reader.next().await.expect("told").vertexes.remove(0);
        assert_eq!((began.name.as_str(), began.completed), ("[1/1] RUN a", None));
        let log = reader.next().await.expect("told").logs.remove(0);
        assert_eq!((log.vertex, log.stream, log.msg), (began.digest.clone(), 2, b"text".to_vec()));
        let ended = reader.next().await.expect("told").vertexes.remove(0);
        assert!(ended.cached && ended.completed.is_some() && ended.digest == began.digest);
        assert!(reader.next().await.is_none() && board.is_done());
    }

    #[tokio::test]
    async fn without_a_reader_output_is_dropped_and_the_end_is_not() {
        let board = Arc::new(Board::default());
        let step = Step::begin(&board, "a").await;
        for _ in 0..20 {
            step.output(StreamKind::Stdout, "x".repeat(ROOM / 8)).await;
        }
        step.end(false, Some("no".into())).await;
        board.close();
        let reader = board.read().expect("the first");
        let mut all = Vec::new();
        while let Some(message) = reader.next().await {
            all.push(message);
        }
        assert!(all.len() < 15, "{}", all.len());
        assert_eq!(all.last().and_then(|last| last.vertexes.first()).map(|last| last.error.as_str()), Some("no"));
    }

    #[tokio::test]
    async fn a_slow_reader_slows_the_build_and_misses_nothing() {
        let board = Arc::new(Board::default());
        let reader = board.read().expect("the first");
        let telling = tokio::spawn({
            let board = board.clone();
            async move {
                let step = Step::begin(&board, "a").await;
                for _ in 0..40 {
                    step.output(StreamKind::Stdout, "x".repeat(ROOM / 8)).await;
                }
                board.close();
            }
        });
        let mut logs = 0;
        while let Some(message) = reader.next().await {
            logs += message.logs.len();
            tokio::task::yield_now().await;
        }
        telling.await.expect("told");
        assert_eq!(logs, 40);
    }
}
