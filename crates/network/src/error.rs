//! What can go wrong in the network room: the cases a caller can act on, and the rest.

use std::io;
use std::net::Ipv4Addr;

use crate::netlink::Refused;
use crate::publish::Protocol;

/// Why something in the network could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A link, table or address that was named is not there.
    #[error("no such {what}")]
    NotFound {
        /// The kind of thing and its name.
        what: String,
    },
    /// The name or key is in use by something else.
    #[error("{what} already exists")]
    Exists {
        /// The kind of thing and its name.
        what: String,
    },
    /// Another program (or another container) has the port.
    #[error("port {address}:{port}/{protocol} is already in use")]
    PortInUse {
        /// The address asked for; `0.0.0.0` is all of them.
        address: Ipv4Addr,
        /// The port asked for.
        port: u16,
        /// TCP or UDP.
        protocol: Protocol,
    },
    /// The host has no such address to publish on.
    #[error("the host has no address {address}")]
    NotLocal {
        /// The address asked for.
        address: Ipv4Addr,
    },
    /// Every subnet of the pools overlaps a route or address of the host.
    #[error("every subnet of the address pools overlaps a network of the host")]
    NoSubnet,
    /// Every address of the subnet is in use.
    #[error("no free address is left in {subnet}")]
    NoAddress {
        /// The subnet.
        subnet: ipnet::Ipv4Net,
    },
    /// The address is in use, or not one that an endpoint of this subnet can have.
    #[error("address {address} is not free in {subnet}")]
    AddressTaken {
        /// The address asked for.
        address: Ipv4Addr,
        /// The subnet.
        subnet: ipnet::Ipv4Net,
    },
    /// The kernel refused something else.
    #[error("{what}: {source}")]
    Io {
        /// Verb, object, which one.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }

    pub(crate) fn refused(what: impl Into<String>, refused: Refused) -> Self {
        Self::io(what, refused.errno)
    }
}
