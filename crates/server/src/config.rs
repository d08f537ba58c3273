//! What the daemon is told: flag, then environment, then configuration file, then default; the first that speaks wins.
//!
//! Every flag is a key of the file, so the flags come as keys too and [`settle`] is a pure function of the three. A list is
//! taken whole from one place, never joined. Docker's keys are taken where they mean something here; those that would
//! promise what teu does not do are refused by name ([`keys`]).

mod bridge;
mod keys;
pub(crate) mod remap;
mod waiting;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use http::uri::Authority;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use teu_api::container::{LogConfig, Ulimit};
use teu_engine::{AddressPool, SeccompProfile, Subnet};
use teu_registry::client::Proxies;

pub(crate) const CONFIG_FILE: &str = "/etc/teu/daemon.json";
const DATA_ROOT: &str = "/var/lib/teu";
const EXEC_ROOT: &str = "/run/teu";
const HOST: &str = "unix:///run/teu.sock";
const CDI_SPEC_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
const GROUP: &str = "teu";
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
const DOCKER_GROUP: &str = "docker";
/// The port of an address that names none: Docker's with TLS.
const TLS_PORT: u16 = 2376;

/// The daemon's flags, as given: a key of the configuration file each.
#[derive(Clone, Debug, Default)]
pub struct DaemonArgs {
    /// `--config-file`; the default one may be missing, this one may not.
    pub config_file: Option<PathBuf>,
    /// `--validate`: look at the configuration and end.
    pub validate: bool,
    /// What the flags say, by the names of the file's keys.
    pub settings: Map<String, Value>,
}

/// Everything settled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) hosts: Vec<Host>,
    pub(crate) tls: Option<Tls>,
    pub(crate) data_root: PathBuf,
    pub(crate) exec_root: PathBuf,
    pub(crate) pid_file: PathBuf,
    pub(crate) log_json: bool,
    pub(crate) group: Group,
    /// The containers' ids are the default user's.
    pub(crate) remaps_to_default: bool,
    pub(crate) bridge: Option<String>,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) bridge_options: BTreeMap<String, String>,
    pub(crate) network_options: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) address_pools: Vec<AddressPool>,
    pub(crate) dns: Vec<String>,
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
    pub(crate) experimental: bool,
    /// Whether clients that know both shall build as BuildKit does.
    pub(crate) buildkit: bool,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) defaults: teu_engine::Defaults,
    pub(crate) live: Live,
}

/// What can change while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) debug: bool,
    pub(crate) log_level: tracing::Level,
    pub(crate) registries: teu_engine::Registries,
    pub(crate) labels: Vec<String>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A Unix socket of our own, for a group.
    Unix(PathBuf, Group),
    /// The sockets that systemd hands over.
    Activation,
    /// TCP, with mutual TLS.
    Tcp(SocketAddr),
}

/// Who may use a socket besides root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The usual group, if there is one.
    Default(&'static str),
    /// The group that was named; it must exist.
    Named(String),
}

/// The files of mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Who signs clients' certificates.
    pub(crate) authority: PathBuf,
    /// Our certificate, with those it rests on.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// The keys that act.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Settings {
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    pidfile: Option<PathBuf>,
    hosts: Vec<String>,
    docker_socket: bool,
    debug: bool,
    log_level: Option<String>,
    log_format: Option<String>,
    group: Option<String>,
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
    cdi_spec_dirs: Option<Vec<PathBuf>>,
    features: BTreeMap<String, bool>,
    proxies: BTreeMap<String, String>,
    init: bool,
    max_concurrent_downloads: usize,
    max_concurrent_uploads: usize,
    max_download_attempts: Option<u32>,
    dns: Vec<String>,
    dns_opts: Vec<String>,
    dns_search: Vec<String>,
    host_gateway_ip: String,
    host_gateway_ips: Vec<String>,
    bridge: Option<String>,
    bip: Option<String>,
    bip6: Option<String>,
    fixed_cidr: Option<String>,
    fixed_cidr_v6: Option<String>,
    default_gateway: Option<String>,
    default_gateway_v6: Option<String>,
    ip: Option<String>,
    ipv6: Option<bool>,
    icc: Option<bool>,
    ip_masq: Option<bool>,
    mtu: u32,
    default_network_opts: BTreeMap<String, BTreeMap<String, String>>,
    default_address_pools: Vec<Pool>,
    labels: Vec<String>,
    metrics_addr: Option<String>,
    tls: bool,
    tlsverify: bool,
    tlscacert: Option<PathBuf>,
    tlscert: Option<PathBuf>,
    tlskey: Option<PathBuf>,
    cgroup_parent: String,
    exec_opts: Vec<String>,
    default_cgroupns_mode: String,
    default_ipc_mode: String,
    default_userns_mode: String,
    userns_remap: String,
    #[serde(deserialize_with = "size")]
    default_shm_size: i64,
    default_ulimits: BTreeMap<String, Ulimit>,
    no_new_privileges: bool,
    experimental: bool,
    seccomp_profile: Option<PathBuf>,
    log_driver: String,
    log_opts: BTreeMap<String, String>,
}

/// Where networks get their subnets from, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Pool {
    base: String,
    size: u8,
}

impl Pool {
    fn settle(&self) -> Result<AddressPool, Error> {
        let wrong = || Error::Pool(format!("{} of /{}", self.base, self.size));
        let base: ipnet::IpNet = self.base.parse().map_err(|_| wrong())?;
        if self.size < base.prefix_len() || self.size > base.max_prefix_len() {
            return Err(wrong());
        }
        Ok(AddressPool { base, size: self.size })
    }
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("read configuration file {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("configuration file {}: {source}", path.display())]
    Syntax { path: PathBuf, source: serde_json::Error },
    #[error("configuration file {}: unknown key \"{key}\"; the keys are {}", path.display(), keys::ACTING.join(", "))]
    UnknownKey { path: PathBuf, key: String },
    #[error("configuration: key \"{key}\" of Docker's is not supported by this version of teu: {why}")]
    Unsupported { key: String, why: &'static str },
    #[error("configuration file {}: key \"{key}\" holds {value}: {source}", path.display())]
    Value { path: PathBuf, key: String, value: Box<Value>, source: serde_json::Error },
    #[error(
        "listen on \"{0}\": a TCP socket without mutual TLS would give the machine to whoever reaches it: give \
         --tlsverify, --tlscacert, --tlscert and --tlskey, or use a unix:// socket"
    )]
    Tcp(String),
    #[error("tls: without \"tlsverify\" any client would be let in: give --tlsverify")]
    OneSided,
    #[error("tlsverify: \"{0}\" is missing")]
    TlsFile(&'static str),
    #[error("listen on \"{0}\": write unix:///path/to/socket, tcp://ADDRESS:PORT or fd://")]
    Host(String),
    #[error("log level \"{0}\": choose debug, info, warn, error or fatal")]
    LogLevel(String),
    #[error("log format \"{0}\": choose text or json")]
    LogFormat(String),
    #[error("{what} \"{}\": write an absolute path", path.display())]
    Relative { what: &'static str, path: PathBuf },
    #[error("name server \"{0}\": write an IP address")]
    Dns(String),
    #[error("host gateway \"{0}\": write an IP address")]
    HostGateway(String),
    #[error("registry mirror \"{0}\": write http://HOST[:PORT] or https://HOST[:PORT] and nothing more")]
    Mirror(String),
    #[error("features: teu has no feature \"{0}\" to turn on or off")]
    Feature(String),
    #[error("max download attempts 0: write at least 1")]
    Attempts,
    #[error("proxy \"{0}\": write http://[USER:PASSWORD@]HOST[:PORT]")]
    Proxy(String),
    #[error("metrics address \"{0}\": write ADDRESS:PORT")]
    Metrics(String),
    #[error("mtu {0}: write a number between 68 and 65535")]
    Mtu(u32),
    #[error("ip \"{0}\": write an IPv4 address")]
    HostAddress(String),
    #[error("{key} \"{text}\": write an {family} network such as {example}")]
    Subnet { key: &'static str, text: String, family: &'static str, example: &'static str },
    #[error("{key} {range}: it is not in the subnet {subnet}")]
    Range { key: &'static str, range: ipnet::IpNet, subnet: ipnet::IpNet },
    #[error("{key} \"{text}\": write an {family} address in the subnet that {subnet} names")]
    WayOut { key: &'static str, text: String, family: &'static str, subnet: &'static str },
    #[error("address pool \"{0}\": write a network as \"base\" and the longer prefix of its subnets as \"size\"")]
    Pool(String),
    #[error("bridge \"none\": the default network is always there; give containers --network none")]
    NoBridge,
    #[error("exec option \"{0}\": choose native.cgroupdriver=cgroupfs or native.cgroupdriver=systemd")]
    ExecOption(String),
    #[error(
        "userns-remap \"{0}\": /etc/subuid and /etc/subgid do not give that user and group 65536 ids from the same number on"
    )]
    Remap(String),
    #[error("userns-remap and default-userns-mode: say one of them")]
    TwoUsers,
    #[error("native.cgroupdriver=systemd: systemd does not run here")]
    NoSystemd,
    #[error("{key} \"{value}\": choose {choice}")]
    Choice { key: &'static str, value: String, choice: &'static str },
}

/// Reads the configuration file and settles everything.
pub(crate) fn load(args: &DaemonArgs, environment: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let named = args.config_file.is_some();
    let path = args.config_file.as_deref().unwrap_or(Path::new(CONFIG_FILE));
    let file = match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => Map::new(),
        Err(source) => return Err(Error::Io { path: path.into(), source }),
    };
    settle(&args.settings, environment, file)
}

fn parse(path: &Path, text: &str) -> Result<Map<String, Value>, Error> {
    let at = || path.to_path_buf();
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let keys: Map<String, Value> = serde_json::from_str(text).map_err(|source| Error::Syntax { path: at(), source })?;
    let mut acting = Map::new();
    for (key, value) in keys {
        match keys::verdict(&key, &value) {
            keys::Verdict::Acts => {}
            keys::Verdict::IsSo => continue,
            keys::Verdict::Refused(why) => return Err(Error::Unsupported { key, why }),
            keys::Verdict::Unknown => return Err(Error::UnknownKey { path: at(), key }),
        }
        // One key at a time, so that the sentence can say which one is wrong.
        let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        if let Err(source) = Settings::deserialize(alone) {
            return Err(Error::Value { path: at(), key, value: Box::new(value), source });
        }
        acting.insert(key, value);
    }
    Ok(acting)
}

/// Flags over environment over file.
fn settle(
    flags: &Map<String, Value>,
    environment: impl Fn(&str) -> Option<String>,
    file: Map<String, Value>,
) -> Result<Config, Error> {
    let mut all = file;
    for (variable, key) in [("TEU_DATA_ROOT", "data-root"), ("TEU_EXEC_ROOT", "exec-root")] {
        if let Some(value) = environment(variable).filter(|value| !value.is_empty()) {
            all.insert(key.into(), value.into());
        }
    }
    // A client's variable too: it moves no daemon that is told where to listen.
    if let Some(host) = environment("TEU_HOST").filter(|host| !host.is_empty()) {
        all.entry("hosts").or_insert_with(|| vec![host].into());
    }
    let mut proxies = Map::new();
    let found = Proxies::from_environment(environment);
    for (key, value) in [("http-proxy", found.http), ("https-proxy", found.https), ("no-proxy", found.none)] {
        proxies.extend((!value.is_empty()).then(|| (key.to_owned(), value.into())));
    }
    for named in [all.remove("proxies"), flags.get("proxies").cloned()].into_iter().flatten() {
        // The file's was looked at before, and a flag's is an object.
        proxies.extend(named.as_object().cloned().unwrap_or_default());
    }
    all.extend(flags.clone());
    all.insert("proxies".into(), proxies.into());
    let settings = Settings::deserialize(Value::Object(all));
    let settings = settings.map_err(|source| Error::Syntax { path: "the command line".into(), source })?;
    settings.settle()
}

impl Settings {
    fn settle(self) -> Result<Config, Error> {
        if let Some((feature, _)) = self.features.iter().find(|(name, on)| !keys::feature(name, **on)) {
            return Err(Error::Feature(feature.clone()));
        }
        let group = self.group.clone().map_or(Group::Default(GROUP), Group::Named);
        let tls = self.tls()?;
        let texts = if self.hosts.is_empty() { vec![HOST.to_string()] } else { self.hosts.clone() };
        let mut hosts = texts.iter().map(|text| host(text, &group, tls.is_some())).collect::<Result<Vec<_>, _>>()?;
        if self.docker_socket {
            hosts.push(Host::Unix(DOCKER_SOCKET.into(), Group::Default(DOCKER_GROUP)));
        }
        if let Some(wrong) = self.dns.iter().find(|address| address.parse::<IpAddr>().is_err()) {
            return Err(Error::Dns(wrong.clone()));
        }
        let mirrors = self.registry_mirrors.iter().map(|url| mirror(url)).collect::<Result<_, _>>()?;
        let named = |key: &str| self.proxies.get(key).cloned().unwrap_or_default();
        let proxies = Proxies { http: named("http-proxy"), https: named("https-proxy"), none: named("no-proxy") };
        proxies.check().map_err(Error::Proxy)?;
        let (downloads, uploads) = (self.max_concurrent_downloads, self.max_concurrent_uploads);
        let attempts = self.max_download_attempts.unwrap_or_default();
        if self.max_download_attempts == Some(0) {
            return Err(Error::Attempts);
        }
        let debug = self.debug || self.log_level.as_deref() == Some("debug");
        let level = self.log_level.as_deref().unwrap_or("info");
        let exec_root = absolute("exec root", self.exec_root.clone(), EXEC_ROOT.as_ref())?;
        Ok(Config {
            hosts,
            tls,
            data_root: absolute("data root", self.data_root.clone(), DATA_ROOT.as_ref())?,
            pid_file: absolute("pid file", self.pidfile.clone(), &exec_root.join("teu.pid"))?,
            exec_root,
            log_json: self.log_json()?,
            group,
            remaps_to_default: self.userns_remap == "default",
            bridge: self.bridge_name()?,
            subnets: self.subnets()?,
            bridge_options: self.bridge_options()?,
            network_options: self.default_network_opts.clone(),
            address_pools: self.default_address_pools.iter().map(Pool::settle).collect::<Result<_, _>>()?,
            dns: self.dns.clone(),
            cdi_spec_dirs: self.cdi_spec_dirs(),
            experimental: self.experimental,
            buildkit: self.features.get("buildkit") != Some(&false),
            metrics: self.metrics_addr.as_deref().map(metrics).transpose()?,
            defaults: self.defaults()?,
            live: Live {
                debug,
                log_level: if debug { tracing::Level::DEBUG } else { log_level(level)? },
                registries: teu_engine::Registries {
                    insecure: self.insecure_registries,
                    mirrors,
                    proxies,
                    downloads,
                    uploads,
                    attempts,
                },
                labels: self.labels,
            },
        })
    }

    fn tls(&self) -> Result<Option<Tls>, Error> {
        if !self.tlsverify {
            return if self.tls { Err(Error::OneSided) } else { Ok(None) };
        }
        let file = |path: &Option<PathBuf>, name| path.clone().ok_or(Error::TlsFile(name));
        Ok(Some(Tls {
            authority: file(&self.tlscacert, "tlscacert")?,
            certificate: file(&self.tlscert, "tlscert")?,
            key: file(&self.tlskey, "tlskey")?,
        }))
    }

    /// Where devices are described; nowhere if that is turned off.
    fn cdi_spec_dirs(&self) -> Vec<PathBuf> {
        if self.features.get("cdi") == Some(&false) {
            return vec![];
        }
        let named = self.cdi_spec_dirs.clone().unwrap_or_else(|| CDI_SPEC_DIRS.map(PathBuf::from).into());
        named.into_iter().filter(|path| !path.as_os_str().is_empty()).collect()
    }

    fn log_json(&self) -> Result<bool, Error> {
        match self.log_format.as_deref().unwrap_or("text") {
            "text" => Ok(false),
            "json" => Ok(true),
            other => Err(Error::LogFormat(other.into())),
        }
    }

    fn defaults(&self) -> Result<teu_engine::Defaults, Error> {
        let among = |key, value: &String, words: &[&str], choice| {
            if value.is_empty() || words.contains(&value.as_str()) {
                return Ok(value.clone());
            }
            Err(Error::Choice { key, value: value.clone(), choice })
        };
        let named = |(name, limit): (&String, &Ulimit)| Ulimit { name: name.clone(), ..limit.clone() };
        let (modes, words) = (["private", "host"], "private or host");
        let (ipc_modes, ipc_words) = (["private", "shareable"], "private or shareable");
        let (users, users_words) = (["host", "auto"], "host or auto");
        Ok(teu_engine::Defaults {
            cgroup_parent: self.cgroup_parent.clone(),
            systemd: self.systemd()?,
            cgroupns_mode: among("default-cgroupns-mode", &self.default_cgroupns_mode, &modes, words)?,
            ipc_mode: among("default-ipc-mode", &self.default_ipc_mode, &ipc_modes, ipc_words)?,
            users: self.users()?,
            userns_mode: among("default-userns-mode", &self.default_userns_mode, &users, users_words)?,
            init: self.init,
            shm_size: self.default_shm_size,
            ulimits: self.default_ulimits.iter().map(named).collect(),
            no_new_privileges: self.no_new_privileges,
            seccomp_profile: self.seccomp_profile.as_deref().map(profile).transpose()?.flatten(),
            log: LogConfig { kind: self.log_driver.clone(), config: self.log_opts.clone() },
            dns_options: self.dns_opts.clone(),
            dns_search: self.dns_search.clone(),
            host_gateway: self.host_gateway()?,
        })
    }

    /// The first of the host's ids that all containers have.
    fn users(&self) -> Result<Option<u32>, Error> {
        let text = &self.userns_remap;
        if text.is_empty() {
            return Ok(None);
        }
        if !self.default_userns_mode.is_empty() {
            return Err(Error::TwoUsers);
        }
        remap::first(text, remap::TABLES.map(Path::new)).map(Some).ok_or_else(|| Error::Remap(text.clone()))
    }

    /// Whether systemd makes the cgroups of containers. sd_booted(3) says whether it runs.
    fn systemd(&self) -> Result<bool, Error> {
        let driver = |option: &String| match option.split_once('=') {
            Some(("native.cgroupdriver", "cgroupfs")) => Ok(false),
            Some(("native.cgroupdriver", "systemd")) if Path::new("/run/systemd/system").exists() => Ok(true),
            Some(("native.cgroupdriver", "systemd")) => Err(Error::NoSystemd),
            _ => Err(Error::ExecOption(option.clone())),
        };
        self.exec_opts.iter().try_fold(false, |_, option| driver(option))
    }

    /// Docker has a key for one address, and a newer one for one of each family.
    fn host_gateway(&self) -> Result<Vec<IpAddr>, Error> {
        let one = Some(&self.host_gateway_ip).filter(|text| !text.is_empty());
        let texts = if self.host_gateway_ips.is_empty() {
            one.into_iter().collect()
        } else {
            self.host_gateway_ips.iter().collect::<Vec<_>>()
        };
        texts.into_iter().map(|text| text.parse().map_err(|_| Error::HostGateway(text.clone()))).collect()
    }
}

fn absolute(what: &'static str, path: Option<PathBuf>, default: &Path) -> Result<PathBuf, Error> {
    let path = path.unwrap_or_else(|| default.into());
    if path.is_absolute() { Ok(path) } else { Err(Error::Relative { what, path }) }
}

/// The seccomp profile of containers that name none; `builtin` is our own.
fn profile(path: &Path) -> Result<Option<SeccompProfile>, Error> {
    let told = |text: String| SeccompProfile { name: path.display().to_string(), text };
    if path == Path::new("builtin") || path.as_os_str().is_empty() {
        return Ok(None);
    }
    if path == Path::new("unconfined") {
        return Ok(Some(told("unconfined".into())));
    }
    std::fs::read_to_string(path).map(|text| Some(told(text))).map_err(|source| Error::Io { path: path.into(), source })
}

fn metrics(text: &str) -> Result<SocketAddr, Error> {
    text.parse().map_err(|_| Error::Metrics(text.into()))
}

/// The address of a registry; one that needs a path or a password is none that can be asked.
fn mirror(url: &str) -> Result<String, Error> {
    let wrong = || Error::Mirror(url.into());
    let address = url.strip_suffix('/').unwrap_or(url);
    let host = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).ok_or_else(wrong)?;
    let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@']) && host.parse::<Authority>().is_ok();
    plain.then(|| address.to_owned()).ok_or_else(wrong)
}

fn host(text: &str, group: &Group, tls: bool) -> Result<Host, Error> {
    if let Some(address) = text.strip_prefix("tcp://") {
        if !tls {
            return Err(Error::Tcp(text.into()));
        }
        let wrong = || Error::Host(text.into());
        let address = address.trim_end_matches('/');
        let alone = || address.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let address = address.parse().ok().or_else(|| Some(SocketAddr::new(alone()?, TLS_PORT)));
        return address.map(Host::Tcp).ok_or_else(wrong);
    }
    if text.starts_with("fd://") {
        return Ok(Host::Activation);
    }
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.starts_with('/') { Ok(Host::Unix(path.into(), group.clone())) } else { Err(Error::Host(text.into())) }
}

fn log_level(text: &str) -> Result<tracing::Level, Error> {
    match text {
        "trace" => Ok(tracing::Level::TRACE),
        "debug" => Ok(tracing::Level::DEBUG),
        "info" => Ok(tracing::Level::INFO),
        "warn" => Ok(tracing::Level::WARN),
        "error" | "fatal" => Ok(tracing::Level::ERROR),
        _ => Err(Error::LogLevel(text.into())),
    }
}

/// Bytes, as a number or as text such as `64M`.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom("write a size such as 64M");
    match &value {
        Value::Null => Ok(0),
        Value::Number(number) => number.as_i64().ok_or_else(wrong),
        Value::String(text) => teu_oci::size::binary(text).and_then(|size| size.try_into().ok()).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests;
