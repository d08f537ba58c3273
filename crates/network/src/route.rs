//! What the host's routing table says: which networks are taken, and how large packets may be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::netlink::{Family, Message, Socket, attribute, flag, read_u32};
use crate::{Error, link};

const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;

pub(crate) const AF_UNSPEC: u8 = 0;
pub(crate) const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const NEWRULE: u16 = 32;
const DELRULE: u16 = 33;
const FR_ACT_TO_TBL: u8 = 1;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTM_F_CLONED: u32 = 0x200;

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl Address {
    /// The message that takes it away.
    pub(crate) fn removal(self) -> Message {
        let mut header = [0; 8]; // struct ifaddrmsg
        header[0] = family(self.address);
        header[1] = self.prefix;
        header[4..8].copy_from_slice(&self.index.to_ne_bytes());
        Message::new(DELADDR, 0, &header).bytes(IFA_LOCAL, &octets(self.address))
    }
}

/// The address family's number.
pub(crate) fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// The bytes of an address.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Every network the host is on or has a route to (other routing tables than the main one included), and its own
/// addresses; default routes are left out, and so is what is local to each link. What an address pool must keep clear of;
/// add the resolvers' addresses, which may lie behind the default route.
pub fn networks() -> Result<Vec<IpNet>, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let mut found: Vec<IpNet> = addresses_on(&mut socket)?
        .iter()
        .filter_map(|address| IpNet::new(address.address, address.prefix).ok())
        .map(|network| network.trunc())
        .collect();
    found.extend(routes(&mut socket)?.iter().filter(|route| route.table != RT_TABLE_LOCAL).map(|route| route.to));
    found.retain(|network| network.prefix_len() > 0 && !link_local(network.addr()));
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    }
}

/// The host's own addresses.
pub fn addresses() -> Result<Vec<IpAddr>, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    Ok(addresses_on(&mut socket)?.iter().map(|found| found.address).collect())
}

/// Whether the host has a way into the IPv6 internet: a default route, by which packets of others could be passed on.
pub fn has_ipv6_uplink() -> Result<bool, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let global = |found: &Address| match found.address {
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    };
    Ok(addresses_on(&mut socket)?.iter().any(global))
}

/// The largest packet of the interface that the default route leaves by; none without a default route. A bridge that
/// lets containers send more loses packets wherever "fragmentation needed" messages are filtered.
pub fn uplink_mtu() -> Result<Option<u32>, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    match default_interface(&mut socket)? {
        Some(index) => Ok(link::find_by_index(&mut socket, index)?.mtu),
        None => Ok(None),
    }
}

/// The name of the interface that the IPv4 default route leaves by.
pub fn uplink() -> Result<Option<String>, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    match default_interface(&mut socket)? {
        Some(index) => Ok(link::find_by_index(&mut socket, index)?.name),
        None => Ok(None),
    }
}

fn default_interface(socket: &mut Socket) -> Result<Option<u32>, Error> {
    let default = routes(socket)?
        .into_iter()
        .filter(|route| matches!(route.to, IpNet::V4(net) if net.prefix_len() == 0) && route.table == RT_TABLE_MAIN)
        .min_by_key(|route| route.metric);
    Ok(default.and_then(|route| route.interface))
}

/// `struct rtmsg`: family, destination length, source length, tos, table, protocol, scope, type, flags.
fn rtmsg(family: u8, prefix: u8, scope: u8) -> [u8; 12] {
    [family, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0, 0, 0, 0]
}

/// The default route by that gateway, or onto the link itself.
pub(crate) fn add_default(index: u32, gateway: IpAddr) -> Message {
    Message::new(NEWROUTE, flag::CREATE | flag::REPLACE, &rtmsg(family(gateway), 0, RT_SCOPE_UNIVERSE))
        .bytes(RTA_GATEWAY, &octets(gateway))
        .u32(RTA_OIF, index)
}

/// The default route onto the link itself: what has no gateway asks everybody.
pub(crate) fn add_default_on_link(index: u32, ipv6: bool) -> Message {
    let family = if ipv6 { AF_INET6 } else { AF_INET };
    Message::new(NEWROUTE, flag::CREATE | flag::REPLACE, &rtmsg(family, 0, RT_SCOPE_LINK)).u32(RTA_OIF, index)
}

/// The same in a routing table of that number.
pub(crate) fn add_default_of(index: u32, ipv6: bool, table: u32) -> Message {
    let mut header = rtmsg(if ipv6 { AF_INET6 } else { AF_INET }, 0, RT_SCOPE_LINK);
    header[4] = 0; // the attribute says which
    Message::new(NEWROUTE, flag::CREATE | flag::REPLACE, &header).u32(RTA_OIF, index).u32(RTA_TABLE, table)
}

/// What has that mark, in the bits of that mask, is routed by that table.
pub(crate) fn add_rule(ipv6: bool, mark: (u32, u32), table: u32, priority: u32) -> Message {
    rule(NEWRULE, flag::CREATE | flag::EXCLUSIVE, ipv6, mark, table, priority)
}

/// Takes such a rule away.
pub(crate) fn remove_rule(ipv6: bool, mark: (u32, u32), table: u32, priority: u32) -> Message {
    rule(DELRULE, 0, ipv6, mark, table, priority)
}

fn rule(kind: u16, flags: u16, ipv6: bool, (mark, mask): (u32, u32), table: u32, priority: u32) -> Message {
    let mut header = [0; 12]; // struct fib_rule_hdr
    header[0] = if ipv6 { AF_INET6 } else { AF_INET };
    header[7] = FR_ACT_TO_TBL;
    Message::new(kind, flags, &header)
        .u32(FRA_PRIORITY, priority)
        .u32(FRA_FWMARK, mark)
        .u32(FRA_FWMASK, mask)
        .u32(FRA_TABLE, table)
}

/// Takes the default route of a family away.
pub(crate) fn remove_default(ipv6: bool) -> Message {
    let mut header = rtmsg(if ipv6 { AF_INET6 } else { AF_INET }, 0, 255);
    header[5] = 0;
    header[7] = 0;
    Message::new(DELROUTE, 0, &header)
}

/// A route to one address by that interface.
pub(crate) fn add_host(index: u32, to: IpAddr, metric: u32) -> Message {
    let (prefix, scope) = if to.is_ipv4() { (32, RT_SCOPE_LINK) } else { (128, RT_SCOPE_UNIVERSE) };
    Message::new(NEWROUTE, flag::CREATE | flag::REPLACE, &rtmsg(family(to), prefix, scope))
        .bytes(RTA_DST, &octets(to))
        .u32(RTA_OIF, index)
        .u32(RTA_PRIORITY, metric)
}

/// The addresses of the socket's namespace.
pub(crate) fn addresses_on(socket: &mut Socket) -> Result<Vec<Address>, Error> {
    let request = Message::new(GETADDR, 0, &[AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0]);
    let answers = socket.dump(request).map_err(|source| Error::io("list addresses", source))?;
    Ok(answers.iter().filter_map(|answer| parse_address(answer)).collect())
}

fn parse_address(answer: &[u8]) -> Option<Address> {
    let body = answer.get(8..)?;
    // On a point-to-point link IFA_ADDRESS is the other end; IPv6 often has that attribute only.
    let address = attribute(body, IFA_LOCAL).or_else(|| attribute(body, IFA_ADDRESS))?;
    Some(Address { index: read_u32(answer, 4)?, address: parse(address)?, prefix: *answer.get(1)? })
}

struct Route {
    to: IpNet,
    table: u8,
    interface: Option<u32>,
    metric: u32,
}

fn routes(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    let request = Message::new(GETROUTE, 0, &[AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let answers = socket.dump(request).map_err(|source| Error::io("list routes", source))?;
    Ok(answers.iter().filter_map(|answer| parse_route(answer)).collect())
}

fn parse_route(answer: &[u8]) -> Option<Route> {
    let (header, body) = answer.split_at_checked(12)?;
    let nowhere = match header[0] {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    if read_u32(header, 8)? & RTM_F_CLONED != 0 {
        return None;
    }
    let to = attribute(body, RTA_DST).map_or(Some(nowhere), parse)?;
    Some(Route {
        to: IpNet::new(to, header[1]).ok()?,
        table: header[4],
        interface: attribute(body, RTA_OIF).and_then(|value| read_u32(value, 0)),
        metric: attribute(body, RTA_PRIORITY).and_then(|value| read_u32(value, 0)).unwrap_or(0),
    })
}

fn parse(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
