//! The daemon, as a client sees it: calls over one or a few HTTP/1.1 connections on a socket.
//!
//! A connection that has read its answer to the end is kept for the next call; one that was hijacked (attach, exec) or
//! is still streaming is not, so that `run` uses three at most. Everything lives on one thread.

mod autostart;
mod call;
mod remote;
mod secure;
mod stream;
mod upgrade;

use std::cell::RefCell;
use std::io;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

pub(crate) use call::{Call, Offered, escape};
pub(crate) use stream::{ChannelWriter, JsonLines, channel_body};
pub(crate) use upgrade::Hijacked;

use crate::Session;
use crate::endpoint::Address;
use crate::failure::{Failure, reason};
use crate::session::variable;

/// What a request carries.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A daemon's client.
pub(crate) struct Client<'s> {
    session: &'s Session,
    idle: RefCell<Vec<SendRequest<Body>>>,
    /// The version of the API that is spoken, and whether the daemon is known to speak it.
    version: RefCell<(String, bool)>,
}

impl Session {
    /// A client of this session's daemon; connects at its first call.
    pub(crate) fn client(&self) -> Client<'_> {
        let version = match variable("DOCKER_API_VERSION") {
            Some(version) => (version.trim_start_matches('v').to_owned(), true),
            None => (teu_api::CLIENT_VERSION.to_owned(), false),
        };
        Client { session: self, idle: RefCell::default(), version: version.into() }
    }
}

impl Client<'_> {
    /// The version of the API that is spoken.
    pub(crate) fn version(&self) -> String {
        self.version.borrow().0.clone()
    }

    /// Takes the version that an older daemon names when it refuses ours; tells whether to ask again.
    fn step_down(&self, refusal: &Failure) -> bool {
        let mut version = self.version.borrow_mut();
        if version.1 || refusal.status != Some(400) {
            return false;
        }
        let newest = refusal.message.split_once("is too new. Maximum supported API version is ");
        let Some((_, newest)) = newest else { return false };
        *version = (newest.trim().to_owned(), true);
        true
    }

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
        shake_hands(self.dial().await?).await
    }

    /// A connection to the daemon, before anything is said on it.
    pub(crate) async fn dial(&self) -> Result<Box<dyn Connection>, Failure> {
        let host = self.session.host()?;
        match &host.address {
            Address::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error)
                    if is_absent(&error)
                        && self.session.autostart
                        && host.startable
                        && self.session.called != "teu __complete" =>
                {
                    Ok(Box::new(autostart::start(host, path).await?))
                }
                Err(error) => Err(unreachable(&host.address, &error)),
            },
            Address::Tcp(address) => {
                let stream = remote::tcp(address).await.map_err(|error| unreachable(&host.address, &error))?;
                let name = address.rsplit_once(':').map_or(address.as_str(), |(name, _)| name);
                match &host.tls {
                    Some(tls) => Ok(Box::new(secure::connect(stream, name, tls).await?)),
                    None => Ok(Box::new(stream)),
                }
            }
            Address::Ssh(target) => Ok(Box::new(remote::ssh(target)?)),
        }
    }
}

/// Bytes in both directions.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Connection for C {}

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

async fn shake_hands(stream: Box<dyn Connection>) -> Result<SendRequest<Body>, Failure> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::new(format!("open a connection to the daemon: {error}")))?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}
