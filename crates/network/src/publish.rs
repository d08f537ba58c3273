//! Published ports: what they are, and holding them against every other program of the host.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The transport of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

impl Protocol {
    /// Its IANA number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads to a port of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Publish {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The host's address that is published; `0.0.0.0` is all of them, one in 127.0.0.0/8 is reachable only from the
    /// host itself.
    pub host_ip: Ipv4Addr,
    /// The port on the host.
    pub host_port: u16,
    /// The container's address.
    pub container_ip: Ipv4Addr,
    /// The port in the container.
    pub container_port: u16,
}

/// A port of the host that is ours for as long as this lives. The socket in it only occupies the port: packets are
/// led past it by the firewall, before they would reach it.
#[derive(Debug)]
pub struct Reservation {
    protocol: Protocol,
    address: SocketAddrV4,
    _socket: Socket,
}

#[derive(Debug)]
enum Socket {
    /// Listening, because a merely bound one does not keep out a program that sets `SO_REUSEADDR`.
    Tcp(#[allow(dead_code, reason = "held, never used")] TcpListener),
    Udp(#[allow(dead_code, reason = "held, never used")] UdpSocket),
}

impl Reservation {
    /// The port that is held.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address it is held on.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        *self.address.ip()
    }

    /// TCP or UDP.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }
}

/// Holds the host's port of `publish`; with port 0, any free one (see [`Reservation::port`]).
///
/// [`Error::PortInUse`] when another has it, [`Error::NotLocal`] when the address is not the host's.
pub fn reserve(publish: &Publish) -> Result<Reservation, Error> {
    hold(publish.protocol, publish.host_ip, publish.host_port)
}

/// Holds a free port of the system's choice.
pub fn ephemeral(protocol: Protocol, host_ip: Ipv4Addr) -> Result<Reservation, Error> {
    hold(protocol, host_ip, 0)
}

fn hold(protocol: Protocol, address: Ipv4Addr, port: u16) -> Result<Reservation, Error> {
    let wanted = SocketAddrV4::new(address, port);
    let bound = match protocol {
        Protocol::Tcp => TcpListener::bind(wanted).and_then(|socket| Ok((socket.local_addr()?, Socket::Tcp(socket)))),
        Protocol::Udp => UdpSocket::bind(wanted).and_then(|socket| Ok((socket.local_addr()?, Socket::Udp(socket)))),
    };
    let (local, socket) = bound.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => Error::PortInUse { address, port, protocol },
        ErrorKind::AddrNotAvailable => Error::NotLocal { address },
        _ => Error::io(format!("reserve port {address}:{port}/{protocol}"), source),
    })?;
    Ok(Reservation { protocol, address: SocketAddrV4::new(address, local.port()), _socket: socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_refused_to_others_and_free_again_when_let_go() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let held = ephemeral(protocol, Ipv4Addr::LOCALHOST).expect("a free port");
            let again = Publish {
                protocol,
                host_ip: Ipv4Addr::LOCALHOST,
                host_port: held.port(),
                container_ip: Ipv4Addr::UNSPECIFIED,
                container_port: 80,
            };
            let refused = reserve(&again).expect_err("it is held");
            assert_eq!(refused.to_string(), format!("port 127.0.0.1:{}/{protocol} is already in use", held.port()));
            let everywhere = Publish { host_ip: Ipv4Addr::UNSPECIFIED, ..again.clone() };
            assert!(matches!(reserve(&everywhere), Err(Error::PortInUse { .. })));
            drop(held);
            assert_eq!(reserve(&again).expect("it is free").port(), again.host_port);
        }
    }

    #[test]
    fn an_address_the_host_does_not_have_is_named() {
        let refused = ephemeral(Protocol::Tcp, Ipv4Addr::new(192, 0, 2, 254)).expect_err("a documentation address");
        assert!(matches!(refused, Error::NotLocal { address } if address == Ipv4Addr::new(192, 0, 2, 254)));
    }
}
