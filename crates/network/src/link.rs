//! The messages about links, addresses and neighbours: `rtnetlink(7)`, `<linux/if_link.h>`.

use std::net::{IpAddr, Ipv4Addr};

use rustix::io::Errno;

use crate::netlink::{Message, Refused, Socket, attribute, flag, read_u32};
use crate::{Error, route};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const NEWNEIGH: u16 = 28;

const AF_UNSPEC: u8 = 0;
const AF_INET6: u16 = 10;

pub(crate) const IFLA_ADDRESS: u16 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
pub(crate) const IFLA_LINK: u16 = 5;
pub(crate) const IFLA_MASTER: u16 = 10;
pub(crate) const IFLA_LINKINFO: u16 = 18;
pub(crate) const IFLA_INFO_KIND: u16 = 1;
pub(crate) const IFLA_INFO_DATA: u16 = 2;
pub(crate) const IFLA_NET_NS_FD: u16 = 28;
pub(crate) const IFLA_NUM_TX_QUEUES: u16 = 31;
pub(crate) const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_CONF: u16 = 2;
/// `DEVCONF_ACCEPT_RA`, the place among the settings, which are four bytes each.
const DEVCONF_ACCEPT_RA: usize = 3;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_F_NODAD: u8 = 2;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

const IFF_UP: u32 = 1;

/// `struct ifinfomsg`; index 0 means the link is named by an attribute.
pub(crate) fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[0] = AF_UNSPEC;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// A message that makes a link, down; attributes follow.
pub(crate) fn create() -> Message {
    Message::new(NEWLINK, flag::CREATE | flag::EXCLUSIVE, &ifinfomsg(0, 0, 0))
}

/// A message that changes a link's attributes.
pub(crate) fn change(index: u32) -> Message {
    Message::new(SETLINK, 0, &ifinfomsg(index, 0, 0))
}

/// Sets a link up.
pub(crate) fn up(index: u32) -> Message {
    Message::new(SETLINK, 0, &ifinfomsg(index, IFF_UP, IFF_UP))
}

/// Sets a bridge's port up, allowed to send a packet back out where it came in. Where bridged packets pass the IP firewall
/// (`bridge-nf-call-iptables`, which Docker and Kubernetes switch on), a container that speaks to its own published port
/// is translated inside the bridge, and this is the way back. An `isolated` port reaches the host and nothing else.
pub(crate) fn up_on_bridge(index: u32, isolated: bool) -> Message {
    Message::new(NEWLINK, 0, &ifinfomsg(index, IFF_UP, IFF_UP)).nest(IFLA_LINKINFO, |info| {
        info.string(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |port| {
            let port = port.bytes(IFLA_BRPORT_MODE, &[1]);
            if isolated { port.bytes(IFLA_BRPORT_ISOLATED, &[1]) } else { port }
        })
    })
}

/// Removes the link of that name.
pub(crate) fn delete(name: &str) -> Message {
    Message::new(DELLINK, 0, &ifinfomsg(0, 0, 0)).string(IFLA_IFNAME, name)
}

/// Keeps IPv6 from making itself a link-local address when the link comes up (`addr_gen_mode none`); to be done while it
/// is down. Nothing to keep quiet where the kernel has no IPv6.
pub(crate) fn quiet_ipv6(socket: &mut Socket, index: u32) -> Result<(), Refused> {
    let message = Message::new(SETLINK, 0, &ifinfomsg(index, 0, 0)).nest(IFLA_AF_SPEC, |families| {
        families.nest(AF_INET6, |inet6| inet6.bytes(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]))
    });
    match socket.request(vec![message]) {
        Err(refused) if refused.errno != Errno::AFNOSUPPORT => Err(refused),
        _ => Ok(()),
    }
}

/// Gives a link an address; the same again is no error. Nobody is asked whether the address is taken: we gave it.
pub(crate) fn add_address(index: u32, address: IpAddr, prefix: u8) -> Message {
    scoped_address(index, address, prefix, RT_SCOPE_UNIVERSE)
}

/// Gives a link an address that is never chosen as a source for what leaves it.
pub(crate) fn add_link_address(index: u32, address: IpAddr, prefix: u8) -> Message {
    scoped_address(index, address, prefix, RT_SCOPE_LINK)
}

fn scoped_address(index: u32, address: IpAddr, prefix: u8, scope: u8) -> Message {
    let mut header = [0; 8]; // struct ifaddrmsg: family, prefix, flags, scope, index
    header[0] = route::family(address);
    header[1] = prefix;
    header[3] = scope;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if address.is_ipv6() {
        header[2] = IFA_F_NODAD;
    }
    let bytes = route::octets(address);
    let message = Message::new(NEWADDR, flag::CREATE | flag::REPLACE, &header)
        .bytes(IFA_LOCAL, &bytes)
        .bytes(IFA_ADDRESS, &bytes);
    match address {
        IpAddr::V4(address) if prefix < 31 => {
            let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let broadcast = Ipv4Addr::from_bits(address.to_bits() | host_bits);
            message.bytes(IFA_BROADCAST, &broadcast.octets())
        }
        _ => message,
    }
}

/// Says for good which hardware address a neighbour has.
pub(crate) fn add_neighbour(index: u32, address: IpAddr, mac: &[u8]) -> Message {
    let mut header = [0; 12]; // struct ndmsg: family, pad, index, state, flags, type
    header[0] = route::family(address);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    Message::new(NEWNEIGH, flag::CREATE | flag::REPLACE, &header)
        .bytes(NDA_DST, &route::octets(address))
        .bytes(NDA_LLADDR, mac)
}

/// What a link says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: Option<String>,
    /// `bridge`, `veth`; none for hardware.
    pub(crate) kind: Option<String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Vec<u8>,
    /// Its setting `accept_ra`; none where it has no IPv6.
    pub(crate) accept_ra: Option<u32>,
}

/// The link of that name.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Link, Error> {
    query(socket, Message::new(GETLINK, 0, &ifinfomsg(0, 0, 0)).string(IFLA_IFNAME, name), name)
}

/// The link of that index.
pub(crate) fn find_by_index(socket: &mut Socket, index: u32) -> Result<Link, Error> {
    query(socket, Message::new(GETLINK, 0, &ifinfomsg(index, 0, 0)), &index.to_string())
}

/// The names of all links of the socket's namespace.
pub(crate) fn names(socket: &mut Socket) -> Result<Vec<String>, Error> {
    let answers = socket.dump(Message::new(GETLINK, 0, &ifinfomsg(0, 0, 0)));
    let answers = answers.map_err(|source| Error::io("list interfaces", source))?;
    Ok(answers.iter().filter_map(|answer| text(attribute(answer.get(16..)?, IFLA_IFNAME)?)).collect())
}

fn text(bytes: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
}

fn query(socket: &mut Socket, message: Message, which: &str) -> Result<Link, Error> {
    let answer = socket.get(message).map_err(|errno| match errno {
        Errno::NODEV => Error::NotFound { what: format!("interface {which}") },
        other => Error::io(format!("look up interface {which}"), other),
    })?;
    let index = read_u32(&answer, 4).unwrap_or_default();
    let body = answer.get(16..).unwrap_or_default();
    let settings = attribute(body, IFLA_AF_SPEC)
        .and_then(|families| attribute(families, AF_INET6))
        .and_then(|inet6| attribute(inet6, IFLA_INET6_CONF));
    let kind = attribute(body, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND));
    Ok(Link {
        index,
        name: attribute(body, IFLA_IFNAME).and_then(text),
        kind: kind.and_then(text),
        mtu: attribute(body, IFLA_MTU).and_then(|mtu| read_u32(mtu, 0)),
        mac: attribute(body, IFLA_ADDRESS).unwrap_or_default().to_vec(),
        accept_ra: settings.and_then(|settings| read_u32(settings, DEVCONF_ACCEPT_RA * size_of::<u32>())),
    })
}
