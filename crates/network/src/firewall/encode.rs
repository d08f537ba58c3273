//! A ruleset as nf_tables messages (`<linux/netfilter/nf_tables.h>`). Pure.

use super::set::{Element, Set, Word};
use super::{Chain, Kind, Ruleset, Table};
use crate::netlink::{Message, flag};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10; // NFNL_SUBSYS_NFTABLES
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;

const FAMILY_UNSPEC: u8 = 0;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
const POLICY_ACCEPT: u32 = 1;
const SET_IS_MAP: u32 = 8;
/// An attribute's length is 16 bits, and an element takes some 80 bytes.
const ELEMENTS_PER_MESSAGE: usize = 256;

pub(super) fn begin() -> Message {
    Message::new(BATCH_BEGIN, 0, &nfgenmsg(FAMILY_UNSPEC, SUBSYSTEM))
}

pub(super) fn end() -> Message {
    Message::new(BATCH_END, 0, &nfgenmsg(FAMILY_UNSPEC, SUBSYSTEM))
}

/// Everything that makes the tables what the ruleset says, whatever there was. Each is made first, so that there is
/// always one to delete.
pub(super) fn replace(ruleset: &Ruleset) -> Vec<Message> {
    ruleset.tables.iter().flat_map(replace_table).collect()
}

/// What makes of tables as `before` has them those of `now`; none where they are not the same tables, sets and chains.
pub(super) fn change(before: &Ruleset, now: &Ruleset) -> Option<Vec<Message>> {
    let same = before.tables.len() == now.tables.len();
    let changes = before.tables.iter().zip(&now.tables).map(|(before, now)| change_table(before, now));
    changes.collect::<Option<Vec<_>>>().filter(|_| same).map(|tables| tables.concat())
}

fn change_table(before: &Table, now: &Table) -> Option<Vec<Message>> {
    let (name, ipv6) = (&now.name, now.ipv6);
    let shape = |table: &Table| {
        let sets: Vec<_> = table.sets.iter().map(|set| (set.name, set.key, set.value)).collect();
        let chains: Vec<_> =
            table.chains.iter().map(|chain| (chain.name, chain.kind, chain.hook, chain.priority)).collect();
        (table.name.clone(), table.ipv6, sets, chains)
    };
    if shape(before) != shape(now) {
        return None;
    }
    let mut messages = vec![];
    for (before, now) in before.sets.iter().zip(&now.sets) {
        let without = |all: &[Element], others: &[Element]| -> Vec<Element> {
            all.iter().filter(|element| others.binary_search(element).is_err()).cloned().collect()
        };
        let (gone, new) = (without(&before.elements, &now.elements), without(&now.elements, &before.elements));
        messages.extend(gone.chunks(ELEMENTS_PER_MESSAGE).map(|some| remove_elements(ipv6, name, now.name, some)));
        messages.extend(new.chunks(ELEMENTS_PER_MESSAGE).map(|some| add_elements(ipv6, name, now.name, some)));
    }
    for (before, now) in before.chains.iter().zip(&now.chains).filter(|(before, now)| before.rules != now.rules) {
        if !before.rules.is_empty() {
            messages.push(message(ipv6, DELETE_RULE, 0).string(1, name).string(2, now.name));
        }
        messages.extend(new_rules(ipv6, name, now));
    }
    Some(messages)
}

fn replace_table(table: &Table) -> Vec<Message> {
    let (name, ipv6) = (&table.name, table.ipv6);
    let mut messages = vec![new_table(ipv6, name), delete_table(ipv6, name), new_table(ipv6, name)];
    for (id, set) in (1..).zip(&table.sets) {
        messages.push(new_set(ipv6, name, set, id));
        let chunks = set.elements.chunks(ELEMENTS_PER_MESSAGE);
        messages.extend(chunks.map(|chunk| add_elements(ipv6, name, set.name, chunk)));
    }
    for chain in &table.chains {
        messages.push(new_chain(ipv6, name, chain));
        messages.extend(new_rules(ipv6, name, chain));
    }
    messages
}

fn new_rules<'a>(ipv6: bool, table: &'a str, chain: &'a Chain) -> impl Iterator<Item = Message> + 'a {
    chain.rules.iter().map(move |rule| {
        message(ipv6, NEW_RULE, flag::CREATE | flag::APPEND)
            .string(1, table)
            .string(2, chain.name)
            .nest(4, |list| rule.iter().fold(list, |list, expression| expression.encode(ipv6, list)))
    })
}

pub(super) fn delete_table(ipv6: bool, table: &str) -> Message {
    message(ipv6, DELETE_TABLE, 0).string(1, table)
}

pub(super) fn remove_elements(ipv6: bool, table: &str, set: &str, elements: &[Element]) -> Message {
    message(ipv6, DELETE_ELEMENT, 0).string(1, table).string(2, set).nest(3, |list| {
        elements
            .iter()
            .fold(list, |list, element| list.nest(1, |item| item.nest(1, |data| data.bytes(1, &element.key))))
    })
}

fn new_table(ipv6: bool, table: &str) -> Message {
    message(ipv6, NEW_TABLE, flag::CREATE).string(1, table)
}

fn new_chain(ipv6: bool, table: &str, chain: &Chain) -> Message {
    let kind = match chain.kind {
        Kind::Filter => "filter",
        Kind::Nat => "nat",
        Kind::Route => "route",
    };
    message(ipv6, NEW_CHAIN, flag::CREATE)
        .string(1, table)
        .string(3, chain.name)
        .nest(4, |hook| hook.be32(1, chain.hook as u32).be32(2, chain.priority.cast_unsigned()))
        .be32(5, POLICY_ACCEPT)
        .string(7, kind)
}

fn new_set(ipv6: bool, table: &str, set: &Set, id: u32) -> Message {
    let concatenation = |parts: &[Word]| parts.iter().fold(0, |all, part| all << 6 | part.kind(ipv6));
    let length = |parts: &[Word]| parts.iter().map(|part| part.length(ipv6)).sum();
    let message = message(ipv6, NEW_SET, flag::CREATE)
        .string(1, table)
        .string(2, set.name)
        .be32(3, if set.value.is_empty() { 0 } else { SET_IS_MAP })
        .be32(4, concatenation(set.key))
        .be32(5, length(set.key));
    let message = if set.value.is_empty() {
        message
    } else {
        message.be32(6, concatenation(set.value)).be32(7, length(set.value))
    };
    // For the eyes of `nft list`: a name is no number, so it is not turned around.
    let message = if set.key == [Word::Interface] { message.bytes(13, &[0, 4, 1, 0, 0, 0]) } else { message };
    message.be32(10, id)
}

pub(super) fn add_elements(ipv6: bool, table: &str, set: &str, elements: &[Element]) -> Message {
    message(ipv6, NEW_ELEMENT, flag::CREATE).string(1, table).string(2, set).nest(3, |list| {
        elements.iter().fold(list, |list, element| {
            list.nest(1, |item| {
                let item = item.nest(1, |data| data.bytes(1, &element.key));
                if element.value.is_empty() { item } else { item.nest(2, |data| data.bytes(1, &element.value)) }
            })
        })
    })
}

fn message(ipv6: bool, kind: u16, flags: u16) -> Message {
    let family = if ipv6 { FAMILY_IPV6 } else { FAMILY_IPV4 };
    Message::new(SUBSYSTEM << 8 | kind, flags, &nfgenmsg(family, 0))
}

/// `struct nfgenmsg`: family, version, resource id in network byte order.
fn nfgenmsg(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
