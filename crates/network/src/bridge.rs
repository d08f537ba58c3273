//! The bridge that containers of one network are plugged into; its own address is their gateway.

use std::net::Ipv4Addr;

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
    /// The address of the host on the bridge, which containers send everything else to.
    pub gateway: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// Largest packet; see [`route::uplink_mtu`].
    pub mtu: u32,
}

/// Makes the bridge exist as described: up, with that address and no other, spanning tree off, no IPv6, its MAC fixed
/// (a bridge otherwise takes the lowest of its ports', and changes it under the containers' ARP caches).
///
/// May be repeated at any time. An interface of that name that is no bridge is [`Error::Exists`].
/// `route_localnet` is set on it, so that answers to the host's 127.0.0.1 can come back; the firewall's first chain
/// keeps everything else addressed to 127.0.0.0/8 out, so apply [`crate::firewall::apply`] *before* this.
pub fn ensure(bridge: &Bridge) -> Result<(), Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let create = link::create()
        .string(link::IFLA_IFNAME, &bridge.name)
        .bytes(link::IFLA_ADDRESS, &mac(bridge.gateway))
        .u32(link::IFLA_MTU, bridge.mtu)
        .nest(link::IFLA_LINKINFO, |info| info.string(link::IFLA_INFO_KIND, "bridge"));
    match socket.request(vec![create]) {
        Ok(()) => {}
        Err(refused) if refused.errno == Errno::EXIST => {}
        Err(refused) => return Err(Error::refused(format!("make bridge {}", bridge.name), refused)),
    }
    let found = link::find(&mut socket, &bridge.name)?;
    if found.kind.as_deref() != Some("bridge") {
        return Err(Error::Exists { what: format!("interface {} that is no bridge", bridge.name) });
    }
    sysctl::disable_ipv6(&bridge.name)?;
    drop_other_addresses(&mut socket, found.index, bridge)?;
    let set_up = vec![
        link::change(found.index).bytes(link::IFLA_ADDRESS, &mac(bridge.gateway)).u32(link::IFLA_MTU, bridge.mtu).nest(
            link::IFLA_LINKINFO,
            |info| {
                info.string(link::IFLA_INFO_KIND, "bridge").nest(link::IFLA_INFO_DATA, |data| data.u32(BR_STP_STATE, 0))
            },
        ),
        link::add_address(found.index, bridge.gateway, bridge.prefix),
        link::up(found.index),
    ];
    socket.request(set_up).map_err(|refused| Error::refused(format!("set up bridge {}", bridge.name), refused))?;
    sysctl::route_localnet(&bridge.name)
}

/// Removes the bridge, and what is still plugged into it loses its network. That it is not there is no error.
pub fn remove(name: &str) -> Result<(), Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    match socket.request(vec![link::delete(name)]) {
        Err(refused) if refused.errno != Errno::NODEV => Err(Error::refused(format!("remove bridge {name}"), refused)),
        _ => Ok(()),
    }
}

/// `IFLA_BR_STP_STATE`
const BR_STP_STATE: u16 = 5;

/// A locally administered address made of the gateway's, so it is the same after every restart.
fn mac(gateway: Ipv4Addr) -> [u8; 6] {
    crate::mac_of(gateway)
}

/// Addresses of an earlier configuration would keep a subnet routed here.
fn drop_other_addresses(socket: &mut Socket, index: u32, bridge: &Bridge) -> Result<(), Error> {
    let others: Vec<_> = route::addresses_on(socket)?
        .into_iter()
        .filter(|found| found.index == index)
        .filter(|found| (found.address, found.prefix) != (bridge.gateway, bridge.prefix))
        .map(Address::removal)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    socket.request(others).map_err(|refused| Error::refused(format!("remove addresses of {}", bridge.name), refused))
}
