//! `teu network`: which networks there are, and who is on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::Value;
use teu_api::container::{EndpointIpamConfig, EndpointSettings};
use teu_api::network::{
    ConfigReference, ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, Ipam, IpamConfig, Network,
};

use super::inspect::{Kind, inspect};
use super::{each, filters};
use crate::Session;
use crate::client::{Client, escape};
use crate::failure::Failure;
use crate::grammar::environment;
use crate::output::list::{self, Column, Row, labels, row};
use crate::output::{line, note, units};
use crate::table::Verb;

/// Creates a network.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Let containers join by hand
    #[arg(long)]
    attachable: bool,
    /// Addresses of a subnet that are somebody's already (name=address)
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// Network whose configuration is taken
    #[arg(long, value_name = "string")]
    config_from: Option<String>,
    /// Make a configuration for other networks only
    #[arg(long)]
    config_only: bool,
    /// Driver of the network
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Gateway of the subnet
    #[arg(long, value_name = "ipSlice", value_delimiter = ',')]
    gateway: Vec<String>,
    /// Make a swarm's routing mesh
    #[arg(long)]
    ingress: bool,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Driver of the address management
    #[arg(long, value_name = "string", default_value = "default")]
    ipam_driver: String,
    /// Options of the address management
    #[arg(long, value_name = "map")]
    ipam_opt: Vec<String>,
    /// Give IPv4 addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "bool")]
    ipv4: Option<bool>,
    /// Part of the subnet that containers get addresses from
    #[arg(long, value_name = "ipNetSlice", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Give IPv6 addresses (by default if no subnet is named)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "bool")]
    ipv6: Option<bool>,
    /// Set labels on the network
    #[arg(long, value_parser = environment::label)]
    label: Vec<String>,
    /// Options of the driver
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// Reach of the network
    #[arg(long, value_name = "string", default_value = "")]
    scope: String,
    /// Subnet in CIDR form
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    subnet: Vec<String>,
    /// Name of the network
    #[arg(required = true, value_name = "NETWORK")]
    name: String,
}

/// Lists networks.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Show only what matches (name=value)
    #[arg(short, long, value_name = "filter", value_parser = environment::filter)]
    filter: Vec<String>,
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Do not shorten output
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Inspects networks.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkInspect {
    /// Format with a Go template, or 'json'
    #[arg(short, long)]
    format: Option<String>,
    /// Show more (of networks of a swarm)
    #[arg(short, long)]
    verbose: bool,
    /// Networks to inspect
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

/// Removes networks.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// A missing network is no error
    #[arg(short, long)]
    force: bool,
    /// Networks to remove
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

/// Puts a container on a network.
#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Further name of the container on the network
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    alias: Vec<String>,
    /// Options of the driver for this place
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    driver_opt: Vec<String>,
    /// The network with the highest gives the default route
    #[arg(long, value_name = "int", default_value = "0", allow_negative_numbers = true)]
    gw_priority: i64,
    /// IPv4 address on the network
    #[arg(long, value_name = "ip")]
    ip: Option<Ipv4Addr>,
    /// IPv6 address on the network
    #[arg(long, value_name = "ip")]
    ip6: Option<Ipv6Addr>,
    /// Another container by a name of this one's own (container:alias)
    #[arg(long, value_name = "list")]
    link: Vec<String>,
    /// Further address of the link
    #[arg(long, value_name = "ipSlice", value_delimiter = ',')]
    link_local_ip: Vec<IpAddr>,
    /// Network to join
    #[arg(required = true, value_name = "NETWORK")]
    network: String,
    /// Container that joins
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

/// Takes a container off a network.
#[derive(Debug, clap::Args)]
pub(crate) struct Disconnect {
    /// Also when the container does not run
    #[arg(short, long)]
    force: bool,
    /// Network to leave
    #[arg(required = true, value_name = "NETWORK")]
    network: String,
    /// Container that leaves
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

/// Puts ranges, gateways and auxiliary addresses to the subnets they are in: Docker's rules.
fn configs(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    auxiliary: &[String],
) -> Result<Vec<IpamConfig>, String> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    let network = |text: &String| text.parse::<IpNet>().map_err(|_| format!("invalid CIDR address: {text}"));
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("invalid IP address: {text}"));
    let nets = subnets.iter().map(network).collect::<Result<Vec<_>, _>>()?;
    for (at, net) in nets.iter().enumerate() {
        if nets[..at].iter().any(|other| other.contains(&net.network()) || net.contains(&other.network())) {
            return Err("multiple overlapping subnet configuration is not supported".into());
        }
    }
    let mut configs: Vec<IpamConfig> =
        subnets.iter().map(|subnet| IpamConfig { subnet: subnet.clone(), ..IpamConfig::default() }).collect();
    let around = |address: &IpAddr| nets.iter().position(|net| net.contains(address));
    for text in ranges {
        let at = around(&network(text)?.addr()).ok_or_else(|| format!("no matching subnet for range {text}"))?;
        if !std::mem::replace(&mut configs[at].ip_range, text.clone()).is_empty() {
            return Err(format!("cannot configure multiple ranges ({text}) on the same subnet ({})", subnets[at]));
        }
    }
    for text in gateways {
        let at = around(&address(text)?).ok_or_else(|| format!("no matching subnet for gateway {text}"))?;
        if !std::mem::replace(&mut configs[at].gateway, text.clone()).is_empty() {
            return Err(format!("cannot configure multiple gateways ({text}) for the same subnet ({})", subnets[at]));
        }
    }
    let pairs: BTreeMap<String, String> = environment::pairs(auxiliary);
    for (name, text) in pairs {
        let at = around(&address(&text)?).ok_or_else(|| format!("no matching subnet for aux-address {text}"))?;
        configs[at].auxiliary_addresses.insert(name, text);
    }
    Ok(configs)
}

const COLUMNS: &[Column] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

impl Verb for Create {
    const USAGE: &'static str = "NETWORK";
    const ABOUT: &'static str = "Create a network";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let subnets = configs(&self.subnet, &self.ip_range, &self.gateway, &self.aux_address).map_err(Failure::new)?;
        let request = CreateRequest {
            name: self.name.clone(),
            driver: self.driver.clone(),
            scope: self.scope.clone(),
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            ipam: Some(Ipam {
                driver: self.ipam_driver.clone(),
                options: Some(environment::pairs(&self.ipam_opt)),
                config: subnets,
            }),
            ingress: self.ingress,
            config_only: self.config_only,
            config_from: self.config_from.clone().map(|network| ConfigReference { network }),
            internal: self.internal,
            attachable: self.attachable,
            options: environment::pairs(&self.opt),
            labels: environment::pairs(&self.label),
        };
        let client = session.client();
        let response: CreateResponse = client.post("/networks/create").json(&request)?.read().await?;
        if !response.warning.is_empty() {
            note!("WARNING: {}", response.warning);
        }
        line(&response.id)?;
        Ok(0)
    }
}

impl Verb for List {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "List networks";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let mut networks: Vec<Network> = client.get("/networks").filters(&filters(&self.filter)?).read().await?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let rows: Vec<Row> = networks.iter().map(|network| cells(network, self.no_trunc)).collect();
        let default = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
        let raw = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";
        let (quiet, raw, own) = match self.quiet {
            true => (Some("{{.ID}}"), "network_id: {{.ID}}", None),
            false => (None, raw, session.file.format("networksFormat")),
        };
        let format = self.format.as_deref().filter(|format| !format.is_empty()).or(own);
        list::List { columns: COLUMNS, default, quiet, raw, format }.print(rows)?;
        Ok(0)
    }
}

fn cells(network: &Network, whole: bool) -> Row {
    row([
        ("ID", Value::from(if whole { &network.id } else { units::short_id(&network.id) })),
        ("Name", Value::from(network.name.as_str())),
        ("Driver", Value::from(network.driver.as_str())),
        ("Scope", Value::from(network.scope.as_str())),
        ("IPv4", Value::from(network.enable_ipv4.to_string())),
        ("IPv6", Value::from(network.enable_ipv6.to_string())),
        ("Internal", Value::from(network.internal.to_string())),
        ("Labels", Value::from(labels(&network.labels))),
        ("CreatedAt", Value::from(units::go_time(&network.created))),
    ])
    .labelled(&network.labels)
}

impl Verb for NetworkInspect {
    const USAGE: &'static str = "NETWORK [NETWORK...]";
    const ABOUT: &'static str = "Display detailed information on one or more networks";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        inspect(session, &[Kind::Network], &self.names, self.format.as_deref()).await
    }
}

impl Verb for Remove {
    const USAGE: &'static str = "NETWORK [NETWORK...]";
    const ABOUT: &'static str = "Remove one or more networks";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = &session.client();
        let force = self.force;
        each(&self.names, async |name| {
            let done = match self.dry_run {
                true => may_go(client, name).await,
                false => client.delete(format!("/networks/{}", escape(name))).done().await,
            };
            match done {
                Err(failure) if force && failure.is_not_found() => Ok(()),
                Err(failure) => Err(failure),
                Ok(()) => line(name),
            }
        })
        .await
    }
}

/// Whether the daemon would remove it; why not is said in its words.
async fn may_go(client: &Client<'_>, name: &str) -> Result<(), Failure> {
    let network: Network = client.get(format!("/networks/{}", escape(name))).read().await?;
    if matches!(network.name.as_str(), "bridge" | "host" | "none") {
        let name = &network.name;
        return Err(Failure::new(format!("{name} is a pre-defined network and cannot be removed")));
    }
    if network.containers.is_some_and(|containers| !containers.is_empty()) {
        let name = &network.name;
        return Err(Failure::new(format!("error while removing network: network {name} has active endpoints")));
    }
    Ok(())
}

impl Verb for Connect {
    const USAGE: &'static str = "NETWORK CONTAINER";
    const ABOUT: &'static str = "Connect a container to a network";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let text = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        let ipam = EndpointIpamConfig {
            ipv4_address: text(self.ip.map(IpAddr::V4)),
            ipv6_address: text(self.ip6.map(IpAddr::V6)),
            link_local_ips: self.link_local_ip.iter().map(ToString::to_string).collect(),
        };
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let options = environment::full_pairs(&self.driver_opt);
        let options = options.map_err(|why| Failure::new(format!("--driver-opt: {why}")))?;
        let endpoint = EndpointSettings {
            ipam_config: (ipam != EndpointIpamConfig::default()).then_some(ipam),
            aliases: some(self.alias),
            links: some(self.link),
            driver_opts: (!options.is_empty()).then_some(options),
            gw_priority: self.gw_priority,
            ..EndpointSettings::default()
        };
        let request = ConnectRequest { container: self.container, endpoint_config: Some(endpoint) };
        let client = session.client();
        client.post(format!("/networks/{}/connect", escape(&self.network))).json(&request)?.done().await?;
        Ok(0)
    }
}

impl Verb for Disconnect {
    const USAGE: &'static str = "NETWORK CONTAINER";
    const ABOUT: &'static str = "Disconnect a container from a network";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let request = DisconnectRequest { container: self.container, force: self.force };
        let client = session.client();
        client.post(format!("/networks/{}/disconnect", escape(&self.network))).json(&request)?.done().await?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_gateways_go_to_the_subnets_they_are_in() {
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let made = configs(
            &list(&["10.1.0.0/16", "fd00::/64"]),
            &list(&["10.1.5.0/24"]),
            &list(&["fd00::1", "10.1.5.1"]),
            &list(&["host=10.1.5.9"]),
        )
        .unwrap();
        assert_eq!((made[0].ip_range.as_str(), made[0].gateway.as_str()), ("10.1.5.0/24", "10.1.5.1"));
        assert_eq!((made[1].gateway.as_str(), made[0].auxiliary_addresses["host"].as_str()), ("fd00::1", "10.1.5.9"));
        for (subnets, gateways, why) in [
            (&[][..], &["10.0.0.1"][..], "must have a corresponding subnet"),
            (&["10.1.0.0/16"], &["10.2.0.1"], "no matching subnet for gateway"),
            (&["10.1.0.0/16", "10.1.1.0/24"], &[], "multiple overlapping subnet"),
            (&["nonsense"], &[], "invalid CIDR address"),
        ] {
            let error = configs(&list(subnets), &[], &list(gateways), &[]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
