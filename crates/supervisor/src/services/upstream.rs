//! Asking others for a name: every server at once, by UDP or by TCP; the first useful answer counts.
//!
//! Each question has sockets of its own and a random number, so nobody who does not see it can answer it. An answer that
//! says "I failed" or "not you" counts only when no server has a better one.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::net::SocketType;
use teu_network::dns::{failure, message};

use super::names::at_port;
use super::ports::connect;

/// When a question by UDP is sent again.
const AGAIN: [Duration; 2] = [Duration::from_millis(800), Duration::from_millis(2500)];
/// When it is given up: just before a resolver's own five seconds.
const PATIENCE: Duration = Duration::from_millis(4500);
const LARGEST: usize = 64 << 10;

/// Who asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// By UDP.
    Datagram(SocketAddr),
    /// By the TCP connection of that number.
    Stream(u64),
}

/// One server that was asked.
#[derive(Debug)]
pub(super) enum Asked {
    Udp(Option<UdpSocket>),
    Tcp(Option<TcpStream>, Vec<u8>, Vec<u8>),
}

/// A question that is with others.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) origin: Origin,
    pub(super) key: (String, u16),
    pub(super) asked: Vec<Asked>,
    /// The client's own number, and the question as it went out.
    number: [u8; 2],
    sent: Vec<u8>,
    begun: Instant,
    repeats: usize,
    good: Option<Vec<u8>>,
    poor: Option<Vec<u8>>,
}

impl Asked {
    pub(super) fn over(&self) -> bool {
        matches!(self, Self::Udp(None) | Self::Tcp(None, ..))
    }

    pub(super) fn unsent(&self) -> bool {
        matches!(self, Self::Tcp(Some(_), output, _) if !output.is_empty())
    }

    /// Of one that is not over.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(Some(socket)) => socket.as_fd(),
            Self::Tcp(Some(stream), ..) => stream.as_fd(),
            _ => rustix::stdio::stdin(),
        }
    }

    fn begin(server: IpAddr, question: &[u8], by_stream: bool) -> io::Result<Self> {
        if by_stream {
            let stream = TcpStream::from(connect(SocketType::STREAM, at_port(server))?);
            let length = u16::try_from(question.len()).map_err(io::Error::other)?;
            let output = [&length.to_be_bytes()[..], question].concat();
            return Ok(Self::Tcp(Some(stream), output, vec![]));
        }
        let socket = UdpSocket::from(connect(SocketType::DGRAM, at_port(server))?);
        socket.send(question)?;
        Ok(Self::Udp(Some(socket)))
    }

    /// The next whole answer, if one has come; a server that cannot be reached is over.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; LARGEST];
        match self {
            Self::Udp(socket) => match socket.as_ref()?.recv(&mut buffer) {
                Ok(length) => {
                    buffer.truncate(length);
                    Some(buffer)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(_) => {
                    *socket = None;
                    None
                }
            },
            Self::Tcp(stream, output, input) => {
                let outcome = exchange(stream.as_mut()?, output, input, &mut buffer);
                if outcome.is_err() {
                    *stream = None;
                }
                let length = usize::from(u16::from_be_bytes(input.get(..2)?.try_into().ok()?));
                input.get(2..2 + length).map(<[u8]>::to_vec)
            }
        }
    }
}

/// Sends what is left and reads what there is.
fn exchange(stream: &mut TcpStream, output: &mut Vec<u8>, input: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<()> {
    let later = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected);
    if !output.is_empty() {
        match stream.write(output) {
            Ok(count) => drop(output.drain(..count)),
            Err(error) if later(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    match stream.read(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(length) => {
            input.extend_from_slice(&buffer[..length]);
            Ok(())
        }
        Err(error) if later(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

impl Lookup {
    /// Asks all of the servers, in the calling thread's network namespace.
    pub(super) fn begin(
        question: &[u8],
        origin: Origin,
        key: (String, u16),
        servers: &[IpAddr],
        by_stream: bool,
    ) -> io::Result<Self> {
        let mut sent = question.to_vec();
        let number = [sent[0], sent[1]];
        rustix::rand::getrandom(&mut sent[..2], rustix::rand::GetRandomFlags::empty())?;
        let asked: Vec<Asked> =
            servers.iter().filter_map(|server| Asked::begin(*server, &sent, by_stream).ok()).collect();
        if asked.is_empty() {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let (begun, repeats, good, poor) = (Instant::now(), 0, None, None);
        Ok(Self { origin, key, asked, number, sent, begun, repeats, good, poor })
    }

    /// How long nothing needs to be done for it.
    pub(super) fn patience(&self) -> Duration {
        let next = AGAIN.get(self.repeats).copied().unwrap_or(PATIENCE);
        next.saturating_sub(self.begun.elapsed())
    }

    /// Takes what the server of that number says.
    pub(super) fn receive(&mut self, number: usize) {
        let Some(asked) = self.asked.get_mut(number) else { return };
        let Some(reply) = asked.receive() else { return };
        match message::outcome(&reply, &self.sent) {
            // No such name is an answer, too.
            Some(0 | 3) => self.good = Some(reply),
            Some(_) => {
                self.poor = Some(reply);
                self.asked[number] = Asked::Udp(None);
            }
            // Not an answer to this question, whoever sent it.
            None => {}
        }
    }

    /// The answer, once there is one or none can be waited for any longer.
    pub(super) fn outcome(&mut self) -> Option<Vec<u8>> {
        let age = self.begun.elapsed();
        if self.good.is_none() && age < PATIENCE && self.asked.iter().any(|asked| !asked.over()) {
            if AGAIN.get(self.repeats).is_some_and(|again| age >= *again) {
                self.repeats += 1;
                for asked in &mut self.asked {
                    if let Asked::Udp(Some(socket)) = asked
                        && socket.send(&self.sent).is_err()
                    {
                        *asked = Asked::Udp(None);
                    }
                }
            }
            return None;
        }
        let mut reply = self.good.take().or_else(|| self.poor.take()).or_else(|| failure(&self.sent))?;
        reply[..2].copy_from_slice(&self.number);
        Some(reply)
    }
}
