//! `teu network`: which networks there are, and who is on them.

use serde_json::Value;
use teu_api::container::{EndpointIpamConfig, EndpointSettings};
use teu_api::network::{ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, Ipam, IpamConfig, Network};

use super::inspect::{Kind, inspect};
use super::{each, filters};
use crate::Session;
use crate::client::escape;
use crate::failure::Failure;
use crate::grammar::environment;
use crate::output::listing::{Column, Listing, labels, row};
use crate::output::{line, units};
use crate::table::Verb;

/// Creates a network.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Let containers join by hand
    #[arg(long)]
    attachable: bool,
    /// Driver of the network
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Gateway of the subnet
    #[arg(long)]
    gateway: Vec<String>,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Part of the subnet that containers get addresses from
    #[arg(long)]
    ip_range: Vec<String>,
    /// Give IPv6 addresses too
    #[arg(long)]
    ipv6: bool,
    /// Set labels on the network
    #[arg(long)]
    label: Vec<String>,
    /// Options of the driver
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// Subnet in CIDR form
    #[arg(long)]
    subnet: Vec<String>,
    /// Name of the network
    #[arg(required = true, value_name = "NETWORK")]
    name: String,
}

/// Lists networks.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Show only what matches (name=value)
    #[arg(short, long, value_name = "filter")]
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
    /// Networks to inspect
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

/// Removes networks.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
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
    #[arg(long)]
    alias: Vec<String>,
    /// IPv4 address on the network
    #[arg(long, value_name = "ip")]
    ip: Option<std::net::Ipv4Addr>,
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
        if self.subnet.is_empty() && !(self.gateway.is_empty() && self.ip_range.is_empty()) {
            return Err(Failure::new("every --gateway and --ip-range must have a corresponding --subnet"));
        }
        let at = |list: &[String], index: usize| list.get(index).cloned().unwrap_or_default();
        let subnets = self.subnet.iter().enumerate().map(|(index, subnet)| IpamConfig {
            subnet: subnet.clone(),
            gateway: at(&self.gateway, index),
            ip_range: at(&self.ip_range, index),
            ..IpamConfig::default()
        });
        let request = CreateRequest {
            name: self.name.clone(),
            driver: self.driver.clone(),
            enable_ipv6: self.ipv6.then_some(true),
            ipam: Some(Ipam { driver: "default".into(), config: subnets.collect(), ..Ipam::default() }),
            internal: self.internal,
            attachable: self.attachable,
            options: environment::pairs(&self.opt),
            labels: environment::pairs(&self.label),
            ..CreateRequest::default()
        };
        let client = session.client();
        let response: CreateResponse = client.post("/networks/create").json(&request)?.read().await?;
        if !response.warning.is_empty() {
            eprintln!("WARNING: {}", response.warning);
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
        let id = |network: &Network| match self.no_trunc {
            true => network.id.clone(),
            false => units::short_id(&network.id).to_owned(),
        };
        if self.quiet && self.format.is_none() {
            networks.iter().try_for_each(|network| line(&id(network)))?;
            return Ok(0);
        }
        let cells = |network: &Network| {
            row([
                ("ID", Value::from(id(network))),
                ("Name", Value::from(network.name.as_str())),
                ("Driver", Value::from(network.driver.as_str())),
                ("Scope", Value::from(network.scope.as_str())),
                ("IPv4", Value::from(network.enable_ipv4.to_string())),
                ("IPv6", Value::from(network.enable_ipv6.to_string())),
                ("Internal", Value::from(network.internal.to_string())),
                ("Labels", Value::from(labels(&network.labels))),
                ("CreatedAt", Value::from(network.created.as_str())),
            ])
        };
        let rows: Vec<Value> = networks.iter().map(cells).collect();
        let default = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
        Listing { columns: COLUMNS, default, format: self.format.as_deref() }.print(&rows)?;
        Ok(0)
    }
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
        each(&self.names, async |name| match client.delete(format!("/networks/{}", escape(name))).done().await {
            Err(failure) if force && failure.is_not_found() => Ok(()),
            Err(failure) => Err(failure),
            Ok(()) => line(name),
        })
        .await
    }
}

impl Verb for Connect {
    const USAGE: &'static str = "NETWORK CONTAINER";
    const ABOUT: &'static str = "Connect a container to a network";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let ipam =
            self.ip.map(|ip| EndpointIpamConfig { ipv4_address: ip.to_string(), ..EndpointIpamConfig::default() });
        let aliases = (!self.alias.is_empty()).then_some(self.alias);
        let endpoint = EndpointSettings { ipam_config: ipam, aliases, ..EndpointSettings::default() };
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
