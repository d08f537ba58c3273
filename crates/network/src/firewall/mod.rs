//! The firewall: one nftables table of our own, decided as data by [`ruleset`], put in place by [`apply`].
//!
//! ```text
//!   table ip <table>
//!   map  published      protocol . port            → address . port      (published on every address of the host)
//!   map  published_at   address . protocol . port  → address . port      (published on one address)
//!
//!   guard        prerouting  -300  from the bridge to or from 127.0.0.0/8: drop
//!   prerouting   dstnat      -100  to 127.0.0.0/8: return; to a local address: dnat by published_at, then published
//!   output       dstnat      -100  to a local address: dnat by published_at, then published
//!   forward      filter         0  to the bridge: replies, neighbours, published ports: accept; all else: drop
//!   postrouting  srcnat       100  leaving the subnet: masquerade
//!                                  published, back into the subnet it came from, or from 127.0.0.0/8: masquerade
//! ```
//!
//! Why each rule is there:
//! - *guard*: the bridge has `route_localnet`, so that answers find back to 127.0.0.1; without the guard a container could
//!   speak to services that listen on the host's loopback only. It runs before connection tracking turns an answer's
//!   destination back into 127.0.0.1, so answers pass.
//! - *return*: dnat happens before routing would throw a packet to 127.0.0.1 from the wire away; without it a machine on
//!   the same link could reach ports published on 127.0.0.1.
//! - *forward*: a neighbour machine may have a route to the subnet; only what came through a published port, or answers
//!   something, gets in. Packets that do not concern our bridge are left to other tables.
//! - *masquerade back into the subnet*: the answer would otherwise go straight to the asker, from an address it never
//!   spoke to. Everyone else keeps their source address.
//!
//! Rules are fixed; a port published or withdrawn is one map element. Every call is one transaction: all of it or nothing.
//! A drop in another table is final, whatever we accept.

mod encode;
mod expression;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rustix::io::Errno;

use crate::conntrack;
use crate::netlink::{Family, Message, Refused, Socket};
use crate::publish::{Protocol, Publish};
use crate::{Error, route};

pub use expression::{Expression, Interface, Verdict};

/// What the table is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of our table; no other program's.
    pub table: String,
    /// The bridge that containers are on.
    pub bridge: String,
    /// Its subnet.
    pub subnet: Ipv4Net,
}

/// The whole table, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// Name of the table.
    pub table: String,
    /// Its chains with their rules, in order.
    pub chains: Vec<Chain>,
    /// Ports published on every address.
    pub published: BTreeMap<(Protocol, u16), Target>,
    /// Ports published on one address.
    pub published_at: BTreeMap<(Ipv4Addr, Protocol, u16), Target>,
}

/// Where a published port leads: an address and port.
pub type Target = (Ipv4Addr, u16);

/// A base chain. What no rule decides passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// What it may do.
    pub kind: Kind,
    /// Where packets meet it.
    pub hook: Hook,
    /// Order among the chains of that hook, lowest first.
    pub priority: i32,
    /// Its rules. Each is a row of expressions; the first that does not hold ends the rule.
    pub rules: Vec<Vec<Expression>>,
}

/// What a chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pass or drop, for every packet.
    Filter,
    /// Translate addresses; sees only the first packet of a connection.
    Nat,
}

/// The places where packets meet chains (`enum nf_inet_hooks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Everything that comes in, before routing.
    Prerouting = 0,
    /// What passes through.
    Forward = 2,
    /// What the host itself sends.
    Output = 3,
    /// Everything that goes out, after routing.
    Postrouting = 4,
}

/// Decides the table for a bridge and its published ports. Of two that publish the same port, the later counts.
#[must_use]
pub fn ruleset(settings: &Settings, publish: &[Publish]) -> Ruleset {
    let mut ruleset = Ruleset {
        table: settings.table.clone(),
        chains: chains(settings),
        published: BTreeMap::new(),
        published_at: BTreeMap::new(),
    };
    for port in publish {
        let target = (port.container_ip, port.container_port);
        if port.host_ip.is_unspecified() {
            ruleset.published.insert((port.protocol, port.host_port), target);
        } else {
            ruleset.published_at.insert((port.host_ip, port.protocol, port.host_port), target);
        }
    }
    ruleset
}

fn chains(settings: &Settings) -> Vec<Chain> {
    use Expression::{
        Connection, DestinationLocal, DestinationLoopback, DnatByPublished, DnatByPublishedAt, From, Masquerade,
        SourceIn, SourceLoopback, To, Verdict as Decide,
    };
    use expression::Connection::{Known, Published};
    let from = || From(Interface { name: settings.bridge.clone(), is: true });
    let to = |is| To(Interface { name: settings.bridge.clone(), is });
    let inside = || SourceIn(settings.subnet);
    let dnat = || vec![vec![DestinationLocal, DnatByPublishedAt], vec![DestinationLocal, DnatByPublished]];
    let chain = |name, kind, hook, priority, rules| Chain { name, kind, hook, priority, rules };
    let not_from_the_wire = vec![DestinationLoopback, Decide(Verdict::Return)];
    vec![
        chain(
            "guard",
            Kind::Filter,
            Hook::Prerouting,
            -300,
            vec![
                vec![from(), DestinationLoopback, Decide(Verdict::Drop)],
                vec![from(), SourceLoopback, Decide(Verdict::Drop)],
            ],
        ),
        chain("prerouting", Kind::Nat, Hook::Prerouting, -100, [vec![not_from_the_wire], dnat()].concat()),
        chain("output", Kind::Nat, Hook::Output, -100, dnat()),
        chain(
            "forward",
            Kind::Filter,
            Hook::Forward,
            0,
            vec![
                vec![to(true), Connection(Known), Decide(Verdict::Accept)],
                vec![to(true), from(), Decide(Verdict::Accept)],
                vec![to(true), Connection(Published), Decide(Verdict::Accept)],
                vec![to(true), Decide(Verdict::Drop)],
            ],
        ),
        chain(
            "postrouting",
            Kind::Nat,
            Hook::Postrouting,
            100,
            vec![
                vec![inside(), to(false), Masquerade],
                vec![to(true), Connection(Published), inside(), Masquerade],
                vec![to(true), SourceLoopback, Masquerade],
            ],
        ),
    ]
}

/// Puts the table in place, instead of whatever table of that name there was, in one transaction. May be repeated at
/// any time; connections that are established stay so.
pub fn apply(ruleset: &Ruleset) -> Result<(), Error> {
    transaction(encode::replace(ruleset))
        .map_err(|refused| Error::refused(format!("replace nftables table {}", ruleset.table), refused))
}

/// Publishes ports, all of them or none. [`Error::Exists`] when one of them already leads elsewhere,
/// [`Error::NotFound`] when the table is gone (someone flushed all tables: [`apply`] again).
pub fn add(table: &str, publish: &[Publish]) -> Result<(), Error> {
    if publish.is_empty() {
        return Ok(());
    }
    transaction(publish.iter().map(|port| encode::add_port(table, port)).collect()).map_err(|refused| {
        let port = &publish[refused.index.min(publish.len() - 1)];
        match refused.errno {
            Errno::EXIST | Errno::BUSY => Error::Exists { what: format!("published port {}", describe(port)) },
            Errno::NOENT => Error::NotFound { what: format!("nftables table {table}") },
            errno => Error::io(format!("publish port {}", describe(port)), errno),
        }
    })?;
    forget_flows(publish)
}

/// Withdraws ports, each in a transaction of its own, so that one that is not there is no error and keeps no other.
pub fn remove(table: &str, publish: &[Publish]) -> Result<(), Error> {
    let mut first_error = Ok(());
    for port in publish {
        match transaction(vec![encode::remove_port(table, port)]) {
            Err(refused) if refused.errno != Errno::NOENT && first_error.is_ok() => {
                first_error = Err(Error::refused(format!("withdraw published port {}", describe(port)), refused));
            }
            _ => {}
        }
    }
    forget_flows(publish)?;
    first_error
}

/// Removes the table with all that is in it. That it is not there is no error.
pub fn destroy(table: &str) -> Result<(), Error> {
    match transaction(vec![encode::delete_table(table)]) {
        Err(refused) if refused.errno != Errno::NOENT => {
            Err(Error::refused(format!("remove nftables table {table}"), refused))
        }
        _ => Ok(()),
    }
}

/// UDP has no connections, but the kernel remembers flows: a sender that never pauses would keep its old translation (or
/// its lack of one) for ever. TCP needs none of it, a new connection is a new flow.
fn forget_flows(publish: &[Publish]) -> Result<(), Error> {
    let udp: Vec<_> = publish.iter().filter(|port| port.protocol == Protocol::Udp).collect();
    if udp.is_empty() {
        return Ok(());
    }
    conntrack::forget(&udp, &route::addresses()?)
}

fn describe(port: &Publish) -> String {
    format!("{}:{}/{}", port.host_ip, port.host_port, port.protocol)
}

fn transaction(messages: Vec<Message>) -> Result<(), Refused> {
    let open = |error: std::io::Error| Refused::from(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let mut socket = Socket::open(Family::Netfilter).map_err(open)?;
    socket.transaction(encode::begin(), messages, encode::end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: [u8; 4], host_port: u16, container: u8) -> Publish {
        Publish {
            protocol: Protocol::Tcp,
            host_ip: host_ip.into(),
            host_port,
            container_ip: Ipv4Addr::new(10, 0, 0, container),
            container_port: 80,
        }
    }

    fn settings() -> Settings {
        Settings { table: "t".into(), bridge: "b0".into(), subnet: "10.0.0.0/24".parse().expect("a network") }
    }

    #[test]
    fn a_port_is_published_on_all_addresses_or_on_one() {
        let ruleset = ruleset(&settings(), &[port([0, 0, 0, 0], 80, 2), port([127, 0, 0, 1], 81, 3)]);
        assert_eq!(ruleset.published[&(Protocol::Tcp, 80)], (Ipv4Addr::new(10, 0, 0, 2), 80));
        assert_eq!(ruleset.published_at[&(Ipv4Addr::LOCALHOST, Protocol::Tcp, 81)], (Ipv4Addr::new(10, 0, 0, 3), 80));
        assert_eq!((ruleset.published.len(), ruleset.published_at.len()), (1, 1));
    }

    #[test]
    fn the_chains_are_the_same_whatever_is_published() {
        assert_eq!(ruleset(&settings(), &[]).chains, ruleset(&settings(), &[port([0; 4], 80, 2)]).chains);
    }
}
