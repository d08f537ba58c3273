//! The first look at a connection, before hyper has it.
//!
//! Attach and exec turn a connection into a raw stream. Clients announce it by `Upgrade: tcp` and are answered
//! `101`, which hyper knows; those that do not announce it are answered `200`, and the same connection is raw from there
//! on, which HTTP does not know and hyper therefore cannot do. So for such a request, when it is the first of its
//! connection (for these clients it always is), the header `Upgrade` is put in with a value of our own, and the `101` that
//! hyper writes becomes `200` on its way out:
//!
//! ```text
//! client  POST /containers/x/attach HTTP/1.1        →  + Upgrade: teu-raw        →  hyper
//! client  HTTP/1.1 200 OK                           ←  the three digits replaced ←  HTTP/1.1 101 OK
//! ```
//!
//! And JSON that somebody wrote into a query as it is (`curl '…/json?filters={"name":["web"]}'`), which Go's server takes and
//! hyper does not, has its quotes escaped. Everything else passes through untouched.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::compat;
use crate::connection::{Connection, Departure};

/// The value of `Upgrade` that stands for a client that sent none.
pub(crate) const RAW: &str = "teu-raw";
/// The first line of a connection's preface in HTTP/2; whoever begins so has sent it whole.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";
/// A request head longer than this is left to hyper to refuse.
const LONGEST_HEAD: usize = 64 << 10;
/// What hyper writes, and what the client gets instead; of one length, so that hyper's count stays right.
const UPGRADED: &[u8] = b"HTTP/1.1 101";
const OK: &[u8; UPGRADED.len()] = b"HTTP/1.1 200";

/// A connection whose first bytes have been read.
#[derive(Debug)]
pub(crate) struct Sniffed {
    stream: Connection,
    /// Read from the stream, not yet by hyper.
    head: Bytes,
    /// How much of the answer's first line has been written, while it may have to be changed.
    rewriting: Option<usize>,
}

impl Sniffed {
    /// Waits for the first request; `None` when the client leaves without one.
    pub(crate) async fn new(stream: impl Into<Connection>) -> io::Result<Option<Self>> {
        let mut stream = stream.into();
        let mut head = BytesMut::with_capacity(2048);
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
        let post = b"POST ";
        while !ended(&head) && head.len() < LONGEST_HEAD && head[..head.len().min(5)] == post[..head.len().min(5)] {
            if stream.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        escape_quotes(&mut head);
        let line = RequestLine::of(&head);
        let hijack = line.as_ref().is_some_and(|line| is_hijack(line.path));
        let raw = hijack && line.as_ref().is_some_and(RequestLine::is_silent);
        if raw {
            let at = line.map_or(0, |line| line.length);
            let rest = head.split_off(at);
            head.extend_from_slice(format!("Upgrade: {RAW}\r\n").as_bytes());
            head.unsplit(rest);
        }
        Ok(Some(Self { stream, head: head.freeze(), rewriting: raw.then_some(0) }))
    }

    /// Tells when the client is gone.
    pub(crate) fn departure(&self) -> io::Result<Departure> {
        self.stream.departure()
    }

    /// Whether the client began with HTTP/2, without having asked for it (RFC 9113, section 3.3).
    pub(crate) fn is_http2(&self) -> bool {
        self.head.starts_with(HTTP2)
    }

    /// The connection itself, with what has been read of it but not been used.
    pub(crate) fn into_parts(self) -> (Connection, Bytes) {
        (self.stream, self.head)
    }
}

/// Writes the quotes of the first line as RFC 3986 has them.
fn escape_quotes(head: &mut BytesMut) {
    let Some(end) = head.windows(2).position(|window| window == b"\r\n") else { return };
    if !head[..end].contains(&b'"') {
        return;
    }
    let rest = head.split_off(end);
    for byte in std::mem::take(head) {
        head.extend_from_slice(if byte == b'"' { b"%22" } else { std::slice::from_ref(&byte) });
    }
    head.unsplit(rest);
}

fn ended(head: &[u8]) -> bool {
    head.windows(4).any(|window| window == b"\r\n\r\n")
}

/// The first line of a request, and the rest of its head.
struct RequestLine<'a> {
    path: &'a str,
    version: &'a str,
    /// With its line end.
    length: usize,
    headers: &'a str,
}

impl<'a> RequestLine<'a> {
    fn of(head: &'a [u8]) -> Option<Self> {
        let end = head.windows(4).position(|window| window == b"\r\n\r\n")?;
        let text = std::str::from_utf8(&head[..end]).ok()?;
        let (line, headers) = text.split_once("\r\n").unwrap_or((text, ""));
        let mut words = line.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let path = target.split('?').next().unwrap_or(target);
        (method == "POST").then_some(Self { path, version, length: line.len() + 2, headers })
    }

    /// Whether the client means to go on without having announced it. One that sends its body in chunks speaks plain
    /// HTTP, and is answered so.
    fn is_silent(&self) -> bool {
        let mut names = self.headers.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
        let spoken = names.any(|name| {
            ["upgrade", "transfer-encoding", "expect"].iter().any(|other| name.eq_ignore_ascii_case(other))
        });
        !spoken && self.version == "HTTP/1.1"
    }
}

fn is_hijack(path: &str) -> bool {
    let path = compat::split_version(path).map_or(path, |(_, rest)| rest);
    let mut parts = path.trim_start_matches('/').split('/');
    let parts = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(parts, (Some("containers"), Some(_), Some("attach"), None) | (Some("exec"), Some(_), Some("start"), None))
}

impl AsyncRead for Sniffed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let n = self.head.len().min(buffer.remaining());
        buffer.put_slice(&self.head[..n]);
        self.head.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sniffed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(written) = self.rewriting else {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        };
        // hyper hands a head over in one piece; only the kernel may take less of it.
        if written == 0 && !bytes.starts_with(UPGRADED) {
            self.rewriting = None;
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &OK[written..]))?;
        self.rewriting = (written + n < OK.len()).then_some(written + n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.rewriting.is_some() {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.poll_write(cx, first);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    async fn sniffed(request: &str) -> (Sniffed, UnixStream) {
        let (mut client, server) = UnixStream::pair().expect("pair");
        client.write_all(request.as_bytes()).await.expect("written");
        (Sniffed::new(server).await.expect("read").expect("a request"), client)
    }

    #[tokio::test]
    async fn an_upgrade_is_put_in_where_the_client_announces_none() {
        let (sniffed, _client) =
            sniffed("POST /v1.41/containers/a/attach?stdout=1 HTTP/1.1\r\nHost: x\r\n\r\nin").await;
        let head = sniffed.into_parts().1;
        let expected = "POST /v1.41/containers/a/attach?stdout=1 HTTP/1.1\r\nUpgrade: teu-raw\r\nHost: x\r\n\r\nin";
        assert_eq!(head, expected.as_bytes());
    }

    #[tokio::test]
    async fn quotes_in_a_query_are_escaped() {
        let (sniffed, _client) = sniffed("GET /x?filters={\"a\":[\"b\"]} HTTP/1.1\r\nEtag: \"e\"\r\n\r\n").await;
        let expected = "GET /x?filters={%22a%22:[%22b%22]} HTTP/1.1\r\nEtag: \"e\"\r\n\r\n";
        assert_eq!(sniffed.into_parts().1, expected.as_bytes());
    }

    #[tokio::test]
    async fn everything_else_passes_untouched() {
        for request in [
            "POST /exec/a/start HTTP/1.1\r\nupgrade: tcp\r\n\r\n",
            "POST /exec/a/start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /exec/a/start HTTP/1.0\r\n\r\n",
            "POST /containers/a/start HTTP/1.1\r\n\r\n",
            "GET /containers/a/attach HTTP/1.1\r\n\r\n",
            "PO",
        ] {
            let (client, server) = UnixStream::pair().expect("pair");
            let mut client = client;
            client.write_all(request.as_bytes()).await.expect("written");
            client.shutdown().await.expect("shut down");
            let sniffed = Sniffed::new(server).await.expect("read").expect("a request");
            assert_eq!(sniffed.into_parts().1, request.as_bytes());
        }
    }

    #[tokio::test]
    async fn the_answer_to_the_silent_is_200() {
        let request = "POST /containers/a/attach HTTP/1.1\r\n\r\n";
        for (written, received) in
            [("HTTP/1.1 101 OK\r\n\r\n101", "HTTP/1.1 200 OK\r\n\r\n101"), ("HTTP/1.1 404 N", "HTTP/1.1 404 N")]
        {
            let (mut sniffed, mut client) = sniffed(request).await;
            sniffed.write_all(written.as_bytes()).await.expect("written");
            drop(sniffed);
            let mut text = String::new();
            client.read_to_string(&mut text).await.expect("read");
            assert_eq!(text, received);
        }
    }

    #[tokio::test]
    async fn a_head_may_come_in_pieces() {
        let (mut client, server) = UnixStream::pair().expect("pair");
        let reading = tokio::spawn(Sniffed::new(server));
        for piece in ["POST /containers/a/att", "ach HTTP/1.1\r\nHost: x\r", "\n\r\n"] {
            client.write_all(piece.as_bytes()).await.expect("written");
            tokio::task::yield_now().await;
        }
        let sniffed = reading.await.expect("joined").expect("read").expect("a request");
        assert!(sniffed.into_parts().1.ends_with(b"\r\n\r\n"));
    }
}
