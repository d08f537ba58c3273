//! What the API shows of networks and of containers' places on them. Pure.

use std::collections::BTreeMap;

use teu_api::Filters;
use teu_api::container::{EndpointSettings, NetworkSettings, PortBinding, PortMap};
use teu_api::network::{ConfigReference, EndpointResource, IpamStatus, Network, Status, SubnetStatus};

use super::attach::{asked, leads_out};
use super::{Held, Live, Mode, Net, Networks, mode_of};
use crate::container::Record;
use crate::error::{Error, Result};

const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "label!", "name", "scope", "type"];

/// The networks that pass the filters, without who is on them.
pub(super) fn list(live: &Live, filters: &Filters) -> Result<Vec<Network>> {
    if let Some(unknown) = filters.unknown(FILTERS) {
        return Err(Error::bad(format!("invalid filter '{unknown}'")));
    }
    for kind in filters.get("type") {
        if !matches!(kind.as_str(), "builtin" | "custom") {
            return Err(Error::bad(format!("invalid filter: 'type'='{kind}'")));
        }
    }
    let dangling = match filters.get("dangling") {
        [] => None,
        [value] if matches!(value.as_str(), "true" | "1") => Some(true),
        [value] if matches!(value.as_str(), "false" | "0") => Some(false),
        other => {
            let other = other.join(",");
            return Err(Error::bad(format!(
                "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\"): {other}"
            )));
        }
    };
    let any = |key: &str, test: &dyn Fn(&str) -> bool| {
        !filters.contains(key) || filters.get(key).iter().any(|value| test(value))
    };
    let names = crate::pattern::Patterns::new(filters.get("name"));
    let passes = |net: &&Net| {
        let record = &net.record;
        any("driver", &|driver| record.driver == driver)
            && any("scope", &|scope| scope == "local")
            && names.match_any(&record.name)
            && any("id", &|part| record.id.starts_with(part))
            && any("type", &|kind| (kind == "builtin") == net.predefined())
            && filters.match_labels(&record.labels)
            && dangling.is_none_or(|wanted| wanted == (!net.predefined() && net.held.is_empty()))
    };
    Ok(live.networks.values().filter(passes).map(describe).collect())
}

/// One network with who is on it.
pub(super) fn inspect(net: &Net) -> Network {
    let containers = net.held.iter().map(|(id, held)| (id.clone(), resource(held))).collect();
    let subnets = net.pools.iter().map(|pool| {
        let (used, left) = pool.counts();
        (pool.subnet().to_string(), SubnetStatus { ips_in_use: used, dynamic_ips_available: left })
    });
    let status = Status { ipam: IpamStatus { subnets: subnets.collect() } };
    Network { containers: Some(containers), status: Some(status), ..describe(net) }
}

fn describe(net: &Net) -> Network {
    let record = &net.record;
    Network {
        name: record.name.clone(),
        id: record.id.clone(),
        created: record.created.clone(),
        scope: "local".into(),
        driver: record.driver.clone(),
        enable_ipv4: record.ipv4,
        enable_ipv6: record.ipv6,
        ipam: record.ipam.clone(),
        internal: record.internal,
        attachable: record.attachable,
        config_from: ConfigReference { network: record.config_from.clone() },
        config_only: record.config_only,
        options: record.options.clone(),
        labels: record.labels.clone(),
        ..Network::default()
    }
}

fn resource(held: &Held) -> EndpointResource {
    let endpoint = &held.endpoint;
    let shown = |address: Option<(std::net::IpAddr, u8)>| {
        address.map(|(address, prefix)| format!("{address}/{prefix}")).unwrap_or_default()
    };
    EndpointResource {
        name: held.name.clone(),
        endpoint_id: endpoint.id.clone(),
        mac_address: endpoint.mac(),
        ipv4_address: shown(endpoint.ipv4().map(|(address, prefix)| (address.into(), prefix))),
        ipv6_address: shown(endpoint.ipv6().map(|(address, prefix)| (address.into(), prefix))),
    }
}

/// A container's place on its networks, in the old flat form (the default bridge's) and the new one.
pub(crate) fn settings(record: &Record, networks: &Networks) -> NetworkSettings {
    let mut settings = NetworkSettings { ports: ports(record), ..NetworkSettings::default() };
    if record.state.pid > 0 {
        settings.sandbox_id.clone_from(&record.id);
        settings.sandbox_key = format!("/proc/{}/ns/net", record.state.pid);
    }
    let shown = match mode_of(record) {
        Mode::Container(_) => vec![],
        Mode::Host => vec![("host".to_string(), EndpointSettings::default())],
        Mode::None => vec![("none".to_string(), EndpointSettings::default())],
        Mode::Network(_) => asked(record),
    };
    for (name, asked) in shown {
        let one = endpoint(record, &name, asked, networks);
        if name == "bridge" {
            settings.endpoint_id.clone_from(&one.endpoint_id);
            settings.gateway.clone_from(&one.gateway);
            settings.ip_address.clone_from(&one.ip_address);
            settings.ip_prefix_len = one.ip_prefix_len;
            settings.mac_address.clone_from(&one.mac_address);
            settings.ipv6_gateway.clone_from(&one.ipv6_gateway);
            settings.global_ipv6_address.clone_from(&one.global_ipv6_address);
            settings.global_ipv6_prefix_len = one.global_ipv6_prefix_len;
        }
        settings.networks.insert(name, one);
    }
    settings
}

fn endpoint(record: &Record, name: &str, asked: EndpointSettings, networks: &Networks) -> EndpointSettings {
    let mut one = asked;
    let Some(place) = record.endpoints.get(name) else {
        let started = record.state.pid > 0 || !record.state.started_at.is_empty();
        if one.network_id.is_empty() && started {
            one.network_id = networks.id_of(name);
        }
        return one;
    };
    let text = |address: Option<std::net::IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    one.network_id.clone_from(&place.network);
    one.endpoint_id.clone_from(&place.id);
    one.gateway = text(place.gateway(false));
    one.ipv6_gateway = text(place.gateway(true));
    one.ip_address = text(place.address(false));
    one.global_ipv6_address = text(place.address(true));
    one.ip_prefix_len = place.ipv4().map_or(0, |(_, prefix)| u32::from(prefix));
    one.global_ipv6_prefix_len = place.ipv6().map_or(0, |(_, prefix)| u32::from(prefix));
    one.mac_address = place.mac();
    one.dns_names = (!place.names.is_empty()).then(|| place.names.clone());
    one
}

fn ports(record: &Record) -> PortMap {
    if record.endpoints.is_empty() {
        return PortMap::new();
    }
    let mut ports: PortMap = record.config.exposed_ports.keys().map(|key| (key.clone(), None)).collect();
    for (key, binding) in endpoint_ports(record) {
        ports.entry(key).or_default().get_or_insert_with(Vec::new).push(binding);
    }
    ports
}

/// The published ports, by `80/tcp`.
fn endpoint_ports(record: &Record) -> impl Iterator<Item = (String, PortBinding)> {
    record.ports.iter().map(|port| {
        let host_port = if port.host_port > 0 { port.host_port.to_string() } else { String::new() };
        let binding = PortBinding { host_ip: port.host_ip.to_string(), host_port };
        (format!("{}/{}", port.container_port, port.protocol), binding)
    })
}

impl Networks {
    /// The networks that a container is on or asks for, as filters and lists name them: names and ids.
    pub(crate) fn of(&self, record: &Record) -> BTreeMap<String, String> {
        let names = match mode_of(record) {
            Mode::Container(_) => vec![],
            Mode::Host => vec!["host".to_string()],
            Mode::None => vec!["none".to_string()],
            Mode::Network(_) => asked(record).into_iter().map(|(name, _)| name).collect(),
        };
        names.into_iter().map(|name| (self.id_of(&name), name)).map(|(id, name)| (name, id)).collect()
    }

    /// Whether one of the endpoints is where published ports lead to.
    pub(crate) fn has_way_out(record: &Record) -> bool {
        let (ipv4, ipv6) = leads_out(&record.endpoints);
        ipv4.or(ipv6).is_some()
    }
}
