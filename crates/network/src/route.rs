//! What the host's routing table says: which networks are taken, and how large packets may be.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::netlink::{Family, Message, Socket, attribute, flag, read_u32};
use crate::{Error, link};

const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;

const AF_INET: u8 = 2;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;

/// An IPv4 address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
}

impl Address {
    /// The message that takes it away.
    pub(crate) fn removal(self) -> Message {
        let mut header = [0; 8]; // struct ifaddrmsg
        header[0] = AF_INET;
        header[1] = self.prefix;
        header[4..8].copy_from_slice(&self.index.to_ne_bytes());
        Message::new(DELADDR, 0, &header).bytes(IFA_LOCAL, &self.address.octets())
    }
}

/// Every network the host is on or has a route to (other routing tables than the main one included), and its own
/// addresses; default routes are left out. What an address pool must keep clear of; add the resolvers' addresses, which
/// may lie behind the default route.
pub fn networks() -> Result<Vec<Ipv4Net>, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let mut found: Vec<Ipv4Net> = addresses_on(&mut socket)?
        .iter()
        .filter_map(|address| Ipv4Net::new(address.address, address.prefix).ok())
        .map(|network| network.trunc())
        .collect();
    found.extend(routes(&mut socket)?.iter().filter(|route| route.table != RT_TABLE_LOCAL).map(|route| route.to));
    found.retain(|network| network.prefix_len() > 0);
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The host's own IPv4 addresses.
pub fn addresses() -> Result<Vec<Ipv4Addr>, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    Ok(addresses_on(&mut socket)?.iter().map(|found| found.address).collect())
}

/// The largest packet of the interface that the default route leaves by; none without a default route. A bridge that
/// lets containers send more loses packets wherever "fragmentation needed" messages are filtered.
pub fn uplink_mtu() -> Result<Option<u32>, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let default = routes(&mut socket)?
        .into_iter()
        .filter(|route| route.to.prefix_len() == 0 && route.table == RT_TABLE_MAIN)
        .min_by_key(|route| route.metric);
    match default.and_then(|route| route.interface) {
        Some(index) => Ok(link::find_by_index(&mut socket, index)?.mtu),
        None => Ok(None),
    }
}

/// The default route by that gateway.
pub(crate) fn add_default(index: u32, gateway: Ipv4Addr) -> Message {
    // struct rtmsg: family, destination length, source length, tos, table, protocol, scope, type, flags
    let header = [AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0, 0, 0, 0];
    Message::new(NEWROUTE, flag::CREATE | flag::REPLACE, &header)
        .bytes(RTA_GATEWAY, &gateway.octets())
        .u32(RTA_OIF, index)
}

/// The IPv4 addresses of the socket's namespace.
pub(crate) fn addresses_on(socket: &mut Socket) -> Result<Vec<Address>, Error> {
    let request = Message::new(GETADDR, 0, &[AF_INET, 0, 0, 0, 0, 0, 0, 0]);
    let answers = socket.dump(request).map_err(|source| Error::io("list addresses", source))?;
    Ok(answers.iter().filter_map(|answer| parse_address(answer)).collect())
}

fn parse_address(answer: &[u8]) -> Option<Address> {
    Some(Address {
        index: read_u32(answer, 4)?,
        address: ipv4(attribute(answer.get(8..)?, IFA_LOCAL)?)?,
        prefix: *answer.get(1)?,
    })
}

struct Route {
    to: Ipv4Net,
    table: u8,
    interface: Option<u32>,
    metric: u32,
}

fn routes(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    let request = Message::new(GETROUTE, 0, &[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let answers = socket.dump(request).map_err(|source| Error::io("list routes", source))?;
    Ok(answers.iter().filter_map(|answer| parse_route(answer)).collect())
}

fn parse_route(answer: &[u8]) -> Option<Route> {
    let (header, body) = answer.split_at_checked(12)?;
    let to = attribute(body, RTA_DST).map_or(Some(Ipv4Addr::UNSPECIFIED), ipv4)?;
    Some(Route {
        to: Ipv4Net::new(to, header[1]).ok()?,
        table: header[4],
        interface: attribute(body, RTA_OIF).and_then(|value| read_u32(value, 0)),
        metric: attribute(body, RTA_PRIORITY).and_then(|value| read_u32(value, 0)).unwrap_or(0),
    })
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}
