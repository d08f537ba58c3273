//! From a request to a network: which subnets it gets, and whether it can be made at all. Pure; the words are Docker's.

use std::net::IpAddr;

use ipnet::IpNet;
use teu_api::network::{CreateRequest, Ipam, IpamConfig};
use teu_network::ipam::{self, AddressPool, Subnet};

use super::options::{self, GatewayMode};
use super::record::NetworkRecord;
use crate::error::{Error, Kind, Result};

/// What there is already, and where subnets come from.
pub(crate) struct Surroundings<'a> {
    /// Pools of both families.
    pub(crate) pools: &'a [AddressPool],
    /// Subnets of other networks.
    pub(crate) networks: Vec<IpNet>,
    /// Networks that the host has or has a route to.
    pub(crate) host: Vec<IpNet>,
    /// Whether IPv6 can be had.
    pub(crate) ipv6: bool,
}

/// Decides the network; its id and time of making are the caller's.
pub(crate) fn network(request: &CreateRequest, around: &Surroundings<'_>) -> Result<NetworkRecord> {
    let driver = driver(&request.driver)?;
    let options = options::parse(&driver, &request.options)?;
    let asked = request.ipam.clone().unwrap_or_default();
    if !matches!(asked.driver.as_str(), "" | "default" | "null") {
        return Err(Error::bad(format!("invalid ipam driver: \"{}\"", asked.driver)));
    }
    let configs = read_configs(&asked.config)?;
    let flag = |asked: Option<bool>, key: &str| match asked {
        Some(flag) => Ok(Some(flag)),
        None => options::flag(&request.options, key),
    };
    let ipv4 = flag(request.enable_ipv4, "com.docker.network.enable_ipv4")?.unwrap_or(true);
    // Nothing said and no subnet named: both families. Whoever names subnets says with them what is wanted.
    let by_config = configs.is_empty() || configs.iter().any(|config| config.subnet.is_some_and(is_v6));
    let ipv6 = flag(request.enable_ipv6, "com.docker.network.enable_ipv6")?
        .unwrap_or(by_config && around.ipv6 && options.fits_v6());
    validate(&configs, ipv6)?;
    if driver == "bridge" {
        check_bridge(request, &options, &configs, ipv4 || ipv6)?;
    }
    let mut record = NetworkRecord {
        name: request.name.clone(),
        driver,
        ipv4,
        ipv6,
        internal: request.internal,
        attachable: request.attachable,
        config_only: request.config_only,
        config_from: request.config_from.clone().map(|from| from.network).unwrap_or_default(),
        options: request.options.clone(),
        labels: request.labels.clone(),
        ipam: Ipam { driver: "default".into(), options: asked.options, config: vec![] },
        ..NetworkRecord::default()
    };
    if record.config_only {
        record.driver = "null".into();
        record.ipam.config = asked.config;
        return Ok(record);
    }
    if asked.driver != "null" {
        subnets(&mut record, &configs, &options, around)?;
    }
    Ok(record)
}

fn driver(name: &str) -> Result<String> {
    match name {
        "" | "default" | "bridge" => Ok("bridge".into()),
        "macvlan" | "ipvlan" => Ok(name.into()),
        "host" | "null" | "none" => {
            let name = if name == "none" { "null" } else { name };
            Err(Error::forbidden(format!("only one instance of \"{name}\" network is allowed")))
        }
        "overlay" => Err(Error::forbidden(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node \
             to swarm and try again.",
        )),
        other => Err(Error::not_found(format!("plugin \"{other}\" not found"))),
    }
}

/// One subnet as asked for.
struct Config {
    subnet: Option<IpNet>,
    range: Option<IpNet>,
    gateway: Option<IpAddr>,
    auxiliary: Vec<(String, IpAddr)>,
}

fn read_configs(configs: &[IpamConfig]) -> Result<Vec<Config>> {
    let network = |text: &String| {
        let read = (!text.is_empty()).then(|| text.parse::<IpNet>());
        read.transpose().map_err(|_| Error::bad(format!("invalid CIDR address: {text}")))
    };
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| Error::bad(format!("invalid IP address: {text}")));
    let read = |config: &IpamConfig| {
        let gateway = (!config.gateway.is_empty()).then(|| address(&config.gateway)).transpose()?;
        let auxiliary = config.auxiliary_addresses.iter();
        let auxiliary = auxiliary.map(|(name, text)| Ok((name.clone(), address(text)?))).collect::<Result<_>>()?;
        Ok(Config { subnet: network(&config.subnet)?, range: network(&config.ip_range)?, gateway, auxiliary })
    };
    // An empty configuration says nothing; some clients send one.
    configs.iter().filter(|config| **config != IpamConfig::default()).map(read).collect()
}

fn is_v6(network: IpNet) -> bool {
    matches!(network, IpNet::V6(_))
}

fn family(ipv6: bool) -> u8 {
    if ipv6 { 6 } else { 4 }
}

/// Docker's checks, all mistakes in one answer.
fn validate(configs: &[Config], ipv6: bool) -> Result<()> {
    let mut errors: Vec<String> = vec![];
    for config in configs {
        let Some(subnet) = config.subnet else {
            if config.range.is_some() || config.gateway.is_some() || !config.auxiliary.is_empty() {
                errors.push("an ip-range, gateway or auxiliary address needs a subnet".into());
            }
            continue;
        };
        if is_v6(subnet) && !ipv6 {
            continue;
        }
        if subnet != subnet.trunc() {
            errors.push(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
        }
        errors.extend(range_errors(config.range, subnet));
        let outside = |address: IpAddr| {
            if address.is_ipv6() != is_v6(subnet) {
                Some(format!("parent subnet is an IPv{} block", family(is_v6(subnet))))
            } else if !subnet.contains(&address) {
                Some(format!("parent subnet {subnet} doesn't contain this address"))
            } else {
                None
            }
        };
        if let Some(gateway) = config.gateway
            && let Some(why) = outside(gateway)
        {
            errors.push(format!("invalid gateway {gateway}: {why}"));
        }
        for (name, address) in &config.auxiliary {
            if let Some(why) = outside(*address) {
                errors.push(format!("invalid auxiliary address {name}: {why}"));
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Error::bad(format!("invalid network config:\n{}", errors.join("\n"))))
}

fn range_errors(range: Option<IpNet>, subnet: IpNet) -> Vec<String> {
    let Some(range) = range else { return vec![] };
    if is_v6(range) != is_v6(subnet) {
        return vec![format!("invalid ip-range {range}: parent subnet is an IPv{} block", family(is_v6(subnet)))];
    }
    let mut errors = vec![];
    if range.prefix_len() < subnet.prefix_len() {
        errors.push(format!("invalid ip-range {range}: CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range != range.trunc() {
        errors.push(format!("invalid ip-range {range}: it should be {}", range.trunc()));
    }
    if !ipam::overlaps(&range, &subnet) {
        errors.push(format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"));
    }
    errors
}

fn check_bridge(
    request: &CreateRequest,
    options: &options::Options,
    configs: &[Config],
    any_family: bool,
) -> Result<()> {
    if !any_family {
        return Err(Error::bad("IPv4 or IPv6 must be enabled"));
    }
    let isolated = [options.ipv4, options.ipv6].contains(&GatewayMode::Isolated);
    if isolated && !request.internal {
        return Err(Error::bad("gateway mode 'isolated' can only be used for an internal network"));
    }
    let count = |ipv6| configs.iter().filter(|config| config.subnet.is_some_and(|net| is_v6(net) == ipv6)).count();
    if count(false) > 1 || count(true) > 1 {
        return Err(Error::forbidden("bridge driver doesn't support multiple subnets"));
    }
    Ok(())
}

/// Takes the subnets that were named, and chooses one for each family that has none.
fn subnets(
    record: &mut NetworkRecord,
    configs: &[Config],
    options: &options::Options,
    around: &Surroundings<'_>,
) -> Result<()> {
    for ipv6 in [false, true] {
        if !(if ipv6 { record.ipv6 } else { record.ipv4 }) {
            continue;
        }
        let mut named = configs.iter().filter(|config| config.subnet.is_some_and(|net| is_v6(net) == ipv6)).peekable();
        if named.peek().is_none() {
            let subnet = choose(around.pools, around, ipv6)?;
            add(record, Subnet::of(subnet), options, &[]);
        }
        for config in named {
            let Some(mut subnet) = config.subnet else { continue };
            if subnet.addr().is_unspecified() {
                // Only the size was named.
                let size = subnet.prefix_len();
                let pools: Vec<_> = around.pools.iter().map(|pool| AddressPool { size, ..*pool }).collect();
                subnet = choose(&pools, around, ipv6)?;
            } else if around.networks.iter().any(|other| ipam::overlaps(other, &subnet)) {
                return Err(Error::forbidden(
                    "invalid pool request: Pool overlaps with other one on this address space",
                ));
            }
            let reserved: Vec<IpAddr> = config.auxiliary.iter().map(|(_, address)| *address).collect();
            let first = || match config.range {
                // Docker gives the gateway the first address of the range where there is one.
                Some(range) => first_free(&range, &subnet, &reserved),
                None => first_free(&subnet, &subnet, &reserved),
            };
            let gateway = config.gateway.unwrap_or_else(first);
            let named = |(name, _): &&(String, IpAddr)| record.driver == "bridge" && name == way_out(ipv6);
            let way_out = config.auxiliary.iter().find(named).map(|(_, address)| *address);
            let planned = Subnet { subnet, range: config.range, gateway: Some(gateway), reserved, way_out };
            add(record, planned, options, &config.auxiliary);
        }
    }
    Ok(())
}

/// The auxiliary address of a bridge by which its containers leave it, as Docker names it.
pub(super) fn way_out(ipv6: bool) -> &'static str {
    if ipv6 { "DefaultGatewayIPv6" } else { "DefaultGatewayIPv4" }
}

fn choose(pools: &[AddressPool], around: &Surroundings<'_>, ipv6: bool) -> Result<IpNet> {
    let taken: Vec<IpNet> = around.host.iter().chain(&around.networks).copied().collect();
    ipam::choose_subnet(pools, &taken, ipv6)
        .map_err(|_| Error::bad("all predefined address pools have been fully subnetted"))
}

fn first_free(within: &IpNet, subnet: &IpNet, reserved: &[IpAddr]) -> IpAddr {
    let mut pool = ipam::Pool::new(Subnet {
        range: Some(*within),
        gateway: None,
        reserved: reserved.to_vec(),
        ..Subnet::of(*subnet)
    });
    pool.allocate().unwrap_or_else(|_| ipam::first(subnet))
}

fn add(record: &mut NetworkRecord, mut subnet: Subnet, options: &options::Options, auxiliary: &[(String, IpAddr)]) {
    let ipv6 = is_v6(subnet.subnet);
    let text = |network: Option<IpNet>| network.map(|network| network.to_string()).unwrap_or_default();
    let isolated = (if ipv6 { options.ipv6 } else { options.ipv4 }) == GatewayMode::Isolated;
    // The bridge does not get it, and no route leads to it.
    let pointless = !ipv6 && options.inhibit_ipv4 && record.internal;
    if record.driver == "bridge" && (isolated || pointless) || record.driver != "bridge" && record.internal {
        subnet.gateway = None;
    }
    record.ipam.config.push(IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: text(subnet.range),
        gateway: subnet.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: auxiliary.iter().map(|(name, address)| (name.clone(), address.to_string())).collect(),
    });
    record.subnets.push(subnet);
}

/// Takes over what a network for configuration says.
pub(crate) fn inherit(request: &CreateRequest, from: &NetworkRecord) -> Result<CreateRequest> {
    let own = request.ipam.as_ref().is_some_and(|ipam| !ipam.config.is_empty());
    if own || request.enable_ipv6.is_some() || !request.labels.is_empty() || request.internal {
        return Err(Error::new(
            Kind::Forbidden,
            "user-specified configurations are not supported if the network depends on a configuration network",
        ));
    }
    if !request.options.is_empty() {
        return Err(Error::new(
            Kind::Forbidden,
            "network driver options are not supported if the network depends on a configuration network",
        ));
    }
    Ok(CreateRequest {
        enable_ipv4: Some(from.ipv4),
        enable_ipv6: Some(from.ipv6),
        internal: from.internal,
        options: from.options.clone(),
        labels: from.labels.clone(),
        ipam: Some(from.ipam.clone()),
        ..request.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(request: &CreateRequest) -> Result<NetworkRecord> {
        let mut pools = ipam::default_pools();
        pools.push(ipam::local_pool([1, 2, 3, 4, 5]));
        let net = |text: &str| text.parse().expect("a network");
        let around = Surroundings {
            pools: &pools,
            networks: vec![net("172.17.0.0/22"), net("fd01:203:405::/64")],
            host: vec![net("172.17.4.0/24"), net("10.0.0.0/8")],
            ipv6: true,
        };
        network(request, &around)
    }

    fn named(configs: &[(&str, &str, &str)]) -> CreateRequest {
        let config = |(subnet, range, gateway): &(&str, &str, &str)| IpamConfig {
            subnet: (*subnet).into(),
            ip_range: (*range).into(),
            gateway: (*gateway).into(),
            ..IpamConfig::default()
        };
        let config = configs.iter().map(config).collect();
        CreateRequest { name: "n".into(), ipam: Some(Ipam { config, ..Ipam::default() }), ..CreateRequest::default() }
    }

    #[test]
    fn a_network_of_which_nothing_is_said_has_both_families_clear_of_everything() {
        let record = plan(&named(&[])).unwrap();
        let subnets: Vec<_> = record.subnets.iter().map(|subnet| subnet.subnet.to_string()).collect();
        assert_eq!(subnets, ["172.17.8.0/22", "fd01:203:405:1::/64"]);
        assert_eq!(record.ipam.config[0].gateway, "172.17.8.1");
        let only = CreateRequest { enable_ipv6: Some(false), ..named(&[]) };
        assert_eq!(plan(&only).unwrap().subnets.len(), 1);
    }

    #[test]
    fn what_is_named_is_taken_as_it_is() {
        let record = plan(&named(&[("172.28.0.0/16", "172.28.5.0/24", "172.28.5.254")])).unwrap();
        assert!(!record.ipv6);
        assert_eq!(record.ipam.config.len(), 1);
        assert_eq!(record.ipam.config[0].gateway, "172.28.5.254");
        assert_eq!(plan(&named(&[("172.29.0.0/16", "", "")])).unwrap().ipam.config[0].gateway, "172.29.0.1");
        assert_eq!(plan(&named(&[("0.0.0.0/27", "", "")])).unwrap().ipam.config[0].subnet, "172.17.5.0/27");
        let both = plan(&named(&[("172.29.0.0/16", "", ""), ("2001:db8::/64", "", "")])).unwrap();
        assert!(both.ipv6 && both.subnets.len() == 2);
    }

    #[test]
    fn an_internal_network_whose_bridge_has_no_address_has_no_gateway() {
        let option = ("com.docker.network.bridge.inhibit_ipv4".to_owned(), "true".to_owned());
        let asked = |internal| CreateRequest {
            internal,
            options: [option.clone()].into(),
            ..named(&[("172.28.0.0/31", "", ""), ("2001:db8::/64", "", "")])
        };
        let gateways = |internal| {
            let record = plan(&asked(internal)).unwrap();
            record.ipam.config.into_iter().map(|config| config.gateway).collect::<Vec<_>>()
        };
        assert_eq!(gateways(true), ["", "2001:db8::1"]);
        assert_eq!(gateways(false), ["172.28.0.0", "2001:db8::1"]);
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        for (configs, why) in [
            (&[("172.28.1.0/16", "", "")][..], "invalid subnet 172.28.1.0/16: it should be 172.28.0.0/16"),
            (&[("172.28.0.0/16", "10.0.0.0/24", "")], "doesn't contain ip-range"),
            (&[("172.28.0.0/16", "", "10.0.0.1")], "invalid gateway 10.0.0.1: parent subnet 172.28.0.0/16 doesn't"),
            (&[("172.17.0.0/24", "", "")], "Pool overlaps with other one on this address space"),
            (&[("172.28.0.0/16", "", ""), ("172.29.0.0/16", "", "")], "doesn't support multiple subnets"),
            (&[("nonsense", "", "")], "invalid CIDR address: nonsense"),
        ] {
            let error = plan(&named(configs)).unwrap_err();
            assert!(error.message.contains(why), "{}", error.message);
        }
        for driver in ["host", "overlay", "weave"] {
            assert!(plan(&CreateRequest { driver: driver.into(), ..named(&[]) }).is_err(), "{driver}");
        }
    }
}
