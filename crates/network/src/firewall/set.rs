//! The sets and maps of our tables: what they are keyed by, and the bytes of their elements. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::publish::{Protocol, Publish};
use crate::route::octets;

/// Ports published on every address: protocol . port → address . port.
pub(super) const PUBLISHED: &str = "published";
/// Ports published on one address: address . protocol . port → address . port.
pub(super) const PUBLISHED_AT: &str = "published_at";
/// Ports of containers that are reached without translation: address . protocol . port.
pub(super) const ROUTED: &str = "routed";
/// Our bridges.
pub(super) const BRIDGES: &str = "bridges";
/// Bridges that nothing leaves and nothing enters.
pub(super) const INTERNAL: &str = "internal";
/// Bridges whose containers are reached by everybody who has a route.
pub(super) const OPEN: &str = "open";
/// Bridges with routed ports.
pub(super) const ROUTED_BRIDGES: &str = "routed_bridges";
/// Pairs of interfaces that packets may always pass between.
pub(super) const PASS: &str = "pass";
/// Ports of the host that no container may reach: protocol . port.
pub(super) const GUARDED: &str = "guarded";

/// What one part of a key or value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// An address of the table's family.
    Address,
    /// The number of a transport.
    Protocol,
    /// A port.
    Port,
    /// The name of an interface.
    Interface,
}

impl Word {
    /// The type's number, as nft shows it; a concatenation is six bits for each part.
    pub(super) fn kind(self, ipv6: bool) -> u32 {
        match self {
            Self::Address if ipv6 => 8,
            Self::Address => 7,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Interface => 41,
        }
    }

    /// Its bytes in a key, padded to whole registers.
    pub(super) fn length(self, ipv6: bool) -> u32 {
        match self {
            Self::Address if ipv6 => 16,
            Self::Interface => 16,
            _ => 4,
        }
    }
}

/// One element: its key, and in a map its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The key's bytes.
    pub key: Vec<u8>,
    /// The value's bytes; empty in a set.
    pub value: Vec<u8>,
}

/// A set, or a map if its value has parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// What its key is made of.
    pub key: &'static [Word],
    /// What its value is made of.
    pub value: &'static [Word],
    /// What is in it, sorted.
    pub elements: Vec<Element>,
}

/// The two maps of published ports; of two ports that are the same, the later counts.
pub(super) fn published<'a>(ports: impl Iterator<Item = &'a Publish>) -> [Set; 2] {
    let (mut everywhere, mut somewhere) = (BTreeMap::new(), BTreeMap::new());
    for port in ports {
        let (set, element) = place(port);
        let map = if set == PUBLISHED { &mut everywhere } else { &mut somewhere };
        map.insert(element.key, element.value);
    }
    let elements =
        |map: BTreeMap<Vec<u8>, Vec<u8>>| map.into_iter().map(|(key, value)| Element { key, value }).collect();
    const TARGET: &[Word] = &[Word::Address, Word::Port];
    [
        Set { name: PUBLISHED, key: &[Word::Protocol, Word::Port], value: TARGET, elements: elements(everywhere) },
        Set {
            name: PUBLISHED_AT,
            key: &[Word::Address, Word::Protocol, Word::Port],
            value: TARGET,
            elements: elements(somewhere),
        },
    ]
}

/// A set of plain keys.
pub(super) fn plain(name: &'static str, key: &'static [Word], mut keys: Vec<Vec<u8>>) -> Set {
    keys.sort_unstable();
    keys.dedup();
    Set { name, key, value: &[], elements: keys.into_iter().map(|key| Element { key, value: vec![] }).collect() }
}

/// The map that a published port belongs into, and its element.
pub(super) fn place(port: &Publish) -> (&'static str, Element) {
    let value = [octets(port.container_ip), self::port(port.container_port)].concat();
    let key = transport(port.protocol, port.host_port);
    if port.host_ip.is_unspecified() {
        (PUBLISHED, Element { key, value })
    } else {
        (PUBLISHED_AT, Element { key: [octets(port.host_ip), key].concat(), value })
    }
}

/// The key of a port that is reached at the container's own address.
pub(super) fn routed(address: IpAddr, protocol: Protocol, port: u16) -> Vec<u8> {
    [octets(address), transport(protocol, port)].concat()
}

/// Each part padded to the 4 bytes of a register.
pub(super) fn transport(protocol: Protocol, port: u16) -> Vec<u8> {
    [vec![protocol.number(), 0, 0, 0], self::port(port)].concat()
}

fn port(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![high, low, 0, 0]
}

/// An interface's name, padded.
pub(super) fn interface(name: &str) -> Vec<u8> {
    let mut padded = vec![0; 16];
    for (to, from) in padded.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    padded
}
