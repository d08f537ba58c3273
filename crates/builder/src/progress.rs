//! What a build tells while it goes on: the classic builder's text, as lines of a progress stream, or what happens to
//! each step, for whoever draws it.
//!
//! ```text
//! Step 2/5 : RUN make
//!  ---> Running in 5c1a6f0d2b7e
//! (the output of the step)
//!  ---> Removed intermediate container 5c1a6f0d2b7e
//!  ---> 9f8a3c1e7d20
//! ```
//!
//! The channels are bounded: who does not read slows the build down, who goes away ends it.

use std::sync::atomic::{AtomicBool, Ordering};

use teu_api::stream::{JsonMessage, StreamKind};
use teu_oci::Digest;
use tokio::sync::mpsc;

use crate::Error;

/// Something that happened to a step.
#[derive(Clone, Debug)]
pub struct Event {
    /// The step's number in the build, counted from one.
    pub step: usize,
    /// What.
    pub what: What,
}

/// What can happen to a step.
#[derive(Clone, Debug)]
pub enum What {
    /// It begins, under this name: `[stage 2/5] RUN make`.
    Began(String),
    /// Its process says something.
    Output(StreamKind, String),
    /// Its image is being pulled.
    Pull(Box<JsonMessage>),
    /// It is over.
    Ended {
        /// The result was there already.
        cached: bool,
        /// Why there is none.
        error: Option<String>,
    },
}

/// Where a build's progress goes.
#[derive(Clone, Debug)]
pub struct Progress {
    sink: Sink,
}

#[derive(Clone, Debug)]
enum Sink {
    Words { sender: mpsc::Sender<JsonMessage>, quiet: bool },
    Events(mpsc::Sender<Event>),
}

impl Progress {
    /// Progress as text into `sink`; a quiet one tells only the result.
    #[must_use]
    pub fn new(sink: mpsc::Sender<JsonMessage>, quiet: bool) -> Self {
        Self { sink: Sink::Words { sender: sink, quiet } }
    }

    /// Progress as events into `sink`.
    #[must_use]
    pub fn events(sink: mpsc::Sender<Event>) -> Self {
        Self { sink: Sink::Events(sink) }
    }

    /// A piece of text, newline included; who wants events is not told.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when nobody listens any more.
    pub async fn text(&self, text: impl Into<String>) -> Result<(), Error> {
        match &self.sink {
            Sink::Words { sender, quiet: false } => send(sender, JsonMessage::output(text)).await,
            Sink::Words { sender, .. } if sender.is_closed() => Err(Error::Cancelled),
            Sink::Events(sender) if sender.is_closed() => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    /// A step begins: "Step n/m"; as an event only if it has a `name`.
    pub(crate) async fn step(&self, number: usize, of: usize, text: &str, name: Option<String>) -> Result<Told, Error> {
        let shown = name.is_some();
        if let (Sink::Events(sender), Some(name)) = (&self.sink, name) {
            send(sender, Event { step: number, what: What::Began(name) }).await?;
        }
        self.text(format!("Step {number}/{of} : {text}\n")).await?;
        Ok(Told { progress: self.clone(), number, shown, cached: AtomicBool::new(false) })
    }

    /// The image, for programs and then for people; a quiet build tells its ID alone.
    pub(crate) async fn built(&self, image: &Digest, tags: &[String]) -> Result<(), Error> {
        let Sink::Words { sender, quiet } = &self.sink else { return Ok(()) };
        if *quiet {
            return send(sender, JsonMessage::output(format!("{image}\n"))).await;
        }
        send(sender, JsonMessage::aux(serde_json::json!({ "ID": image.to_string() }))).await?;
        self.text(format!("Successfully built {}\n", image.short())).await?;
        for tag in tags {
            self.text(format!("Successfully tagged {tag}\n")).await?;
        }
        Ok(())
    }

    /// Returns when nobody listens any more.
    pub(crate) async fn abandoned(&self) {
        match &self.sink {
            Sink::Words { sender, .. } => sender.closed().await,
            Sink::Events(sender) => sender.closed().await,
        }
    }
}

/// A step that whoever listens has been told of.
#[derive(Debug)]
pub(crate) struct Told {
    progress: Progress,
    number: usize,
    /// It is one of the steps that events are about.
    shown: bool,
    cached: AtomicBool,
}

impl Told {
    /// A piece of text, newline included.
    pub(crate) async fn text(&self, text: impl Into<String>) -> Result<(), Error> {
        self.progress.text(text).await
    }

    /// The arrow with what came out of a step.
    pub(crate) async fn arrow(&self, text: &str) -> Result<(), Error> {
        self.text(format!(" ---> {text}\n")).await
    }

    /// The result was there already.
    pub(crate) async fn cached(&self) -> Result<(), Error> {
        self.cached.store(true, Ordering::Relaxed);
        self.arrow("Using cache").await
    }

    /// What the step's process says.
    pub(crate) async fn output(&self, stream: StreamKind, text: String) -> Result<(), Error> {
        match self.events() {
            Some(sender) => send(sender, self.event(What::Output(stream, text))).await,
            None => self.text(text).await,
        }
    }

    /// Where a pull tells its progress, unless only the result is wanted.
    pub(crate) fn sink(&self) -> Option<mpsc::Sender<JsonMessage>> {
        let events = match &self.progress.sink {
            Sink::Words { sender, quiet } => return (!quiet).then(|| sender.clone()),
            Sink::Events(sender) => sender.clone(),
        };
        let (sender, mut messages) = mpsc::channel(16);
        let step = self.number;
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                let sent = events.send(Event { step, what: What::Pull(Box::new(message)) }).await;
                if sent.is_err() {
                    break;
                }
            }
        });
        Some(sender)
    }

    /// The step is over; gives its result back.
    pub(crate) async fn end<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Some(sender) = self.events() {
            let error = result.as_ref().err().map(Error::in_other_words);
            // Whoever is not there any more needs not be told why.
            let _ = send(sender, self.event(What::Ended { cached: self.cached.load(Ordering::Relaxed), error })).await;
        }
        result
    }

    fn events(&self) -> Option<&mpsc::Sender<Event>> {
        match &self.progress.sink {
            Sink::Events(sender) if self.shown => Some(sender),
            _ => None,
        }
    }

    fn event(&self, what: What) -> Event {
        Event { step: self.number, what }
    }
}

async fn send<T>(sender: &mpsc::Sender<T>, message: T) -> Result<(), Error> {
    sender.send(message).await.map_err(|_| Error::Cancelled)
}
