//! Attach and exec: the connection stops being HTTP and becomes the container's bytes.
//!
//! ```text
//! client ──stdin──────────────▶ attachment      client's half-close closes stdin; output goes on
//! client ◀──frames or tty──── attachment      its end ends the connection, whatever the client still wants to say
//! ```
//!
//! Bytes are copied without looking. Whoever leaves for good is noticed although nothing is written to them: a
//! socket whose other end is closed hangs up, one that is only half-closed does not.

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::poll_fn;
use futures_util::{FutureExt, Stream, StreamExt};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use teu_api::stream::{MULTIPLEXED_STREAM, RAW_STREAM, StreamKind};
use teu_engine::{Attachment, Ended};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::io::ReaderStream;

use crate::body;
use crate::compat::{self, Version};
use crate::connection::{Connection, Departure};
use crate::detach::Keys;
use crate::failure::Failure;
use crate::framing::Framing;
use crate::json_lines::Job;
use crate::sniff::{self, Sniffed};

const BUFFER: usize = 32 << 10;
/// How long a client that does not close may go on sending after the end; only so that it sees a clean end.
const FAREWELL: Duration = Duration::from_secs(10);

/// A process's end of a stream.
type Process = BufReader<UnixStream>;

/// What a client wants of a stream.
pub(crate) struct Wants {
    /// Its bytes become input.
    pub(crate) input: bool,
    /// Raw bytes instead of frames.
    pub(crate) raw: bool,
    /// The keys that let go of a terminal.
    pub(crate) keys: Option<Keys>,
    /// A last frame that says what the process returned.
    pub(crate) exit: bool,
}

impl Wants {
    /// Input, and the output as the process gives it.
    #[cfg(test)]
    pub(crate) fn all(raw: bool) -> Self {
        Self { input: true, raw, keys: None, exit: false }
    }
}

/// A request that may take the connection over.
pub(crate) struct Hijack {
    upgrade: Option<OnUpgrade>,
    /// The client announced it.
    announced: bool,
    version: Version,
    client: Option<Arc<Departure>>,
}

impl<S: Sync> FromRequestParts<S> for Hijack {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let value = parts.headers.get(header::UPGRADE);
        let announced = value.is_some_and(|value| value != sniff::RAW);
        let upgrade = if value.is_some() { parts.extensions.remove() } else { None };
        let client = parts.extensions.get::<Arc<Departure>>().cloned();
        Ok(Self { upgrade, announced, version: Version::from_request_parts(parts, state).await?, client })
    }
}

impl Hijack {
    /// The client offers its connection.
    pub(crate) fn offered(&self) -> bool {
        self.upgrade.is_some()
    }

    /// What takes the connection over, for protocols of another kind.
    pub(crate) fn into_upgrade(self) -> Option<OnUpgrade> {
        self.upgrade
    }

    /// Connects the client with a process; `body` is where its input comes from when the connection has to stay HTTP.
    pub(crate) fn connect(self, attachment: Attachment, wants: Wants, body: Body) -> Response {
        let multiplexed = self.announced && !wants.raw && compat::names_multiplexed_streams(self.version);
        let kind = HeaderValue::from_static(if multiplexed { MULTIPLEXED_STREAM } else { RAW_STREAM });
        let Some(upgrade) = self.upgrade else { return within_http(attachment, &wants, body, kind, self.client) };
        tokio::spawn(async move {
            if let Err(error) = take_over(upgrade, attachment, wants).await {
                tracing::debug!(%error, "an attached client went away");
            }
        });
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if self.announced {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("tcp"));
        }
        let reason = ReasonPhrase::from_static(if self.announced { b"UPGRADED" } else { b"OK" });
        response.extensions_mut().insert(reason);
        response
    }
}

/// A stream that only says `text`, on standard error, and what was returned if that is wanted.
pub(crate) fn last_words(text: String, tty: bool, exit: Option<i32>) -> Attachment {
    let text = text.into_bytes();
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut bytes = if tty { text } else { [&StreamKind::Stderr.header(length)[..], &text].concat() };
    bytes.extend(exit.map(exit_frame).unwrap_or_default());
    let (sender, history) = mpsc::channel(1);
    let _ = sender.try_send(bytes.into());
    Attachment { tty, history: Some(history), stream: None, ended: None, detach: None, delivery: None }
}

/// For clients that speak plain HTTP: the answer's body is the output, the request's body the input.
fn within_http(
    mut attachment: Attachment,
    wants: &Wants,
    body: Body,
    kind: HeaderValue,
    client: Option<Arc<Departure>>,
) -> Response {
    let (mut writer, reader) = tokio::io::duplex(BUFFER);
    let (framing, input) = (Framing::between(attachment.tty, wants.raw), wants.input);
    let (all_said, delivery) = oneshot::channel();
    let job = Job::start(async move {
        let Ok(Some(container)) = past(&mut attachment, &mut writer).await else { return };
        let (output, stdin) = tokio::io::split(container);
        let outward = async {
            let _ = framing.copy(output, &mut writer).await;
            let _ = all_said.send(attachment.delivery);
            if let Some(ended) = attachment.ended {
                ended.wait().await;
            }
        };
        if !input {
            return outward.await;
        }
        tokio::pin!(outward);
        // The output's end is the end, whatever the client still wants to say.
        tokio::select! {
            () = &mut outward => {}
            () = feed(body, stdin) => outward.await,
        }
    });
    let pieces = ReaderStream::with_capacity(reader, BUFFER).inspect(move |_| job.is_held());
    (
        [(header::CONTENT_TYPE, kind)],
        Body::from_stream(delivering(pieces, delivery, move |delivery| {
            drop(tokio::spawn(read(client.clone(), delivery)));
        })),
    )
        .into_response()
}

/// Holds a delivery until the client has read what was sent to it. Who looks at several connections does so in any order,
/// and may hear of the end by another one.
async fn read<D>(client: Option<Arc<Departure>>, delivery: D) {
    if let Some(client) = client {
        client.taken().await;
    }
    drop(delivery);
}

/// The pieces of a body. What comes through `delivery` when all has been said goes on to `done` when all has been sent: whoever
/// sends a body sends what he has when the next piece is not there yet, and comes again when he is woken.
fn delivering<T, D>(
    pieces: impl Stream<Item = T> + Unpin,
    delivery: oneshot::Receiver<D>,
    mut done: impl FnMut(D),
) -> impl Stream<Item = T> {
    let (mut pieces, mut delivery) = (pieces, Some(delivery));
    let (mut held, mut sent) = (None, false);
    poll_fn(move |cx| {
        let piece = pieces.poll_next_unpin(cx);
        if piece.is_ready() {
            sent = false;
        } else if held.is_some() {
            if std::mem::replace(&mut sent, true) {
                held.take().into_iter().for_each(&mut done);
            } else {
                cx.waker().wake_by_ref();
            }
        } else if let Some(Poll::Ready(all)) = delivery.as_mut().map(|delivery| delivery.poll_unpin(cx)) {
            (delivery, held) = (None, all.ok());
            cx.waker().wake_by_ref();
        }
        piece
    })
}

async fn feed(body: Body, mut stdin: impl AsyncWrite + Unpin) {
    let mut pieces = body::chunks(body);
    while let Some(Ok(piece)) = pieces.recv().await {
        if stdin.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = stdin.shutdown().await;
}

/// Writes what there is of the past and waits for the present; `None` when there will be none.
async fn past(attachment: &mut Attachment, client: &mut (impl AsyncWrite + Unpin)) -> io::Result<Option<Process>> {
    if let Some(mut history) = attachment.history.take() {
        while let Some(piece) = history.recv().await {
            client.write_all(&piece).await?;
        }
    }
    match attachment.stream.take() {
        Some(stream) => Ok(stream.await.ok()),
        None => Ok(None),
    }
}

async fn take_over(upgrade: OnUpgrade, mut attachment: Attachment, wants: Wants) -> io::Result<()> {
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let parts = upgraded
        .downcast::<TokioIo<Sniffed>>()
        .map_err(|_| io::Error::other("take over the connection: it is of another kind"))?;
    let (mut client, early) = parts.io.into_inner().into_parts();
    // What hyper had read already comes before what it had not.
    let early = if parts.read_buf.is_empty() { early } else { [parts.read_buf, early].concat().into() };
    let departure = client.departure()?;
    // Who knows of the last frame knows where the head ends.
    if !wants.exit {
        client.taken().await;
    }
    // The client's input waits in the socket until there is somebody to read it.
    let process = tokio::select! {
        process = past(&mut attachment, &mut client) => process?,
        left = departure.wait() => return left,
    };
    match process {
        Some(process) => Relay { attachment, wants, early }.run(client, process).await,
        None => {
            client.shutdown().await?;
            farewell(client).await;
            Ok(())
        }
    }
}

/// Lets a client that was told the end finish what it is saying: closing with bytes unread would make it see a reset
/// instead of the end.
async fn farewell(mut client: impl AsyncRead + Unpin) {
    let _ = tokio::time::timeout(FAREWELL, tokio::io::copy(&mut client, &mut tokio::io::sink())).await;
}

/// Two streams, and what passes between them.
struct Relay {
    attachment: Attachment,
    wants: Wants,
    early: Bytes,
}

impl Relay {
    /// Copies both ways until the container's output ends, or the client is gone or has pressed the keys.
    async fn run<C>(self, client: Connection, container: C) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite,
    {
        let Self { attachment, wants, early } = self;
        let departure = client.departure()?;
        let framing = Framing::between(attachment.tty, wants.raw);
        let (output, mut stdin) = tokio::io::split(container);
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let inward = async {
            if wants.input {
                let bytes = (&early[..]).chain(&mut from_client);
                // When the container does not want more, the rest is read and dropped, so that the client can finish.
                if copy_until_keys(bytes, &mut stdin, wants.keys).await.unwrap_or(false) {
                    return Ok(true);
                }
                let _ = stdin.shutdown().await;
            }
            let _ = tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await;
            departure.wait().await.map(|()| false)
        };
        let outward = async {
            framing.copy(output, &mut to_client).await?;
            // Others are told of the end when the client has the output, not when it could have it. Who hears of the end by
            // this very stream asks nobody else.
            if attachment.delivery.is_some() && !wants.exit {
                departure.taken().await;
            }
            drop(attachment.delivery);
            if let (Some(code), true) = (settled(attachment.ended).await, wants.exit) {
                to_client.write_all(&exit_frame(code)).await?;
            }
            to_client.shutdown().await
        };
        tokio::select! {
            result = outward => result?,
            detached = inward => {
                if !detached? {
                    return Ok(());
                }
                attachment.detach.into_iter().for_each(teu_engine::Detach::tell);
                to_client.shutdown().await?;
            }
        }
        farewell(from_client).await;
        Ok(())
    }
}

async fn settled(ended: Option<Ended>) -> Option<i32> {
    match ended {
        Some(ended) => ended.wait().await,
        None => None,
    }
}

/// The frame that says what a process returned.
fn exit_frame(code: i32) -> Vec<u8> {
    let text = code.to_string();
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&StreamKind::Exit.header(length)[..], text.as_bytes()].concat()
}

/// Copies to the end of `from`, or until the keys are pressed: then `true`.
async fn copy_until_keys(
    from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    keys: Option<Keys>,
) -> io::Result<bool> {
    let mut from = BufReader::with_capacity(BUFFER, from);
    let Some(mut keys) = keys else { return tokio::io::copy_buf(&mut from, to).await.map(|_| false) };
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(false);
        }
        let mut passed = Vec::new();
        let detached = keys.feed(&buffer[..length], |bytes| passed.extend_from_slice(bytes));
        to.write_all(&passed).await?;
        if detached {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client, and the container's end of a relay between them.
    fn relayed(early: &'static str, input: bool) -> (UnixStream, UnixStream, tokio::task::JoinHandle<io::Result<()>>) {
        let (client, door) = UnixStream::pair().expect("pair");
        let (engine, container) = UnixStream::pair().expect("pair");
        let attachment =
            Attachment { tty: true, history: None, stream: None, ended: None, detach: None, delivery: None };
        let wants = Wants { input, raw: true, keys: Some(Keys::parse("ctrl-p").expect("keys")), exit: false };
        let relay = Relay { attachment, wants, early: Bytes::from(early) };
        (client, container, tokio::spawn(relay.run(door.into(), engine)))
    }

    async fn text(stream: &mut UnixStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("read");
        text
    }

    #[tokio::test]
    async fn output_goes_on_after_the_client_has_closed_stdin() {
        let (mut client, mut container, relay) = relayed("ear", true);
        client.write_all(b"ly").await.expect("written");
        client.shutdown().await.expect("shut down");
        assert_eq!(text(&mut container).await, "early");
        container.write_all(b"late").await.expect("written");
        drop(container);
        assert_eq!(text(&mut client).await, "late");
        drop(client);
        relay.await.expect("joined").expect("relayed");
    }

    #[tokio::test]
    async fn a_delivery_is_let_go_when_its_last_piece_has_been_sent() {
        let (sender, mut pieces) = mpsc::unbounded_channel();
        let (all_said, delivery) = oneshot::channel();
        let mut body = delivering(poll_fn(move |cx| pieces.poll_recv(cx)), delivery, drop);
        let (held, mut gone) = oneshot::channel::<()>();
        assert!(futures_util::poll!(body.next()).is_pending());
        sender.send("last").expect("taken");
        all_said.send(held).expect("waited for");
        assert_eq!(futures_util::poll!(body.next()), Poll::Ready(Some("last")));
        // Whoever sends it has only got it by now.
        for _ in 0..2 {
            assert!(futures_util::poll!(body.next()).is_pending());
            assert!(gone.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        }
        assert!(futures_util::poll!(body.next()).is_pending());
        assert!(gone.try_recv() == Err(oneshot::error::TryRecvError::Closed));
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_it_though_the_container_is_silent() {
        let (client, mut container, relay) = relayed("", false);
        drop(client);
        relay.await.expect("joined").expect("relayed");
        assert_eq!(text(&mut container).await, "");
    }

    #[tokio::test]
    async fn the_keys_let_go_of_the_container_and_nothing_else_is_lost() {
        let (mut client, mut container, relay) = relayed("", true);
        client.write_all(b"in\x10").await.expect("written");
        assert_eq!(text(&mut client).await, "");
        client.write_all(b"nobody reads this").await.expect("taken");
        drop(client);
        relay.await.expect("joined").expect("relayed");
        assert_eq!(text(&mut container).await, "in");
    }

    #[tokio::test]
    async fn half_closing_without_stdin_is_not_leaving() {
        let (mut client, mut container, relay) = relayed("", false);
        client.shutdown().await.expect("shut down");
        container.write_all(b"out").await.expect("written");
        let mut three = [0; 3];
        client.read_exact(&mut three).await.expect("read");
        drop(container);
        assert_eq!(text(&mut client).await, "");
        drop(client);
        relay.await.expect("joined").expect("relayed");
    }

    #[tokio::test]
    async fn the_end_is_clean_though_the_client_still_sends() {
        let (mut client, container, relay) = relayed("", true);
        let (reader, _writer) = container.into_split();
        drop(reader);
        drop(_writer);
        let _ = client.write_all(b"nobody reads this").await;
        assert_eq!(text(&mut client).await, "");
        drop(client);
        relay.await.expect("joined").expect("relayed");
    }
}
