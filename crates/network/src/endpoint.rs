//! Plugging a container's network namespace into a network.
//!
//! ```text
//!   host namespace                                  container's namespace
//!   bridge ◄── host_interface ═══════ veth ═══════ container_interface (addresses), lo
//!   parent ◄───────── macvlan or ipvlan ─────────── container_interface (addresses), lo
//! ```
//!
//! A pair is made by one message, its far end directly inside the container's namespace, where it is not named twice
//! nor moved. When the namespace dies the kernel removes the pair, which is why nobody waits for a detach. Which of a
//! container's interfaces leads out is the caller's decision for all of them together; [`route_by`] changes it later.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::link::Link;
use crate::netlink::{Family, Message, Refused, Socket};
use crate::{Error, link, namespace, route, sysctl};

/// One container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// What its interface hangs on.
    pub attachment: Attachment,
    /// Name of the container's end, `eth0`.
    pub container_interface: String,
    /// Hardware address of the container's end, see [`mac_of`]; ipvlan has its parent's.
    pub mac: Option<[u8; 6]>,
    /// The container's addresses with the length of their subnet's prefix. Without an IPv6 address the interface has no
    /// IPv6, not even an address of the link.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The gateways that everything else goes to: those of the one interface of a container that leads out.
    pub gateways: Vec<IpAddr>,
    /// Largest packet; the parent's where none is said.
    pub mtu: Option<u32>,
    /// Settings of the interface: `net.ipv4.conf.IFNAME.…` and value.
    pub sysctls: Vec<(String, String)>,
}

/// What an interface hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attachment {
    /// A pair, one end of which is plugged into a bridge.
    Bridge {
        /// The bridge.
        bridge: String,
        /// Name of the host's end, at most 15 bytes. Take a fresh one for every start: the kernel frees the one of a
        /// dead container only some milliseconds after its namespace.
        host_interface: String,
        /// It reaches the host, and no neighbour.
        isolated: bool,
    },
    /// A second card on the parent's wire.
    Macvlan {
        /// The host's interface.
        parent: String,
        /// `MACVLAN_MODE_*`.
        mode: u32,
    },
    /// A second address on the parent's card.
    Ipvlan {
        /// The host's interface.
        parent: String,
        /// `IPVLAN_MODE_*`.
        mode: u16,
        /// `IPVLAN_F_*`.
        flags: u16,
    },
}

/// The hardware address that belongs to an address: whoever gets the address later answers to the same one, so no
/// neighbour cache is ever wrong.
#[must_use]
pub fn mac_of(address: IpAddr) -> [u8; 6] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [0x02, 0x42, a, b, c, d]
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            [0x02, 0x46, octets[12], octets[13], octets[14], octets[15]]
        }
    }
}

/// `VETH_INFO_PEER`
const PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
/// The loopback interface is the first of every namespace.
const LOOPBACK: u32 = 1;

/// Makes the interface and configures it inside `netns`: loopback up, addresses, default
/// routes. When it fails nothing is left behind.
pub fn attach(netns: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<(), Error> {
    let mut host = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    match &endpoint.attachment {
        Attachment::Bridge { bridge, host_interface, .. } => {
            let bridge = link::find(&mut host, bridge)?.index;
            plug(&mut host, netns, bridge, endpoint)?;
            configure(netns, endpoint).inspect_err(|_| {
                // The first error is the one to tell; what it left is removed as well as can be.
                let _ = host.request(vec![link::delete(host_interface)]);
            })
        }
        Attachment::Macvlan { parent, .. } | Attachment::Ipvlan { parent, .. } => {
            let parent = link::find(&mut host, parent)?.index;
            let what = || format!("make {} in the container", endpoint.container_interface);
            let first_name = first_name(netns)?;
            host.request(vec![upon(netns, parent, &first_name, endpoint)]).map_err(|refused| match refused.errno {
                Errno::OPNOTSUPP => Error::Unsupported { what: endpoint.attachment.kind().to_owned() },
                _ => Error::refused(what(), refused),
            })?;
            rename_inside(netns, &first_name, &endpoint.container_interface).inspect_err(|_| {
                let _ = unplug_inside(netns, &first_name);
            })?;
            configure(netns, endpoint).inspect_err(|_| {
                let _ = unplug_inside(netns, &endpoint.container_interface);
            })
        }
    }
}

/// Removes the interface. Needed only where the namespace outlives it; that it is gone already is no error.
pub fn detach(netns: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<(), Error> {
    let Attachment::Bridge { host_interface, .. } = &endpoint.attachment else {
        return unplug_inside(netns, &endpoint.container_interface);
    };
    let mut host = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    match host.request(vec![link::delete(host_interface)]) {
        Err(refused) if refused.errno != Errno::NODEV => {
            Err(Error::refused(format!("remove interface {host_interface}"), refused))
        }
        _ => Ok(()),
    }
}

/// Sets loopback up and nothing else: all that a container without network gets.
pub fn loopback_up(netns: BorrowedFd<'_>) -> Result<(), Error> {
    let mut inside = namespace::within(netns, || Socket::open(Family::Route))?;
    inside.request(vec![link::up(LOOPBACK)]).map_err(|refused| Error::refused("set up loopback", refused))
}

/// Where everything that is on no network of the container's goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// Nowhere.
    None,
    /// By a gateway on the link of that interface.
    Gateway(String, IpAddr),
    /// Onto the link of that interface.
    Link(String),
}

/// Sets the default routes inside `netns`: one for each family.
pub fn route_by(netns: BorrowedFd<'_>, ipv4: &Way, ipv6: &Way) -> Result<(), Error> {
    let mut inside = namespace::within(netns, || Socket::open(Family::Route))?;
    set_ways(&mut inside, [(ipv4, false), (ipv6, true)])
}

fn set_ways(inside: &mut Socket, ways: [(&Way, bool); 2]) -> Result<(), Error> {
    for (way, is_ipv6) in ways {
        let message = match way {
            Way::None => route::remove_default(is_ipv6),
            Way::Gateway(interface, gateway) => route::add_default(link::find(inside, interface)?.index, *gateway),
            Way::Link(interface) => route::add_default_on_link(link::find(inside, interface)?.index, is_ipv6),
        };
        match inside.request(vec![message]) {
            // There was none to remove, or no IPv6 at all.
            Err(refused)
                if *way == Way::None
                    && matches!(refused.errno, Errno::SRCH | Errno::NOENT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => {}
            Err(refused) => return Err(Error::refused("set the default route in the container", refused)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The names of the interfaces inside `netns`.
pub fn interfaces(netns: BorrowedFd<'_>) -> Result<Vec<String>, Error> {
    let mut inside = namespace::within(netns, || Socket::open(Family::Route))?;
    link::names(&mut inside)
}

impl Attachment {
    fn kind(&self) -> &'static str {
        match self {
            Self::Bridge { .. } => "veth",
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
        }
    }
}

fn unplug_inside(netns: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
    let mut inside = namespace::within(netns, || Socket::open(Family::Route))?;
    match inside.request(vec![link::delete(name)]) {
        Err(refused) if refused.errno != Errno::NODEV => {
            Err(Error::refused(format!("remove interface {name}"), refused))
        }
        _ => Ok(()),
    }
}

/// A name that no other interface has, here or there: older kernels look for the name of a link that is made for
/// another namespace in the one it is made from, where `eth0` is the host's.
fn first_name(netns: BorrowedFd<'_>) -> Result<String, Error> {
    let stat = rustix::fs::fstat(netns)
        .map_err(|errno| Error::io("look at the network namespace", std::io::Error::from(errno)))?;
    Ok(format!("teu{}", stat.st_ino))
}

fn rename_inside(netns: BorrowedFd<'_>, name: &str, to: &str) -> Result<(), Error> {
    let mut inside = namespace::within(netns, || Socket::open(Family::Route))?;
    let index = link::find(&mut inside, name)?.index;
    let renamed = inside.request(vec![link::change(index).string(link::IFLA_IFNAME, to)]);
    renamed.map_err(|refused| Error::refused(format!("make {to} in the container"), refused))
}

/// The host's side of a pair. A stale interface of that name (of a namespace that is just dying) is removed first.
fn plug(host: &mut Socket, netns: BorrowedFd<'_>, bridge: u32, endpoint: &Endpoint) -> Result<(), Error> {
    let Attachment::Bridge { bridge: bridge_name, host_interface: name, isolated } = &endpoint.attachment else {
        return Ok(());
    };
    let what = || format!("plug {name} into {bridge_name}");
    let mut outcome = host.request(vec![pair(netns, bridge, name, endpoint)]);
    if matches!(outcome, Err(Refused { errno: Errno::EXIST, .. })) {
        let stale = match link::find(host, name) {
            Ok(stale) => stale,
            // Not here: then it is the container that has an interface of the wanted name already.
            Err(_) => return Err(Error::Exists { what: format!("interface {}", endpoint.container_interface) }),
        };
        if stale.kind.as_deref() != Some("veth") {
            return Err(Error::Exists { what: format!("interface {name}") });
        }
        // Refused when the kernel was quicker: then the name is free as well.
        let _ = host.request(vec![link::delete(name)]);
        outcome = host.request(vec![pair(netns, bridge, name, endpoint)]);
    }
    outcome.map_err(|refused| Error::refused(what(), refused))?;
    let index = link::find(host, name)?.index;
    // Up only now, because IPv6 invents an address (and multicasts it) the moment a link comes up.
    let up = link::up_on_bridge(index, *isolated);
    link::quiet_ipv6(host, index).and_then(|()| host.request(vec![up])).map_err(|refused| {
        let _ = host.request(vec![link::delete(name)]);
        Error::refused(what(), refused)
    })
}

/// The pair, down, with its far end in `netns`.
fn pair(netns: BorrowedFd<'_>, bridge: u32, name: &str, endpoint: &Endpoint) -> Message {
    let mtu = endpoint.mtu.unwrap_or(1500);
    // As many queues as the kernel would leave it with; made with more, it waits for a grace period to take them away.
    let sized = |message: Message| {
        message.u32(link::IFLA_MTU, mtu).u32(link::IFLA_NUM_TX_QUEUES, 1).u32(link::IFLA_NUM_RX_QUEUES, 1)
    };
    let host = sized(link::create().string(link::IFLA_IFNAME, name)).u32(link::IFLA_MASTER, bridge);
    host.nest(link::IFLA_LINKINFO, |info| {
        info.string(link::IFLA_INFO_KIND, "veth").nest(link::IFLA_INFO_DATA, |data| {
            data.nest(PEER, |peer| {
                let named =
                    peer.raw(&link::ifinfomsg(0, 0, 0)).string(link::IFLA_IFNAME, &endpoint.container_interface);
                let peer = sized(named).u32(link::IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned());
                match &endpoint.mac {
                    Some(mac) => peer.bytes(link::IFLA_ADDRESS, mac),
                    None => peer,
                }
            })
        })
    })
}

/// An interface upon a parent, made inside `netns`.
fn upon(netns: BorrowedFd<'_>, parent: u32, name: &str, endpoint: &Endpoint) -> Message {
    let mut message = link::create()
        .string(link::IFLA_IFNAME, name)
        .u32(link::IFLA_LINK, parent)
        .u32(link::IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned());
    if let Some(mtu) = endpoint.mtu {
        message = message.u32(link::IFLA_MTU, mtu);
    }
    if let (Some(mac), Attachment::Macvlan { .. }) = (&endpoint.mac, &endpoint.attachment) {
        message = message.bytes(link::IFLA_ADDRESS, mac);
    }
    message.nest(link::IFLA_LINKINFO, |info| {
        let info = info.string(link::IFLA_INFO_KIND, endpoint.attachment.kind());
        info.nest(link::IFLA_INFO_DATA, |data| match &endpoint.attachment {
            Attachment::Macvlan { mode, .. } => data.u32(IFLA_MACVLAN_MODE, *mode),
            Attachment::Ipvlan { mode, flags, .. } => {
                data.bytes(IFLA_IPVLAN_MODE, &mode.to_ne_bytes()).bytes(IFLA_IPVLAN_FLAGS, &flags.to_ne_bytes())
            }
            Attachment::Bridge { .. } => data,
        })
    })
}

/// The address of the link that belongs to a hardware address (RFC 4291, appendix A).
fn link_address(mac: [u8; 6]) -> IpAddr {
    let [a, b, c, d, e, f] = mac;
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f)).into()
}

/// The container's side.
fn configure(netns: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<(), Error> {
    let name = &endpoint.container_interface;
    let ipv6 = endpoint.addresses.iter().any(|(address, _)| address.is_ipv6());
    let settings = |setting: &(String, String)| {
        sysctl::set(&setting.0.replace("IFNAME", name).replace("ifname", name), &setting.1)
    };
    let mut inside = namespace::within(netns, || Socket::open(Family::Route))?;
    let Link { index, accept_ra, .. } = link::find(&mut inside, name)?;
    let refuse = ipv6 && accept_ra != Some(0);
    if refuse || !endpoint.sysctls.is_empty() {
        let mut set = Ok(());
        namespace::within(netns, || {
            if refuse {
                set = sysctl::refuse_router_advertisements(name);
            }
            if set.is_ok() {
                set = endpoint.sysctls.iter().try_for_each(settings);
            }
            Ok(())
        })?;
        set?;
    }
    let failed = |step: &str, refused| Error::refused(format!("set up {step} {name} in the container"), refused);
    if !ipv6 || endpoint.mac.is_some() {
        // The kernel's own address of the link would have to wait for its check that nobody else has it.
        link::quiet_ipv6(&mut inside, index).map_err(|refused| failed("IPv6 of", refused))?;
    }
    let mut steps = vec![link::up(LOOPBACK)];
    steps.extend(endpoint.addresses.iter().map(|(address, prefix)| link::add_address(index, *address, *prefix)));
    if let Some(mac) = endpoint.mac.filter(|_| ipv6) {
        steps.push(link::add_address(index, link_address(mac), 64));
    }
    let last = steps.len();
    steps.push(link::up(index));
    steps.extend(endpoint.gateways.iter().map(|gateway| route::add_default(index, *gateway)));
    let mut outcome = inside.request(steps.clone());
    if ipv6 && matches!(outcome, Err(Refused { errno: Errno::ACCESS, .. })) {
        // A host whose namespaces begin without IPv6.
        namespace::within(netns, || sysctl::disable_ipv6(name, false).map_err(std::io::Error::other))?;
        outcome = inside.request(steps);
    }
    outcome.map_err(|refused| match refused.index {
        0 => failed("loopback beside", refused),
        at if at == last => failed("link", refused),
        at if at > last => failed("default route of", refused),
        _ => failed("address of", refused),
    })
}
