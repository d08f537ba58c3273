//! The daemon, as a client sees it: calls over one or a few HTTP/1.1 connections on a socket.
//!
//! A connection that has read its answer to the end is kept for the next call; one that was hijacked (attach, exec) or
//! is still streaming is not, so that `run` uses three at most. Everything lives on one thread.

mod autostart;
mod call;
mod stream;
mod upgrade;

use std::cell::RefCell;
use std::io;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

pub(crate) use call::{Call, escape};
pub(crate) use stream::{ChannelWriter, JsonLines, channel_body};
pub(crate) use upgrade::Hijacked;

use crate::Session;
use crate::failure::{Failure, Naming, reason};
use crate::host::Address;

/// What a request carries.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A daemon's client.
pub(crate) struct Client<'s> {
    session: &'s Session,
    idle: RefCell<Vec<SendRequest<Body>>>,
    /// `/v1.51`, put before every path.
    prefix: String,
}

impl Session {
    /// A client of this session's daemon; connects at its first call.
    pub(crate) fn client(&self) -> Client<'_> {
        let version = std::env::var("DOCKER_API_VERSION").ok().filter(|version| !version.is_empty());
        let version = version.as_deref().unwrap_or(teu_api::API_VERSION);
        Client { session: self, idle: RefCell::default(), prefix: format!("/v{version}") }
    }
}

impl Client<'_> {
    /// A connection that is free, or a new one.
    async fn connection(&self) -> Result<SendRequest<Body>, Failure> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            match idle {
                // The daemon may have closed it meanwhile.
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Ok(sender);
                    }
                }
                None => return self.connect().await,
            }
        }
    }

    /// Keeps a connection whose answer was read to the end.
    fn keep(&self, sender: SendRequest<Body>) {
        self.idle.borrow_mut().push(sender);
    }

    async fn connect(&self) -> Result<SendRequest<Body>, Failure> {
        match &self.session.host.address {
            Address::Unix(path) => {
                let stream = match UnixStream::connect(path).await {
                    Ok(stream) => stream,
                    Err(error) if is_absent(&error) && self.session.autostart && self.session.host.startable => {
                        autostart::start(&self.session.host, path).await?
                    }
                    Err(error) => return Err(unreachable(&self.session.host.address, &error)),
                };
                shake_hands(stream).await
            }
            Address::Tcp(address) => {
                let address: std::net::SocketAddr = address
                    .parse()
                    .map_err(|_| Failure::new(format!("invalid host \"tcp://{address}\": not an address and port")))?;
                let stream = TcpStream::connect(address).await;
                let stream = stream.map_err(|error| unreachable(&self.session.host.address, &error))?;
                stream.set_nodelay(true).or_fail("set up the connection")?;
                shake_hands(stream).await
            }
        }
    }
}

/// Whether nobody listens on a socket (as opposed to somebody who may not be asked).
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Why the daemon cannot be reached, with what to do about it.
fn unreachable(address: &Address, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Failure::new(format!("permission denied while connecting to the daemon at {address}"))
            .hint("run it with sudo, or join the group that owns the socket");
    }
    let failure = Failure::new(format!("Cannot connect to the daemon at {address}: {}", reason(error)));
    failure.hint("is it running? start it with 'teu daemon'")
}

async fn shake_hands<S>(stream: S) -> Result<SendRequest<Body>, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::new(format!("open a connection to the daemon: {error}")))?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}
