//! The firewall: one nftables table of our own in each family, decided as data by [`ruleset`], put in place by [`Firewall`].
//!
//! ```text
//!   table ip <table>, table ip6 <table>
//!   map  published      protocol . port            → address . port      (published on every address of the host)
//!   map  published_at   address . protocol . port  → address . port      (published on one address)
//!   sets bridges internal open routed_bridges pass routed guarded
//!
//!   input        input        last  what the host's own chains let through:
//!                                   from the hairpin: drop; from an internal bridge to a published port: drop;
//!                                   new, to a published port: copy into the hairpin, drop
//!   marked       raw         -300   from the hairpin: marked, so that its way back is found (see below);
//!                                   from a bridge, a report of groups of its link: drop (see below)
//!   prerouting   dstnat      -100   from the hairpin: dnat by published_at, then published
//!   unmarked     prerouting  last   from the hairpin: the mark is gone before the packet is routed
//!   forward      filter         0   to or from an internal bridge (if there is one): drop; what goes on: accept; to a
//!                                   bridge: published, routed ports: accept; all else: drop
//!   postrouting  srcnat       100   leaving a subnet: masquerade; published, back into the subnet it came from: masquerade
//! ```
//!
//! Why a published port is not simply translated in prerouting, as everywhere else: such packets never meet the INPUT
//! chains, so a port that the host's firewall denies would be open. Here the supervisor beside the container holds a real
//! socket on the port; packets are for the host itself and its chains judge them. Only then our last chain sends a copy of
//! the first packet through the hairpin (see [`crate::hairpin`]), where it is translated. The original is dropped before
//! connection tracking has confirmed it, so the flow is the copy's, and every further packet goes straight from the
//! uplink to the container, with the client's address as its source. What the host itself sends (and what comes on a
//! kernel that cannot copy) reaches the socket, and the supervisor passes it on.
//!
//! A firewall that drops what came in where it would not be answered (firewalld does, for IPv6) asks the routing table for
//! the way to the packet's source, with the packet's mark. That of a copy is the uplink; marked, it is the hairpin.
//!
//! - *reports of groups*: a container that starts with IPv6 reports the groups of its own addresses several times, and the
//!   bridge gives each report to every other container: a start would cost more the more there are. No router wants them
//!   (the groups end with the link), and who does not know of a group's members sends to everybody.
//! - *forward*: a neighbour machine may have a route to the subnet; only what came through a published port, or answers
//!   something, gets in. Packets that do not concern our bridges are left to other tables.
//! - *masquerade back into the subnet*: the answer would otherwise go straight to the asker, from an address it never
//!   asked.

mod encode;
mod expression;
mod set;
mod watch;

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use rustix::io::Errno;

use crate::hairpin::{self, Hairpin};
use crate::netlink::{Family, Message, Refused, Socket};
use crate::publish::{Protocol, Publish};
use crate::{Error, conntrack, route, sysctl};

pub use expression::{Connection, Expression, Interface, Port, Verdict, Where};
pub use set::{Element, Set, Word};
pub use watch::Watch;

/// After every chain of the host (and after firewalld's and Docker's), before connection tracking confirms.
const LAST: i32 = i32::MAX - 1000;

/// What the tables are decided from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Name of the tables.
    pub table: String,
    /// The networks that have a bridge.
    pub networks: Vec<Network>,
    /// Where first packets are turned around; without it every connection goes by the supervisors' sockets.
    pub hairpin: Option<Hairpin>,
    /// Ports of the host that no container may reach.
    pub guarded: Vec<(Protocol, u16)>,
    /// Ports of containers that are reached at their own address.
    pub routed: Vec<(IpAddr, Protocol, u16)>,
}

/// One bridge and how far its packets get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The bridge's name.
    pub bridge: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// No way in or out but to the host.
    pub internal: bool,
    /// Its containers may speak to each other.
    pub neighbours: bool,
    /// Interfaces of the host from which everything gets in.
    pub trusted: Vec<String>,
    /// How IPv4 leaves and enters.
    pub ipv4: Mode,
    /// How IPv6 leaves and enters.
    pub ipv6: Mode,
}

/// How packets of one family leave and enter a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mode {
    /// What the source of a packet that leaves becomes.
    pub source: Source,
    /// Who gets in.
    pub entry: Entry,
}

/// What the source of a packet that leaves becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It stays.
    Kept,
    /// The address of the interface it leaves by.
    Masqueraded,
    /// That address.
    Address(IpAddr),
}

/// Who gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Whoever comes by a published port.
    Published,
    /// Whoever comes by a published port or asks the container's own address for one.
    Routed,
    /// Everybody.
    Open,
}

/// The tables, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// IPv4, then IPv6 where the kernel has it.
    pub tables: Vec<Table>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its family.
    pub ipv6: bool,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Its chains.
    pub chains: Vec<Chain>,
}

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
    /// Change packets that are then routed anew.
    Route,
}

/// The places where packets meet chains (`enum nf_inet_hooks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Everything that comes in, before routing.
    Prerouting = 0,
    /// What is for the host itself.
    Input = 1,
    /// What passes through.
    Forward = 2,
    /// What the host itself sends.
    Output = 3,
    /// Everything that goes out, after routing.
    Postrouting = 4,
}

/// Decides the tables for networks and their published ports. Of two that publish the same port, the later counts.
#[must_use]
pub fn ruleset(settings: &Settings, publish: &[Publish]) -> Ruleset {
    let families: &[bool] = if sysctl::has_ipv6() { &[false, true] } else { &[false] };
    let table = |ipv6: &bool| Table {
        name: settings.table.clone(),
        ipv6: *ipv6,
        sets: sets(settings, publish, *ipv6),
        chains: chains(settings, *ipv6),
    };
    Ruleset { tables: families.iter().map(table).collect() }
}

impl Network {
    fn mode(&self, ipv6: bool) -> &Mode {
        if ipv6 { &self.ipv6 } else { &self.ipv4 }
    }
}

fn sets(settings: &Settings, publish: &[Publish], ipv6: bool) -> Vec<Set> {
    let named = |name, test: &dyn Fn(&Network) -> bool| {
        let matching = settings.networks.iter().filter(|network| test(network));
        set::plain(name, &[Word::Interface], matching.map(|network| set::interface(&network.bridge)).collect())
    };
    let mut pass = vec![];
    for network in &settings.networks {
        let own = network.neighbours.then_some(&network.bridge);
        for other in own.into_iter().chain(&network.trusted) {
            pass.push([set::interface(other), set::interface(&network.bridge)].concat());
        }
    }
    let guarded = settings.guarded.iter().map(|(protocol, port)| set::transport(*protocol, *port)).collect();
    let routed = settings.routed.iter().filter(|(address, ..)| address.is_ipv6() == ipv6);
    let routed = routed.map(|(address, protocol, port)| set::routed(*address, *protocol, *port)).collect();
    let mut sets = set::published(publish.iter().filter(|port| port.host_ip.is_ipv6() == ipv6)).to_vec();
    sets.extend([
        named(set::BRIDGES, &|_| true),
        named(set::INTERNAL, &|network| network.internal),
        named(set::OPEN, &|network| network.mode(ipv6).entry == Entry::Open),
        named(set::ROUTED_BRIDGES, &|network| network.mode(ipv6).entry == Entry::Routed),
        set::plain(set::PASS, &[Word::Interface, Word::Interface], pass),
        set::plain(set::GUARDED, &[Word::Protocol, Word::Port], guarded),
        set::plain(set::ROUTED, &[Word::Address, Word::Protocol, Word::Port], routed),
    ]);
    sets
}

/// Of how many groups a report is looked at: a container has one for each of its addresses.
const GROUPS: u16 = 3;

const WHERE: [Where; 2] = [Where::AtAddress, Where::Everywhere];

fn chains(settings: &Settings, ipv6: bool) -> Vec<Chain> {
    let chain = |name, kind, hook, priority, rules| Chain { name, kind, hook, priority, rules };
    vec![
        chain("input", Kind::Filter, Hook::Input, LAST, input(settings, ipv6)),
        chain("marked", Kind::Filter, Hook::Prerouting, -300, marked(settings, ipv6)),
        chain("prerouting", Kind::Nat, Hook::Prerouting, -100, prerouting(settings)),
        chain("unmarked", Kind::Filter, Hook::Prerouting, LAST, marks(settings, |_| 0)),
        chain("output", Kind::Nat, Hook::Output, -100, output()),
        chain("forward", Kind::Filter, Hook::Forward, 0, forward(settings, ipv6)),
        chain("postrouting", Kind::Nat, Hook::Postrouting, 100, postrouting(settings, ipv6)),
    ]
}

fn input(settings: &Settings, ipv6: bool) -> Vec<Vec<Expression>> {
    use Expression::{Copy, DestinationLocal, From, FromIn, Guarded, Published, Verdict as Decide};
    let mut rules = vec![vec![From("lo".into()), Decide(Verdict::Return)]];
    // A copy that was not translated: its port was withdrawn in this moment. It must not be copied again.
    rules.extend(settings.hairpin.iter().map(|pin| vec![From(pin.back.clone()), Decide(Verdict::Drop)]));
    rules.extend(WHERE.map(|which| vec![FromIn(set::INTERNAL), Published(which), Decide(Verdict::Drop)]));
    rules.push(vec![FromIn(set::BRIDGES), Guarded, Decide(Verdict::Drop)]);
    let neighbour = settings.hairpin.as_ref().and_then(|pin| {
        let neighbour = if ipv6 { pin.neighbours.1.map(IpAddr::V6) } else { Some(IpAddr::V4(pin.neighbours.0)) };
        neighbour.map(|neighbour| (neighbour, pin.index))
    });
    if let Some((neighbour, device)) = neighbour {
        let new = Expression::Connection(Connection::New);
        rules.extend(WHERE.map(|which| {
            vec![new.clone(), Published(which), DestinationLocal, Copy(neighbour, device), Decide(Verdict::Drop)]
        }));
    }
    rules
}

fn prerouting(settings: &Settings) -> Vec<Vec<Expression>> {
    let Some(pin) = &settings.hairpin else { return vec![] };
    WHERE.map(|which| vec![Expression::From(pin.back.clone()), Expression::Dnat(which)]).to_vec()
}

fn marked(settings: &Settings, ipv6: bool) -> Vec<Vec<Expression>> {
    use Expression::{FromIn, ReportsOfLink, Verdict as Decide};
    let mut rules = marks(settings, |pin| pin.mark);
    if ipv6 {
        rules.extend((1..=GROUPS).map(|count| vec![ReportsOfLink(count), FromIn(set::BRIDGES), Decide(Verdict::Drop)]));
    }
    rules
}

/// Gives what comes from the hairpin that mark.
fn marks(settings: &Settings, mark: impl Fn(&Hairpin) -> u32) -> Vec<Vec<Expression>> {
    let rule = |pin: &Hairpin| {
        let set = Expression::Mark { keep: !hairpin::MARKS, set: mark(pin) };
        vec![Expression::From(pin.back.clone()), set]
    };
    settings.hairpin.iter().map(rule).collect()
}

/// The supervisors have no sockets for SCTP, so what the host itself sends is translated on its way out.
fn output() -> Vec<Vec<Expression>> {
    let sctp = || Expression::Transport(Protocol::Sctp.number());
    WHERE.map(|which| vec![sctp(), Expression::DestinationLocal, Expression::Dnat(which)]).to_vec()
}

fn forward(settings: &Settings, ipv6: bool) -> Vec<Vec<Expression>> {
    use Expression::{Connection as Is, FromIn, Pass, Routed, ToIn, Transport, Verdict as Decide};
    let icmp = if ipv6 { 58 } else { 1 };
    let (accept, drop) = (Decide(Verdict::Accept), Decide(Verdict::Drop));
    let pass = vec![Pass, accept.clone()];
    let known = vec![Is(Connection::Known), accept.clone()];
    let mut rules = if settings.networks.iter().any(|network| network.internal) {
        // Before what is known: a flow that somebody else began, or a container of the past, leads nowhere from there.
        let internal = |which: Expression| vec![which, drop.clone()];
        vec![pass, internal(FromIn(set::INTERNAL)), internal(ToIn(set::INTERNAL)), known]
    } else {
        // Nearly every packet is decided by its first rule.
        vec![known, pass]
    };
    rules.extend([
        vec![ToIn(set::BRIDGES), Is(Connection::Translated), accept.clone()],
        vec![ToIn(set::OPEN), accept.clone()],
        vec![ToIn(set::ROUTED_BRIDGES), Routed, accept.clone()],
        vec![ToIn(set::ROUTED_BRIDGES), Transport(icmp), accept],
        vec![ToIn(set::BRIDGES), drop],
    ]);
    rules
}

fn postrouting(settings: &Settings, ipv6: bool) -> Vec<Vec<Expression>> {
    use Expression::{Connection as Is, Masquerade, SnatTo, SourceIn, To, Verdict as Decide};
    // The host speaks to itself by its addresses on the bridges, too.
    let mut rules = vec![vec![To(Interface { name: "lo".into(), is: true }), Decide(Verdict::Return)]];
    for network in settings.networks.iter().filter(|network| !network.internal) {
        let to = |is| To(Interface { name: network.bridge.clone(), is });
        for subnet in network.subnets.iter().filter(|subnet| matches!(subnet, IpNet::V6(_)) == ipv6) {
            match network.mode(ipv6).source {
                Source::Kept => {}
                Source::Masqueraded => rules.push(vec![SourceIn(*subnet), to(false), Masquerade]),
                Source::Address(address) => rules.push(vec![SourceIn(*subnet), to(false), SnatTo(address)]),
            }
            rules.push(vec![SourceIn(*subnet), to(true), Is(Connection::Translated), Masquerade]);
        }
    }
    rules
}

/// The table of a container's own namespace that leads 127.0.0.11:53 to the ports its name server has.
pub(crate) fn names_redirect(udp: u16, tcp: u16) -> Ruleset {
    const NAMES: u16 = 53;
    let server = IpAddr::from([127, 0, 0, 11]);
    let mut rules = vec![];
    for (transport, port) in [(Protocol::Udp.number(), udp), (Protocol::Tcp.number(), tcp)] {
        use Expression::{DestinationIs, PortIs, SetPort, SourceIs, Transport};
        let (to, from) = (Port::Destination, Port::Source);
        let there = vec![DestinationIs(server), Transport(transport), PortIs(to, NAMES), SetPort(to, port, transport)];
        let back = vec![SourceIs(server), Transport(transport), PortIs(from, port), SetPort(from, NAMES, transport)];
        rules.extend([there, back]);
    }
    let chain = Chain { name: "output", kind: Kind::Filter, hook: Hook::Output, priority: -150, rules };
    Ruleset { tables: vec![Table { name: "teu-names".into(), ipv6: false, sets: vec![], chains: vec![chain] }] }
}

/// nf_tables of the network namespace in which it is first used.
///
/// It speaks over one socket that stays open. The end of any netfilter socket waits until the kernel has destroyed what
/// was replaced before, a grace period of RCU, and whoever changes rules or makes an interface waits behind it.
#[derive(Debug, Default)]
pub struct Firewall(Mutex<Option<Socket>>);

impl Firewall {
    /// Puts the tables in place, instead of whatever tables of that name there were, in one transaction. May be repeated
    /// at any time; connections that are established stay so. [`Error::Unsupported`] when the kernel cannot copy packets:
    /// decide again without a hairpin.
    pub fn apply(&self, ruleset: &Ruleset) -> Result<(), Error> {
        let copies = ruleset.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
        let copies = copies.flatten().any(|expression| matches!(expression, Expression::Copy(..)));
        let name = ruleset.tables.first().map_or("", |table| &table.name);
        self.transaction(encode::replace(ruleset)).map_err(|refused| match refused.errno {
            Errno::NOENT if copies => Error::Unsupported { what: "nftables dup expression".into() },
            _ => Error::refused(format!("replace nftables table {name}"), refused),
        })
    }

    /// Makes of tables that are as `before` says what `now` says, in one transaction that names only what is different;
    /// what else was put into their sets stays. False, and nothing has changed, where they are not the same tables, sets
    /// and chains; nothing has changed after an error either: [`apply`](Self::apply) then.
    pub fn change(&self, before: &Ruleset, now: &Ruleset) -> Result<bool, Error> {
        let Some(messages) = encode::change(before, now) else { return Ok(false) };
        if !messages.is_empty() {
            let name = now.tables.first().map_or("", |table| &table.name);
            let refused = |refused| Error::refused(format!("change nftables table {name}"), refused);
            self.transaction(messages).map_err(refused)?;
        }
        Ok(true)
    }

    /// Publishes ports, all of them or none. [`Error::Exists`] when one of them already leads elsewhere,
    /// [`Error::NotFound`] when the table is gone (someone flushed all tables: [`apply`](Self::apply) again).
    pub fn add(&self, table: &str, publish: &[Publish]) -> Result<(), Error> {
        if publish.is_empty() {
            return Ok(());
        }
        let message = |port: &Publish| {
            let (set, element) = set::place(port);
            encode::add_elements(port.host_ip.is_ipv6(), table, set, &[element])
        };
        self.transaction(publish.iter().map(message).collect()).map_err(|refused| {
            let port = &publish[refused.index.min(publish.len() - 1)];
            match refused.errno {
                Errno::EXIST | Errno::BUSY => Error::Exists { what: format!("published port {}", describe(port)) },
                Errno::NOENT => Error::NotFound { what: format!("nftables table {table}") },
                errno => Error::io(format!("publish port {}", describe(port)), errno),
            }
        })?;
        self.forget_flows(publish)
    }

    /// Withdraws ports, each in a transaction of its own, so that one that is not there is no error and keeps no other.
    pub fn remove(&self, table: &str, publish: &[Publish]) -> Result<(), Error> {
        let mut first_error = Ok(());
        for port in publish {
            let (set, element) = set::place(port);
            let messages = vec![encode::remove_elements(port.host_ip.is_ipv6(), table, set, &[element])];
            match self.transaction(messages) {
                Err(refused) if refused.errno != Errno::NOENT && first_error.is_ok() => {
                    first_error = Err(Error::refused(format!("withdraw published port {}", describe(port)), refused));
                }
                _ => {}
            }
        }
        self.forget_flows(publish)?;
        first_error
    }

    /// Removes the tables with all that is in them. That they are not there is no error.
    pub fn destroy(&self, table: &str) -> Result<(), Error> {
        for ipv6 in [false, true] {
            match self.transaction(vec![encode::delete_table(ipv6, table)]) {
                Err(refused) if !matches!(refused.errno, Errno::NOENT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => {
                    return Err(Error::refused(format!("remove nftables table {table}"), refused));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets the flows to those ports. UDP has no connections, but the kernel remembers flows: a sender that never
    /// pauses would keep its old translation (or its lack of one, or its way to a container's own address) for ever. TCP
    /// needs none of it, a new connection is a new flow.
    pub fn forget_flows(&self, publish: &[Publish]) -> Result<(), Error> {
        let udp: Vec<_> = publish.iter().filter(|port| port.protocol != Protocol::Tcp).collect();
        if udp.is_empty() {
            return Ok(());
        }
        let local = route::addresses()?;
        self.with(|socket| Ok::<_, Errno>(conntrack::forget(socket, &udp, &local)))
            .map_err(|errno| Error::io("list tracked flows", errno))?
    }

    fn transaction(&self, messages: Vec<Message>) -> Result<(), Refused> {
        self.with(|socket| socket.transaction(encode::begin(), messages, encode::end()))
    }

    /// Does something with the socket, which is opened by the first who needs it.
    fn with<T, E: From<Errno>>(&self, work: impl FnOnce(&mut Socket) -> Result<T, E>) -> Result<T, E> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            let opened = Socket::open(Family::Netfilter);
            *kept = Some(opened.map_err(|error| E::from(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?);
        }
        kept.as_mut().map_or(Err(E::from(Errno::IO)), work)
    }

    /// The socket's number (`nlmsg_pid` of what it causes); none before its first use.
    fn number(&self) -> Option<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Socket::number)
    }
}

impl Drop for Firewall {
    /// Nobody has to wait for the end of the socket; where there is no thread to be had it is closed here.
    fn drop(&mut self) {
        let socket = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if socket.is_some() {
            let _ = std::thread::Builder::new().spawn(move || drop(socket));
        }
    }
}

fn describe(port: &Publish) -> String {
    format!("{}:{}/{}", port.host_ip, port.host_port, port.protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: &str, host_port: u16) -> Publish {
        let host_ip: IpAddr = host_ip.parse().expect("an address");
        let container = if host_ip.is_ipv6() { "fd00::2" } else { "10.0.0.2" };
        let container_ip = container.parse().expect("an address");
        Publish { protocol: Protocol::Tcp, host_ip, host_port, container_ip, container_port: 80 }
    }

    fn count(ruleset: &Ruleset, ipv6: bool, name: &str) -> usize {
        let table = ruleset.tables.iter().find(|table| table.ipv6 == ipv6).expect("the table");
        table.sets.iter().find(|set| set.name == name).expect("the map").elements.len()
    }

    #[test]
    fn a_port_is_published_on_all_addresses_of_its_family_or_on_one() {
        let settings = Settings { table: "t".into(), ..Settings::default() };
        let ports = [port("0.0.0.0", 80), port("127.0.0.1", 81), port("::", 80), port("::1", 81), port("::1", 82)];
        let ruleset = ruleset(&settings, &ports);
        assert_eq!((count(&ruleset, false, "published"), count(&ruleset, false, "published_at")), (1, 1));
        if sysctl::has_ipv6() {
            assert_eq!((count(&ruleset, true, "published"), count(&ruleset, true, "published_at")), (1, 2));
        }
    }

    #[test]
    fn nothing_of_an_internal_network_is_let_through_because_it_is_known() {
        let mode = || Mode { source: Source::Masqueraded, entry: Entry::Published };
        let network = Network {
            bridge: "one".into(),
            subnets: vec![],
            internal: true,
            neighbours: true,
            trusted: vec![],
            ipv4: mode(),
            ipv6: mode(),
        };
        let place = |network: &Network, wanted: &Expression| {
            let settings = Settings { networks: vec![network.clone()], ..Settings::default() };
            forward(&settings, false).iter().position(|rule| rule.first() == Some(wanted))
        };
        let known = Expression::Connection(Connection::Known);
        for internal in [Expression::FromIn(set::INTERNAL), Expression::ToIn(set::INTERNAL)] {
            assert!(place(&network, &internal).expect("a rule") < place(&network, &known).expect("a rule"));
        }
        // Where there is none, what is known is decided first.
        assert_eq!(place(&Network { internal: false, ..network }, &known), Some(0));
    }

    #[test]
    fn the_chains_are_the_same_whatever_is_published() {
        let settings = Settings { table: "t".into(), ..Settings::default() };
        let chains = |ports: &[Publish]| ruleset(&settings, ports).tables[0].chains.clone();
        assert_eq!(chains(&[]), chains(&[port("0.0.0.0", 80)]));
    }
}
