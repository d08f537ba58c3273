//! What a build tells while it goes on: the classic builder's text, as lines of a progress stream.
//!
//! ```text
//! Step 2/5 : RUN make
//!  ---> Running in 5c1a6f0d2b7e
//! (the output of the step)
//!  ---> Removed intermediate container 5c1a6f0d2b7e
//!  ---> 9f8a3c1e7d20
//! ```
//!
//! The channel is bounded: who does not read slows the build down, who goes away ends it.

use teu_api::stream::JsonMessage;
use teu_oci::Digest;
use tokio::sync::mpsc;

use crate::Error;

/// Where a build's progress goes.
#[derive(Clone, Debug)]
pub struct Progress {
    sink: mpsc::Sender<JsonMessage>,
    quiet: bool,
}

impl Progress {
    /// Progress into `sink`; a quiet one tells only the result.
    #[must_use]
    pub fn new(sink: mpsc::Sender<JsonMessage>, quiet: bool) -> Self {
        Self { sink, quiet }
    }

    /// A piece of text, newline included.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when nobody listens any more.
    pub async fn text(&self, text: impl Into<String>) -> Result<(), Error> {
        match self.quiet {
            true if self.sink.is_closed() => Err(Error::Cancelled),
            true => Ok(()),
            false => self.send(JsonMessage::output(text)).await,
        }
    }

    /// "Step n/m".
    pub(crate) async fn step(&self, number: usize, of: usize, text: &str) -> Result<(), Error> {
        self.text(format!("Step {number}/{of} : {text}\n")).await
    }

    /// The arrow with what came out of a step.
    pub(crate) async fn arrow(&self, text: &str) -> Result<(), Error> {
        self.text(format!(" ---> {text}\n")).await
    }

    /// The image, for programs and then for people; a quiet build tells its ID alone.
    pub(crate) async fn built(&self, image: &Digest, tags: &[String]) -> Result<(), Error> {
        if self.quiet {
            return self.send(JsonMessage::output(format!("{image}\n"))).await;
        }
        self.send(JsonMessage::aux(serde_json::json!({ "ID": image.to_string() }))).await?;
        self.text(format!("Successfully built {}\n", image.short())).await?;
        for tag in tags {
            self.text(format!("Successfully tagged {tag}\n")).await?;
        }
        Ok(())
    }

    /// The channel itself, unless only the result is wanted.
    pub(crate) fn sink(&self) -> Option<mpsc::Sender<JsonMessage>> {
        (!self.quiet).then(|| self.sink.clone())
    }

    /// Returns when nobody listens any more.
    pub(crate) async fn abandoned(&self) {
        self.sink.closed().await;
    }

    async fn send(&self, message: JsonMessage) -> Result<(), Error> {
        self.sink.send(message).await.map_err(|_| Error::Cancelled)
    }
}
