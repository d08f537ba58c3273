//! The hairpin: a pair of interfaces with both ends on the host, by which the first packet of a connection to a published
//! port comes back in.
//!
//! ```text
//!   uplink ─▶ INPUT chains of the host (may drop) ─▶ our last chain: copy ─▶ <in> ══ veth ══ <out> ─▶ DNAT ─▶ container
//! ```
//!
//! A copy that is sent into the near end arrives at the far end as a new packet, for which connection tracking knows
//! nothing yet, so it can be translated; every further packet of the connection then takes the short way from the uplink.
//! The near end has one neighbour with a fixed hardware address, so nobody is ever asked who has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use crate::netlink::{Family, Socket};
use crate::{Error, link, route, sysctl};

/// A pair as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hairpin {
    /// Number of the near end, which copies are sent into.
    pub index: u32,
    /// Name of the far end, where they come back in.
    pub back: String,
    /// The mark, of the bits [`MARKS`], whose packets find their way back by the far end.
    pub mark: u32,
    /// The neighbours beyond the near end; IPv6 only where the host has it.
    pub neighbours: (Ipv4Addr, Option<Ipv6Addr>),
}

/// The bits of a packet's mark that are used while a copy comes in; another use of them ends there.
pub const MARKS: u32 = 0xff00_0000;
/// Where the rule for marked packets stands: before the main table's.
const RULE: u32 = 31_000;

/// The largest packet that fits; as large as an IP packet can be.
const MTU: u32 = 65535;
/// `VETH_INFO_PEER`
const PEER: u16 = 1;

/// The names of the pair's ends, near and far, for the daemon whose default bridge is called `bridge`.
#[must_use]
pub fn names(bridge: &str) -> (String, String) {
    let stem = if bridge.len() <= 12 { bridge.to_owned() } else { format!("teu{:08x}", hash(bridge)) };
    (format!("{stem}-in"), format!("{stem}-o"))
}

/// Makes the pair exist. May be repeated at any time.
pub fn ensure(bridge: &str) -> Result<Hairpin, Error> {
    let (near, far) = names(bridge);
    let failed = |refused| Error::refused(format!("make the interfaces {near} and {far}"), refused);
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let create =
        link::create().string(link::IFLA_IFNAME, &near).u32(link::IFLA_MTU, MTU).nest(link::IFLA_LINKINFO, |info| {
            info.string(link::IFLA_INFO_KIND, "veth").nest(link::IFLA_INFO_DATA, |data| {
                data.nest(PEER, |peer| {
                    peer.raw(&link::ifinfomsg(0, 0, 0)).string(link::IFLA_IFNAME, &far).u32(link::IFLA_MTU, MTU)
                })
            })
        });
    match socket.request(vec![create]) {
        Err(refused) if refused.errno != Errno::EXIST => return Err(failed(refused)),
        _ => {}
    }
    let (near_link, far_link) = (link::find(&mut socket, &near)?, link::find(&mut socket, &far)?);
    if near_link.kind.as_deref() != Some("veth") || far_link.kind.as_deref() != Some("veth") {
        return Err(Error::Exists { what: format!("interface {near} or {far}") });
    }
    // Sources are on the uplink's side, whatever the host's rule for its other interfaces. The check wants an address.
    sysctl::loose_source_check(&far)?;
    for end in [near_link.index, far_link.index] {
        link::quiet_ipv6(&mut socket, end).map_err(failed)?;
    }
    let hash = hash(bridge);
    // Of 169.254.0.0/16 a part that no cloud's metadata service uses; daemons beside each other differ.
    let [low, high] = [hash % 126, hash / 126 % 50].map(|part| u8::try_from(part).unwrap_or(0));
    let (there, here) =
        (Ipv4Addr::new(169, 254, 200 + high, 1 + 2 * low), Ipv4Addr::new(169, 254, 200 + high, 2 + 2 * low));
    let metric = 1 + hash % 0xffff;
    let messages = vec![
        link::up(near_link.index),
        link::up(far_link.index),
        link::add_link_address(far_link.index, here.into(), 32),
        link::add_neighbour(near_link.index, there.into(), &far_link.mac),
        route::add_host(near_link.index, there.into(), metric),
    ];
    socket.request(messages).map_err(failed)?;
    let ipv6 = ensure_ipv6(&mut socket, &near, &near_link, &far, &far_link, metric);
    let mark = mark(hash);
    for ipv6 in [false, true].into_iter().take(1 + usize::from(ipv6.is_some())) {
        // A kernel with one routing table has no way back to show; nobody asks for it there either.
        let _ = socket.request(vec![route::add_default_of(far_link.index, ipv6, table(mark))]);
        let _ = socket.request(vec![route::add_rule(ipv6, (mark, MARKS), table(mark), RULE)]);
    }
    Ok(Hairpin { index: near_link.index, back: far, mark, neighbours: (there, ipv6) })
}

/// Daemons beside each other have marks that differ.
fn mark(hash: u32) -> u32 {
    (1 + hash % 0xff) << 24
}

/// The routing table for that mark, far from the numbers that people use.
fn table(mark: u32) -> u32 {
    0x7e75_0000 | mark >> 24
}

fn ensure_ipv6(
    socket: &mut Socket,
    near: &str,
    near_link: &link::Link,
    far: &str,
    far_link: &link::Link,
    metric: u32,
) -> Option<Ipv6Addr> {
    if !sysctl::has_ipv6() {
        return None;
    }
    for end in [near, far] {
        sysctl::disable_ipv6(end, false).and_then(|()| sysctl::refuse_router_advertisements(end)).ok()?;
    }
    let there = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
    let to = IpAddr::V6(there);
    let messages =
        vec![route::add_host(near_link.index, to, metric), link::add_neighbour(near_link.index, to, &far_link.mac)];
    socket.request(messages).ok().map(|()| there)
}

/// Removes the pair. That it is not there is no error.
pub fn remove(bridge: &str) -> Result<(), Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let mark = mark(hash(bridge));
    for ipv6 in [false, true] {
        // Its route goes with the pair. That the rule is not there is no error.
        let _ = socket.request(vec![route::remove_rule(ipv6, (mark, MARKS), table(mark), RULE)]);
    }
    crate::bridge::remove(&names(bridge).0)
}

/// FNV-1a: names that differ shall give numbers that differ, no more.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        assert_eq!(names("teu0"), ("teu0-in".into(), "teu0-o".into()));
        for bridge in ["teu-0123456", "teu-01234567", "fifteen-letters"] {
            let (near, far) = names(bridge);
            assert!(near.len() <= 15 && far.len() <= 15 && near != far, "{near} {far}");
        }
        assert_ne!(names("fifteen-letters"), names("fifteen-lettert"));
    }
}
