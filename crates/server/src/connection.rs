//! A client's connection, whatever it runs over: a Unix socket, or TCP below TLS.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// How long a client may take to read what it was sent before things go on all the same.
const PATIENCE: Duration = Duration::from_millis(200);

/// A connection.
#[derive(Debug)]
pub(crate) enum Connection {
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl From<UnixStream> for Connection {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl From<TlsStream<TcpStream>> for Connection {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Connection {
    /// A second registration of the socket, for [`Departure::wait`]: the edges it consumes are not those that the
    /// writer waits for.
    pub(crate) fn departure(&self) -> io::Result<Departure> {
        match self {
            Self::Unix(socket) => {
                Ok(Departure(Some(UnixStream::from_std(socket.as_fd().try_clone_to_owned()?.into())?)))
            }
            Self::Tls(_) => Ok(Departure(None)),
        }
    }

    /// Waits until the client has read what was sent to it.
    ///
    /// Some clients throw away what comes in the same read as the head of the answer, so the raw stream must not begin
    /// before they have the head.
    pub(crate) async fn taken(&self) {
        if let Self::Unix(socket) = self {
            taken(socket).await;
        }
    }
}

/// Waits until the other end of `socket` has read what was sent to it, though not for ever.
async fn taken(socket: &UnixStream) {
    let taken = async {
        let mut rounds = 0_u32;
        while teu_sys::socket::has_unread(socket).unwrap_or(false) {
            rounds += 1;
            if rounds < 64 {
                // The client may wait for this very processor.
                std::thread::yield_now();
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, taken).await;
}

/// Tells when a client has gone for good, although nothing is written to it.
pub(crate) struct Departure(Option<UnixStream>);

impl Departure {
    /// Returns when the other end is closed in both directions. Over TCP an end that has gone cannot be told from one
    /// that has only finished speaking: there this never returns.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        let Some(socket) = &self.0 else { return std::future::pending().await };
        while !socket.ready(Interest::WRITABLE).await?.is_write_closed() {
            // Nothing is written: this only says that the next edge is to be waited for.
            let _ = socket.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        Ok(())
    }

    /// Waits until the client has read what was sent to it, as [`Connection::taken`].
    pub(crate) async fn taken(&self) {
        if let Some(socket) = &self.0 {
            taken(socket).await;
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
