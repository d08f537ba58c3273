//! `teu daemon`: the flags of the daemon; what they mean is the server's affair.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, FromArgMatches};
use serde_json::{Map, Value};

use crate::Faces;
use crate::failure::Failure;

/// What `teu daemon` was told: a flag wins over its environment variable; what neither sets is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[non_exhaustive]
pub struct DaemonArgs {
    /// Folders of the descriptions of devices (default /etc/cdi and /var/run/cdi)
    #[arg(long, value_name = "list")]
    pub cdi_spec_dir: Vec<String>,
    /// Features to turn on or off, name or name=true|false
    #[arg(long, value_name = "map")]
    pub feature: Vec<String>,
    /// Configuration file (default $TEU_CONFIG or /etc/teu/daemon.json)
    #[arg(long, value_name = "string")]
    pub config_file: Option<PathBuf>,
    /// Folder of everything that lasts (default $TEU_DATA_ROOT or /var/lib/teu)
    #[arg(long, value_name = "string")]
    pub data_root: Option<PathBuf>,
    /// Log for debugging
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Folder of what a reboot may lose (default $TEU_EXEC_ROOT or /run/teu)
    #[arg(long, value_name = "string")]
    pub exec_root: Option<PathBuf>,
    /// Group that may use the socket
    #[arg(short = 'G', long, value_name = "string")]
    pub group: Option<String>,
    /// What host-gateway means in --add-host
    #[arg(long, value_name = "ip")]
    pub host_gateway_ip: Vec<String>,
    /// Sockets to listen on (default $TEU_HOST or unix:///run/teu.sock)
    #[arg(short = 'H', long = "host", value_name = "list")]
    pub hosts: Vec<String>,
    /// Name of the bridge of the default network
    #[arg(short, long, value_name = "string")]
    pub bridge: Option<String>,
    /// Least level to log (trace|debug|info|warn|error)
    #[arg(short, long, value_name = "string")]
    pub log_level: Option<String>,
    /// Also listen on Docker's own socket, for the group docker
    #[arg(long)]
    pub docker_socket: bool,
    /// Form of the log (text|json)
    #[arg(long, value_name = "string")]
    pub log_format: Option<String>,
    /// Address to serve Prometheus metrics on
    #[arg(long, value_name = "string")]
    pub metrics_addr: Option<String>,
    /// File of the process id
    #[arg(short = 'p', long, value_name = "string")]
    pub pidfile: Option<PathBuf>,
    /// Subnet of the default bridge
    #[arg(long, value_name = "string")]
    pub bip: Option<String>,
    /// Subnet of the default bridge, of IPv6
    #[arg(long, value_name = "string")]
    pub bip6: Option<String>,
    /// Part of the default bridge's subnet that addresses are given from
    #[arg(long, value_name = "string")]
    pub fixed_cidr: Option<String>,
    /// The same for IPv6
    #[arg(long, value_name = "string")]
    pub fixed_cidr_v6: Option<String>,
    /// Address by which containers leave the default bridge (default: the host's)
    #[arg(long, value_name = "ip")]
    pub default_gateway: Option<String>,
    /// The same for IPv6
    #[arg(long, value_name = "ip")]
    pub default_gateway_v6: Option<String>,
    /// Address of the host that ports of the default bridge are published on
    #[arg(long, value_name = "ip")]
    pub ip: Option<String>,
    /// Keep the default bridge to IPv4 with --ipv6=false
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ipv6: Option<bool>,
    /// Where networks get their subnets from (base=NETWORK,size=PREFIX)
    #[arg(long, value_name = "pool-options", value_parser = address_pool)]
    pub default_address_pool: Vec<(String, u8)>,
    /// Keep containers of the default bridge from each other with --icc=false
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub icc: Option<bool>,
    /// Give what leaves the default bridge the host's address
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip_masq: Option<bool>,
    /// Largest packet of the default bridge (default: the uplink's)
    #[arg(long, value_name = "int")]
    pub mtu: Option<u32>,
    /// Options of new networks by driver (DRIVER=KEY=VALUE)
    #[arg(long, value_name = "mapmap", value_parser = network_option)]
    pub default_network_opt: Vec<(String, String, String)>,
    /// Name servers of containers
    #[arg(long, value_name = "list")]
    pub dns: Vec<String>,
    /// Resolver options of containers
    #[arg(long, value_name = "list")]
    pub dns_opt: Vec<String>,
    /// Search domains of containers
    #[arg(long, value_name = "list")]
    pub dns_search: Vec<String>,
    /// Proxy for registries that are spoken to without TLS (default $HTTP_PROXY)
    #[arg(long, value_name = "string")]
    pub http_proxy: Option<String>,
    /// Proxy for all other registries (default $HTTPS_PROXY)
    #[arg(long, value_name = "string")]
    pub https_proxy: Option<String>,
    /// What is asked without a proxy (default $NO_PROXY)
    #[arg(long, value_name = "string")]
    pub no_proxy: Option<String>,
    /// Registries that may be spoken to without TLS
    #[arg(long, value_name = "list")]
    pub insecure_registry: Vec<String>,
    /// Labels of the daemon
    #[arg(long, value_name = "list")]
    pub label: Vec<String>,
    /// Give every container a first process that only looks after the others
    #[arg(long)]
    pub init: bool,
    /// How many layers of a pull are fetched at once
    #[arg(long, value_name = "int")]
    pub max_concurrent_downloads: Option<u32>,
    /// How many layers of a push are sent at once
    #[arg(long, value_name = "int")]
    pub max_concurrent_uploads: Option<u32>,
    /// How often a request to a registry is tried
    #[arg(long, value_name = "int")]
    pub max_download_attempts: Option<u32>,
    /// Parent of the containers' cgroups
    #[arg(long, value_name = "string")]
    pub cgroup_parent: Option<String>,
    /// Who makes the containers' cgroups (native.cgroupdriver=cgroupfs|systemd)
    #[arg(long, value_name = "key=value")]
    pub exec_opt: Vec<String>,
    /// Default cgroup namespace of containers (private|host)
    #[arg(long, value_name = "string")]
    pub default_cgroupns_mode: Option<String>,
    /// Default IPC mode of containers (private|shareable)
    #[arg(long, value_name = "string")]
    pub default_ipc_mode: Option<String>,
    /// Default ids of containers: the host's, or some of each one's own (host|auto)
    #[arg(long, value_name = "string")]
    pub default_userns_mode: Option<String>,
    /// Users whose subordinate ids all containers have (default|user[:group])
    #[arg(long, value_name = "string")]
    pub userns_remap: Option<String>,
    /// Default size of /dev/shm
    #[arg(long, value_name = "bytes")]
    pub default_shm_size: Option<String>,
    /// Default limits of containers
    #[arg(long, value_name = "ulimit", value_parser = crate::grammar::limits::ulimit)]
    pub default_ulimit: Vec<teu_api::container::Ulimit>,
    /// Default log driver of containers
    #[arg(long, value_name = "string")]
    pub log_driver: Option<String>,
    /// Default log options of containers
    #[arg(long, value_name = "map")]
    pub log_opt: Vec<String>,
    /// Keep containers from gaining privileges
    #[arg(long)]
    pub no_new_privileges: bool,
    /// Tell clients that this engine is experimental
    #[arg(long)]
    pub experimental: bool,
    /// Mirrors of Docker Hub
    #[arg(long, value_name = "list")]
    pub registry_mirror: Vec<String>,
    /// Seccomp profile of containers (builtin|unconfined|file)
    #[arg(long, value_name = "string")]
    pub seccomp_profile: Option<String>,
    /// Use TLS; implied by --tlsverify
    #[arg(long)]
    pub tls: bool,
    /// Trust clients with certificates signed by this authority
    #[arg(long, value_name = "string")]
    pub tlscacert: Option<PathBuf>,
    /// Certificate of the daemon
    #[arg(long, value_name = "string")]
    pub tlscert: Option<PathBuf>,
    /// Key of the certificate
    #[arg(long, value_name = "string")]
    pub tlskey: Option<PathBuf>,
    /// Use TLS and ask clients for a certificate
    #[arg(long)]
    pub tlsverify: bool,
    /// Look at the configuration and end
    #[arg(long)]
    pub validate: bool,
    /// Leave the session of whoever started it
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// `DRIVER=KEY=VALUE`.
fn network_option(text: &str) -> Result<(String, String, String), String> {
    let parts: Option<_> = text.split_once('=').and_then(|(driver, pair)| Some((driver, pair.split_once('=')?)));
    let (driver, (key, value)) = parts.ok_or_else(|| format!("invalid value {text:?}: write DRIVER=KEY=VALUE"))?;
    Ok((driver.into(), key.into(), value.into()))
}

/// `base=NETWORK,size=PREFIX`.
fn address_pool(text: &str) -> Result<(String, u8), String> {
    let wrong = || format!("invalid value {text:?}: write base=NETWORK,size=PREFIX");
    let (mut base, mut size) = (None, None);
    for part in text.split(',') {
        match part.trim().split_once('=') {
            Some(("base", value)) => base = Some(value.to_owned()),
            Some(("size", value)) => size = Some(value.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
    }
    base.zip(size).ok_or_else(wrong)
}

impl DaemonArgs {
    /// What was given, by the keys of the configuration file.
    #[must_use]
    pub fn settings(&self) -> Map<String, Value> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string().into());
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let list = |list: &[String]| (!list.is_empty()).then(|| Value::from(list.to_vec()));
        let flag = |flag: bool| flag.then_some(Value::Bool(true));
        let pairs = self.log_opt.iter().map(|option| option.split_once('=').unwrap_or((option, "")));
        let pairs: Map<String, Value> = pairs.map(|(key, value)| (key.into(), value.into())).collect();
        let limit =
            |limit: &teu_api::container::Ulimit| (limit.name.clone(), serde_json::to_value(limit).unwrap_or_default());
        let limits: Map<String, Value> = self.default_ulimit.iter().map(limit).collect();
        let object = |map: Map<String, Value>| (!map.is_empty()).then_some(Value::Object(map));
        let feature = |text: &String| match text.split_once('=') {
            Some((name, "true" | "1")) => (name.to_owned(), Value::Bool(true)),
            Some((name, "false" | "0")) => (name.to_owned(), Value::Bool(false)),
            Some((name, other)) => (name.to_owned(), other.into()),
            None => (text.clone(), Value::Bool(true)),
        };
        let features: Map<String, Value> = self.feature.iter().map(feature).collect();
        let all = [
            ("bip", text(&self.bip)),
            ("bridge", text(&self.bridge)),
            ("cdi-spec-dirs", list(&self.cdi_spec_dir)),
            ("cgroup-parent", text(&self.cgroup_parent)),
            ("data-root", path(&self.data_root)),
            ("debug", flag(self.debug)),
            ("default-cgroupns-mode", text(&self.default_cgroupns_mode)),
            ("default-ipc-mode", text(&self.default_ipc_mode)),
            ("default-userns-mode", text(&self.default_userns_mode)),
            ("default-shm-size", text(&self.default_shm_size)),
            ("default-ulimits", object(limits)),
            ("dns", list(&self.dns)),
            ("dns-opts", list(&self.dns_opt)),
            ("dns-search", list(&self.dns_search)),
            ("docker-socket", flag(self.docker_socket)),
            ("exec-opts", list(&self.exec_opt)),
            ("exec-root", path(&self.exec_root)),
            ("experimental", flag(self.experimental)),
            ("features", object(features)),
            ("group", text(&self.group)),
            ("host-gateway-ips", list(&self.host_gateway_ip)),
            ("hosts", list(&self.hosts)),
            ("labels", list(&self.label)),
            ("log-driver", text(&self.log_driver)),
            ("log-format", text(&self.log_format)),
            ("log-level", text(&self.log_level)),
            ("log-opts", object(pairs)),
            ("init", flag(self.init)),
            ("metrics-addr", text(&self.metrics_addr)),
            ("no-new-privileges", flag(self.no_new_privileges)),
            ("pidfile", path(&self.pidfile)),
            ("seccomp-profile", text(&self.seccomp_profile)),
        ];
        all.into_iter()
            .chain(self.of_registries())
            .chain(self.of_networks())
            .chain(self.of_tls())
            .filter_map(|(key, value)| Some((key.to_string(), value?)))
            .collect()
    }

    /// What is said of TLS, and of whose ids containers have.
    fn of_tls(&self) -> [(&'static str, Option<Value>); 6] {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string().into());
        let flag = |flag: bool| flag.then_some(Value::Bool(true));
        [
            ("userns-remap", self.userns_remap.clone().map(Value::from)),
            ("tls", flag(self.tls)),
            ("tlscacert", path(&self.tlscacert)),
            ("tlscert", path(&self.tlscert)),
            ("tlskey", path(&self.tlskey)),
            ("tlsverify", flag(self.tlsverify)),
        ]
    }

    /// What is said of networks.
    fn of_networks(&self) -> [(&'static str, Option<Value>); 12] {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let pool = |(base, size): &(String, u8)| serde_json::json!({"base": base, "size": size});
        let pools: Vec<Value> = self.default_address_pool.iter().map(pool).collect();
        let mut drivers = Map::new();
        for (driver, key, value) in &self.default_network_opt {
            let options = drivers.entry(driver.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(options) = options {
                options.insert(key.clone(), value.clone().into());
            }
        }
        [
            ("default-network-opts", (!drivers.is_empty()).then_some(Value::Object(drivers))),
            ("bip6", text(&self.bip6)),
            ("default-address-pools", (!pools.is_empty()).then_some(Value::Array(pools))),
            ("fixed-cidr", text(&self.fixed_cidr)),
            ("fixed-cidr-v6", text(&self.fixed_cidr_v6)),
            ("default-gateway", text(&self.default_gateway)),
            ("default-gateway-v6", text(&self.default_gateway_v6)),
            ("ip", text(&self.ip)),
            ("ipv6", self.ipv6.map(Value::from)),
            ("icc", self.icc.map(Value::from)),
            ("ip-masq", self.ip_masq.map(Value::from)),
            ("mtu", self.mtu.map(Value::from)),
        ]
    }

    /// What is said of registries.
    fn of_registries(&self) -> [(&'static str, Option<Value>); 6] {
        let number = |number: Option<u32>| number.map(Value::from);
        let list = |list: &[String]| (!list.is_empty()).then(|| Value::from(list.to_vec()));
        let proxies =
            [("http-proxy", &self.http_proxy), ("https-proxy", &self.https_proxy), ("no-proxy", &self.no_proxy)];
        let proxies = proxies.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into())));
        let proxies: Map<String, Value> = proxies.collect();
        [
            ("insecure-registries", list(&self.insecure_registry)),
            ("max-concurrent-downloads", number(self.max_concurrent_downloads)),
            ("max-concurrent-uploads", number(self.max_concurrent_uploads)),
            ("max-download-attempts", number(self.max_download_attempts)),
            ("proxies", (!proxies.is_empty()).then_some(Value::Object(proxies))),
            ("registry-mirrors", list(&self.registry_mirror)),
        ]
    }

    /// Fills in from the environment what no flag has set.
    fn fill_in(&mut self, variable: impl Fn(&str) -> Option<OsString>) {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.config_file = self.config_file.take().or_else(|| path("TEU_CONFIG"));
        self.data_root = self.data_root.take().or_else(|| path("TEU_DATA_ROOT"));
        self.exec_root = self.exec_root.take().or_else(|| path("TEU_EXEC_ROOT"));
        if self.hosts.is_empty() {
            self.hosts.extend(path("TEU_HOST").map(|path| path.display().to_string()));
        }
    }
}

/// Hands over to the daemon.
pub(crate) fn perform(matches: &ArgMatches, faces: &Faces) -> Result<u8, Failure> {
    let mut args = DaemonArgs::from_arg_matches(matches).map_err(|error| Failure::new(error.to_string()).code(125))?;
    args.fill_in(|name| std::env::var_os(name));
    if args.detached {
        // Whoever started it may end with its terminal; the daemon must not.
        let _ = rustix::process::setsid();
    }
    Ok((faces.daemon)(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_environment() {
        let mut args = DaemonArgs { data_root: Some("/flag".into()), ..DaemonArgs::default() };
        args.fill_in(|name| Some(OsString::from(format!("/{name}"))));
        assert_eq!(args.data_root, Some("/flag".into()));
        assert_eq!(args.exec_root, Some("/TEU_EXEC_ROOT".into()));
        assert_eq!(args.hosts, ["/TEU_HOST"]);
    }
}
