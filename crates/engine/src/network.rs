//! Networks: the default bridge, `host` and `none`; addresses and published ports of running containers.
//!
//! The bridge and the firewall table are made when the first container needs them and taken away when the daemon ends
//! with no container left on them. What a container holds is in its record; after a restart the records refill the pool,
//! the reservations and the table. Deliberately absent: user-defined networks and IPv6, which are refused by name.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use teu_api::Filters;
use teu_api::container::{HostConfig, PortBinding};
use teu_api::network::{EndpointResource, Ipam, IpamConfig, Network};
use teu_network::{Bridge, Endpoint, Error as NetworkError, Protocol, Publish, Reservation, bridge, firewall, ipam};
use teu_oci::Digest;
use teu_store::{Store, Table};

use crate::container::names::random_id;
use crate::container::record::{EndpointRecord, PortRecord, Record};
use crate::error::{Error, Kind, Result};

const DEFAULT_MTU: u32 = 1500;

/// The networks. Cheap to clone.
#[derive(Clone)]
pub struct Networks {
    inner: Arc<Inner>,
}

struct Inner {
    bridge: String,
    /// Named by the daemon's configuration.
    fixed: Option<Ipv4Net>,
    table: Table<NetworkRecord>,
    mtu: u32,
    created: String,
    ids: [(String, &'static str); 3],
    live: Mutex<Live>,
}

/// What changes as containers come and go.
struct Live {
    made: bool,
    pool: ipam::Pool,
    held: HashMap<String, Held>,
}

impl Inner {
    fn settings(&self, live: &Live) -> firewall::Settings {
        firewall::Settings { table: self.bridge.clone(), bridge: self.bridge.clone(), subnet: live.pool.subnet() }
    }
}

struct Held {
    name: String,
    endpoint: EndpointRecord,
    /// Never looked at: the ports are ours while these live.
    _reservations: Vec<Reservation>,
}

/// What is remembered of a network.
#[derive(Serialize, Deserialize)]
struct NetworkRecord {
    id: String,
    created: String,
    subnet: Option<Ipv4Net>,
}

impl teu_store::Record for NetworkRecord {
    fn refers_to(&self) -> Vec<Digest> {
        vec![]
    }
}

impl Networks {
    /// Chooses the bridge's subnet (the one of last time, if no route of the host is in its way now).
    pub(crate) fn open(store: &Store, bridge: &str, fixed: Option<Ipv4Net>) -> Result<Self> {
        let table: Table<NetworkRecord> = store.table("networks")?;
        let mut ids = [(String::new(), "bridge"), (String::new(), "host"), (String::new(), "none")];
        let mut before = None;
        let mut created = jiff::Timestamp::now().to_string();
        for (id, name) in &mut ids {
            if let Some(record) = table.get(name)? {
                *id = record.id;
                before = before.or(record.subnet);
                created = record.created;
            } else {
                *id = random_id()?;
            }
        }
        let subnet = match (fixed, before) {
            (Some(subnet), _) | (None, Some(subnet)) => subnet,
            (None, None) => ipam::choose_subnet(&ipam::default_pools(), &taken()?)?,
        };
        for (id, name) in &ids {
            let subnet = (*name == "bridge").then_some(subnet);
            table.put_quick(name, &NetworkRecord { id: id.clone(), created: created.clone(), subnet })?;
        }
        let live = Mutex::new(Live { made: false, pool: ipam::Pool::new(subnet), held: HashMap::new() });
        let mtu = teu_network::route::uplink_mtu()?.unwrap_or(DEFAULT_MTU);
        Ok(Self { inner: Arc::new(Inner { bridge: bridge.into(), fixed, table, mtu, created, ids, live }) })
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, live: &mut Live) -> Result<()> {
        if !live.made {
            if live.held.is_empty() && self.inner.fixed.is_none() {
                self.choose(live)?;
            }
            teu_network::sysctl::enable_forwarding()?;
            // The rules come before the bridge: they keep packets from it away from the host's loopback.
            self.apply(live)?;
            bridge::ensure(&Bridge {
                name: self.inner.bridge.clone(),
                gateway: live.pool.gateway(),
                prefix: live.pool.subnet().prefix_len(),
                mtu: self.inner.mtu,
            })?;
            live.made = true;
        }
        Ok(())
    }

    /// Takes another subnet if a network that the host has got since the last choice is in the way.
    fn choose(&self, live: &mut Live) -> Result<()> {
        // An old bridge of ours would be in its own way; without containers nobody misses it.
        let _ = bridge::remove(&self.inner.bridge);
        let taken = taken()?;
        let now = live.pool.subnet();
        if taken.iter().any(|other| other.contains(&now) || now.contains(other)) {
            let subnet = ipam::choose_subnet(&ipam::default_pools(), &taken)?;
            let record =
                NetworkRecord { id: self.id_of("bridge"), created: self.inner.created.clone(), subnet: Some(subnet) };
            self.inner.table.put_quick("bridge", &record)?;
            live.pool = ipam::Pool::new(subnet);
        }
        Ok(())
    }

    /// The whole table, in one transaction.
    fn apply(&self, live: &Live) -> Result<()> {
        let ports: Vec<Publish> = live.held.values().flat_map(|held| publishes(&held.endpoint)).collect();
        Ok(firewall::apply(&firewall::ruleset(&self.inner.settings(live), &ports))?)
    }

    /// Adds ports; if somebody flushed our table away, the whole of it.
    fn publish(&self, ports: &[Publish]) -> Result<()> {
        match firewall::add(&self.inner.bridge, ports) {
            Err(NetworkError::NotFound { .. }) => {
                self.apply(&self.live())?;
                Ok(firewall::add(&self.inner.bridge, ports)?)
            }
            other => Ok(other?),
        }
    }

    /// Takes up what a running container had before the daemon was restarted.
    pub(crate) fn restore(&self, record: &Record) -> Result<()> {
        let Some(endpoint) = &record.endpoint else { return Ok(()) };
        let mut live = self.live();
        live.pool.reserve(endpoint.address)?;
        let reservations =
            publishes(endpoint).iter().filter_map(|port| teu_network::publish::reserve(port).ok()).collect();
        let held = Held { name: record.name.clone(), endpoint: endpoint.clone(), _reservations: reservations };
        live.held.insert(record.id.clone(), held);
        Ok(())
    }

    /// Makes the bridge and the rules again for what [`Networks::restore`] took up.
    pub(crate) fn restored(&self) -> Result<()> {
        let mut live = self.live();
        if live.held.is_empty() { Ok(()) } else { self.make(&mut live) }
    }

    /// Plugs the process `pid` of container `record` into its network. Blocks for about a millisecond.
    pub(crate) fn attach(&self, record: &Record, pid: i32) -> Result<Option<EndpointRecord>> {
        let namespace = || {
            let path = format!("/proc/{pid}/ns/net");
            File::open(&path).map_err(|error| Error::io("open", path.as_ref(), error))
        };
        match mode(&record.host)? {
            Mode::Host | Mode::None => Ok(None),
            Mode::Bridge => {
                let mut live = self.live();
                self.make(&mut live)?;
                let address = live.pool.allocate()?;
                drop(live);
                let netns = namespace()?;
                let plugged = self.plug(record, address, &netns);
                if plugged.is_err() {
                    self.live().pool.release(address);
                }
                plugged.map(Some)
            }
        }
    }

    fn plug(&self, record: &Record, address: Ipv4Addr, netns: &File) -> Result<EndpointRecord> {
        let mac = teu_network::mac_of(address);
        let (subnet, gateway) = {
            let live = self.live();
            (live.pool.subnet(), live.pool.gateway())
        };
        let id = random_id()?;
        let mut endpoint = EndpointRecord {
            address,
            prefix: subnet.prefix_len(),
            gateway,
            mac: mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
            ports: vec![],
            id,
        };
        let mut reservations = vec![];
        for wanted in wanted_ports(&record.host, record.config.exposed_ports.keys())? {
            let reservation = wanted.reserve().map_err(|error| external(record, &endpoint.id, &error))?;
            endpoint.ports.push(PortRecord {
                protocol: wanted.protocol.to_string(),
                host_ip: wanted.host_ip,
                host_port: reservation.port(),
                container_port: wanted.container_port,
            });
            reservations.push(reservation);
        }
        let veth = Endpoint {
            bridge: self.inner.bridge.clone(),
            host_interface: format!("veth{}", &endpoint.id[..8]),
            container_interface: "eth0".into(),
            mac,
            address,
            prefix: endpoint.prefix,
            gateway: endpoint.gateway,
            mtu: self.inner.mtu,
        };
        teu_network::attach(netns.as_fd(), &veth)?;
        self.publish(&publishes(&endpoint))?;
        let held = Held { name: record.name.clone(), endpoint: endpoint.clone(), _reservations: reservations };
        self.live().held.insert(record.id.clone(), held);
        Ok(endpoint)
    }

    /// Frees what the container held. The veth goes with its namespace.
    pub(crate) fn detach(&self, id: &str, endpoint: &EndpointRecord) {
        let held = self.live().held.remove(id);
        if let Err(error) = firewall::remove(&self.inner.bridge, &publishes(endpoint)) {
            tracing::warn!(%error, container = id, "unpublish ports");
        }
        drop(held);
        self.live().pool.release(endpoint.address);
    }

    /// Takes bridge and rules away if no container is left on them.
    pub(crate) fn close(&self) {
        let mut live = self.live();
        if live.made && live.held.is_empty() {
            live.made = false;
            let table = firewall::destroy(&self.inner.bridge);
            for error in [table.err(), bridge::remove(&self.inner.bridge).err()].into_iter().flatten() {
                tracing::warn!(%error, "take the network away");
            }
        }
    }

    /// The bridge's address, which reaches the host from a container.
    pub(crate) fn gateway(&self) -> String {
        self.live().pool.gateway().to_string()
    }

    /// The id of the network that a container of this mode is on.
    pub(crate) fn id_of(&self, name: &str) -> String {
        self.inner.ids.iter().find(|(_, known)| *known == name).map(|(id, _)| id.clone()).unwrap_or_default()
    }

    /// The networks that pass `filters`.
    ///
    /// # Errors
    /// When a filter is unknown.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Network>> {
        const KNOWN: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
        if let Some(unknown) = filters.unknown(KNOWN) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        let passes = |network: &Network| {
            filters.matches("driver", &network.driver)
                && filters.matches("scope", "local")
                && (!filters.contains("name") || filters.get("name").iter().any(|part| network.name.contains(part)))
                && (!filters.contains("id") || filters.get("id").iter().any(|part| network.id.starts_with(part)))
                && filters.match_labels(&network.labels)
                && filters.get("type").iter().all(|kind| kind == "builtin")
        };
        Ok(self.inner.ids.iter().map(|(id, name)| self.describe(id, name)).filter(passes).collect())
    }

    /// One network, by name or the beginning of its id.
    ///
    /// # Errors
    /// When there is none.
    pub fn inspect(&self, wanted: &str) -> Result<Network> {
        let found =
            self.inner.ids.iter().find(|(id, name)| *name == wanted || (!wanted.is_empty() && id.starts_with(wanted)));
        let (id, name) = found.ok_or_else(|| Error::not_found(format!("network {wanted} not found")))?;
        Ok(self.describe(id, name))
    }

    fn describe(&self, id: &str, name: &str) -> Network {
        let mut network = Network {
            name: name.into(),
            id: id.into(),
            created: self.inner.created.clone(),
            scope: "local".into(),
            driver: if name == "none" { "null".into() } else { name.into() },
            enable_ipv4: true,
            ipam: Ipam { driver: "default".into(), ..Ipam::default() },
            ..Network::default()
        };
        if name == "bridge" {
            let (subnet, gateway) = {
                let live = self.live();
                (live.pool.subnet(), live.pool.gateway())
            };
            network.ipam.config =
                vec![IpamConfig { subnet: subnet.to_string(), gateway: gateway.to_string(), ..IpamConfig::default() }];
            network.options = BTreeMap::from([("com.docker.network.bridge.name".into(), self.inner.bridge.clone())]);
            network.containers = self.live().held.iter().map(|(id, held)| (id.clone(), resource(held))).collect();
        }
        network
    }

    /// User-defined networks are not made yet.
    ///
    /// # Errors
    /// Always.
    pub fn refuse(&self, what: &str) -> Error {
        Error::new(Kind::NotImplemented, format!("network {what} is not supported by this version of teu"))
    }
}

/// Every network that a bridge must keep clear of: the host's routes and its resolvers.
fn taken() -> Result<Vec<Ipv4Net>> {
    let mut taken = teu_network::route::networks()?;
    let resolvers = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    taken.extend(teu_network::dns::nameservers(&resolvers).into_iter().filter_map(|server| match server {
        std::net::IpAddr::V4(server) => Some(Ipv4Net::from(server)),
        std::net::IpAddr::V6(_) => None,
    }));
    Ok(taken)
}

fn resource(held: &Held) -> EndpointResource {
    EndpointResource {
        name: held.name.clone(),
        endpoint_id: held.endpoint.id.clone(),
        mac_address: held.endpoint.mac.clone(),
        ipv4_address: format!("{}/{}", held.endpoint.address, held.endpoint.prefix),
        ..EndpointResource::default()
    }
}

fn publishes(endpoint: &EndpointRecord) -> Vec<Publish> {
    let publish = |port: &PortRecord| Publish {
        protocol: if port.protocol == "udp" { Protocol::Udp } else { Protocol::Tcp },
        host_ip: port.host_ip,
        host_port: port.host_port,
        container_ip: endpoint.address,
        container_port: port.container_port,
    };
    endpoint.ports.iter().map(publish).collect()
}

/// Docker's words for a port that cannot be had.
fn external(record: &Record, endpoint: &str, error: &NetworkError) -> Error {
    let why = match error {
        NetworkError::PortInUse { address, port, .. } => {
            format!("Bind for {address}:{port} failed: port is already allocated")
        }
        other => other.to_string(),
    };
    let name = &record.name;
    let message = format!("driver failed programming external connectivity on endpoint {name} ({endpoint}): {why}");
    Error::internal(message)
}

/// How a container meets the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Bridge,
    Host,
    None,
}

/// The mode that a host config asks for.
pub(crate) fn mode(host: &HostConfig) -> Result<Mode> {
    match host.network_mode.as_str() {
        "" | "default" | "bridge" => Ok(Mode::Bridge),
        "host" => Ok(Mode::Host),
        "none" => Ok(Mode::None),
        other if other.starts_with("container:") => {
            Err(Error::new(Kind::NotImplemented, format!("--network {other} is not supported by this version of teu")))
        }
        other => Err(Error::not_found(format!("network {other} not found"))),
    }
}

/// A port to publish; several candidates where the user gave a range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    protocol: Protocol,
    host_ip: Ipv4Addr,
    /// First and last candidate; zero is any.
    host_ports: (u16, u16),
    container_port: u16,
}

impl Wanted {
    fn reserve(&self) -> std::result::Result<Reservation, NetworkError> {
        let (first, last) = self.host_ports;
        if first == 0 {
            return teu_network::publish::ephemeral(self.protocol, self.host_ip);
        }
        let candidate = |host_port| Publish {
            protocol: self.protocol,
            host_ip: self.host_ip,
            host_port,
            container_ip: Ipv4Addr::UNSPECIFIED,
            container_port: self.container_port,
        };
        let mut result = teu_network::publish::reserve(&candidate(first));
        for port in first.saturating_add(1)..=last {
            if result.is_ok() {
                break;
            }
            result = teu_network::publish::reserve(&candidate(port));
        }
        result
    }
}

/// The ports a container publishes, from its bindings and, with `-P`, from what it exposes.
pub(crate) fn wanted_ports<'a>(host: &HostConfig, exposed: impl Iterator<Item = &'a String>) -> Result<Vec<Wanted>> {
    let mut wanted = vec![];
    for (key, bindings) in &host.port_bindings {
        let (container_port, protocol) = port(key)?;
        for binding in bindings.iter().flatten() {
            wanted.push(bound(binding, container_port, protocol)?);
        }
    }
    if host.publish_all_ports {
        for key in exposed.filter(|key| !host.port_bindings.contains_key(*key)) {
            let (container_port, protocol) = port(key)?;
            wanted.push(Wanted { protocol, host_ip: Ipv4Addr::UNSPECIFIED, host_ports: (0, 0), container_port });
        }
    }
    Ok(wanted)
}

fn port(key: &str) -> Result<(u16, Protocol)> {
    let (number, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let number = number.parse().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| Error::bad(format!("invalid port specification: \"{key}\"")))?;
    match protocol {
        "tcp" => Ok((number, Protocol::Tcp)),
        "udp" => Ok((number, Protocol::Udp)),
        "sctp" => {
            Err(Error::new(Kind::NotImplemented, "publishing SCTP ports is not supported by this version of teu"))
        }
        _ => Err(Error::bad(format!("invalid port specification: \"{key}\""))),
    }
}

fn bound(binding: &PortBinding, container_port: u16, protocol: Protocol) -> Result<Wanted> {
    let invalid = || Error::bad(format!("invalid port specification: \"{}\"", binding.host_port));
    let host_ip = match binding.host_ip.as_str() {
        "" => Ipv4Addr::UNSPECIFIED,
        text if text.contains(':') => {
            let message = format!("publishing on the IPv6 address {text} is not supported by this version of teu");
            return Err(Error::new(Kind::NotImplemented, message));
        }
        text => text.parse().map_err(|_| Error::bad(format!("invalid IP address: {text}")))?,
    };
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let host_ports = match binding.host_port.split_once('-') {
        None if binding.host_port.is_empty() => (0, 0),
        None => (number(&binding.host_port)?, number(&binding.host_port)?),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if host_ports.0 > host_ports.1 {
        return Err(invalid());
    }
    Ok(Wanted { protocol, host_ip, host_ports, container_port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_become_ports() {
        let mut host = HostConfig::default();
        let binding = |ip: &str, port: &str| PortBinding { host_ip: ip.into(), host_port: port.into() };
        host.port_bindings.insert("80/tcp".into(), Some(vec![binding("127.0.0.1", "8080-8090"), binding("", "")]));
        let wanted = wanted_ports(&host, std::iter::empty()).unwrap();
        assert_eq!(wanted[0].host_ports, (8080, 8090));
        assert_eq!(wanted[0].host_ip, Ipv4Addr::LOCALHOST);
        assert_eq!(wanted[1].host_ports, (0, 0));
        for bad in ["0/tcp", "x/tcp", "80/icmp"] {
            let host = HostConfig { port_bindings: [(bad.to_string(), None)].into(), ..HostConfig::default() };
            assert!(wanted_ports(&host, std::iter::empty()).is_err(), "{bad}");
        }
    }
}
