//! Connections: TCP with several addresses raced, TLS, and the ones that are kept for the next request.
//!
//! Only the scheme of the [`Origin`] decides whether a connection is encrypted; nothing here falls back.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Error, Proxies, names};
use crate::body::Outgoing;

/// RFC 8305's pause before the next address is tried beside the one that has not answered.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Idle connections kept for each origin.
const MOST_IDLE: usize = 8;
/// What is read from a socket at once grows up to this.
const LARGEST_READ: usize = 1 << 20;

/// A connection on which requests are sent.
pub(super) type Sender = SendRequest<Outgoing>;

/// Where a connection leads: what may share credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) secure: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    /// Of `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub(super) fn of_authority(authority: &str, secure: bool) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':')))?,
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok()?,
            None if secure => 443,
            None => 80,
        };
        (!host.is_empty()).then(|| Self { secure, host: host.to_ascii_lowercase(), port })
    }

    /// Whether the host is this machine by any spelling that needs no resolver.
    pub(super) fn is_loopback(&self) -> bool {
        let literal = self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        literal || self.host == "localhost" || self.host.ends_with(".localhost")
    }

    /// `host:port`, the port left out where it is the scheme's own.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

/// Connections that wait for their next request.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<HashMap<Origin, Vec<Sender>>>,
}

impl Pool {
    /// A kept connection that is free now. One whose answer is still being read is not, and stays.
    pub(super) fn take(&self, origin: &Origin) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(origin)?;
        kept.retain(|sender| !sender.is_closed());
        let free = kept.iter().position(Sender::is_ready)?;
        Some(kept.swap_remove(free))
    }

    /// Keeps a connection; its present answer need not have been read yet.
    pub(super) fn keep(&self, origin: &Origin, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(origin.clone()).or_default();
        kept.retain(|sender| !sender.is_closed());
        if kept.len() < MOST_IDLE {
            kept.push(sender);
        }
    }
}

/// Opens a connection.
pub(super) async fn dial(origin: &Origin, proxies: &Proxies, patience: Duration) -> Result<Sender, Error> {
    let silent = || Error::Connect { address: origin.authority(), source: io::ErrorKind::TimedOut.into() };
    tokio::time::timeout(patience, dial_now(origin, proxies)).await.map_err(|_| silent())?
}

async fn dial_now(origin: &Origin, proxies: &Proxies) -> Result<Sender, Error> {
    let tcp = match proxies.of(origin)? {
        None => dial_tcp(origin).await?,
        Some(proxy) => {
            let mut tcp = dial_tcp(&proxy.origin).await?;
            if origin.secure {
                let address = || format!("{} by the proxy {}", origin.authority(), proxy.origin.authority());
                let tunnel = proxy.tunnel(&mut tcp, origin).await;
                tunnel.map_err(|source| Error::Connect { address: address(), source })?;
            }
            tcp
        }
    };
    // Requests are written whole; waiting for more would only delay them.
    tcp.set_nodelay(true).map_err(|source| Error::Connect { address: origin.authority(), source })?;
    let stream = if origin.secure { Stream::Tls(Box::new(wrap(tcp, origin).await?)) } else { Stream::Plain(tcp) };
    let what = || origin.authority();
    let mut builder = http1::Builder::new();
    builder.max_buf_size(LARGEST_READ);
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|source| Error::Broken { what: what(), source })?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a registry ended");
        }
    });
    Ok(sender)
}

/// Tries the addresses of the host one after the other, not waiting long for any.
async fn dial_tcp(origin: &Origin) -> Result<TcpStream, Error> {
    let addresses = names::lookup(&origin.host).await?;
    let mut waiting = addresses.into_iter().map(|address| SocketAddr::new(address, origin.port));
    let mut trying = FuturesUnordered::new();
    let mut trouble = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => trying.push(TcpStream::connect(address)),
            None if trying.is_empty() => {
                return Err(Error::Connect { address: origin.authority(), source: trouble });
            }
            None => {}
        }
        let pause = if waiting.len() > 0 { NEXT_ADDRESS } else { Duration::MAX };
        match tokio::time::timeout(pause, trying.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => trouble = error,
            Ok(None) | Err(_) => {}
        }
    }
}

async fn wrap(tcp: TcpStream, origin: &Origin) -> Result<TlsStream<TcpStream>, Error> {
    let refuse = |source| Error::Tls { host: origin.authority(), source };
    let name = ServerName::try_from(origin.host.clone()).map_err(|error| refuse(io::Error::other(error)))?;
    TlsConnector::from(tls_settings().map_err(refuse)?).connect(name, tcp).await.map_err(refuse)
}

/// Whom we trust: the machine's own certificate authorities, or Mozilla's where it has none. Read once.
fn tls_settings() -> io::Result<Arc<ClientConfig>> {
    static SETTINGS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(settings) = SETTINGS.get() {
        return Ok(settings.clone());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let mut settings = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(SETTINGS.get_or_init(|| Arc::new(settings)).clone())
}

/// A connection, encrypted or not.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_becomes_an_origin() {
        for (text, host, port) in [
            ("Registry.Test", "registry.test", 443),
            ("localhost:5000", "localhost", 5000),
            ("[::1]:5000", "::1", 5000),
            ("[::1]", "::1", 443),
        ] {
            let origin = Origin::of_authority(text, true).unwrap();
            assert_eq!((origin.host.as_str(), origin.port), (host, port));
            assert_eq!(origin.authority(), text.to_ascii_lowercase());
        }
        assert!(Origin::of_authority("x:y", true).is_none());
        assert!(Origin::of_authority("", true).is_none());
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is_loopback = |text: &str| Origin::of_authority(text, false).unwrap().is_loopback();
        assert!(is_loopback("127.0.0.9:1") && is_loopback("localhost") && is_loopback("[::1]:5"));
        assert!(!is_loopback("127.0.0.1.example.test") && !is_loopback("10.0.0.1") && !is_loopback("localhost.test"));
    }
}
