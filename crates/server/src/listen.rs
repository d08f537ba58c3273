//! Where clients come in: Unix sockets of our own or systemd's, TCP below mutual TLS, and the life of each connection.
//!
//! Access to the socket is root's power over the machine, so the socket is never there with wider permissions than
//! meant: it is bound under another name, given owner and mode, and then renamed to its own.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::compat;
use crate::config::{Group, Host, Tls};
use crate::connection::Connection;
use crate::sniff::Sniffed;
use crate::{metrics, tls};

const MODE: u32 = 0o660;
/// How long a client over TCP may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The first descriptor systemd hands over.
const FIRST: i32 = 3;
/// How long requests that are being worked on may take when the daemon is asked to end.
const GRACE: Duration = Duration::from_secs(10);
/// How long their answers may take to be written; streams (logs, events) would never end.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// After so long without the end of a connection, what was needed for them is let go.
const QUIET: Duration = Duration::from_secs(10);

/// What keeps the daemon from listening.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("listen on unix://{}: another daemon answers there", .0.display())]
    Taken(PathBuf),
    #[error("listen on unix://{}: there is something that is not a socket", .0.display())]
    NotASocket(PathBuf),
    #[error("listen on fd://: systemd handed no socket over; use a unix:// socket or start teu.socket")]
    NoActivation,
    #[error("listen on descriptor {fd} from systemd: {source}")]
    Activation { fd: i32, source: io::Error },
    #[error("give the socket to group \"{0}\": there is no such group")]
    NoGroup(String),
    #[error("{what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("listen on tcp://{address}: {source}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// A socket to accept from; one that we made is removed with it.
pub(crate) struct Listener {
    door: Door,
    made: Option<PathBuf>,
}

enum Door {
    Unix(UnixListener),
    Tcp(TcpListener, TlsAcceptor),
}

/// Somebody at the door.
enum Visitor {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr, TlsAcceptor),
}

impl Door {
    async fn accept(&self) -> io::Result<Visitor> {
        match self {
            Self::Unix(listener) => Ok(Visitor::Unix(listener.accept().await?.0)),
            Self::Tcp(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Visitor::Tcp(stream, peer, tls.clone()))
            }
        }
    }
}

impl Visitor {
    /// The connection, once the visitor has shown its certificate; `None` for one that has none.
    async fn let_in(self) -> Option<Connection> {
        match self {
            Self::Unix(stream) => Some(stream.into()),
            Self::Tcp(stream, peer, tls) => {
                let _ = stream.set_nodelay(true);
                match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Some(stream.into()),
                    Ok(Err(error)) => {
                        tracing::info!(%peer, %error, "a client was not let in");
                        None
                    }
                    Err(_) => None,
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Opens all that is to be listened on.
pub(crate) async fn open(hosts: &[Host], tls: Option<&Tls>) -> Result<Vec<Listener>, Error> {
    let tls = tls.map(tls::acceptor).transpose()?;
    let mut listeners = activated()?;
    let handed_over = !listeners.is_empty();
    for host in hosts {
        match host {
            Host::Activation if handed_over => {}
            Host::Activation => return Err(Error::NoActivation),
            // The unit's socket has the path that we would choose ourselves.
            Host::Unix(path, _) if listeners.iter().any(|listener| listener.is_at(path)) => {}
            Host::Unix(path, group) => listeners.push(bind(path, group)?),
            Host::Tcp(address) => {
                let wrong = |source| Error::Tcp { address: *address, source };
                let Some(tls) = tls.clone() else { return Err(wrong(io::ErrorKind::PermissionDenied.into())) };
                let listener = TcpListener::bind(address).await.map_err(wrong)?;
                listeners.push(Listener { door: Door::Tcp(listener, tls), made: None });
            }
        }
    }
    Ok(listeners)
}

impl Listener {
    fn is_at(&self, path: &Path) -> bool {
        match &self.door {
            Door::Unix(listener) => listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path)),
            Door::Tcp(..) => false,
        }
    }
}

/// Whether the way is free, before anything else is begun: [`open`] looks again.
pub(crate) fn check(hosts: &[Host]) -> Result<(), Error> {
    let handed_over = std::env::var_os("LISTEN_FDS").is_some();
    hosts.iter().try_for_each(|host| match host {
        Host::Unix(path, _) if !handed_over => make_way(path),
        _ => Ok(()),
    })
}

/// The sockets systemd handed over, if it did (`sd_listen_fds(3)`).
fn activated() -> Result<Vec<Listener>, Error> {
    let variable = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u32>().ok());
    if variable("LISTEN_PID") != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = i32::try_from(variable("LISTEN_FDS").unwrap_or(0)).unwrap_or(0);
    (FIRST..FIRST.saturating_add(count))
        .map(|fd| {
            let listener = teu_sys::socket::inherited_listener(fd).and_then(into_async);
            let listener = listener.map_err(|source| Error::Activation { fd, source })?;
            Ok(Listener { door: Door::Unix(listener), made: None })
        })
        .collect()
}

fn into_async(listener: StdListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn bind(path: &Path, group: &Group) -> Result<Listener, Error> {
    let wrong = |what| move |source| Error::Io { what, path: path.into(), source };
    if let Some(parent) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o750).create(parent).map_err(wrong("create the folder of"))?;
    }
    make_way(path)?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = std::fs::remove_file(&fresh);
    let listener = StdListener::bind(&fresh).map_err(wrong("listen on"))?;
    let placed = give(&fresh, group)
        .and_then(|()| std::fs::rename(&fresh, path).map_err(wrong("listen on")))
        .and_then(|()| into_async(listener).map_err(wrong("listen on")));
    match placed {
        Ok(listener) => Ok(Listener { door: Door::Unix(listener), made: Some(path.into()) }),
        Err(error) => {
            let _ = std::fs::remove_file(&fresh);
            Err(error)
        }
    }
}

/// Makes sure that what is at `path` is nothing, or a socket that nobody answers at.
fn make_way(path: &Path) -> Result<(), Error> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Io { what: "look at", path: path.into(), source }),
    };
    if !kind.is_socket() {
        return Err(Error::NotASocket(path.into()));
    }
    match StdStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Io { what: "try", path: path.into(), source }),
        Ok(_) => Err(Error::Taken(path.into())),
    }
}

fn give(socket: &Path, group: &Group) -> Result<(), Error> {
    let wrong = |what| move |source| Error::Io { what, path: socket.into(), source };
    let id = match group {
        Group::Default(name) => group_id(name),
        Group::Named(name) => Some(group_id(name).ok_or_else(|| Error::NoGroup(name.clone()))?),
    };
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(MODE)).map_err(wrong("set the mode of"))?;
    std::os::unix::fs::chown(socket, None, id).map_err(wrong("set the group of"))
}

/// A group by name or number, from /etc/group: the C library's way needs plugins a static binary does not have.
fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let listed = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    listed.or_else(|| name.parse().ok())
}

/// Serves until `ending` says so; then what is being worked on may finish, within limits.
pub(crate) async fn serve(listeners: Vec<Listener>, router: Router, ending: watch::Receiver<bool>) {
    let mut doors = JoinSet::new();
    for listener in listeners {
        doors.spawn(accept(listener, router.clone(), ending.clone()));
    }
    while doors.join_next().await.is_some() {}
}

async fn accept(door: Listener, router: Router, mut ending: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let in_flight = InFlight::default();
    let mut rest: Option<Instant> = None;
    loop {
        tokio::select! {
            accepted = door.door.accept() => match accepted {
                Ok(visitor) => {
                    let (router, in_flight, ending) = (router.clone(), in_flight.clone(), ending.clone());
                    connections.spawn(async move {
                        if let Some(connection) = visitor.let_in().await {
                            converse(connection, router, in_flight, ending).await;
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: taking a breath lets some be closed.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => rest = Some(Instant::now() + QUIET),
            () = tokio::time::sleep_until(rest.unwrap_or_else(Instant::now).into()), if rest.is_some() => {
                rest = None;
                let _ = tokio::task::spawn_blocking(let_go).await;
            }
            () = ended(&mut ending) => break,
        }
    }
    drop(door);
    let _ = tokio::time::timeout(GRACE, in_flight.none()).await;
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WORDS, all).await;
}

/// Gives back what work that is over has left in memory.
pub(crate) fn let_go() {
    teu_sys::process::trim_heap();
    // Refused where there is no /proc, and then nothing is lost but memory.
    let _ = teu_sys::process::unmap_own_code();
}

/// Counts the requests that have no answer yet.
#[derive(Clone, Default)]
pub(crate) struct InFlight(Arc<watch::Sender<usize>>);

/// One of them.
struct Flight(InFlight);

impl InFlight {
    fn one(&self) -> Flight {
        self.0.send_modify(|count| *count += 1);
        Flight(self.clone())
    }

    pub(crate) async fn none(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

async fn ended(ending: &mut watch::Receiver<bool>) {
    // The sender gone is an end too.
    let _ = ending.wait_for(|ending| *ending).await;
}

/// One connection, from its first byte to its last.
pub(crate) async fn converse(
    stream: impl Into<Connection>,
    router: Router,
    in_flight: InFlight,
    mut ending: watch::Receiver<bool>,
) {
    let sniffed = tokio::select! {
        sniffed = Sniffed::new(stream) => sniffed,
        () = ended(&mut ending) => return,
    };
    let Ok(Some(sniffed)) = sniffed else { return };
    let Ok(departure) = sniffed.departure().map(Arc::new) else { return };
    let client = departure.clone();
    let service = service_fn(move |mut request: hyper::Request<_>| {
        let (router, flight) = (router.clone(), in_flight.one());
        request.extensions_mut().insert(client.clone());
        async move {
            let answered = answer(router, request).await;
            drop(flight);
            answered
        }
    });
    let served = if sniffed.is_http2() {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(sniffed), service);
        tokio::pin!(connection);
        tokio::select! {
            biased;
            served = &mut connection => served,
            () = ended(&mut ending) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            // What was only for this client is dropped here.
            _ = departure.wait() => return,
        }
    } else {
        let mut http = http1::Builder::new();
        // A client that closes only its half still wants the answer; one that closes both has left.
        http.half_close(true).timer(TokioTimer::new());
        let connection = http.serve_connection(TokioIo::new(sniffed), service).with_upgrades();
        tokio::pin!(connection);
        tokio::select! {
            biased;
            served = &mut connection => served,
            () = ended(&mut ending) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            _ = departure.wait() => return,
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(router: Router, request: hyper::Request<hyper::body::Incoming>) -> Result<Response, hyper::Error> {
    let (method, begun) = (request.method().clone(), Instant::now());
    let mut request: Request = request.map(axum::body::Body::new);
    let mut response = match compat::negotiate(&mut request) {
        Ok(()) => {
            let answered = router.oneshot(request).await;
            answered.unwrap_or_else(|never| match never {})
        }
        Err(failure) => failure.into_response(),
    };
    compat::identify(response.headers_mut());
    metrics::answered(&method, response.status(), begun.elapsed());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(path: &Path) -> String {
        bind(path, &Group::Default("no-such-group")).err().expect("refused").to_string()
    }

    #[tokio::test]
    async fn a_socket_nobody_answers_at_is_replaced() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("s");
        drop(StdListener::bind(&path).expect("bind"));
        let listener = bind(&path, &Group::Default("no-such-group")).expect("bound");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert!(sentence(&path).contains("another daemon answers there"));
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_not_a_socket_is_left_alone() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("file");
        std::fs::write(&path, "precious").expect("written");
        assert!(sentence(&path).contains("not a socket"));
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_group_that_was_named_must_exist() {
        let dir = tempfile::tempdir().expect("folder");
        let group = Group::Named("no-such-group".into());
        let refused = bind(&dir.path().join("s"), &group).err().expect("refused");
        assert!(refused.to_string().contains("no-such-group"));
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 0);
    }

    #[test]
    fn groups_are_found_by_name_and_by_number() {
        assert_eq!((group_id("root"), group_id("12345"), group_id("no-such-group")), (Some(0), Some(12345), None));
    }
}
