//! What can go wrong in the network room: the cases a caller can act on, and the rest.

use std::io;
use std::net::IpAddr;

use crate::netlink::Refused;

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
    /// The kernel cannot make such a thing.
    #[error("this kernel has no {what}")]
    Unsupported {
        /// What was wanted.
        what: String,
    },
    /// Every subnet of the pools overlaps a route or address of the host.
    #[error("every subnet of the address pools overlaps a network of the host")]
    NoSubnet,
    /// Every address of the subnet is in use.
    #[error("no free address is left in {subnet}")]
    NoAddress {
        /// The subnet.
        subnet: ipnet::IpNet,
    },
    /// The address is in use, or not one that an endpoint of this subnet can have.
    #[error("address {address} is not free in {subnet}")]
    AddressTaken {
        /// The address asked for.
        address: IpAddr,
        /// The subnet.
        subnet: ipnet::IpNet,
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
