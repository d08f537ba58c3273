//! A ruleset as nf_tables messages (`<linux/netfilter/nf_tables.h>`). Pure.

use super::{Chain, Kind, Ruleset, Target};
use crate::netlink::{Message, flag};
use crate::publish::{Protocol, Publish};

/// Name of the map of ports published on every address.
pub(super) const PUBLISHED: &str = "published";
/// Name of the map of ports published on one address.
pub(super) const PUBLISHED_AT: &str = "published_at";

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10; // NFNL_SUBSYS_NFTABLES
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;

const FAMILY_UNSPEC: u8 = 0;
const FAMILY_IPV4: u8 = 2;
const POLICY_ACCEPT: u32 = 1;
const SET_IS_MAP: u32 = 8;
/// Types as nft shows them; a concatenation is six bits for each part.
const TYPE_ADDRESS: u32 = 7;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
/// An attribute's length is 16 bits, and an element takes some 50 bytes.
const ELEMENTS_PER_MESSAGE: usize = 512;

pub(super) fn begin() -> Message {
    Message::new(BATCH_BEGIN, 0, &nfgenmsg(FAMILY_UNSPEC, SUBSYSTEM))
}

pub(super) fn end() -> Message {
    Message::new(BATCH_END, 0, &nfgenmsg(FAMILY_UNSPEC, SUBSYSTEM))
}

/// Everything that makes the table what the ruleset says, whatever there was. It is made first, so that there is always
/// one to delete.
pub(super) fn replace(ruleset: &Ruleset) -> Vec<Message> {
    let table = &ruleset.table;
    let mut messages = vec![new_table(table), delete_table(table), new_table(table)];
    messages.push(new_map(table, PUBLISHED, 1, &[TYPE_PROTOCOL, TYPE_PORT]));
    messages.push(new_map(table, PUBLISHED_AT, 2, &[TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT]));
    let everywhere: Vec<_> =
        ruleset.published.iter().map(|(&(protocol, port), &target)| (key(protocol, port), target)).collect();
    let somewhere: Vec<_> = ruleset
        .published_at
        .iter()
        .map(|(&(address, protocol, port), &target)| ([&address.octets()[..], &key(protocol, port)].concat(), target))
        .collect();
    messages.extend(everywhere.chunks(ELEMENTS_PER_MESSAGE).map(|chunk| new_elements(table, PUBLISHED, chunk)));
    messages.extend(somewhere.chunks(ELEMENTS_PER_MESSAGE).map(|chunk| new_elements(table, PUBLISHED_AT, chunk)));
    for chain in &ruleset.chains {
        messages.push(new_chain(table, chain));
        messages.extend(chain.rules.iter().map(|rule| {
            message(NEW_RULE, flag::CREATE | flag::APPEND)
                .string(1, table)
                .string(2, chain.name)
                .nest(4, |list| rule.iter().fold(list, |list, expression| expression.encode(list)))
        }));
    }
    messages
}

pub(super) fn delete_table(table: &str) -> Message {
    message(DELETE_TABLE, 0).string(1, table)
}

pub(super) fn add_port(table: &str, publish: &Publish) -> Message {
    let (map, key) = place(publish);
    new_elements(table, map, &[(key, (publish.container_ip, publish.container_port))])
}

pub(super) fn remove_port(table: &str, publish: &Publish) -> Message {
    let (map, key) = place(publish);
    message(DELETE_ELEMENT, 0)
        .string(1, table)
        .string(2, map)
        .nest(3, |list| list.nest(1, |element| element.nest(1, |data| data.bytes(1, &key))))
}

/// The map and key of a published port.
fn place(publish: &Publish) -> (&'static str, Vec<u8>) {
    let key = key(publish.protocol, publish.host_port);
    if publish.host_ip.is_unspecified() {
        (PUBLISHED, key)
    } else {
        (PUBLISHED_AT, [&publish.host_ip.octets()[..], &key].concat())
    }
}

/// Each part padded to the 4 bytes of a register.
fn key(protocol: Protocol, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![protocol.number(), 0, 0, 0, high, low, 0, 0]
}

fn value((address, port): Target) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [&address.octets()[..], &[high, low, 0, 0]].concat()
}

fn new_table(table: &str) -> Message {
    message(NEW_TABLE, flag::CREATE).string(1, table)
}

fn new_chain(table: &str, chain: &Chain) -> Message {
    let kind = match chain.kind {
        Kind::Filter => "filter",
        Kind::Nat => "nat",
    };
    message(NEW_CHAIN, flag::CREATE)
        .string(1, table)
        .string(3, chain.name)
        .nest(4, |hook| hook.be32(1, chain.hook as u32).be32(2, chain.priority.cast_unsigned()))
        .be32(5, POLICY_ACCEPT)
        .string(7, kind)
}

fn new_map(table: &str, name: &str, id: u32, key: &[u32]) -> Message {
    let concatenation = |parts: &[u32]| parts.iter().fold(0, |all, part| all << 6 | part);
    let length = |parts: &[u32]| parts.iter().fold(0, |all, _| all + 4);
    let value = [TYPE_ADDRESS, TYPE_PORT];
    message(NEW_SET, flag::CREATE)
        .string(1, table)
        .string(2, name)
        .be32(3, SET_IS_MAP)
        .be32(4, concatenation(key))
        .be32(5, length(key))
        .be32(6, concatenation(&value))
        .be32(7, length(&value))
        .be32(10, id)
}

fn new_elements(table: &str, map: &str, elements: &[(Vec<u8>, Target)]) -> Message {
    message(NEW_ELEMENT, flag::CREATE).string(1, table).string(2, map).nest(3, |list| {
        elements.iter().fold(list, |list, (key, target)| {
            list.nest(1, |element| {
                element.nest(1, |data| data.bytes(1, key)).nest(2, |data| data.bytes(1, &value(*target)))
            })
        })
    })
}

fn message(kind: u16, flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &nfgenmsg(FAMILY_IPV4, 0))
}

/// `struct nfgenmsg`: family, version, resource id in network byte order.
fn nfgenmsg(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
