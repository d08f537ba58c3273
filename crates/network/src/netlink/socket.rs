//! One netlink socket: requests go out, answers are waited for. A socket belongs to the namespace it was opened in,
//! whichever thread uses it later.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, getsockname, netlink, recv, send, socket_with,
};

use super::flag;
use super::message::{HEADER, Message, read_u32};

/// `NLMSG_ERROR`: an error, or with number 0 an acknowledgement.
const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const DONE: u16 = 3;
/// The kernel fills at most 32 KiB of a dump into one datagram.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// Which part of the kernel a socket speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Links, addresses, routes.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
}

/// A message of a transaction that the kernel refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    /// Its place in the transaction.
    pub(crate) index: usize,
    /// Why.
    pub(crate) errno: Errno,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { index: 0, errno }
    }
}

/// A request/answer connection with the kernel.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open(family: Family) -> io::Result<Self> {
        let protocol = match family {
            Family::Route => None, // NETLINK_ROUTE is protocol 0
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Its number, as the kernel gave it (`nl_pid`, netlink(7)).
    pub(crate) fn number(&self) -> Option<u32> {
        let own = getsockname(&self.fd).ok()?;
        netlink::SocketAddrNetlink::try_from(own).ok().map(|own| own.pid())
    }

    /// Sends all messages in one datagram and waits until each is acknowledged. rtnetlink carries on after a refused
    /// message; the first refusal is what is returned.
    pub(crate) fn request(&mut self, messages: Vec<Message>) -> Result<(), Refused> {
        let count = messages.len();
        let first = self.sequence + 1;
        let mut datagram = Vec::new();
        for message in messages {
            self.sequence += 1;
            datagram.extend(message.finish(self.sequence, flag::ACK));
        }
        send(&self.fd, &datagram, SendFlags::empty())?;
        let mut refused = None;
        let mut answered = 0;
        while answered < count {
            for (sequence, errno) in self.receive_answers()? {
                let index = sequence.wrapping_sub(first) as usize;
                if index >= count {
                    continue;
                }
                answered += 1;
                if let Some(errno) = errno {
                    refused.get_or_insert(Refused { index, errno });
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Sends `begin`, messages, `end` in one datagram: netfilter takes all of it or nothing. An error's index counts
    /// from the first message after `begin`.
    pub(crate) fn transaction(&mut self, begin: Message, messages: Vec<Message>, end: Message) -> Result<(), Refused> {
        let count = messages.len();
        let first = self.sequence + 1;
        let last = first + u32::try_from(count).unwrap_or(u32::MAX);
        let mut datagram = begin.finish(first, 0);
        for (sequence, message) in (first + 1..).zip(messages) {
            // Errors are always told; for success one answer is enough.
            datagram.extend(message.finish(sequence, if sequence == last { flag::ACK } else { 0 }));
        }
        datagram.extend(end.finish(last + 1, 0));
        self.sequence = last + 1;
        send(&self.fd, &datagram, SendFlags::empty())?;
        let mut refused = None;
        loop {
            // A conversation that broke off has left its answers.
            let answers = self.receive_answers()?;
            for (sequence, errno) in answers.into_iter().filter(|(sequence, _)| *sequence >= first) {
                if let Some(errno) = errno {
                    let index = sequence.saturating_sub(first + 1) as usize;
                    refused.get_or_insert(Refused { index, errno });
                }
                // A batch that could not begin or commit is answered at its first message, with nothing after it.
                if sequence == last || (sequence == first && errno.is_some()) {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Asks for everything there is of a kind; the answers without their netlink headers.
    pub(crate) fn dump(&mut self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        send(&self.fd, &message.finish(self.sequence, flag::DUMP), SendFlags::empty())?;
        let mut found = Vec::new();
        loop {
            let datagram = self.receive()?;
            for (kind, sequence, payload) in split(&datagram) {
                match kind {
                    _ if sequence != self.sequence => {}
                    DONE => return Ok(found),
                    ERROR => match errno_of(payload) {
                        Some(errno) => return Err(errno.into()),
                        None => return Ok(found),
                    },
                    _ => found.push(payload.to_vec()),
                }
            }
        }
    }

    /// Asks for one thing; its answer without the netlink header.
    pub(crate) fn get(&mut self, message: Message) -> Result<Vec<u8>, Errno> {
        self.sequence += 1;
        send(&self.fd, &message.finish(self.sequence, 0), SendFlags::empty())?;
        loop {
            let datagram = self.receive()?;
            for (kind, sequence, payload) in split(&datagram) {
                if sequence != self.sequence {
                    continue;
                }
                return match kind {
                    ERROR => Err(errno_of(payload).unwrap_or(Errno::NODATA)),
                    _ => Ok(payload.to_vec()),
                };
            }
        }
    }

    /// Sequence and error (none: acknowledged) of the next datagram's answers.
    fn receive_answers(&self) -> Result<Vec<(u32, Option<Errno>)>, Errno> {
        let datagram = self.receive()?;
        Ok(split(&datagram)
            .filter(|(kind, ..)| *kind == ERROR)
            .map(|(_, sequence, payload)| (sequence, errno_of(payload)))
            .collect())
    }

    fn receive(&self) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        let (_, length) = rustix::io::retry_on_intr(|| recv(&self.fd, &mut buffer[..], RecvFlags::empty()))?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// The messages of a datagram as (type, sequence, payload).
fn split(mut datagram: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = read_u32(datagram, 0)? as usize;
        let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
        let sequence = read_u32(datagram, 8)?;
        let payload = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, payload))
    })
}

/// The error number that starts an error message; none for an acknowledgement.
fn errno_of(payload: &[u8]) -> Option<Errno> {
    match read_u32(payload, 0).map_or(-1, u32::cast_signed) {
        0 => None,
        negative => Some(Errno::from_raw_os_error(negative.saturating_neg())),
    }
}
