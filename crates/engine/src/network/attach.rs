//! Plugging a container into its networks, and taking it off again.
//!
//! Addresses are taken first, for all networks together; then it is known which interface leads out; then the kernel is
//! asked. What fails gives everything back.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;

use ipnet::IpNet;
use teu_api::container::{EndpointIpamConfig, EndpointSettings};
use teu_network::ipam::Pool;
use teu_network::{Attachment, Endpoint, Way};
use teu_supervisor::protocol::PortRequest;

use super::ports::{self, Targets, Wanted};
use super::record::{EndpointRecord, parse_mac};
use super::{Held, Live, Mode, Net, Networks, mode_of};
use crate::container::Record;
use crate::container::names::random_id;
use crate::error::{Error, Result};

/// Where a container is, by the network's name.
pub(crate) type Places = BTreeMap<String, EndpointRecord>;

/// The network namespace of a process.
pub(crate) fn namespace_of(pid: i32) -> Result<File> {
    let path = format!("/proc/{pid}/ns/net");
    File::open(&path).map_err(|error| Error::io("open", path.as_ref(), error))
}

/// The networks a container asks for, the one of its mode first.
pub(crate) fn asked(record: &Record) -> Vec<(String, EndpointSettings)> {
    let Mode::Network(first) = mode_of(record) else { return vec![] };
    let endpoints = &record.networking.endpoints_config;
    let own = endpoints.get(&first).cloned();
    // One that was disconnected before the start is not joined, whatever the mode says.
    let joins = own.is_some() || (endpoints.is_empty() && !record.alone);
    let mut all: Vec<_> = joins.then(|| (first.clone(), own.unwrap_or_default())).into_iter().collect();
    all.extend(endpoints.iter().filter(|(name, _)| **name != first).map(|(name, own)| (name.clone(), own.clone())));
    all
}

/// The endpoints by which everything that is on no network of the container's goes: for IPv4 and for IPv6. The highest
/// priority wins, then the first name.
pub(crate) fn leads_out(places: &Places) -> (Option<&EndpointRecord>, Option<&EndpointRecord>) {
    let best = |ipv6: bool| {
        let able = places.iter().filter(|(_, place)| place.gateway(ipv6).is_some() && place.address(ipv6).is_some());
        able.max_by(|(a, one), (b, other)| one.priority.cmp(&other.priority).then_with(|| b.cmp(a)))
            .map(|(_, place)| place)
    };
    (best(false), best(true))
}

impl Networks {
    /// Takes up what a running container had before the daemon was restarted.
    pub(crate) fn restore(&self, record: &Record) {
        let mut live = self.live();
        for place in record.endpoints.values() {
            let Some(net) = live.networks.get_mut(&place.network) else { continue };
            for (address, _) in &place.link.addresses {
                if let Some(pool) = net.pools.iter_mut().find(|pool| pool.subnet().contains(address)) {
                    // Taken already by nobody but a record that was written twice.
                    let _ = pool.reserve(*address);
                }
            }
            let held = Held { name: record.name.clone(), endpoint: place.clone() };
            net.held.insert(record.id.clone(), held);
        }
        if !record.ports.is_empty() {
            let (ipv4, ipv6) = leads_out(&record.endpoints);
            let targets = Targets::of(ipv4, ipv6);
            live.ports.insert(record.id.clone(), (record.ports.clone(), targets));
        }
    }

    /// Plugs the network namespace of container `record` into its networks. Blocks for about a millisecond for each.
    pub(crate) fn attach(&self, record: &Record, netns: &File) -> Result<Places> {
        let asked = asked(record);
        if asked.is_empty() {
            return Ok(Places::new());
        }
        let (mut places, order) = self.take_places(record, &asked)?;
        if let Err(error) = plug_all(netns, &mut places, &order) {
            self.give_back(&record.id, &places);
            return Err(error);
        }
        self.hold(record, &places);
        Ok(places)
    }

    /// Addresses on every network, or on none. Says in which order interfaces are made, too.
    fn take_places(&self, record: &Record, asked: &[(String, EndpointSettings)]) -> Result<(Places, Vec<String>)> {
        let mut live = self.live();
        let (mut places, mut order) = (Places::new(), vec![]);
        let mut interfaces: Vec<String> = vec![];
        for (name, settings) in asked {
            let taken = live.find(name).map(|net| net.record.id.clone()).and_then(|id| {
                self.make(&mut live, &id)?;
                live.place(&id, record, settings, &interfaces, self.inner.mtu)
            });
            match taken {
                Ok((name, place)) => {
                    live.keep(record, &place);
                    interfaces.push(place.link.container_interface.clone());
                    order.push(name.clone());
                    places.insert(name, place);
                }
                Err(error) => {
                    drop(live);
                    self.give_back(&record.id, &places);
                    return Err(error);
                }
            }
        }
        Ok((places, order))
    }

    /// One more place for a container that runs.
    pub(super) fn take_place(
        &self,
        record: &Record,
        network: &str,
        settings: &EndpointSettings,
        interfaces: &[String],
    ) -> Result<(String, EndpointRecord)> {
        let mut live = self.live();
        let id = live.find(network)?.record.id.clone();
        self.make(&mut live, &id)?;
        let (name, place) = live.place(&id, record, settings, interfaces, self.inner.mtu)?;
        live.keep(record, &place);
        Ok((name, place))
    }

    pub(super) fn give_back(&self, container: &str, places: &Places) {
        let mut live = self.live();
        for place in places.values() {
            if let Some(net) = live.networks.get_mut(&place.network) {
                net.held.remove(container);
            }
            live.free(place);
        }
    }

    /// Remembers who is where, and tells the name servers.
    pub(super) fn hold(&self, record: &Record, places: &Places) {
        let mut live = self.live();
        for place in places.values() {
            live.keep(record, place);
            self.write_names(&live, &place.network);
        }
    }

    /// Frees what the container held. Its interfaces go with their namespace.
    pub(crate) fn detach(&self, container: &str, places: &Places) {
        self.close_ports(container);
        let mut live = self.live();
        for place in places.values() {
            if let Some(net) = live.networks.get_mut(&place.network) {
                net.held.remove(container);
            }
            live.free(place);
            self.write_names(&live, &place.network);
        }
    }

    /// Calls a container by its new name.
    pub(crate) fn renamed(&self, record: &Record) {
        let mut live = self.live();
        for place in record.endpoints.values() {
            if let Some(held) = live.networks.get_mut(&place.network).and_then(|net| net.held.get_mut(&record.id)) {
                held.name.clone_from(&record.name);
                held.endpoint.names.clone_from(&place.names);
            }
            self.write_names(&live, &place.network);
        }
    }

    /// What the supervisor of a container is asked to hold, for which wish each, and the addresses of which nothing is held
    /// because the container is reached at its own.
    pub(crate) fn port_requests(&self, record: &Record) -> Result<Vec<(Wanted, PortRequest, Vec<IpAddr>)>> {
        let wanted = ports::wanted(&record.host, record.config.exposed_ports.keys())?;
        if wanted.is_empty() {
            return Ok(vec![]);
        }
        let (ipv4, ipv6) = leads_out(&record.endpoints);
        let targets = Targets::of(ipv4, ipv6);
        let default =
            ipv4.and_then(|place| self.live().networks.get(&place.network).and_then(|net| net.options.binding));
        let mut requests = vec![];
        for wanted in wanted {
            let mut request = targets.request(&wanted, default, self.inner.ipv6);
            let routed = request.places.extract_if(.., |place| self.routed(place.target.ip()));
            let routed = routed.map(|place| place.host_ip).collect();
            requests.push((wanted, request, routed));
        }
        Ok(requests)
    }
}

/// Makes the interfaces; the ones that lead out get their gateways.
fn plug_all(netns: &File, places: &mut Places, order: &[String]) -> Result<()> {
    let out = leads_out(places);
    let (ipv4, ipv6) = (out.0.map(|place| place.id.clone()), out.1.map(|place| place.id.clone()));
    for place in places.values_mut() {
        let leads = |gateway: &IpAddr| {
            let chosen = if gateway.is_ipv6() { &ipv6 } else { &ipv4 };
            chosen.as_ref() == Some(&place.id)
        };
        place.link.gateways = place.gateways.iter().copied().filter(leads).collect();
    }
    for name in order {
        teu_network::attach(netns.as_fd(), &places[name].link)?;
    }
    let on_link = places.values().find(|place| leads_onto_link(&place.link));
    if let (None, None, Some(place)) = (&ipv4, &ipv6, on_link) {
        let way = Way::Link(place.link.container_interface.clone());
        teu_network::route_by(netns.as_fd(), &way, &Way::None)?;
    }
    Ok(())
}

/// An ipvlan of layer 3 has no gateway: its parent routes.
fn leads_onto_link(link: &Endpoint) -> bool {
    matches!(link.attachment, Attachment::Ipvlan { mode: 1 | 2, .. })
}

impl Live {
    /// Notes who is at a place, or about to be: the network cannot be removed from then on.
    fn keep(&mut self, record: &Record, place: &EndpointRecord) {
        if let Some(net) = self.networks.get_mut(&place.network) {
            let held = Held { name: record.name.clone(), endpoint: place.clone() };
            net.held.insert(record.id.clone(), held);
        }
    }

    /// Takes addresses on a network.
    fn place(
        &mut self,
        id: &str,
        record: &Record,
        settings: &EndpointSettings,
        interfaces: &[String],
        mtu: u32,
    ) -> Result<(String, EndpointRecord)> {
        let Some(net) = self.networks.get_mut(id) else {
            return Err(Error::not_found(format!("network {id} not found")));
        };
        if net.record.config_only {
            return Err(Error::forbidden("cannot create endpoint on configuration-only network"));
        }
        let families: &[bool] = if refuses_ipv6(record) { &[false] } else { &[false, true] };
        let addresses = take_addresses(net, settings.ipam_config.as_ref(), families)?;
        let link = link(net, settings, addresses.clone(), interfaces, mtu).inspect_err(|_| release(net, &addresses))?;
        let gateways = if net.record.internal { vec![] } else { net.pools.iter().filter_map(Pool::way_out).collect() };
        let mut place = EndpointRecord {
            id: random_id()?,
            network: id.into(),
            gateways,
            priority: settings.gw_priority,
            names: if net.predefined() { vec![] } else { names(record, settings) },
            link,
        };
        place.gateways.retain(|gateway| place.link.addresses.iter().any(|(own, _)| own.is_ipv6() == gateway.is_ipv6()));
        if leads_onto_link(&place.link) {
            place.gateways.clear();
        }
        if let Attachment::Bridge { host_interface, .. } = &mut place.link.attachment {
            *host_interface = format!("veth{}", &place.id[..8]);
        }
        Ok((net.record.name.clone(), place))
    }

    fn free(&mut self, place: &EndpointRecord) {
        if let Some(net) = self.networks.get_mut(&place.network) {
            release(net, &place.link.addresses);
        }
    }
}

fn release(net: &mut Net, addresses: &[(IpAddr, u8)]) {
    for (address, _) in addresses {
        if let Some(pool) = net.pools.iter_mut().find(|pool| pool.subnet().contains(address)) {
            pool.release(*address);
        }
    }
}

/// Whether a container's settings turn IPv6 off, so that an address would not stay on its interface.
pub(super) fn refuses_ipv6(record: &Record) -> bool {
    record.host.sysctls.get("net.ipv6.conf.all.disable_ipv6").is_some_and(|value| value == "1")
}

/// An address of each of the families (IPv6 or not) that the network has: the one asked for, or the next.
fn take_addresses(net: &mut Net, asked: Option<&EndpointIpamConfig>, families: &[bool]) -> Result<Vec<(IpAddr, u8)>> {
    let mut taken: Vec<(IpAddr, u8)> = vec![];
    for &ipv6 in families {
        let text = asked.map_or("", |asked| if ipv6 { &asked.ipv6_address } else { &asked.ipv4_address });
        let named = (!text.is_empty()).then(|| text.parse::<IpAddr>()).transpose();
        let named = named.map_err(|_| Error::bad(format!("invalid IP address: {text}")))?;
        let of_family = |pool: &&mut Pool| matches!(pool.subnet(), IpNet::V6(_)) == ipv6;
        let outcome = match named {
            Some(address) => match net.pools.iter_mut().find(|pool| pool.subnet().contains(&address)) {
                Some(pool) => pool
                    .reserve(address)
                    .map(|()| Some((address, pool.subnet().prefix_len())))
                    .map_err(|_| Error::forbidden("Address already in use")),
                None => Err(Error::bad(format!("no configured subnet contains IP address {address}"))),
            },
            None => {
                let mut pools = net.pools.iter_mut().filter(of_family).peekable();
                if pools.peek().is_none() {
                    continue;
                }
                let prefix = |pool: &Pool| pool.subnet().prefix_len();
                let found = pools.find_map(|pool| pool.allocate().ok().map(|address| (address, prefix(pool))));
                found
                    .map(Some)
                    .ok_or_else(|| Error::new(crate::error::Kind::Unavailable, "no available addresses on this pool"))
            }
        };
        match outcome {
            Ok(place) => taken.extend(place),
            Err(error) => {
                release(net, &taken);
                return Err(error);
            }
        }
    }
    for text in asked.map_or(&[][..], |asked| &asked.link_local_ips) {
        let address: IpAddr = text.parse().map_err(|_| Error::bad(format!("invalid link-local IP address: {text}")))?;
        taken.push((address, if address.is_ipv6() { 64 } else { 16 }));
    }
    Ok(taken)
}

/// The interface of a place.
fn link(
    net: &Net,
    settings: &EndpointSettings,
    addresses: Vec<(IpAddr, u8)>,
    interfaces: &[String],
    mtu: u32,
) -> Result<Endpoint> {
    let options = settings.driver_opts.clone().unwrap_or_default();
    let container_interface = match options.get("com.docker.network.endpoint.ifname") {
        Some(name) if interfaces.contains(name) => {
            return Err(Error::conflict(format!("error renaming interface to {name:?}: file exists")));
        }
        Some(name) => super::options::interface(name)?,
        None => {
            let prefix = &net.options.interface_prefix;
            (0..).map(|number| format!("{prefix}{number}")).find(|name| !interfaces.contains(name)).unwrap_or_default()
        }
    };
    let mac = match settings.mac_address.as_str() {
        "" => addresses.first().map(|(address, _)| teu_network::mac_of(*address)),
        text => {
            let invalid = || Error::bad(format!("invalid MAC address: {text}"));
            Some(parse_mac(text).filter(|mac| mac[0] & 1 == 0).ok_or_else(invalid)?)
        }
    };
    let parent = || net.record.parent.clone();
    let attachment = match net.record.driver.as_str() {
        "macvlan" => Attachment::Macvlan { parent: parent(), mode: net.options.mode },
        "ipvlan" => Attachment::Ipvlan {
            parent: parent(),
            mode: u16::try_from(net.options.mode).unwrap_or_default(),
            flags: net.options.flags,
        },
        _ => Attachment::Bridge {
            bridge: net.record.bridge.clone(),
            host_interface: String::new(),
            isolated: !net.options.neighbours,
        },
    };
    let on_bridge = matches!(attachment, Attachment::Bridge { .. });
    Ok(Endpoint {
        attachment,
        container_interface,
        mac: mac.filter(|_| net.record.driver != "ipvlan"),
        addresses,
        gateways: vec![],
        mtu: net.options.mtu.or(on_bridge.then_some(mtu)),
        sysctls: sysctls(options.get("com.docker.network.endpoint.sysctls").map_or("", String::as_str))?,
    })
}

/// `net.ipv4.conf.IFNAME.log_martians=1,…`: settings of the interface alone.
pub(super) fn sysctls(text: &str) -> Result<Vec<(String, String)>> {
    let read = |setting: &str| {
        let wrong = || {
            Error::bad(format!(
                "unrecognised network interface sysctl '{setting}'; represent 'net.X.Y.ethN.Z=V' as \
                 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
            ))
        };
        let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
        let parts: Vec<&str> = name.split('.').collect();
        let sound = parts.len() == 5
            && parts[0] == "net"
            && matches!(parts[1], "ipv4" | "ipv6" | "mpls")
            && matches!(parts[3], "IFNAME" | "ifname");
        if sound { Ok((name.to_string(), value.to_string())) } else { Err(wrong()) }
    };
    text.split(',').filter(|setting| !setting.is_empty()).map(read).collect()
}

/// The names a container is found by on a network of the user's own: its own, its aliases, its short id, its host name.
pub(super) fn names(record: &Record, settings: &EndpointSettings) -> Vec<String> {
    let short = record.id.get(..12).unwrap_or(&record.id).to_string();
    let own = [record.name.clone()].into_iter();
    let mut names: Vec<String> = vec![];
    for name in own.chain(settings.aliases.clone().unwrap_or_default()).chain([short, record.config.hostname.clone()]) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: &str, priority: i64, gateways: &[&str]) -> EndpointRecord {
        let gateways: Vec<IpAddr> = gateways.iter().map(|text| text.parse().expect("an address")).collect();
        EndpointRecord {
            id: id.into(),
            network: String::new(),
            priority,
            names: vec![],
            link: Endpoint {
                attachment: Attachment::Macvlan { parent: String::new(), mode: 4 },
                container_interface: String::new(),
                mac: None,
                addresses: gateways.iter().map(|gateway| (*gateway, 24)).collect(),
                gateways: vec![],
                mtu: None,
                sysctls: vec![],
            },
            gateways,
        }
    }

    #[test]
    fn the_highest_priority_leads_out_and_then_the_first_name() {
        let places = Places::from([
            ("a".into(), place("a", 0, &["10.0.0.1"])),
            ("b".into(), place("b", 0, &["10.0.1.1", "fd00::1"])),
            ("c".into(), place("c", 0, &[])),
        ]);
        let out = leads_out(&places);
        assert_eq!((out.0.unwrap().id.as_str(), out.1.unwrap().id.as_str()), ("a", "b"));
        let mut places = places;
        places.get_mut("b").unwrap().priority = 1;
        assert_eq!(leads_out(&places).0.unwrap().id, "b");
    }

    #[test]
    fn interface_settings_are_of_the_interface_alone() {
        assert_eq!(sysctls("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.x=0").unwrap().len(), 2);
        for bad in ["net.ipv4.ip_forward=1", "kernel.shmmax=1", "net.ipv4.conf.eth0.x=1", "net.ipv4.conf.IFNAME.x"] {
            assert!(sysctls(bad).is_err(), "{bad}");
        }
    }
}
