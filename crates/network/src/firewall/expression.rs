//! What a rule can ask and do, and the kernel's little programs for it (`<linux/netfilter/nf_tables.h>`).
//!
//! A rule is a row of instructions on registers: load something, compare it, else the rule ends. There are sixteen
//! registers of 4 bytes, numbered from 8; a concatenated key is loaded into them one part after the other, each padded to
//! 4 bytes, and looked up starting at the first.

use std::net::IpAddr;

use ipnet::IpNet;

use super::set::{GUARDED, PASS, PUBLISHED, PUBLISHED_AT, ROUTED, interface};
use crate::netlink::Message;
use crate::route::octets;

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// The packet came in by that interface.
    From(String),
    /// The packet came in by one of the set's interfaces.
    FromIn(&'static str),
    /// The packet goes out by that interface, or by any other.
    To(Interface),
    /// The packet goes out by one of the set's interfaces.
    ToIn(&'static str),
    /// The two interfaces are a pair that may always speak.
    Pass,
    /// Its source is in that network.
    SourceIn(IpNet),
    /// Its destination is an address of the host.
    DestinationLocal,
    /// Its destination is that address.
    DestinationIs(IpAddr),
    /// Its source is that address.
    SourceIs(IpAddr),
    /// Its transport has that number.
    Transport(u8),
    /// Its destination port (or else its source port) is that one.
    PortIs(Port, u16),
    /// That port becomes another; the transport is given for its checksum.
    SetPort(Port, u16, u8),
    /// It reports so many multicast groups and nothing else, all of them of its link alone (MLDv2, RFC 3810 section 5.2).
    ReportsOfLink(u16),
    /// Its connection is of that sort.
    Connection(Connection),
    /// Its destination port is published on every address, or on the packet's.
    Published(Where),
    /// Its destination becomes what the map of published ports says; the rule ends when that says nothing.
    Dnat(Where),
    /// Its destination is a port of a container that is reached without translation.
    Routed,
    /// Its destination port is one of the host that containers may not reach.
    Guarded,
    /// Its source becomes the address of the interface it leaves by.
    Masquerade,
    /// Its source becomes that address.
    SnatTo(IpAddr),
    /// Of its mark those bits are kept, and those are set.
    Mark {
        /// The bits that stay.
        keep: u32,
        /// The bits that are set.
        set: u32,
    },
    /// A copy of it is sent to that neighbour by the interface of that number.
    Copy(IpAddr, u32),
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

/// Which of a packet's two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

/// Which map of published ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// That of ports published on every address.
    Everywhere,
    /// That of ports published on one address.
    AtAddress,
}

/// What connection tracking knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Established, or related to one that is.
    Known,
    /// This is its first packet.
    New,
    /// Its destination was translated.
    Translated,
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

/// The first register.
const WORD: u32 = 8;

const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const DESTINATION_PORT: u32 = 2; // in the header of each transport
const CHECKSUM_INTERNET: u32 = 1;
const ICMPV6: u8 = 58;
const MLD2_REPORT: u8 = 143;
/// In a report: how many records there are, where the first begins, and in each, without sources, its group.
const RECORDS: u32 = 6;
const FIRST_RECORD: u32 = 8;
const RECORD: u32 = 20;
const GROUP: u32 = 4;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const STATE_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const STATE_NEW: u32 = 8;
const STATUS_DST_NAT: u32 = 1 << 5;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 1 << 1;
const TYPE_LOCAL: u32 = 2;
const NAT_SOURCE: u32 = 0;
const NAT_DESTINATION: u32 = 1;

impl Expression {
    /// Adds the instructions to a rule's list.
    pub(super) fn encode(&self, ipv6: bool, list: Message) -> Message {
        match self {
            Self::From(name) => compare(meta(list, META_IIFNAME, WORD), EQUAL, &interface(name)),
            Self::FromIn(set) => lookup(meta(list, META_IIFNAME, WORD), set, None),
            Self::To(to) => {
                let operator = if to.is { EQUAL } else { NOT_EQUAL };
                compare(meta(list, META_OIFNAME, WORD), operator, &interface(&to.name))
            }
            Self::ToIn(set) => lookup(meta(list, META_OIFNAME, WORD), set, None),
            Self::Pass => lookup(meta(meta(list, META_IIFNAME, WORD), META_OIFNAME, WORD + 4), PASS, None),
            Self::SourceIn(network) => {
                let (mask_bytes, bytes) = (octets(network.netmask()), octets(network.network()));
                compare(mask(address(list, ipv6, Side::Source, WORD), &mask_bytes), EQUAL, &bytes)
            }
            Self::DestinationLocal => compare(destination_type(list), EQUAL, &TYPE_LOCAL.to_ne_bytes()),
            Self::DestinationIs(is) => compare(address(list, ipv6, Side::Destination, WORD), EQUAL, &octets(*is)),
            Self::SourceIs(is) => compare(address(list, ipv6, Side::Source, WORD), EQUAL, &octets(*is)),
            Self::PortIs(which, port) => {
                compare(payload(list, TRANSPORT_HEADER, which.offset(), 2, WORD), EQUAL, &port.to_be_bytes())
            }
            Self::SetPort(which, port, transport) => {
                let checksum = if *transport == 6 { 16 } else { 6 };
                let loaded = immediate(list, WORD, &port.to_be_bytes());
                instruction(loaded, "payload", |write| {
                    write
                        .be32(2, TRANSPORT_HEADER)
                        .be32(3, which.offset())
                        .be32(4, 2)
                        .be32(5, WORD)
                        .be32(6, CHECKSUM_INTERNET)
                        .be32(7, checksum)
                })
            }
            Self::Transport(number) => compare(meta(list, META_L4PROTO, WORD), EQUAL, &[*number]),
            Self::ReportsOfLink(count) => reports_of_link(list, *count),
            Self::Connection(connection) => connection.encode(list),
            Self::Published(which) => published(list, ipv6, *which),
            Self::Dnat(which) => {
                let words = if ipv6 { 4 } else { 1 };
                instruction(published(list, ipv6, *which), "nat", |nat| {
                    nat.be32(1, NAT_DESTINATION).be32(2, family(ipv6)).be32(3, WORD).be32(5, WORD + words)
                })
            }
            Self::Routed => lookup(to_port(list, ipv6), ROUTED, None),
            Self::Guarded => lookup(protocol_and_port(list, WORD), GUARDED, None),
            Self::Masquerade => instruction(list, "masq", |masquerade| masquerade),
            Self::SnatTo(address) => instruction(immediate(list, WORD, &octets(*address)), "nat", |nat| {
                nat.be32(1, NAT_SOURCE).be32(2, family(ipv6)).be32(3, WORD)
            }),
            Self::Mark { keep, set } => {
                let marked = bitwise(meta(list, META_MARK, WORD), &keep.to_ne_bytes(), &set.to_ne_bytes());
                instruction(marked, "meta", |meta| meta.be32(2, META_MARK).be32(3, WORD))
            }
            Self::Copy(to, device) => {
                let loaded = immediate(immediate(list, WORD, &octets(*to)), WORD + 4, &device.to_ne_bytes());
                instruction(loaded, "dup", |dup| dup.be32(1, WORD).be32(2, WORD + 4))
            }
            Self::Verdict(verdict) => decide(list, *verdict),
        }
    }
}

impl Port {
    /// In the header of each transport.
    fn offset(self) -> u32 {
        match self {
            Self::Source => 0,
            Self::Destination => DESTINATION_PORT,
        }
    }
}

impl Connection {
    fn encode(self, list: Message) -> Message {
        let (key, bits) = match self {
            Self::Known => (CT_STATE, STATE_ESTABLISHED_OR_RELATED),
            Self::New => (CT_STATE, STATE_NEW),
            Self::Translated => (CT_STATUS, STATUS_DST_NAT),
        };
        let loaded = instruction(list, "ct", |ct| ct.be32(1, WORD).be32(2, key));
        compare(mask(loaded, &bits.to_ne_bytes()), NOT_EQUAL, &[0; 4])
    }
}

fn family(ipv6: bool) -> u32 {
    if ipv6 { 10 } else { 2 }
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

enum Side {
    Source,
    Destination,
}

fn address(list: Message, ipv6: bool, side: Side, register: u32) -> Message {
    let (offset, length) = match (ipv6, side) {
        (false, Side::Source) => (12, 4),
        (false, Side::Destination) => (16, 4),
        (true, Side::Source) => (8, 16),
        (true, Side::Destination) => (24, 16),
    };
    payload(list, NETWORK_HEADER, offset, length, register)
}

fn destination_type(list: Message) -> Message {
    instruction(list, "fib", |fib| fib.be32(1, WORD).be32(2, FIB_ADDRESS_TYPE).be32(3, FIB_DESTINATION))
}

fn reports_of_link(list: Message, count: u16) -> Message {
    let header = |list, offset, value: &[u8]| {
        let length = u32::try_from(value.len()).unwrap_or(0);
        compare(payload(list, TRANSPORT_HEADER, offset, length, WORD), EQUAL, value)
    };
    let report = header(compare(meta(list, META_L4PROTO, WORD), EQUAL, &[ICMPV6]), 0, &[MLD2_REPORT]);
    let counted = header(report, RECORDS, &count.to_be_bytes());
    (0..u32::from(count)).fold(counted, |list, record| {
        // No sources, or the next record would be elsewhere; and a group whose packets no router passes on.
        let record = FIRST_RECORD + RECORD * record;
        header(header(list, record + 2, &[0, 0]), record + GROUP, &[0xff, 0x02])
    })
}

/// Keeps the bits that are set in `bits`.
fn mask(list: Message, bits: &[u8]) -> Message {
    bitwise(list, bits, &vec![0; bits.len()])
}

/// Keeps the bits that are set in `and`, and then turns those over that are set in `xor`.
fn bitwise(list: Message, and: &[u8], xor: &[u8]) -> Message {
    let length = u32::try_from(and.len()).unwrap_or(0);
    instruction(list, "bitwise", |both| {
        both.be32(1, WORD)
            .be32(2, WORD)
            .be32(3, length)
            .nest(4, |mask| mask.bytes(DATA_VALUE, and))
            .nest(5, |turn| turn.bytes(DATA_VALUE, xor))
    })
}

fn compare(list: Message, operator: u32, value: &[u8]) -> Message {
    instruction(list, "cmp", |compare| {
        compare.be32(1, WORD).be32(2, operator).nest(3, |data| data.bytes(DATA_VALUE, value))
    })
}

fn immediate(list: Message, register: u32, value: &[u8]) -> Message {
    instruction(list, "immediate", |load| load.be32(1, register).nest(2, |data| data.bytes(DATA_VALUE, value)))
}

fn protocol_and_port(list: Message, word: u32) -> Message {
    payload(meta(list, META_L4PROTO, word), TRANSPORT_HEADER, DESTINATION_PORT, 2, word + 1)
}

/// Address, protocol and port of the destination.
fn to_port(list: Message, ipv6: bool) -> Message {
    let words = if ipv6 { 4 } else { 1 };
    protocol_and_port(address(list, ipv6, Side::Destination, WORD), WORD + words)
}

/// Looks the destination up; what the map says is then in the registers.
fn published(list: Message, ipv6: bool, which: Where) -> Message {
    match which {
        Where::Everywhere => lookup(protocol_and_port(list, WORD), PUBLISHED, Some(WORD)),
        Where::AtAddress => lookup(to_port(list, ipv6), PUBLISHED_AT, Some(WORD)),
    }
}

/// Looks the loaded key up; the rule ends where there is no such element.
fn lookup(list: Message, set: &str, into: Option<u32>) -> Message {
    instruction(list, "lookup", |lookup| {
        let lookup = lookup.string(1, set).be32(2, WORD);
        match into {
            Some(register) => lookup.be32(3, register),
            None => lookup,
        }
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
