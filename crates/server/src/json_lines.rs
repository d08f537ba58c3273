//! Answers that are streams: progress messages as JSON lines, events, logs, tar archives.
//!
//! Until the first message a request can still be answered with a status; afterwards the status has been sent, and an
//! error is one more line. When the client goes away the work is stopped.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use http::{StatusCode, header};
use serde::Serialize;
use teu_api::stream::JsonMessage;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failure::{Answer, Failure};

/// How many messages wait for a slow client; progress comes in bursts.
const QUEUE: usize = 256;

/// Runs `work`, which tells its progress through the sender it is given, and answers with what it tells.
pub(crate) async fn respond<F, E>(work: impl FnOnce(mpsc::Sender<JsonMessage>) -> F) -> Answer
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    let (sender, mut messages) = mpsc::channel(QUEUE);
    let last_word = sender.clone();
    let work = work(sender);
    let (begun, mut beginning) = tokio::sync::oneshot::channel();
    let job = Job::start(async move {
        let result = work.await.map_err(Into::into);
        // With nobody to take it the stream has begun, so an error belongs into it.
        if let Err(Err(failure)) = begun.send(result) {
            let _ = last_word.send(failure_line(&failure)).await;
        }
    });
    let first = tokio::select! {
        biased;
        Some(first) = messages.recv() => Some(first),
        ended = &mut beginning => match ended {
            Ok(Ok(())) => messages.try_recv().ok(),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the work was cut off")),
        },
    };
    // From here on results become lines; one that came in between becomes the last.
    beginning.close();
    let last = match beginning.try_recv() {
        Ok(Err(failure)) => Some(line(&failure_line(&failure))),
        _ => None,
    };
    let first = first.map(|message| line(&message));
    Ok(json(Body::from_stream(Lines { first, messages, last, _job: job })))
}

/// An answer whose lines are made by a stream of bytes.
pub(crate) fn json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// One line.
pub(crate) fn line(value: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// An answer that is one line: what went wrong.
pub(crate) fn one_line(failure: &Failure) -> Response {
    json(Body::from(line(&failure_line(failure))))
}

/// An error as a line.
fn failure_line(failure: &Failure) -> JsonMessage {
    JsonMessage::failure(failure.code, failure.message.clone())
}

/// A channel as a body.
pub(crate) fn body(mut pieces: mpsc::Receiver<Bytes>) -> Body {
    Body::from_stream(futures_util::stream::poll_fn(move |cx| {
        pieces.poll_recv(cx).map(|piece| piece.map(io::Result::Ok))
    }))
}

/// A channel whose sender can fail as a body; an error cuts the answer off, which the client notices.
pub(crate) fn fallible_body(mut pieces: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    Body::from_stream(futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx)))
}

/// A task that ends with whoever waits for it.
pub(crate) struct Job(JoinHandle<()>);

impl Job {
    pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Says that whoever calls it holds the job: a closure owns only what it uses.
    pub(crate) fn is_held(&self) {}
}

impl Drop for Job {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Lines {
    first: Option<Bytes>,
    messages: mpsc::Receiver<JsonMessage>,
    last: Option<Bytes>,
    _job: Job,
}

impl Stream for Lines {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        self.messages
            .poll_recv(cx)
            .map(|message| message.map(|message| line(&message)).or_else(|| self.last.take()).map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn text(response: Response) -> String {
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("body");
        String::from_utf8(bytes.into()).expect("text")
    }

    #[tokio::test]
    async fn an_error_before_the_first_message_is_a_status() {
        let answer = respond(|_| async { Err(Failure::new(StatusCode::NOT_FOUND, "no such image")) }).await;
        assert_eq!(answer.expect_err("refused").status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn an_error_after_the_first_message_is_a_line() {
        let answer = respond(|out| async move {
            let _ = out.send(JsonMessage::status("one")).await;
            Err(Failure { code: Some(7), ..Failure::bad("broken") })
        });
        let expected = concat!(
            "{\"status\":\"one\"}\n",
            "{\"errorDetail\":{\"code\":7,\"message\":\"broken\"},\"error\":\"broken\"}\n"
        );
        assert_eq!(text(answer.await.expect("begun")).await, expected);
    }

    #[tokio::test]
    async fn every_message_is_a_line() {
        let answer = respond(|out| async move {
            for number in 0..100 {
                let _ = out.send(JsonMessage::output(number.to_string())).await;
            }
            Ok::<_, Failure>(())
        });
        assert_eq!(text(answer.await.expect("begun")).await.lines().count(), 100);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_stops_the_work() {
        let (dropped, waiting) = tokio::sync::oneshot::channel::<()>();
        let answer = respond(|out| async move {
            let _ = out.send(JsonMessage::status("one")).await;
            let _held = dropped;
            std::future::pending::<Result<(), Failure>>().await
        });
        drop(answer.await.expect("begun"));
        assert!(waiting.await.is_err());
    }
}
