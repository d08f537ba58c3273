//! What is sent elsewhere: lines become messages of a protocol, and go over a link that is never waited for.

use jiff::Timestamp;

use super::Stream;
use super::journald::{self, Partial};
use super::lines::Pieces;
use super::link::Link;
use super::syslog;
use crate::protocol::{Journald, LogConfig, Remote as Config, Syslog};

/// Bytes that wait at most, unless the user says otherwise.
const LIMIT: usize = 1 << 20;

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) link: Link,
    encoder: Encoder,
    /// The container waits for a receiver that is there and slow.
    pub(crate) blocking: bool,
}

#[derive(Debug)]
enum Encoder {
    Syslog(Syslog, u32),
    Journald {
        config: Journald,
        epoch: String,
        ordinal: u64,
        /// The line of each stream that has been sent in part, and how many parts.
        partial: [Option<Partial>; 2],
    },
}

impl Remote {
    /// None when the log is only kept.
    pub(crate) fn new(config: &LogConfig) -> Option<Remote> {
        let limit = config.buffer.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(LIMIT);
        let blocking = config.buffer.is_none();
        let (encoder, addresses) = match config.remote.clone()? {
            Config::Syslog(syslog) => {
                let (pid, addresses) =
                    (rustix::process::getpid().as_raw_nonzero().get().cast_unsigned(), &syslog.addresses);
                (Encoder::Syslog(syslog.clone(), pid), addresses.clone())
            }
            Config::Journald(config) => {
                let mut random = [0_u8; 16];
                let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
                let epoch = format!("{:032x}", u128::from_ne_bytes(random));
                let addresses = vec![config.socket.clone()];
                (Encoder::Journald { config, epoch, ordinal: 0, partial: [None, None] }, addresses)
            }
        };
        Some(Remote { link: Link::new(addresses, limit), encoder, blocking })
    }

    /// Takes a block that was read at `time`.
    pub(crate) fn block(&mut self, stream: Stream, block: &[u8], time: Timestamp) {
        for piece in Pieces(block) {
            let message = self.encoder.message(stream, piece, time);
            message.into_iter().for_each(|message| self.link.push(message));
        }
    }
}

impl Encoder {
    fn message(&mut self, stream: Stream, piece: &[u8], time: Timestamp) -> Option<Vec<u8>> {
        let (line, whole) = match piece.strip_suffix(b"\n") {
            Some(line) => (line, true),
            None => (piece, false),
        };
        match self {
            // Docker's driver sends no empty message.
            Encoder::Syslog(_, _) if line.is_empty() => None,
            Encoder::Syslog(config, pid) => {
                let offset = teu_sys::clock::offset(time.as_second());
                Some(syslog::message(config, *pid, stream, line, time, offset))
            }
            Encoder::Journald { config, epoch, ordinal, partial } => {
                *ordinal += 1;
                let place = &mut partial[stream as usize];
                let part = match place.take() {
                    Some(before) => Some(Partial { ordinal: before.ordinal + 1, last: whole, ..before }),
                    None if whole => None,
                    None => Some(Partial { id: format!("{epoch}-{ordinal}"), ordinal: 1, last: false }),
                };
                let message = journald::message(&config.fields, (epoch, *ordinal), stream, line, time, part.as_ref());
                *place = part.filter(|part| !part.last);
                Some(message)
            }
        }
    }
}
