//! Attach over WebSocket (RFC 6455): what a browser can do. Output goes out as binary messages, without frames of ours;
//! text and binary messages become input.
//!
//! ```text
//! client ── data ──▶ stdin      client ── close ──▶ stdin ends, and so does the stream
//! client ◀── binary ── output   client ◀── close ── the output has ended
//! ```

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use teu_api::stream::Decoder;
use teu_engine::Attachment;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::failure::{Answer, Failure};
use crate::hijack::Wants;
use crate::sniff::Sniffed;

/// What the key is answered with (RFC 6455, section 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const BUFFER: usize = 32 << 10;
/// A message may not be longer: nobody types as much.
const LONGEST: u64 = 1 << 20;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Answers the handshake, and connects client and process when it is done.
///
/// # Errors
/// When the request is no WebSocket handshake.
pub(crate) fn connect(headers: &HeaderMap, upgrade: Option<OnUpgrade>, attachment: Attachment, wants: Wants) -> Answer {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = text(header::SEC_WEBSOCKET_KEY);
    let asked = text(header::UPGRADE).eq_ignore_ascii_case("websocket") && text(header::SEC_WEBSOCKET_VERSION) == "13";
    let (true, false, Some(upgrade)) = (asked, key.is_empty(), upgrade) else {
        return Err(Failure::bad("attach over WebSocket: the request is no WebSocket handshake of version 13"));
    };
    let accept = STANDARD.encode(Sha1::digest(format!("{key}{MAGIC}")));
    tokio::spawn(async move {
        if let Err(error) = converse(upgrade, attachment, wants).await {
            tracing::debug!(%error, "a WebSocket client went away");
        }
    });
    let mut response: Response = (StatusCode::SWITCHING_PROTOCOLS, Body::empty()).into_response();
    let out = response.headers_mut();
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::SEC_WEBSOCKET_ACCEPT, accept.parse().map_err(|_| Failure::bad("wrong key"))?);
    Ok(response)
}

async fn converse(upgrade: OnUpgrade, mut attachment: Attachment, wants: Wants) -> io::Result<()> {
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let parts = upgraded
        .downcast::<TokioIo<Sniffed>>()
        .map_err(|_| io::Error::other("take over the connection: it is of another kind"))?;
    let (client, early) = parts.io.into_inner().into_parts();
    let early: Bytes = if parts.read_buf.is_empty() { early } else { [parts.read_buf, early].concat().into() };
    let departure = client.departure()?;
    let (from_client, to_client) = tokio::io::split(client);
    let to_client = Arc::new(Mutex::new(to_client));
    let mut output = Output { raw: attachment.tty, decoder: Decoder::new() };
    if let Some(mut history) = attachment.history.take() {
        while let Some(piece) = history.recv().await {
            send(&to_client, BINARY, &output.bytes(&piece)?).await?;
        }
    }
    if let Some(stream) = attachment.stream.take() {
        let process = tokio::select! {
            process = stream => process.ok(),
            left = departure.wait() => return left,
        };
        if let Some(process) = process {
            let (mut from_process, stdin) = tokio::io::split(process);
            let outward = async {
                let mut buffer = vec![0; BUFFER];
                while let length @ 1.. = from_process.read(&mut buffer).await? {
                    send(&to_client, BINARY, &output.bytes(&buffer[..length])?).await?;
                }
                drop(attachment.delivery);
                if let Some(ended) = attachment.ended {
                    ended.wait().await;
                }
                Ok::<_, io::Error>(())
            };
            tokio::select! {
                ended = outward => ended?,
                left = hear((&early[..]).chain(from_client), stdin, &to_client, wants) => left?,
            }
        }
    }
    send(&to_client, CLOSE, &1000_u16.to_be_bytes()).await?;
    to_client.lock().await.shutdown().await
}

/// The process' bytes without frames.
struct Output {
    raw: bool,
    decoder: Decoder,
}

impl Output {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        if self.raw {
            return Ok(bytes.to_vec());
        }
        let mut out = Vec::with_capacity(bytes.len());
        let fed = self.decoder.feed(bytes, |_, piece| out.extend_from_slice(piece));
        fed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(out)
    }
}

/// Sends one message; of data, none that is empty.
async fn send<W: AsyncWrite + Unpin>(client: &Mutex<W>, kind: u8, payload: &[u8]) -> io::Result<()> {
    if kind == BINARY && payload.is_empty() {
        return Ok(());
    }
    client.lock().await.write_all(&message(kind, payload)).await
}

/// A whole message of the server's: not masked.
fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | kind];
    match payload.len() {
        length @ 0..=125 => out.push(u8::try_from(length).unwrap_or(0)),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// Listens to the client until it closes, presses the keys or goes away.
async fn hear<W: AsyncWrite + Unpin>(
    mut from: impl AsyncRead + Unpin,
    mut stdin: impl AsyncWrite + Unpin,
    to_client: &Mutex<W>,
    mut wants: Wants,
) -> io::Result<()> {
    loop {
        let (kind, payload) = receive(&mut from).await?;
        match kind {
            CLOSE => {
                let _ = stdin.shutdown().await;
                return Ok(());
            }
            PING => send(to_client, PONG, &payload).await?,
            CONTINUATION | TEXT | BINARY if wants.input => {
                let mut passed = vec![];
                let detached = match &mut wants.keys {
                    Some(keys) => keys.feed(&payload, |bytes| passed.extend_from_slice(bytes)),
                    None => {
                        passed = payload;
                        false
                    }
                };
                stdin.write_all(&passed).await?;
                if detached {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
}

/// One frame of the client's.
async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_string());
    let mut head = [0; 2];
    from.read_exact(&mut head).await?;
    let (kind, masked) = (head[0] & 0x0f, head[1] & 0x80 != 0);
    let length = match head[1] & 0x7f {
        126 => u64::from(from.read_u16().await?),
        127 => from.read_u64().await?,
        short => u64::from(short),
    };
    if !masked {
        return Err(wrong("a client must mask what it sends (RFC 6455, section 5.1)"));
    }
    if length > LONGEST {
        return Err(wrong("a message is too long"));
    }
    let mut mask = [0; 4];
    from.read_exact(&mut mask).await?;
    let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
    from.read_exact(&mut payload).await?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok((kind, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_shortest_length_that_fits() {
        assert_eq!(message(BINARY, b"ab"), [0x82, 2, b'a', b'b']);
        assert_eq!(message(BINARY, &[0; 126])[..4], [0x82, 126, 0, 126]);
        assert_eq!(message(BINARY, &[0; 65_536])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[tokio::test]
    async fn what_a_client_sends_is_unmasked_and_must_be_masked() {
        // The example of RFC 6455, section 5.7.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(receive(&mut &hello[..]).await.expect("received"), (TEXT, b"Hello".to_vec()));
        assert!(receive(&mut &[0x81, 1, b'a'][..]).await.is_err());
        assert!(receive(&mut &[0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0][..]).await.is_err());
    }

    #[test]
    fn the_key_is_answered_as_the_standard_says() {
        let accept = STANDARD.encode(Sha1::digest(format!("dGhlIHNhbXBsZSBub25jZQ=={MAGIC}")));
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
