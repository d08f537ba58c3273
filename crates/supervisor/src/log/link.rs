//! A connection to whoever collects logs, which is never waited for: what cannot be sent now stays with us, up to a
//! bound; what is beyond that is lost, and so is what nobody takes for [`PATIENCE`].
//!
//! ```text
//! Down ── something to send, and it is time ──► Up (perhaps still connecting)
//!   ▲                                            │
//!   └── refused, broken, or nothing taken for PATIENCE while full ──┘  tried again after 0.5 s, 1 s, … 30 s
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::protocol::LogAddress;

/// How long a receiver that is there may take nothing, before it is taken for gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// The connection and what waits for it.
#[derive(Debug)]
pub(crate) struct Link {
    /// Tried in this order.
    addresses: Vec<LogAddress>,
    state: State,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    limit: usize,
    /// Messages that were lost.
    pub(crate) lost: u64,
}

#[derive(Debug)]
enum State {
    Down { retry_at: Instant, delay: Duration },
    Up(Peer),
}

#[derive(Debug)]
struct Peer {
    fd: OwnedFd,
    /// Bytes in order, instead of messages.
    stream: bool,
    /// Bytes of the first message that are sent.
    sent: usize,
    connecting: bool,
    /// Since when nothing has been taken.
    progress: Instant,
}

impl Link {
    pub(crate) fn new(addresses: Vec<LogAddress>, limit: usize) -> Link {
        let state = State::Down { retry_at: Instant::now(), delay: FIRST_DELAY };
        Link { addresses, state, queue: VecDeque::new(), queued: 0, limit, lost: 0 }
    }

    /// Takes a message, and sends what can be sent.
    pub(crate) fn push(&mut self, message: Vec<u8>) {
        if self.queued + message.len() > self.limit && !self.queue.is_empty() {
            self.flush();
        }
        if self.queued + message.len() > self.limit && !self.queue.is_empty() {
            self.lost += 1;
            return;
        }
        self.queued += message.len();
        self.queue.push_back(message);
    }

    /// Nothing waits.
    pub(crate) fn idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// So much waits for a receiver that is there and slow that no more should be fetched.
    pub(crate) fn full(&self) -> bool {
        self.queued >= self.limit / 2 && matches!(self.state, State::Up(_))
    }

    /// The descriptor to wait on, and whether for room to send.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, bool)> {
        match &self.state {
            // Only a stream tells that its other side is gone.
            State::Up(peer) if peer.stream || !self.queue.is_empty() => Some((peer.fd.as_fd(), !self.queue.is_empty())),
            _ => None,
        }
    }

    /// How long until something is to be done without being asked.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        match &self.state {
            State::Down { retry_at, .. } if !self.queue.is_empty() => {
                Some(retry_at.saturating_duration_since(Instant::now()))
            }
            State::Up(peer) if !self.queue.is_empty() => Some(PATIENCE.saturating_sub(peer.progress.elapsed())),
            _ => None,
        }
    }

    /// Connects if it is time, and sends what can be sent.
    pub(crate) fn flush(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        if let State::Down { retry_at, delay } = self.state {
            if Instant::now() < retry_at {
                return;
            }
            match self.addresses.iter().find_map(|address| Peer::connect(address).ok()) {
                Some(peer) => self.state = State::Up(peer),
                None => {
                    let retry_at = Instant::now() + delay;
                    self.state = State::Down { retry_at, delay: (delay * 2).min(LONGEST_DELAY) };
                    return;
                }
            }
        }
        let State::Up(peer) = &mut self.state else { return };
        while let Some(message) = self.queue.front() {
            match peer.send(message) {
                Ok(true) => {
                    self.queued -= message.len();
                    self.queue.pop_front();
                }
                Ok(false) if peer.progress.elapsed() < PATIENCE => return,
                Ok(false) => return self.down(),
                Err(Errno::MSGSIZE) => {
                    self.lost += 1;
                    self.queued -= message.len();
                    self.queue.pop_front();
                }
                Err(_) => return self.down(),
            }
        }
        self.queue.shrink_to(0);
    }

    /// Something happened on the descriptor: a stream that can be read is at its end, or says what is not asked for.
    pub(crate) fn hear(&mut self, buffer: &mut [u8]) {
        if let State::Up(peer) = &mut self.state
            && peer.stream
            && !peer.connecting
            && !matches!(
                rustix::net::recv(&peer.fd, buffer, rustix::net::RecvFlags::DONTWAIT),
                Ok((_, 1..)) | Err(Errno::AGAIN | Errno::INTR)
            )
        {
            self.down();
        }
        self.flush();
    }

    fn down(&mut self) {
        self.state = State::Down { retry_at: Instant::now() + FIRST_DELAY, delay: FIRST_DELAY * 2 };
    }
}

impl Peer {
    fn connect(address: &LogAddress) -> io::Result<Peer> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = match address {
            LogAddress::Unix(_) => (AddressFamily::UNIX, SocketType::STREAM),
            LogAddress::Unixgram(_) => (AddressFamily::UNIX, SocketType::DGRAM),
            LogAddress::Udp(address) => (family(address), SocketType::DGRAM),
            LogAddress::Tcp(address) => (family(address), SocketType::STREAM),
        };
        let fd = socket_with(family, kind, flags, None)?;
        let connected = match address {
            LogAddress::Unix(path) | LogAddress::Unixgram(path) => connect(&fd, &unix(path)?),
            LogAddress::Udp(address) | LogAddress::Tcp(address) => connect(&fd, address),
        };
        let connecting = match connected {
            Ok(()) => false,
            Err(Errno::INPROGRESS) => true,
            Err(error) => return Err(error.into()),
        };
        Ok(Peer { fd, stream: kind == SocketType::STREAM, sent: 0, connecting, progress: Instant::now() })
    }

    /// Sends a message, or what is left of it; false when there is no room now.
    fn send(&mut self, message: &[u8]) -> Result<bool, Errno> {
        if self.connecting {
            sockopt::socket_error(&self.fd)??;
        }
        loop {
            match rustix::net::send(&self.fd, &message[self.sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => {
                    (self.connecting, self.progress) = (false, Instant::now());
                    self.sent += count;
                    if !self.stream || self.sent >= message.len() {
                        self.sent = 0;
                        return Ok(true);
                    }
                }
                Err(Errno::INTR) => {}
                // A stream that is still connecting says that it is not connected.
                Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(false),
                Err(Errno::NOTCONN) if self.connecting => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

fn family(address: &std::net::SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn unix(path: &Path) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(path)?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn settle(link: &mut Link) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !link.idle() {
            assert!(Instant::now() < deadline, "{link:?}");
            let timeout = link.timeout();
            if let Some((fd, writable)) = link.interest() {
                let mut interests = teu_sys::poll::Interests::new();
                interests.add(fd, true, writable);
                interests.wait(timeout).expect("wait");
            } else {
                teu_sys::poll::Interests::new().wait(timeout).expect("wait");
            }
            link.hear(&mut [0; 16]);
        }
    }

    #[test]
    fn messages_arrive_whole_and_in_order_over_a_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = LogAddress::Tcp(listener.local_addr().expect("address"));
        let mut link = Link::new(vec![address], 8 << 20);
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            listener.accept().expect("accepted").0.read_to_string(&mut text).expect("read");
            text
        });
        for number in 0..50_000 {
            link.push(format!("message {number} of many\n").into_bytes());
            link.flush();
        }
        settle(&mut link);
        drop(link);
        let text = reader.join().expect("reader");
        assert!(text.lines().enumerate().all(|(number, line)| line == format!("message {number} of many")));
        assert_eq!(text.lines().count(), 50_000);
    }

    #[test]
    fn what_nobody_takes_is_kept_up_to_the_bound_and_sent_when_somebody_is_there() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("log");
        let mut link = Link::new(vec![LogAddress::Unixgram(path.clone())], 1000);
        let begin = Instant::now();
        for number in 0..100 {
            link.push(format!("{number:0100}").into_bytes());
            link.flush();
        }
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert_eq!(link.lost, 90);
        let socket = UnixDatagram::bind(&path).expect("bound");
        settle(&mut link);
        let mut buffer = [0; 200];
        for number in 0..10 {
            let count = socket.recv(&mut buffer).expect("received");
            assert_eq!(buffer[..count], *format!("{number:0100}").as_bytes());
        }
    }

    #[test]
    fn a_receiver_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let mut link = Link::new(vec![LogAddress::Tcp(listener.local_addr().expect("address"))], 64 << 20);
        link.push(vec![b'x'; 32 << 20]);
        link.flush();
        let deadline = Instant::now() + PATIENCE * 3;
        while matches!(link.state, State::Up(_)) {
            assert!(Instant::now() < deadline, "still waiting");
            let mut interests = teu_sys::poll::Interests::new();
            let (fd, writable) = link.interest().expect("an interest");
            interests.add(fd, false, writable);
            interests.wait(link.timeout()).expect("wait");
            link.flush();
        }
        assert!(!link.full());
    }
}
