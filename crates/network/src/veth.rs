//! Plugging a container's network namespace into a bridge.
//!
//! ```text
//!   host namespace                                  container's namespace
//!   bridge ◄── host_interface ═══════ veth ═══════ container_interface (address, default route), lo
//! ```
//!
//! The pair is made by one message, its far end directly inside the container's namespace, where it is not named twice
//! nor moved. When the namespace dies the kernel removes the pair, which is why nobody waits for a detach.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::netlink::{Family, Message, Refused, Socket};
use crate::{Error, link, namespace, route};

/// One container's place on a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The bridge to be plugged into.
    pub bridge: String,
    /// Name of the host's end, at most 15 bytes. Take a fresh one for every start: the kernel frees the one of a dead
    /// container only some milliseconds after its namespace.
    pub host_interface: String,
    /// Name of the container's end, `eth0`.
    pub container_interface: String,
    /// Hardware address of the container's end, see [`mac_of`].
    pub mac: [u8; 6],
    /// The container's address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// Where the default route leads: the bridge's address.
    pub gateway: Ipv4Addr,
    /// Largest packet.
    pub mtu: u32,
}

/// The hardware address that belongs to an address: whoever gets the address later answers to the same one, so no
/// neighbour cache is ever wrong.
#[must_use]
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// `VETH_INFO_PEER`
const PEER: u16 = 1;
/// The loopback interface is the first of every namespace.
const LOOPBACK: u32 = 1;

/// Makes the pair, plugs one end into the bridge and configures the other inside `netns`: loopback up, address,
/// default route. When it fails nothing is left behind.
pub fn attach(netns: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<(), Error> {
    let mut host = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let bridge = link::find(&mut host, &endpoint.bridge)?.index;
    plug(&mut host, netns, bridge, endpoint)?;
    configure(netns, endpoint).inspect_err(|_| {
        // The first error is the one to tell; what it left is removed as well as can be.
        let _ = host.request(vec![link::delete(&endpoint.host_interface)]);
    })
}

/// Removes the pair. Needed only where the namespace outlives it; that it is gone already is no error.
pub fn detach(endpoint: &Endpoint) -> Result<(), Error> {
    let mut host = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    match host.request(vec![link::delete(&endpoint.host_interface)]) {
        Err(refused) if refused.errno != Errno::NODEV => {
            Err(Error::refused(format!("remove interface {}", endpoint.host_interface), refused))
        }
        _ => Ok(()),
    }
}

/// Sets loopback up and nothing else: all that a container without network gets.
pub fn loopback_up(netns: BorrowedFd<'_>) -> Result<(), Error> {
    let mut inside = namespace::within(netns, || Socket::open(Family::Route))?;
    inside.request(vec![link::up(LOOPBACK)]).map_err(|refused| Error::refused("set up loopback", refused))
}

/// The host's side. A stale interface of that name (of a namespace that is just dying) is removed first.
fn plug(host: &mut Socket, netns: BorrowedFd<'_>, bridge: u32, endpoint: &Endpoint) -> Result<(), Error> {
    let what = || format!("plug {} into {}", endpoint.host_interface, endpoint.bridge);
    let name = &endpoint.host_interface;
    let mut outcome = host.request(vec![pair(netns, bridge, endpoint)]);
    if matches!(outcome, Err(Refused { errno: Errno::EXIST, .. })) {
        let stale = link::find(host, name)?;
        if stale.kind.as_deref() != Some("veth") {
            return Err(Error::Exists { what: format!("interface {name}") });
        }
        // Refused when the kernel was quicker: then the name is free as well.
        let _ = host.request(vec![link::delete(name)]);
        outcome = host.request(vec![pair(netns, bridge, endpoint)]);
    }
    outcome.map_err(|refused| Error::refused(what(), refused))?;
    let index = link::find(host, name)?.index;
    // Up only now, because IPv6 invents an address (and multicasts it) the moment a link comes up.
    link::quiet_ipv6(host, index).and_then(|()| host.request(vec![link::up_on_bridge(index)])).map_err(|refused| {
        let _ = host.request(vec![link::delete(name)]);
        Error::refused(what(), refused)
    })
}

/// The pair, down, with its far end in `netns`.
fn pair(netns: BorrowedFd<'_>, bridge: u32, endpoint: &Endpoint) -> Message {
    link::create()
        .string(link::IFLA_IFNAME, &endpoint.host_interface)
        .u32(link::IFLA_MTU, endpoint.mtu)
        .u32(link::IFLA_MASTER, bridge)
        .nest(link::IFLA_LINKINFO, |info| {
            info.string(link::IFLA_INFO_KIND, "veth").nest(link::IFLA_INFO_DATA, |data| {
                data.nest(PEER, |peer| {
                    peer.raw(&link::ifinfomsg(0, 0, 0))
                        .string(link::IFLA_IFNAME, &endpoint.container_interface)
                        .bytes(link::IFLA_ADDRESS, &endpoint.mac)
                        .u32(link::IFLA_MTU, endpoint.mtu)
                        .u32(link::IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned())
                })
            })
        })
}

/// The container's side.
fn configure(netns: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<(), Error> {
    let mut inside = namespace::within(netns, || Socket::open(Family::Route))?;
    let index = link::find(&mut inside, &endpoint.container_interface)?.index;
    let failed = |step: &str, refused| {
        Error::refused(format!("set up {step} {} in the container", endpoint.container_interface), refused)
    };
    link::quiet_ipv6(&mut inside, index).map_err(|refused| failed("IPv6 of", refused))?;
    let steps = vec![
        link::up(LOOPBACK),
        link::add_address(index, endpoint.address, endpoint.prefix),
        link::up(index),
        route::add_default(index, endpoint.gateway),
    ];
    inside.request(steps).map_err(|refused| {
        failed(["loopback beside", "address of", "link", "default route of"][refused.index.min(3)], refused)
    })
}
