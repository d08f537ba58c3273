//! The networks that are always there: the default bridge, `host` and `none`; and what the default bridge keeps clear of.

use std::collections::BTreeMap;

use ipnet::IpNet;
use teu_api::network::{CreateRequest, Ipam, IpamConfig};
use teu_network::bridge;
use teu_network::ipam::{self, Subnet};
use teu_store::Table;

use super::record::NetworkRecord;
use super::{Live, Net, Networks, options};
use crate::container::names::random_id;
use crate::error::{Error, Result};

impl Networks {
    /// Gives the default bridge its subnets, where it has none yet or others are in the way.
    pub(super) fn default_bridge(&self, mut record: NetworkRecord, live: &Live) -> Result<NetworkRecord> {
        record.bridge.clone_from(&self.inner.bridge);
        record.options.clone_from(&self.inner.bridge_options);
        record.options.insert("com.docker.network.bridge.name".into(), self.inner.bridge.clone());
        let wanted = options::flag(&record.options, "com.docker.network.enable_ipv6")?.unwrap_or(true);
        record.ipv6 = self.inner.ipv6 && wanted && options::parse("bridge", &record.options)?.fits_v6();
        let before: Vec<IpNet> = record.subnets.iter().map(|subnet| subnet.subnet).collect();
        let before = before.into_iter().chain(record.subnet.take().map(IpNet::V4));
        let taken = self.others(live, &record.id);
        let fixed = &self.inner.fixed;
        let mut chosen: Vec<IpNet> = fixed.iter().map(|named| named.subnet).collect();
        let named = chosen.len();
        for subnet in before {
            let known = chosen.iter().any(|other| matches!(other, IpNet::V6(_)) == matches!(subnet, IpNet::V6(_)));
            if !known && !taken.iter().any(|other| ipam::overlaps(other, &subnet)) {
                chosen.push(subnet);
            }
        }
        let mut blocked = taken;
        blocked.extend(teu_network::route::networks()?.into_iter().filter(|net| !chosen[named..].contains(net)));
        blocked.extend(resolvers());
        for ipv6 in [false, true] {
            let missing = !chosen.iter().any(|net| matches!(net, IpNet::V6(_)) == ipv6);
            if missing && (record.ipv6 || !ipv6) {
                chosen.push(ipam::choose_subnet(&self.inner.pools, &blocked, ipv6)?);
            }
        }
        chosen.retain(|net| record.ipv6 || matches!(net, IpNet::V4(_)));
        chosen.sort_unstable();
        let named = |net: &IpNet| fixed.iter().find(|named| named.subnet == *net).cloned();
        record.subnets = chosen.into_iter().map(|net| named(&net).unwrap_or_else(|| Subnet::of(net))).collect();
        record.ipam = Ipam { driver: "default".into(), options: None, config: vec![] };
        record.ipam.config = record.subnets.iter().map(config).collect();
        self.inner.table.put_quick("bridge", &record)?;
        Ok(record)
    }

    /// The request with what the daemon's configuration says of its driver's networks.
    pub(super) fn with_defaults(&self, request: &CreateRequest) -> CreateRequest {
        let mut request = request.clone();
        let driver = if request.driver.is_empty() { "bridge" } else { &request.driver };
        for (key, value) in self.inner.options.get(driver).into_iter().flatten() {
            let settled = match key.as_str() {
                "com.docker.network.enable_ipv4" => request.enable_ipv4.is_some(),
                "com.docker.network.enable_ipv6" => request.enable_ipv6.is_some(),
                _ => false,
            };
            if !settled {
                request.options.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        request
    }

    /// Takes other subnets for the default bridge if a network that the host has got since the last choice is in the way.
    pub(super) fn reconsider(&self, live: &mut Live, id: &str) -> Result<()> {
        // An old bridge of ours would be in its own way; without containers nobody misses it.
        let _ = bridge::remove(&self.inner.bridge);
        let taken = taken()?;
        let Some(net) = live.networks.get(id) else { return Ok(()) };
        if !net.record.subnets.iter().any(|own| taken.iter().any(|other| ipam::overlaps(other, &own.subnet))) {
            return Ok(());
        }
        let record = NetworkRecord { subnets: vec![], ..net.record.clone() };
        let record = self.default_bridge(record, live)?;
        live.networks.insert(id.into(), Net::new(record)?);
        Ok(())
    }
}

/// The options of new networks, if they can be read.
pub(super) fn options(
    drivers: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    for (driver, options) in drivers {
        let wrong =
            |error: Error| Error { message: format!("default-network-opts of {driver}: {}", error.message), ..error };
        options::parse(driver, options).map_err(wrong)?;
    }
    Ok(drivers.clone())
}

/// One of the three networks that are always there.
pub(super) fn predefined(table: &Table<NetworkRecord>, name: &str) -> Result<NetworkRecord> {
    let mut record = table.get(name)?.unwrap_or_default();
    let fresh = record.id.is_empty();
    if fresh {
        record.id = random_id()?;
        record.created = jiff::Timestamp::now().to_string();
    }
    record.name = name.into();
    record.driver = if name == "none" { "null".into() } else { name.into() };
    record.ipv4 = true;
    record.ipam.driver = "default".into();
    if fresh {
        table.put_quick(name, &record)?;
    }
    Ok(record)
}

fn config(subnet: &Subnet) -> IpamConfig {
    IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: subnet
            .way_out
            .map(|address| (super::plan::way_out(address.is_ipv6()).to_owned(), address.to_string()))
            .into_iter()
            .collect(),
    }
}

/// Every network of the host that one of ours must keep clear of: its routes and its resolvers.
pub(super) fn taken() -> Result<Vec<IpNet>> {
    let mut taken = teu_network::route::networks()?;
    taken.extend(resolvers());
    Ok(taken)
}

fn resolvers() -> Vec<IpNet> {
    let text = teu_sys::text::read("/etc/resolv.conf").unwrap_or_default();
    teu_network::dns::nameservers(&text).into_iter().map(IpNet::from).collect()
}
