//! Networks: which there are, who is on them, and what the kernel is told of it.
//!
//! ```text
//!   plan (pure) ── NetworkRecord ── bridge, firewall tables            made when the first container needs them
//!   place (pure) ── EndpointRecord ── interface in the container        kept in the container's record while it runs
//!   names ── <run>/networks/<id>                                        read by the supervisors' name servers
//! ```
//!
//! Records are one file each; a restart of the daemon reads them and the containers' records, and makes again whatever the
//! kernel has lost. The default bridge and the tables are taken away when the daemon ends with no container left on them.
//! Deliberately absent: networks across machines.

mod attach;
mod connect;
mod default;
mod going;
mod names;
pub(crate) mod options;
mod parent;
mod plan;
pub(crate) mod ports;
pub(crate) mod record;
mod rules;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use teu_api::Filters;
use teu_api::container::HostConfig;
use teu_api::network::{CreateRequest, CreateResponse, Network, PruneReport};
use teu_network::firewall::{Firewall, Ruleset};
use teu_network::hairpin::{self, Hairpin};
use teu_network::ipam::{self, AddressPool, Pool, Subnet};
use teu_network::{Bridge, bridge};
use teu_store::{Store, Table};

use crate::container::names::random_id;
use crate::error::{Error, Kind, Result};
use crate::events::Events;
use crate::prune;
use default::{predefined, taken};
use options::{GatewayMode, Options};
use record::{EndpointRecord, NetworkRecord, PortRecord};

pub(crate) use attach::{asked, leads_out, namespace_of};
pub(crate) use ports::Targets;
pub(crate) use view::settings;

const DEFAULT_MTU: u32 = 1500;

/// How networks are set up.
pub(crate) struct Setup<'a> {
    /// Name of the default bridge and of the tables.
    pub(crate) bridge: &'a str,
    /// The default bridge's subnets that the user named.
    pub(crate) subnets: &'a [Subnet],
    /// The default bridge's options.
    pub(crate) bridge_options: &'a BTreeMap<String, String>,
    /// Options of new networks, by driver.
    pub(crate) options: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// Where subnets come from, if the user named pools.
    pub(crate) pools: &'a [AddressPool],
    /// Where the files of names go.
    pub(crate) names: PathBuf,
}

/// The networks. Cheap to clone.
#[derive(Clone)]
pub struct Networks {
    inner: Arc<Inner>,
}

struct Inner {
    bridge: String,
    /// Named by the daemon's configuration.
    fixed: Vec<Subnet>,
    bridge_options: BTreeMap<String, String>,
    options: BTreeMap<String, BTreeMap<String, String>>,
    table: Table<NetworkRecord>,
    mtu: u32,
    pools: Vec<AddressPool>,
    ipv6: bool,
    names: PathBuf,
    events: Events,
    firewall: Firewall,
    live: Mutex<Live>,
    going: going::Going,
}

/// What changes as networks and containers come and go.
#[derive(Default)]
struct Live {
    networks: BTreeMap<String, Net>,
    /// Published ports by container.
    ports: HashMap<String, (Vec<PortRecord>, Targets)>,
    hairpin: Option<Hairpin>,
    /// Ports of the host that no container may reach.
    guarded: Vec<u16>,
    /// The kernel cannot copy packets.
    no_copies: bool,
    /// What the tables were told last, but for published ports; nothing while there are none.
    told: Option<Ruleset>,
}

/// One network.
struct Net {
    record: NetworkRecord,
    options: Options,
    pools: Vec<Pool>,
    /// Its bridge is there.
    made: bool,
    held: BTreeMap<String, Held>,
}

/// A container on a network.
struct Held {
    name: String,
    endpoint: EndpointRecord,
}

impl Net {
    fn new(mut record: NetworkRecord) -> Result<Self> {
        let options = options::parse(&record.driver, &record.options)?;
        if record.parent.is_empty() {
            record.parent = options.parent.clone().unwrap_or_default();
        }
        let pools = record.subnets.iter().cloned().map(Pool::new).collect();
        Ok(Self { record, options, pools, made: false, held: BTreeMap::new() })
    }

    fn is_bridge(&self) -> bool {
        self.record.driver == "bridge" && !self.record.config_only
    }

    fn predefined(&self) -> bool {
        is_predefined(&self.record.name)
    }
}

fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

impl Networks {
    /// Reads the records. The default bridge's subnet is the one of last time, if no route of the host is in its way now.
    pub(crate) fn open(store: &Store, setup: Setup<'_>, events: Events) -> Result<Self> {
        let table: Table<NetworkRecord> = store.table("networks")?;
        let seed = predefined(&table, "bridge")?.id;
        let octets = seed.as_bytes().chunks(2).take(5).map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or_default()
        });
        let mut seed = [0; 5];
        seed.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
        let mut pools = if setup.pools.is_empty() { ipam::default_pools() } else { setup.pools.to_vec() };
        if !pools.iter().any(|pool| matches!(pool.base, IpNet::V6(_))) {
            pools.push(ipam::local_pool(seed));
        }
        let inner = Inner {
            bridge: setup.bridge.into(),
            fixed: setup.subnets.to_vec(),
            bridge_options: setup.bridge_options.clone(),
            options: default::options(setup.options)?,
            mtu: teu_network::route::uplink_mtu()?.unwrap_or(DEFAULT_MTU),
            pools,
            ipv6: teu_network::sysctl::has_ipv6(),
            names: setup.names,
            events,
            firewall: Firewall::default(),
            live: Mutex::default(),
            going: going::Going::default(),
            table,
        };
        let networks = Self { inner: Arc::new(inner) };
        networks.load()?;
        Ok(networks)
    }

    fn load(&self) -> Result<()> {
        let mut live = self.live();
        for name in ["host", "none"] {
            let record = predefined(&self.inner.table, name)?;
            live.networks.insert(record.id.clone(), Net::new(record)?);
        }
        for key in self.inner.table.keys()?.iter().filter(|key| !is_predefined(key)) {
            match self.inner.table.get(key).map_err(Error::from).and_then(|record| record.map(Net::new).transpose()) {
                Ok(Some(net)) => drop(live.networks.insert(net.record.id.clone(), net)),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, network = key, "read a network's record"),
            }
        }
        let record = self.default_bridge(predefined(&self.inner.table, "bridge")?, &live)?;
        live.networks.insert(record.id.clone(), Net::new(record)?);
        Ok(())
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subnets of every network but that one.
    fn others(&self, live: &Live, id: &str) -> Vec<IpNet> {
        let others = live.networks.values().filter(|net| net.record.id != id);
        others.flat_map(|net| &net.record.subnets).map(|subnet| subnet.subnet).collect()
    }

    /// Makes a network.
    ///
    /// # Errors
    /// When the name is taken, the configuration is unsound or no subnet is left.
    pub fn create(&self, request: &CreateRequest) -> Result<CreateResponse> {
        if is_predefined(&request.name) {
            let name = &request.name;
            return Err(Error::forbidden(format!("operation is not permitted on predefined {name} network ")));
        }
        if request.ingress || request.scope == "swarm" || request.scope == "global" {
            return Err(Error::forbidden("cannot create a swarm scoped network when swarm is not active"));
        }
        if request.name.trim().is_empty() {
            return Err(Error::bad("invalid name: name is empty"));
        }
        let mut live = self.live();
        if live.networks.values().any(|net| net.record.name == request.name) {
            return Err(Error::conflict(format!("network with name {} already exists", request.name)));
        }
        let request = match request.config_from.as_ref().filter(|from| !from.network.is_empty()) {
            None => self.with_defaults(request),
            Some(from) => {
                let known =
                    live.networks.values().find(|net| net.record.name == from.network && net.record.config_only);
                let missing = || Error::not_found(format!("configuration network \"{}\" does not exist", from.network));
                plan::inherit(request, &known.ok_or_else(missing)?.record)?
            }
        };
        let around = plan::Surroundings {
            pools: &self.inner.pools,
            networks: self.others(&live, ""),
            host: taken()?,
            ipv6: self.inner.ipv6,
        };
        let mut record = plan::network(&request, &around)?;
        record.id = random_id()?;
        record.created = jiff::Timestamp::now().to_string();
        let mut net = Net::new(record)?;
        if net.is_bridge() {
            net.record.bridge = net.options.bridge.clone().unwrap_or_else(|| format!("br-{}", &net.record.id[..12]));
            self.inner.going.wait_for(&net.record.bridge);
            net.record.foreign_bridge = bridge::exists(&net.record.bridge)?;
        }
        if net.has_parent() {
            parent::choose(&live, &mut net)?;
        }
        let id = net.record.id.clone();
        self.inner.table.put(&id, &net.record)?;
        live.networks.insert(id.clone(), net);
        if let Err(error) = self.make(&mut live, &id) {
            self.unmake(&mut live, &id);
            return Err(error);
        }
        let record = live.networks[&id].record.clone();
        drop(live);
        self.emit("create", &record, &[]);
        Ok(CreateResponse { id, warning: String::new() })
    }

    /// Brings the network's bridge and rules about.
    fn make(&self, live: &mut Live, id: &str) -> Result<()> {
        if live.networks.get(id).is_some_and(Net::has_parent) {
            return Self::make_parent(live, id);
        }
        let Some(net) = live.networks.get(id).filter(|net| net.is_bridge() && !net.made) else { return Ok(()) };
        // Another daemon may look for free addresses just now; what one chose, the other sees once the bridge has it.
        let path = std::path::Path::new("/proc/self/ns/net");
        let turn = std::fs::File::open(path).map_err(|error| Error::io("open", path, error))?;
        turn.lock().map_err(|error| Error::io("lock", path, error))?;
        if net.record.name == "bridge"
            && net.held.is_empty()
            && !self.inner.fixed.iter().any(|named| matches!(named.subnet, IpNet::V4(_)))
        {
            self.reconsider(live, id)?;
        }
        let Some(net) = live.networks.get_mut(id) else { return Ok(()) };
        net.made = true;
        let bridge = description(net, self.inner.mtu);
        teu_network::sysctl::enable_forwarding()?;
        // On a host that is in no IPv6 network itself there is nowhere to forward to.
        if net.record.ipv6 && teu_network::route::has_ipv6_uplink()? {
            teu_network::sysctl::enable_ipv6_forwarding()?;
        }
        // The rules come before the bridge: nothing passes it unjudged.
        let outcome = self.apply(live).and_then(|()| Ok(bridge::ensure(&bridge)?));
        if outcome.is_err()
            && let Some(net) = live.networks.get_mut(id)
        {
            net.made = false;
        }
        outcome.map(|_| ())
    }

    /// Forgets a network and takes its bridge away.
    fn unmake(&self, live: &mut Live, id: &str) {
        let Some(net) = live.networks.remove(id) else { return };
        let mut troubles: Vec<Error> = vec![];
        if net.is_bridge() && !net.record.foreign_bridge {
            self.inner.going.start(&net.record.bridge);
        }
        troubles.extend(Self::unmake_parent(live, &net).err());
        troubles.extend(self.inner.table.remove(id).err().map(Error::from));
        if live.told.is_some() {
            troubles.extend(self.apply(live).err());
        }
        let _ = std::fs::remove_file(self.inner.names.join(id));
        for error in troubles {
            tracing::warn!(%error, network = net.record.name, "remove a network");
        }
    }

    /// Removes a network.
    ///
    /// # Errors
    /// When it is one that is always there, or a container is on it.
    pub fn remove(&self, wanted: &str) -> Result<()> {
        let mut live = self.live();
        let net = live.find(wanted)?;
        let record = net.record.clone();
        if net.predefined() {
            let name = &record.name;
            return Err(Error::forbidden(format!("{name} is a pre-defined network and cannot be removed")));
        }
        if record.config_only && live.networks.values().any(|other| other.record.config_from == record.name) {
            let name = &record.name;
            return Err(Error::forbidden(format!(
                "error while removing network: configuration network \"{name}\" is in use"
            )));
        }
        if !net.held.is_empty() {
            let shown = |held: &Held| format!("name:\"{}\" id:\"{}\"", held.name, &held.endpoint.id[..12]);
            let endpoints: Vec<_> = net.held.values().map(shown).collect();
            return Err(Error::forbidden(format!(
                "error while removing network: network {} has active endpoints ({})",
                record.name,
                endpoints.join(", ")
            )));
        }
        self.unmake(&mut live, &record.id);
        drop(live);
        if !record.config_only {
            self.emit("destroy", &record, &[]);
        }
        Ok(())
    }

    /// Removes the networks that no container is on; `in_use` says of which one is by its configuration.
    ///
    /// # Errors
    /// When a filter is unknown or has no meaning.
    pub fn prune(&self, filters: &Filters, in_use: &[String], mode: prune::Mode) -> Result<PruneReport> {
        if let Some(unknown) = filters.unknown(&["label", "label!", "until"]) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        let until = filters.get("until").first().map(|text| prune::until(text)).transpose()?;
        let idle: Vec<NetworkRecord> = {
            let live = self.live();
            let idle = live.networks.values();
            let idle = idle.filter(|net| !net.predefined() && !net.record.config_only && net.held.is_empty());
            idle.map(|net| net.record.clone()).collect()
        };
        let old = |record: &NetworkRecord| {
            until.is_none_or(|until| record.created.parse::<jiff::Timestamp>().is_ok_and(|made| made < until))
        };
        let mut report = PruneReport::default();
        for record in idle {
            let used = in_use.contains(&record.name) || in_use.contains(&record.id);
            let chosen = !used && old(&record) && filters.match_labels(&record.labels);
            if chosen && (mode == prune::Mode::Tell || self.remove(&record.id).is_ok()) {
                report.networks_deleted.push(record.name);
            }
        }
        if mode == prune::Mode::Tell {
            return Ok(report);
        }
        self.inner.events.emit("network", "prune", "", BTreeMap::from([("reclaimed".into(), "0".into())]));
        Ok(report)
    }

    /// Takes bridges and rules away if no container is left on them; records stay.
    pub(crate) fn close(&self) {
        let mut live = self.live();
        self.inner.going.wait_for_all();
        let mut troubles: Vec<Error> = vec![];
        for net in live.networks.values_mut().filter(|net| net.made && net.held.is_empty()) {
            net.made = false;
            if net.has_parent() {
                continue; // It stays, like the parents that somebody else made.
            }
            if !net.record.foreign_bridge {
                troubles.extend(bridge::remove(&net.record.bridge).err().map(Error::from));
            }
        }
        if live.told.is_some() && live.networks.values().all(|net| net.held.is_empty()) {
            live.told = None;
            live.hairpin = None;
            troubles.extend(self.inner.firewall.destroy(&self.inner.bridge).err().map(Error::from));
            troubles.extend(hairpin::remove(&self.inner.bridge).err().map(Error::from));
        }
        for error in troubles {
            tracing::warn!(%error, "take the network away");
        }
    }

    /// The default bridge's addresses, which reach the host from a container: IPv4 first.
    pub(crate) fn gateways(&self) -> Vec<IpAddr> {
        let live = self.live();
        let net = live.networks.values().find(|net| net.record.name == "bridge");
        let mut all: Vec<IpAddr> = net.iter().flat_map(|net| &net.pools).filter_map(Pool::gateway).collect();
        all.sort_by_key(IpAddr::is_ipv6);
        all
    }

    /// Whether a container will have IPv6, by the networks that it is to be on.
    pub(crate) fn has_ipv6(&self, record: &crate::Record) -> bool {
        if mode_of(record) == Mode::Host {
            return true;
        }
        let live = self.live();
        !attach::refuses_ipv6(record)
            && asked(record).iter().any(|(name, _)| live.find(name).is_ok_and(|net| net.record.ipv6))
    }

    /// The id of a network, by its name or id; empty when there is none.
    pub(crate) fn id_of(&self, name: &str) -> String {
        self.live().find(name).map(|net| net.record.id.clone()).unwrap_or_default()
    }

    /// Makes again what user-defined networks need and the kernel lost, and the rules for what runs. What a daemon that
    /// was killed has left, with no container on it since, is taken over too, so that it goes when this daemon goes.
    pub(crate) fn restored(&self) -> Result<()> {
        let mut live = self.live();
        let wanted: Vec<String> = live
            .networks
            .iter()
            .filter(|(_, net)| {
                (net.is_bridge() || net.has_parent()) && (!net.predefined() || !net.held.is_empty() || is_left(net))
            })
            .map(|(id, _)| id.clone())
            .collect();
        if !live.ports.is_empty() && live.hairpin.is_none() {
            live.hairpin = Some(hairpin::ensure(&self.inner.bridge)?);
        }
        for id in wanted {
            if let Err(error) = self.make(&mut live, &id) {
                tracing::error!(%error, network = id, "make a network again");
            }
        }
        let with_names: Vec<String> = live.networks.keys().cloned().collect();
        for id in with_names {
            self.write_names(&live, &id);
        }
        Ok(())
    }

    fn emit(&self, action: &str, record: &NetworkRecord, extra: &[(&str, &str)]) {
        let mut attributes =
            BTreeMap::from([("name".to_string(), record.name.clone()), ("type".to_string(), record.driver.clone())]);
        attributes.extend(extra.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())));
        self.inner.events.emit("network", action, &record.id, attributes);
    }

    /// Tells that a container joined or left.
    pub(crate) fn emit_member(&self, action: &str, network: &str, container: &str) {
        let record = self.live().networks.get(network).map(|net| net.record.clone());
        if let Some(record) = record {
            self.emit(action, &record, &[("container", container)]);
        }
    }

    /// Keeps containers from these TCP ports of the host, by whatever address: where the daemon itself listens.
    ///
    /// # Errors
    /// When the firewall refuses.
    pub fn keep_from_containers(&self, ports: &[u16]) -> Result<()> {
        let mut live = self.live();
        live.guarded = ports.to_vec();
        if live.told.is_some() { self.apply(&mut live) } else { Ok(()) }
    }

    /// The networks that pass `filters`.
    ///
    /// # Errors
    /// When a filter is unknown.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Network>> {
        view::list(&self.live(), filters)
    }

    /// One network, by id, name or the beginning of its id.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn inspect(&self, wanted: &str) -> Result<Network> {
        let live = self.live();
        Ok(view::inspect(live.find(wanted)?))
    }
}

impl Live {
    /// A network by id, name, or the beginning of one id only.
    fn find(&self, wanted: &str) -> Result<&Net> {
        if let Some(net) = self.networks.get(wanted) {
            return Ok(net);
        }
        let wanted_name = if wanted == "default" { "bridge" } else { wanted };
        if let Some(net) = self.networks.values().find(|net| net.record.name == wanted_name) {
            return Ok(net);
        }
        let none = || Error::not_found(format!("network {wanted} not found"));
        if wanted.is_empty() {
            return Err(none());
        }
        let mut matches = self.networks.iter().filter(|(id, _)| id.starts_with(wanted));
        match (matches.next(), matches.next()) {
            (Some((_, net)), None) => Ok(net),
            (Some(_), Some(_)) => {
                let count = 2 + matches.count();
                let text = format!("network {wanted} is ambiguous ({count} matches found based on ID prefix)");
                Err(Error::bad(text))
            }
            (None, _) => Err(none()),
        }
    }
}

/// Whether the network's own bridge is there although nobody needs it.
fn is_left(net: &Net) -> bool {
    !net.record.foreign_bridge && bridge::exists(&net.record.bridge).unwrap_or(false)
}

/// The bridge of a network, as it should be.
fn description(net: &Net, uplink_mtu: u32) -> Bridge {
    let kept = |subnet: &&Subnet| match subnet.subnet {
        IpNet::V4(_) => net.options.ipv4 != GatewayMode::Isolated && !net.options.inhibit_ipv4,
        IpNet::V6(_) => net.options.ipv6 != GatewayMode::Isolated,
    };
    let address = |subnet: &Subnet| subnet.gateway.map(|gateway| (gateway, subnet.subnet.prefix_len()));
    let addresses: Vec<_> = net.record.subnets.iter().filter(kept).filter_map(address).collect();
    Bridge {
        name: net.record.bridge.clone(),
        mac: net.record.hardware_address(),
        addresses,
        mtu: net.options.mtu.unwrap_or(uplink_mtu),
    }
}

/// How a container meets the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The host's network.
    Host,
    /// None at all.
    None,
    /// Another container's.
    Container(String),
    /// Networks, this one first.
    Network(String),
}

/// The mode that a host config asks for.
pub(crate) fn mode(host: &HostConfig) -> Mode {
    match host.network_mode.as_str() {
        "" | "default" | "bridge" => Mode::Network("bridge".into()),
        "host" => Mode::Host,
        "none" => Mode::None,
        other => match other.strip_prefix("container:") {
            Some(container) => Mode::Container(container.into()),
            None => Mode::Network(other.into()),
        },
    }
}

/// The mode of a container: one that has left `none` is like any other that has left its first network.
pub(crate) fn mode_of(record: &crate::Record) -> Mode {
    match mode(&record.host) {
        Mode::None if record.alone || !record.networking.endpoints_config.is_empty() => Mode::Network("none".into()),
        other => other,
    }
}

/// What cannot be done with a container that has no networks of its own.
pub(crate) fn shares_namespace() -> Error {
    Error::new(
        Kind::BadRequest,
        "container sharing network namespace with another container or host cannot be connected to any other network",
    )
}
