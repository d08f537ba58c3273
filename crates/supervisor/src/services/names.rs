//! The name server of one container, at 127.0.0.11 in its network namespace.
//!
//! ```text
//!   container ─ udp, tcp ─▶ [names of its networks, its links, its host] ─ not ours ─▶ every upstream server at once
//! ```
//!
//! What is ours is answered from the networks' files, which the engine replaces when somebody joins or leaves. Everything
//! else goes to the host's servers (from the host's side, so a resolver on the host's loopback is as good as any), or to
//! the servers that the user named (from the container's side, as if it asked itself). The first useful answer counts. A
//! question by TCP is asked on by TCP. Denials are remembered for as long as they say, at most [`LONGEST_DENIAL`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use teu_network::dns::message::{self, Outcome, Question};
use teu_network::dns::{self, Answer, Directory, Names};

use super::inside;
use crate::protocol::NamesRequest;
use crate::services::upstream::{Lookup, Origin};

const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const HOST_RESOLVERS: &str = "/etc/resolv.conf";
/// How many questions may be with others at the same time.
const MOST_LOOKUPS: usize = 512;
const MOST_STREAMS: usize = 64;
const MOST_DENIALS: usize = 256;
const LONGEST_DENIAL: Duration = Duration::from_secs(30);
/// How long a client's connection may be silent.
const STREAM_SILENCE: Duration = Duration::from_secs(10);
/// Of how many names it is remembered whose turn it is.
const MOST_TURNS: usize = 1024;
/// How many questions are taken before others have their turn.
const ROUNDS: u32 = 64;
/// The largest message by UDP that anybody sends.
const LARGEST: usize = 4096;

/// What became ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Udp,
    Tcp,
    Stream(usize),
    Upstream(usize, usize),
}

/// Says whether a file is the one it was.
type Stamp = Option<(u64, i64, i64)>;

/// A client's connection.
#[derive(Debug)]
struct Stream {
    number: u64,
    socket: std::net::TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    used: Instant,
    over: bool,
}

/// The server.
#[derive(Debug)]
pub(super) struct Server {
    namespace: File,
    udp: UdpSocket,
    tcp: TcpListener,
    request: NamesRequest,
    files: Vec<(PathBuf, Stamp)>,
    directory: Directory,
    resolvers: (Stamp, Vec<IpAddr>),
    /// How often each was asked for: names that several containers have are given in turn.
    turns: BTreeMap<(String, u16), usize>,
    lookups: Vec<Lookup>,
    streams: Vec<Stream>,
    next_stream: u64,
    denials: BTreeMap<(String, u16), (Vec<u8>, Instant)>,
}

impl Server {
    /// Makes the sockets in the namespace of that process, and leads port 53 to them.
    pub(super) fn new(pid: i32, request: NamesRequest) -> io::Result<Self> {
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        let (udp, tcp) = inside(&namespace, || {
            let (udp, tcp) = (UdpSocket::bind((SERVER, 0))?, TcpListener::bind((SERVER, 0))?);
            dns::redirect(udp.local_addr()?.port(), tcp.local_addr()?.port()).map_err(io::Error::other)?;
            Ok((udp, tcp))
        })?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let mut server = Self {
            namespace,
            udp,
            tcp,
            request: NamesRequest::default(),
            files: vec![],
            directory: Directory::default(),
            resolvers: (None, vec![]),
            turns: BTreeMap::new(),
            lookups: vec![],
            streams: vec![],
            next_stream: 0,
            denials: BTreeMap::new(),
        };
        server.change(request);
        Ok(server)
    }

    /// Goes on with other names and servers.
    pub(super) fn change(&mut self, request: NamesRequest) {
        self.files = request.files.iter().map(|path| (path.clone(), None)).collect();
        let lower = |text: &String| text.to_lowercase();
        self.directory = Directory {
            networks: vec![Names::default(); self.files.len()],
            links: request.links.iter().map(|(name, target)| (lower(name), lower(target))).collect(),
            host: request.host.clone(),
            search: request.search.iter().map(lower).collect(),
        };
        self.denials.clear();
        self.request = request;
    }

    pub(super) fn interests<'fd>(&'fd self, wait: &mut dyn FnMut(BorrowedFd<'fd>, bool, bool, Place)) {
        wait(self.udp.as_fd(), true, false, Place::Udp);
        wait(self.tcp.as_fd(), true, false, Place::Tcp);
        for (index, stream) in self.streams.iter().enumerate() {
            wait(stream.socket.as_fd(), true, !stream.output.is_empty(), Place::Stream(index));
        }
        for (index, lookup) in self.lookups.iter().enumerate() {
            for (number, asked) in lookup.asked.iter().enumerate() {
                if !asked.over() {
                    wait(asked.as_fd(), true, asked.unsent(), Place::Upstream(index, number));
                }
            }
        }
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        let lookups = self.lookups.iter().map(Lookup::patience).min();
        let streams = (!self.streams.is_empty()).then_some(STREAM_SILENCE);
        lookups.into_iter().chain(streams).min()
    }

    pub(super) fn act(&mut self, place: Place) {
        match place {
            Place::Udp => self.datagrams(),
            Place::Tcp => self.accept(),
            Place::Stream(index) => self.converse(index),
            Place::Upstream(index, number) => {
                if let Some(lookup) = self.lookups.get_mut(index) {
                    lookup.receive(number);
                }
            }
        }
    }

    fn datagrams(&mut self) {
        let mut buffer = [0; LARGEST];
        for _ in 0..ROUNDS {
            let Ok((length, client)) = self.udp.recv_from(&mut buffer) else { return };
            self.take(&buffer[..length], Origin::Datagram(client));
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.tcp.accept() {
            if self.streams.len() >= MOST_STREAMS || socket.set_nonblocking(true).is_err() {
                continue;
            }
            let number = self.next_stream;
            self.next_stream += 1;
            let (input, output) = (vec![], vec![]);
            self.streams.push(Stream { number, socket, input, output, used: Instant::now(), over: false });
        }
    }

    fn converse(&mut self, index: usize) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        stream.flush();
        stream.receive();
        let number = stream.number;
        while let Some(message) = self.streams.get_mut(index).and_then(Stream::message) {
            self.take(&message, Origin::Stream(number));
        }
    }

    /// One question.
    fn take(&mut self, bytes: &[u8], origin: Origin) {
        let question = match message::question(bytes) {
            Ok(question) => question,
            Err(reply) => {
                if let Some(reply) = reply {
                    self.send(origin, &reply);
                }
                return;
            }
        };
        self.refresh();
        if self.turns.len() >= MOST_TURNS {
            self.turns.clear();
        }
        let turn = self.turns.entry(question.key()).or_default();
        *turn = turn.wrapping_add(1);
        let reply = match dns::answer(&question, &self.directory, *turn) {
            Answer::Reply(reply) => reply,
            Answer::Forward => match self.denial(&question) {
                Some(reply) => reply,
                None => match self.forward(&question, bytes, origin) {
                    Ok(()) => return,
                    Err(outcome) => question.outcome(outcome),
                },
            },
        };
        let reply = if matches!(origin, Origin::Datagram(_)) { question.fit(reply) } else { reply };
        self.send(origin, &reply);
    }

    /// Reads the files again that were replaced.
    fn refresh(&mut self) {
        for (at, (path, stamp)) in self.files.iter_mut().enumerate() {
            let now = stamp_of(path);
            if now != *stamp {
                *stamp = now;
                // One that is gone belongs to a network that is gone.
                self.directory.networks[at] =
                    std::fs::read_to_string(&*path).map(|text| Names::parse(&text)).unwrap_or_default();
            }
        }
    }

    /// What was said of a name lately, if it was that there is none.
    fn denial(&mut self, question: &Question) -> Option<Vec<u8>> {
        let (reply, until) = self.denials.get(&question.key())?;
        if *until < Instant::now() {
            self.denials.remove(&question.key());
            return None;
        }
        // The remembered answer under the new question's number.
        let mut reply = reply.clone();
        let own = question.outcome(Outcome::Found);
        reply[..2].copy_from_slice(&own[..2]);
        Some(reply)
    }

    /// Asks everybody who may know.
    fn forward(&mut self, question: &Question, bytes: &[u8], origin: Origin) -> Result<(), Outcome> {
        if self.lookups.len() >= MOST_LOOKUPS {
            return Err(Outcome::Failed);
        }
        let from_inside = !self.request.servers.is_empty();
        let servers = if from_inside {
            self.request.servers.clone()
        } else if self.request.upstream {
            self.host_resolvers()
        } else {
            return Err(Outcome::Refused);
        };
        let by_stream = matches!(origin, Origin::Stream(_));
        let key = question.key();
        let begin = || Lookup::begin(bytes, origin, key, &servers, by_stream);
        let lookup = if from_inside { inside(&self.namespace, begin) } else { begin() };
        self.lookups.push(lookup.map_err(|_| Outcome::Failed)?);
        Ok(())
    }

    /// The host's servers as they are now: they change with its networks.
    fn host_resolvers(&mut self) -> Vec<IpAddr> {
        let now = stamp_of(Path::new(HOST_RESOLVERS));
        if self.resolvers.0 != now || now.is_none() {
            let text = teu_sys::text::read(HOST_RESOLVERS).unwrap_or_default();
            self.resolvers = (now, dns::nameservers(&text));
        }
        self.resolvers.1.clone()
    }

    fn send(&mut self, origin: Origin, reply: &[u8]) {
        match origin {
            Origin::Datagram(client) => drop(self.udp.send_to(reply, client)),
            Origin::Stream(number) => {
                let Ok(length) = u16::try_from(reply.len()) else { return };
                if let Some(stream) = self.streams.iter_mut().find(|stream| stream.number == number) {
                    stream.output.extend_from_slice(&length.to_be_bytes());
                    stream.output.extend_from_slice(reply);
                    stream.flush();
                }
            }
        }
    }

    /// Passes on what was answered, asks again where nothing came, and lets go of what is over.
    pub(super) fn settle(&mut self) {
        let mut at = 0;
        while at < self.lookups.len() {
            let Some(reply) = self.lookups[at].outcome() else {
                at += 1;
                continue;
            };
            let lookup = self.lookups.swap_remove(at);
            if let Some(seconds) = message::negative_ttl(&reply) {
                self.remember(lookup.key.clone(), &reply, seconds);
            }
            self.send(lookup.origin, &reply);
        }
        self.streams.retain(|stream| !stream.over && stream.used.elapsed() < STREAM_SILENCE);
    }

    fn remember(&mut self, key: (String, u16), reply: &[u8], seconds: u32) {
        if self.denials.len() >= MOST_DENIALS {
            let now = Instant::now();
            self.denials.retain(|_, (_, until)| *until > now);
            if self.denials.len() >= MOST_DENIALS {
                self.denials.clear();
            }
        }
        let until = Instant::now() + Duration::from_secs(seconds.into()).min(LONGEST_DENIAL);
        self.denials.insert(key, (reply.to_vec(), until));
    }
}

impl Stream {
    fn receive(&mut self) {
        use io::Read;
        let mut buffer = [0; LARGEST];
        match self.socket.read(&mut buffer) {
            Ok(0) => self.over = true,
            Ok(length) => {
                self.used = Instant::now();
                self.input.extend_from_slice(&buffer[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.over = true,
        }
    }

    /// The next whole message.
    fn message(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes(self.input.get(..2)?.try_into().ok()?));
        let message = self.input.get(2..2 + length)?.to_vec();
        self.input.drain(..2 + length);
        Some(message)
    }

    fn flush(&mut self) {
        use io::Write;
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
    }
}

fn stamp_of(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

/// Where a server listens.
pub(super) fn at_port(server: IpAddr) -> SocketAddr {
    SocketAddr::new(server, 53)
}
