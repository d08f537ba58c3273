//! The bridge that containers of one network are plugged into; its own addresses are their gateways.

use std::net::{IpAddr, Ipv6Addr};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::netlink::{Family, Socket};
use crate::route::{self, Address};
use crate::{Error, link, sysctl};

/// A bridge as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Interface name, at most 15 bytes.
    pub name: String,
    /// The addresses of the host on the bridge, with the length of their subnet's prefix; containers send everything
    /// else to them.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its hardware address; it stays the same after every restart.
    pub mac: [u8; 6],
    /// Largest packet; see [`route::uplink_mtu`].
    pub mtu: u32,
}

/// Makes the bridge exist as described: up, with those addresses and no other, spanning tree off, its MAC fixed
/// (a bridge otherwise takes the lowest of its ports', and changes it under the containers' ARP caches), deaf to router
/// advertisements. Without an IPv6 address in the list it has no IPv6 at all.
///
/// May be repeated at any time. An interface of that name that is no bridge is [`Error::Exists`]. Says whether the bridge
/// was made by this call.
pub fn ensure(bridge: &Bridge) -> Result<bool, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let create = link::create()
        .string(link::IFLA_IFNAME, &bridge.name)
        .bytes(link::IFLA_ADDRESS, &bridge.mac)
        .u32(link::IFLA_MTU, bridge.mtu)
        .nest(link::IFLA_LINKINFO, |info| info.string(link::IFLA_INFO_KIND, "bridge"));
    let made = match socket.request(vec![create]) {
        Ok(()) => true,
        Err(refused) if refused.errno == Errno::EXIST => false,
        Err(refused) => return Err(Error::refused(format!("make bridge {}", bridge.name), refused)),
    };
    let found = link::find(&mut socket, &bridge.name)?;
    if found.kind.as_deref() != Some("bridge") {
        return Err(Error::Exists { what: format!("interface {} that is no bridge", bridge.name) });
    }
    let ipv6 = bridge.addresses.iter().any(|(address, _)| address.is_ipv6());
    sysctl::disable_ipv6(&bridge.name, !ipv6)?;
    if ipv6 {
        sysctl::refuse_router_advertisements(&bridge.name)?;
    }
    drop_other_addresses(&mut socket, found.index, bridge)?;
    let mut set_up =
        vec![link::change(found.index).bytes(link::IFLA_ADDRESS, &bridge.mac).u32(link::IFLA_MTU, bridge.mtu).nest(
            link::IFLA_LINKINFO,
            |info| {
                info.string(link::IFLA_INFO_KIND, "bridge").nest(link::IFLA_INFO_DATA, |data| data.u32(BR_STP_STATE, 0))
            },
        )];
    set_up.extend(bridge.addresses.iter().map(|(address, prefix)| link::add_address(found.index, *address, *prefix)));
    if ipv6 {
        // Whoever passes packets on asks for neighbours by an address of the link; the kernel's own would have to wait
        // for its check that nobody else has it.
        set_up.push(link::add_address(found.index, LINK_ADDRESS, 64));
    }
    set_up.push(link::up(found.index));
    socket.request(set_up).map_err(|refused| Error::refused(format!("set up bridge {}", bridge.name), refused))?;
    Ok(made)
}

/// Whether there is an interface of that name.
pub fn exists(name: &str) -> Result<bool, Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    match link::find(&mut socket, name) {
        Ok(_) => Ok(true),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the bridge, and what is still plugged into it loses its network. That it is not there is no error.
pub fn remove(name: &str) -> Result<(), Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    match socket.request(vec![link::delete(name)]) {
        Err(refused) if refused.errno != Errno::NODEV => Err(Error::refused(format!("remove bridge {name}"), refused)),
        _ => Ok(()),
    }
}

/// The host's address on each of its bridges' links.
const LINK_ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// `IFLA_BR_STP_STATE`
const BR_STP_STATE: u16 = 5;

/// Addresses of an earlier configuration would keep a subnet routed here. The link-local ones are the kernel's.
fn drop_other_addresses(socket: &mut Socket, index: u32, bridge: &Bridge) -> Result<(), Error> {
    let kernels = |address: IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let others: Vec<_> = route::addresses_on(socket)?
        .into_iter()
        .filter(|found| found.index == index && !kernels(found.address))
        .filter(|found| !bridge.addresses.contains(&(found.address, found.prefix)))
        .map(Address::removal)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    socket.request(others).map_err(|refused| Error::refused(format!("remove addresses of {}", bridge.name), refused))
}
