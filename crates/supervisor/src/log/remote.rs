//! What is sent elsewhere: lines become messages of a protocol, and go over a link that is never waited for.

use jiff::Timestamp;

use super::journald::{self, Partial};
use super::lines::Pieces;
use super::link::Link;
use super::{Stream, fluentd, gelf, syslog};
use crate::protocol::{Fluentd, Gelf, Journald, LogConfig, Remote as Config, Syslog};

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
    Journald(Journald, Parts),
    Gelf(Gelf),
    Fluentd(Fluentd, Parts),
}

/// Counts messages, and the parts of lines that are longer than one.
#[derive(Debug)]
struct Parts {
    epoch: String,
    ordinal: u64,
    /// The line of each stream that has been sent in part, and how many parts.
    partial: [Option<Partial>; 2],
}

impl Parts {
    fn new() -> Self {
        let mut random = [0_u8; 16];
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        let epoch = format!("{:032x}", u128::from_ne_bytes(random));
        Self { epoch, ordinal: 0, partial: [None, None] }
    }

    /// Where the next piece stands in its line; none if it is one by itself.
    fn next(&mut self, stream: Stream, whole: bool) -> Option<Partial> {
        self.ordinal += 1;
        let place = &mut self.partial[stream as usize];
        let part = match place.take() {
            Some(before) => Some(Partial { ordinal: before.ordinal + 1, last: whole, ..before }),
            None if whole => None,
            None => Some(Partial { id: format!("{}-{}", self.epoch, self.ordinal), ordinal: 1, last: false }),
        };
        *place = part.clone().filter(|part| !part.last);
        part
    }
}

impl Remote {
    /// None when the log is only kept.
    pub(crate) fn new(config: &LogConfig) -> Option<Remote> {
        let blocking = config.buffer.is_none();
        let (encoder, addresses) = match config.remote.clone()? {
            Config::Syslog(syslog) => {
                let (pid, addresses) =
                    (rustix::process::getpid().as_raw_nonzero().get().cast_unsigned(), &syslog.addresses);
                (Encoder::Syslog(syslog.clone(), pid), addresses.clone())
            }
            Config::Journald(config) => {
                let addresses = vec![config.socket.clone()];
                (Encoder::Journald(config, Parts::new()), addresses)
            }
            Config::Gelf(config) => {
                let addresses = config.addresses.clone();
                (Encoder::Gelf(config), addresses)
            }
            Config::Fluentd(config) => {
                let addresses = config.addresses.clone();
                (Encoder::Fluentd(config, Parts::new()), addresses)
            }
        };
        let own = match &encoder {
            Encoder::Fluentd(config, _) => config.limit,
            _ => None,
        };
        let limit = config.buffer.or(own).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(LIMIT);
        Some(Remote { link: Link::new(addresses, limit), encoder, blocking })
    }

    /// Takes a block that was read at `time`.
    pub(crate) fn block(&mut self, stream: Stream, block: &[u8], time: Timestamp) {
        for piece in Pieces(block) {
            let messages = self.encoder.messages(stream, piece, time);
            messages.into_iter().for_each(|message| self.link.push(message));
        }
    }
}

impl Encoder {
    fn messages(&mut self, stream: Stream, piece: &[u8], time: Timestamp) -> Vec<Vec<u8>> {
        let (line, whole) = match piece.strip_suffix(b"\n") {
            Some(line) => (line, true),
            None => (piece, false),
        };
        match self {
            // Docker's drivers send no empty message.
            Encoder::Syslog(..) | Encoder::Gelf(_) if line.is_empty() => vec![],
            Encoder::Syslog(config, pid) => {
                let offset = teu_sys::clock::offset(time.as_second());
                vec![syslog::message(config, *pid, stream, line, time, offset)]
            }
            Encoder::Journald(config, parts) => {
                let part = parts.next(stream, whole);
                let place = (parts.epoch.as_str(), parts.ordinal);
                vec![journald::message(&config.fields, place, stream, line, time, part.as_ref())]
            }
            Encoder::Gelf(config) => gelf::messages(config, stream, line, time),
            Encoder::Fluentd(config, parts) => {
                let part = parts.next(stream, whole);
                vec![fluentd::message(config, stream, line, time, part.as_ref())]
            }
        }
    }
}
