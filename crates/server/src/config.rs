//! What the daemon is told: flag, then environment, then configuration file, then default; the first that speaks wins.
//!
//! [`settle`] is a pure function of the three. A list is taken whole from one place, never joined.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

const CONFIG_FILE: &str = "/etc/teu/daemon.json";
const DATA_ROOT: &str = "/var/lib/teu";
const EXEC_ROOT: &str = "/run/teu";
const HOST: &str = "unix:///run/teu.sock";
const GROUP: &str = "teu";
const KEYS: [&str; 10] = [
    "data-root",
    "exec-root",
    "hosts",
    "debug",
    "log-level",
    "group",
    "insecure-registries",
    "dns",
    "bridge",
    "labels",
];

/// The daemon's flags, as given; what is empty or `None` was not.
#[derive(Clone, Debug, Default)]
pub struct DaemonArgs {
    /// `-H`: where to listen, `unix:///run/teu.sock` or `fd://`.
    pub hosts: Vec<String>,
    /// `--data-root`: what must outlive a reboot.
    pub data_root: Option<PathBuf>,
    /// `--exec-root`: what must not.
    pub exec_root: Option<PathBuf>,
    /// `--config-file`; the default one may be missing, this one may not.
    pub config_file: Option<PathBuf>,
    /// `--debug`: log level `debug`.
    pub debug: bool,
    /// `--log-level`: `debug`, `info`, `warn`, `error`, `fatal`.
    pub log_level: Option<String>,
    /// `--group`: who may use the socket besides root.
    pub group: Option<String>,
    /// `--bridge`: name of the bridge containers are plugged into.
    pub bridge: Option<String>,
    /// `--insecure-registry`: registries to speak plain HTTP or unchecked TLS with.
    pub insecure_registries: Vec<String>,
    /// `--dns`: name servers for containers.
    pub dns: Vec<String>,
    /// `--label`: labels of this daemon.
    pub labels: Vec<String>,
}

/// Everything settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) hosts: Vec<Host>,
    pub(crate) data_root: PathBuf,
    pub(crate) exec_root: PathBuf,
    pub(crate) debug: bool,
    pub(crate) log_level: tracing::Level,
    pub(crate) group: Group,
    pub(crate) bridge: Option<String>,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) labels: Vec<String>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A Unix socket of our own.
    Unix(PathBuf),
    /// The sockets that systemd hands over.
    Activation,
}

/// Who may use the socket besides root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The default group, if there is one.
    Default(&'static str),
    /// The group that was named; it must exist.
    Named(String),
}

/// The configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    hosts: Vec<String>,
    debug: bool,
    log_level: Option<String>,
    group: Option<String>,
    insecure_registries: Vec<String>,
    dns: Vec<String>,
    bridge: Option<String>,
    labels: Vec<String>,
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("read configuration file {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("configuration file {}: {source}", path.display())]
    Syntax { path: PathBuf, source: serde_json::Error },
    #[error("configuration file {}: unknown key \"{key}\"; the keys are {}", path.display(), KEYS.join(", "))]
    UnknownKey { path: PathBuf, key: String },
    #[error("configuration file {}: key \"{key}\" holds {value}: {source}", path.display())]
    Value { path: PathBuf, key: String, value: Box<Value>, source: serde_json::Error },
    #[error(
        "listen on \"{0}\": a TCP socket without mutual TLS would give the machine to whoever reaches it, and mutual \
         TLS is not there yet: use a unix:// socket"
    )]
    Tcp(String),
    #[error("listen on \"{0}\": write unix:///path/to/socket or fd://")]
    Host(String),
    #[error("log level \"{0}\": choose debug, info, warn, error or fatal")]
    LogLevel(String),
    #[error("{what} \"{}\": write an absolute path", path.display())]
    Relative { what: &'static str, path: PathBuf },
    #[error("name server \"{0}\": write an IP address")]
    Dns(String),
}

/// Reads the configuration file and settles everything.
pub(crate) fn load(args: DaemonArgs, environment: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let named = args.config_file.is_some();
    let path = args.config_file.as_deref().unwrap_or(Path::new(CONFIG_FILE));
    let file = match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => File::default(),
        Err(source) => return Err(Error::Io { path: path.into(), source }),
    };
    settle(args, environment, file)
}

fn parse(path: &Path, text: &str) -> Result<File, Error> {
    let at = || path.to_path_buf();
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    let keys: Map<String, Value> = serde_json::from_str(text).map_err(|source| Error::Syntax { path: at(), source })?;
    for (key, value) in &keys {
        if !KEYS.contains(&key.as_str()) {
            return Err(Error::UnknownKey { path: at(), key: key.clone() });
        }
        // One key at a time, so that the sentence can say which one is wrong.
        let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        File::deserialize(alone).map_err(|source| {
            let (key, value) = (key.clone(), Box::new(value.clone()));
            Error::Value { path: at(), key, value, source }
        })?;
    }
    File::deserialize(Value::Object(keys)).map_err(|source| Error::Syntax { path: at(), source })
}

fn settle(args: DaemonArgs, environment: impl Fn(&str) -> Option<String>, file: File) -> Result<Config, Error> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let root = |what, flag: Option<PathBuf>, name, key: Option<PathBuf>, default: &str| {
        let path = flag.or_else(|| variable(name).map(PathBuf::from)).or(key);
        let path = path.unwrap_or_else(|| default.into());
        if path.is_absolute() { Ok(path) } else { Err(Error::Relative { what, path }) }
    };
    let environment_hosts = variable("TEU_HOST").into_iter().collect();
    let hosts = first([args.hosts, environment_hosts, file.hosts, vec![HOST.into()]]);
    let level = args.log_level.or(file.log_level);
    let debug = args.debug || file.debug || level.as_deref() == Some("debug");
    let group = args.group.or(file.group);
    let dns = first([args.dns, file.dns]);
    if let Some(wrong) = dns.iter().find(|address| address.parse::<std::net::IpAddr>().is_err()) {
        return Err(Error::Dns(wrong.clone()));
    }
    Ok(Config {
        hosts: hosts.iter().map(|text| host(text)).collect::<Result<_, _>>()?,
        data_root: root("data root", args.data_root, "TEU_DATA_ROOT", file.data_root, DATA_ROOT)?,
        exec_root: root("exec root", args.exec_root, "TEU_EXEC_ROOT", file.exec_root, EXEC_ROOT)?,
        debug,
        log_level: if debug { tracing::Level::DEBUG } else { log_level(level.as_deref().unwrap_or("info"))? },
        group: group.map_or(Group::Default(GROUP), Group::Named),
        bridge: args.bridge.or(file.bridge),
        insecure_registries: first([args.insecure_registries, file.insecure_registries]),
        dns,
        labels: first([args.labels, file.labels]),
    })
}

/// The first list that is not empty.
fn first<const N: usize>(lists: [Vec<String>; N]) -> Vec<String> {
    lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default()
}

fn host(text: &str) -> Result<Host, Error> {
    if text.starts_with("tcp://") {
        return Err(Error::Tcp(text.into()));
    }
    if text.starts_with("fd://") {
        return Ok(Host::Activation);
    }
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.starts_with('/') { Ok(Host::Unix(path.into())) } else { Err(Error::Host(text.into())) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(args: DaemonArgs, environment: &[(&str, &str)], file: &str) -> Result<Config, Error> {
        let file = parse(Path::new("/daemon.json"), file)?;
        let get = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        settle(args, get, file)
    }

    fn sentence(file: &str) -> String {
        settled(DaemonArgs::default(), &[], file).expect_err("refused").to_string()
    }

    #[test]
    fn nothing_given_is_the_defaults() {
        let config = settled(DaemonArgs::default(), &[], "").expect("settled");
        assert_eq!(config.data_root, Path::new("/var/lib/teu"));
        assert_eq!(config.exec_root, Path::new("/run/teu"));
        assert_eq!(config.hosts, [Host::Unix("/run/teu.sock".into())]);
        assert_eq!(config.group, Group::Default("teu"));
        assert_eq!(config.log_level, tracing::Level::INFO);
    }

    #[test]
    fn flag_beats_environment_beats_file() {
        let file = r#"{"data-root":"/file","exec-root":"/file","hosts":["unix:///file"]}"#;
        let environment = [("TEU_DATA_ROOT", "/env"), ("TEU_HOST", "unix:///env"), ("TEU_EXEC_ROOT", "")];
        let args = DaemonArgs { data_root: Some("/flag".into()), ..DaemonArgs::default() };
        let config = settled(args, &environment, file).expect("settled");
        assert_eq!(config.data_root, Path::new("/flag"));
        assert_eq!(config.hosts, [Host::Unix("/env".into())]);
        assert_eq!(config.exec_root, Path::new("/file"));
    }

    #[test]
    fn the_sentence_names_the_wrong_key() {
        assert!(sentence(r#"{"data-rot":"/x"}"#).contains("unknown key \"data-rot\""));
        assert!(sentence(r#"{"debug":"yes"}"#).contains("key \"debug\" holds \"yes\""));
        assert!(sentence("{").starts_with("configuration file /daemon.json: "));
        assert!(sentence(r#"{"data-root":"here"}"#).contains("absolute"));
        assert!(sentence(r#"{"log-level":"loud"}"#).contains("loud"));
        assert!(sentence(r#"{"dns":["dns.example"]}"#).contains("dns.example"));
    }

    #[test]
    fn tcp_is_refused_for_want_of_mutual_tls() {
        assert!(sentence(r#"{"hosts":["tcp://0.0.0.0:2375"]}"#).contains("mutual TLS"));
        assert!(sentence(r#"{"hosts":["ssh://x"]}"#).contains("unix://"));
    }

    #[test]
    fn a_missing_file_is_an_error_only_when_it_was_named() {
        let args = DaemonArgs { config_file: Some("/nowhere/daemon.json".into()), ..DaemonArgs::default() };
        assert!(load(args, |_| None).expect_err("refused").to_string().contains("/nowhere/daemon.json"));
    }

    #[test]
    fn debug_is_a_log_level_too() {
        let config = settled(DaemonArgs::default(), &[], r#"{"log-level":"debug"}"#).expect("settled");
        assert!(config.debug && config.log_level == tracing::Level::DEBUG);
    }
}
