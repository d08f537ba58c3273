//! What a supervisor does for its container on the network: it holds the published ports of the host ([`ports`]) and
//! answers questions for names ([`names`]). A container that has neither costs nothing here.
//!
//! Invariants: every socket is non-blocking; the process is in its host's network namespace between turns, and in its
//! container's only while it makes a socket there.

mod names;
mod ports;
mod tcp;
mod udp;
mod upstream;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::protocol::{Event, NamesRequest, PortRequest};

/// Something that may have become ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Ports(ports::Place),
    Names(names::Place),
}

/// Everything done on the network.
#[derive(Debug, Default)]
pub(crate) struct Services {
    ports: ports::Ports,
    names: Option<Box<names::Server>>,
}

impl Services {
    pub(crate) fn publish(&mut self, wanted: &[PortRequest]) -> Event {
        match self.ports.publish(wanted) {
            Ok(ports) => Event::Published { ports },
            Err(ports::Taken { address, port, error }) => Event::PortTaken {
                address,
                port,
                taken: error.kind() == io::ErrorKind::AddrInUse,
                message: error.to_string(),
            },
        }
    }

    /// Begins to answer for the container whose first process is `pid`, or goes on with other names.
    pub(crate) fn serve_names(&mut self, pid: i32, request: NamesRequest) -> io::Result<()> {
        match &mut self.names {
            Some(server) => server.change(request),
            none => *none = Some(Box::new(names::Server::new(pid, request)?)),
        }
        Ok(())
    }

    pub(crate) fn interests<'fd>(&'fd self, wait: &mut dyn FnMut(BorrowedFd<'fd>, bool, bool, Place)) {
        self.ports.interests(&mut |fd, readable, writable, place| wait(fd, readable, writable, Place::Ports(place)));
        if let Some(names) = &self.names {
            names.interests(&mut |fd, readable, writable, place| wait(fd, readable, writable, Place::Names(place)));
        }
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        let names = self.names.as_ref().and_then(|names| names.timeout());
        self.ports.timeout().into_iter().chain(names).min()
    }

    pub(crate) fn act(&mut self, place: Place) {
        match place {
            Place::Ports(place) => self.ports.act(place),
            Place::Names(place) => {
                if let Some(names) = &mut self.names {
                    names.act(place);
                }
            }
        }
    }

    /// Lets go of what is over, after a turn.
    pub(crate) fn settle(&mut self) {
        self.ports.settle();
        if let Some(names) = &mut self.names {
            names.settle();
        }
    }

    /// Lets go of everything.
    pub(crate) fn close(&mut self) {
        *self = Self::default();
    }
}

/// Does something in the network namespace of a process, and comes back.
fn inside<T>(namespace: &File, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use teu_sys::namespace::{NETWORK, enter};
    let home = File::open("/proc/self/ns/net")?;
    enter(namespace, NETWORK)?;
    let outcome = work();
    if enter(&home, NETWORK).is_err() {
        // Nothing that follows would be done where it should be.
        std::process::abort();
    }
    outcome
}
