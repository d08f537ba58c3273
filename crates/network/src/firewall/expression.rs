//! What a rule can ask and do, and the kernel's little programs for it (`<linux/netfilter/nf_tables.h>`).
//!
//! A rule is a row of instructions on registers: load something, compare it, else the rule ends. Register 1 is 16 bytes
//! and is the same memory as the 4-byte registers 8 to 11; a concatenated key is loaded into these one after the other,
//! each part padded to 4 bytes, and looked up starting at register 1.

use ipnet::Ipv4Net;

use super::encode::{PUBLISHED, PUBLISHED_AT};
use crate::netlink::Message;

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// The packet came in by that interface.
    From(Interface),
    /// The packet goes out by that interface.
    To(Interface),
    /// Its source is in that network.
    SourceIn(Ipv4Net),
    /// Its source is in 127.0.0.0/8.
    SourceLoopback,
    /// Its destination is in 127.0.0.0/8.
    DestinationLoopback,
    /// Its destination is an address of the host.
    DestinationLocal,
    /// Its connection is of that sort.
    Connection(Connection),
    /// Its destination becomes what the map of ports published everywhere says; the rule ends when that says nothing.
    DnatByPublished,
    /// The same by the map of ports published on one address.
    DnatByPublishedAt,
    /// Its source becomes the address of the interface it leaves by.
    Masquerade,
    /// Decides.
    Verdict(Verdict),
}

/// An interface by name, which may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it must be, or must not be, that one.
    pub is: bool,
}

/// What connection tracking knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Established, or related to one that is.
    Known,
    /// Its destination was translated.
    Published,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The packet passes this chain.
    Accept,
    /// The packet is gone.
    Drop,
    /// The chain ends, its policy holds.
    Return,
}

const REGISTER: u32 = 1;
const FIRST_WORD: u32 = 8;

const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const SOURCE: u32 = 12; // offsets in the IPv4 header
const DESTINATION: u32 = 16;
const DESTINATION_PORT: u32 = 2; // in the TCP and UDP header
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const STATE_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const STATUS_DST_NAT: u32 = 1 << 5;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 1 << 1;
const TYPE_LOCAL: u32 = 2;
const NAT_DESTINATION: u32 = 1;
const FAMILY_IPV4: u32 = 2;
const INTERFACE_NAME: usize = 16;

impl Expression {
    /// Adds the instructions to a rule's list.
    pub(super) fn encode(&self, list: Message) -> Message {
        match self {
            Self::From(interface) => name_is(meta(list, META_IIFNAME, REGISTER), interface),
            Self::To(interface) => name_is(meta(list, META_OIFNAME, REGISTER), interface),
            Self::SourceIn(network) => {
                let loaded = payload(list, NETWORK_HEADER, SOURCE, 4, REGISTER);
                compare(mask(loaded, network.netmask().octets()), EQUAL, &network.network().octets())
            }
            Self::SourceLoopback => compare(payload(list, NETWORK_HEADER, SOURCE, 1, REGISTER), EQUAL, &[127]),
            Self::DestinationLoopback => {
                compare(payload(list, NETWORK_HEADER, DESTINATION, 1, REGISTER), EQUAL, &[127])
            }
            Self::DestinationLocal => compare(destination_type(list), EQUAL, &TYPE_LOCAL.to_ne_bytes()),
            Self::Connection(connection) => {
                let (key, bits) = match connection {
                    Connection::Known => (CT_STATE, STATE_ESTABLISHED_OR_RELATED),
                    Connection::Published => (CT_STATUS, STATUS_DST_NAT),
                };
                let loaded = instruction(list, "ct", |ct| ct.be32(1, REGISTER).be32(2, key));
                compare(mask(loaded, bits.to_ne_bytes()), NOT_EQUAL, &[0; 4])
            }
            Self::DnatByPublished => dnat(protocol_and_port(list, FIRST_WORD), PUBLISHED),
            Self::DnatByPublishedAt => {
                let address = payload(list, NETWORK_HEADER, DESTINATION, 4, FIRST_WORD);
                dnat(protocol_and_port(address, FIRST_WORD + 1), PUBLISHED_AT)
            }
            Self::Masquerade => instruction(list, "masq", |masquerade| masquerade),
            Self::Verdict(verdict) => decide(list, *verdict),
        }
    }
}

fn instruction(list: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    list.nest(LIST_ELEMENT, |element| element.string(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, fill))
}

fn meta(list: Message, key: u32, register: u32) -> Message {
    instruction(list, "meta", |meta| meta.be32(1, register).be32(2, key))
}

fn payload(list: Message, header: u32, offset: u32, length: u32, register: u32) -> Message {
    instruction(list, "payload", |load| load.be32(1, register).be32(2, header).be32(3, offset).be32(4, length))
}

fn destination_type(list: Message) -> Message {
    instruction(list, "fib", |fib| fib.be32(1, REGISTER).be32(2, FIB_ADDRESS_TYPE).be32(3, FIB_DESTINATION))
}

/// Keeps the bits that are set in `bits`.
fn mask(list: Message, bits: [u8; 4]) -> Message {
    instruction(list, "bitwise", |and| {
        and.be32(1, REGISTER)
            .be32(2, REGISTER)
            .be32(3, 4)
            .nest(4, |mask| mask.bytes(DATA_VALUE, &bits))
            .nest(5, |xor| xor.bytes(DATA_VALUE, &[0; 4]))
    })
}

fn compare(list: Message, operator: u32, value: &[u8]) -> Message {
    instruction(list, "cmp", |compare| {
        compare.be32(1, REGISTER).be32(2, operator).nest(3, |data| data.bytes(DATA_VALUE, value))
    })
}

fn name_is(list: Message, interface: &Interface) -> Message {
    let mut padded = [0; INTERFACE_NAME];
    for (to, from) in padded.iter_mut().zip(interface.name.bytes().take(INTERFACE_NAME - 1)) {
        *to = from;
    }
    compare(list, if interface.is { EQUAL } else { NOT_EQUAL }, &padded)
}

fn protocol_and_port(list: Message, word: u32) -> Message {
    payload(meta(list, META_L4PROTO, word), TRANSPORT_HEADER, DESTINATION_PORT, 2, word + 1)
}

/// Looks the loaded key up (no element: the rule ends) and translates to the found address and port.
fn dnat(list: Message, map: &str) -> Message {
    let found = instruction(list, "lookup", |lookup| lookup.string(1, map).be32(2, REGISTER).be32(3, REGISTER));
    instruction(found, "nat", |nat| {
        nat.be32(1, NAT_DESTINATION).be32(2, FAMILY_IPV4).be32(3, FIRST_WORD).be32(5, FIRST_WORD + 1)
    })
}

fn decide(list: Message, verdict: Verdict) -> Message {
    let code: i32 = match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
        Verdict::Return => -5,
    };
    instruction(list, "immediate", |immediate| {
        immediate.be32(1, 0).nest(2, |data| data.nest(DATA_VERDICT, |verdict| verdict.be32(1, code.cast_unsigned())))
    })
}
