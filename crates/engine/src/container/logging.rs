//! Log drivers: which there are, what their options mean, and what a supervisor is told to do. Docker's names and words.
//!
//! A container without a driver gets the daemon's. The daemon's own default is `local`; options without a driver are
//! taken for `json-file`'s, whose they were when whoever wrote them read Docker's manual.

mod collectors;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use regex::Regex;
use teu_api::container::LogConfig as Asked;
use teu_supervisor::protocol::{Journald, LogAddress, LogConfig, LogFile, LogFormat, Remote, Syslog, SyslogFormat};

use super::Record;
use crate::Context;
use crate::error::{Error, Kind, Result};
use crate::size;

/// The drivers that there are, for `info`.
pub(crate) const DRIVERS: [&str; 7] = ["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"];
/// Those that send what they are given elsewhere.
const REMOTE: [&str; 4] = ["fluentd", "gelf", "journald", "syslog"];
/// The driver of who says nothing.
pub(crate) const DEFAULT: &str = "local";

const MAX_SIZE: u64 = 32 << 20;
const MAX_FILES: u32 = 3;
/// Options of drivers that have no file of their own, and what is kept of their output.
const CACHE: [&str; 4] = ["cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
/// Options that add to each message.
const DETAILS: [&str; 5] = ["env", "env-regex", "labels", "labels-regex", "tag"];
/// Options of the driver for syslog.
const SYSLOG: [&str; 12] = [
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "tag",
];
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "",
    "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// RFC 5424, table 1: `daemon`.
const DAEMON: u8 = 3;
/// Where a machine's own syslog may listen.
const LOCAL_SYSLOG: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const SYSLOG_PORT: u16 = 514;
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The driver of containers that ask for none.
pub(crate) fn of_daemon(asked: &Asked) -> &str {
    if asked.kind.is_empty() { DEFAULT } else { &asked.kind }
}

/// Fills in what the daemon says where the container says nothing, and checks the result.
pub(crate) fn complete(asked: &mut Asked, default: &Asked) -> Result<()> {
    if asked.kind.is_empty() {
        asked.kind = match default.kind.as_str() {
            "" if asked.config.is_empty() => DEFAULT.into(),
            "" => "json-file".into(),
            kind => kind.into(),
        };
    }
    if asked.kind == default.kind {
        for (key, value) in &default.config {
            asked.config.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    for (key, value) in default.config.iter().filter(|(key, _)| CACHE.contains(&key.as_str())) {
        asked.config.entry(key.clone()).or_insert_with(|| value.clone());
    }
    check(asked)
}

/// Whether there is the driver, and it has the options, with values that mean something.
pub(crate) fn check(asked: &Asked) -> Result<()> {
    let Asked { kind, config } = asked;
    if kind == "none" {
        return Ok(());
    }
    let mode = option(config, "mode");
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::bad(format!("logger: logging mode not supported: {mode}")));
    }
    if let Some(size) = config.get("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(Error::bad("logger: max-buffer-size option is only supported with 'mode=non-blocking'"));
        }
        size::binary(size).map_err(|error| within("error parsing option max-buffer-size", &error))?;
    }
    boolean(config, "cache-disabled").map_err(|_| {
        Error::bad(format!("invalid value for option cache-disabled: {}", option(config, "cache-disabled")))
    })?;
    let own: &[&str] = match kind.as_str() {
        "json-file" => &["max-size", "max-file", "compress", "env", "env-regex", "labels", "labels-regex", "tag"],
        "local" => &["max-size", "max-file", "compress"],
        "journald" => &DETAILS,
        "syslog" => &SYSLOG,
        "gelf" => &collectors::GELF,
        "fluentd" => &collectors::FLUENTD,
        "awslogs" | "splunk" | "gcplogs" | "etwlogs" => {
            let message = format!("--log-driver {kind} is not supported by this version of teu");
            return Err(Error::new(Kind::NotImplemented, message));
        }
        other => return Err(Error::bad(format!("logger: no log driver named '{other}' is registered"))),
    };
    let general = ["mode", "max-buffer-size"];
    let known = |key: &str| own.contains(&key) || general.contains(&key) || CACHE.contains(&key);
    if let Some(unknown) = config.keys().find(|key| !known(key)) {
        return Err(Error::bad(format!("unknown log opt '{unknown}' for {kind} log driver")));
    }
    match kind.as_str() {
        "json-file" => json_file(config, PathBuf::new()).map(drop)?,
        "local" => local(config, "", PathBuf::new()).map(drop)?,
        "syslog" => syslog_address(option(config, "syslog-address"))
            .and_then(|_| facility(option(config, "syslog-facility")))
            .and_then(|_| syslog_format(option(config, "syslog-format")))
            .map(drop)?,
        "gelf" => collectors::check_gelf(config)?,
        "fluentd" => collectors::check_fluentd(config)?,
        _ => {}
    }
    if REMOTE.contains(&kind.as_str()) {
        local(config, "cache-", PathBuf::new())?;
    }
    details(config, &BTreeMap::new(), &[], |name| name.into()).map(drop)
}

/// What the supervisor is to do with a container's output. Names are looked up: the supervisor knows no names.
pub(super) async fn plan(context: &Context, record: &Record) -> Result<LogConfig> {
    let Asked { kind, config } = &record.host.log_config;
    let mut log = LogConfig::default();
    if option(config, "mode") == "non-blocking" {
        log.buffer = Some(config.get("max-buffer-size").map_or(Ok(1 << 20), |size| size::binary(size))?);
    }
    let info = Info { record, context };
    match kind.as_str() {
        "json-file" => {
            let mut file = json_file(config, context.log_path(&record.id))?;
            file.attributes = details(config, &record.config.labels, &record.config.env, |name| name.into())?;
            if !option(config, "tag").is_empty() {
                file.attributes.insert("tag".into(), info.tag("")?);
            }
            log.file = Some(file);
        }
        "local" => log.file = Some(local(config, "", context.log_dir(&record.id))?),
        "syslog" => log.remote = Some(Remote::Syslog(info.syslog(config).await?)),
        "journald" => log.remote = Some(Remote::Journald(info.journald(config)?)),
        "gelf" => log.remote = Some(Remote::Gelf(info.gelf(config).await?)),
        "fluentd" => log.remote = Some(Remote::Fluentd(info.fluentd(config).await?)),
        _ => {}
    }
    if log.remote.is_some() && boolean(config, "cache-disabled")? != Some(true) {
        log.file = Some(local(config, "cache-", context.log_dir(&record.id))?);
    }
    Ok(log)
}

/// In which form a container's output is kept, if it is.
pub(super) fn kept(asked: &Asked) -> Option<LogFormat> {
    match asked.kind.as_str() {
        "json-file" => Some(LogFormat::JsonFile),
        "local" => Some(LogFormat::Local),
        kind if REMOTE.contains(&kind) && !matches!(boolean(&asked.config, "cache-disabled"), Ok(Some(true))) => {
            Some(LogFormat::Local)
        }
        _ => None,
    }
}

fn option<'o>(config: &'o BTreeMap<String, String>, key: &str) -> &'o str {
    config.get(key).map(String::as_str).unwrap_or_default()
}

fn within(what: &str, error: &Error) -> Error {
    Error::bad(format!("{what}: {}", error.message))
}

/// What Go takes for a truth value; none when there is none.
fn boolean(config: &BTreeMap<String, String>, key: &str) -> Result<Option<bool>> {
    match option(config, key) {
        "" => Ok(None),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        other => Err(Error::bad(format!("strconv.ParseBool: parsing \"{other}\": invalid syntax"))),
    }
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::bad(format!("strconv.Atoi: parsing \"{text}\": invalid syntax")))
}

fn json_file(config: &BTreeMap<String, String>, path: PathBuf) -> Result<LogFile> {
    let max_size = match config.get("max-size") {
        // Docker's "unlimited".
        Some(text) if text == "-1" => 0,
        Some(text) => match size::decimal(text)? {
            0 => return Err(Error::bad("max-size must be a positive number")),
            bytes => bytes,
        },
        None => MAX_SIZE,
    };
    let max_files = match config.get("max-file") {
        Some(text) => match number(text)? {
            files @ 1.. => u32::try_from(files).unwrap_or(u32::MAX),
            _ => return Err(Error::bad("max-file cannot be less than 1")),
        },
        // A size alone is Docker's one file.
        None if config.contains_key("max-size") => 1,
        None => MAX_FILES,
    };
    let compress = boolean(config, "compress")?.unwrap_or(false);
    if compress && (max_files == 1 || max_size == 0) {
        let message = "compress cannot be true when max-file is less than 2 or max-size is not set";
        return Err(Error::bad(message));
    }
    let (format, attributes) = (LogFormat::JsonFile, BTreeMap::new());
    Ok(LogFile { format, path, max_size, max_files, compress, attributes })
}

fn local(config: &BTreeMap<String, String>, prefix: &str, path: PathBuf) -> Result<LogFile> {
    let key = |name: &str| format!("{prefix}{name}");
    let max_size = match config.get(&key("max-size")) {
        Some(text) => {
            size::decimal(text).map_err(|error| within(&format!("invalid value for max-size: {text}"), &error))?
        }
        None => MAX_SIZE,
    };
    let max_files = match config.get(&key("max-file")) {
        Some(text) => match number(text).map_err(|e| within(&format!("invalid value for max-file: {text}"), &e))? {
            files @ 0.. => u32::try_from(files).unwrap_or(u32::MAX),
            _ => return Err(Error::bad("max-file must not be negative")),
        },
        None => MAX_FILES,
    };
    let compress = boolean(config, &key("compress")).map_err(|e| within("invalid boolean value for compress", &e))?;
    if compress.unwrap_or(true) && max_files <= 1 {
        return Err(Error::bad("compression cannot be enabled when max file count is 1"));
    }
    let (format, attributes) = (LogFormat::Local, BTreeMap::new());
    Ok(LogFile { format, path, max_size, max_files, compress: compress.unwrap_or(true), attributes })
}

fn facility(text: &str) -> Result<u8> {
    if text.is_empty() {
        return Ok(DAEMON);
    }
    let named = FACILITIES.iter().position(|name| *name == text);
    let number = named.or_else(|| text.parse().ok().filter(|number| *number < FACILITIES.len()));
    number.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| Error::bad("invalid syslog facility"))
}

fn syslog_format(text: &str) -> Result<SyslogFormat> {
    match text {
        "" => Ok(SyslogFormat::Unix),
        "rfc3164" => Ok(SyslogFormat::Rfc3164),
        "rfc5424" => Ok(SyslogFormat::Rfc5424),
        "rfc5424micro" => Ok(SyslogFormat::Rfc5424Micro),
        _ => Err(Error::bad("Invalid syslog format")),
    }
}

/// An address with a name that is still to be looked up.
#[derive(Debug, PartialEq, Eq)]
enum Endpoint {
    /// The machine's own.
    Local,
    Known(LogAddress),
    Named {
        tcp: bool,
        host: String,
        port: u16,
    },
}

impl Endpoint {
    fn is_tcp(&self) -> bool {
        matches!(self, Self::Known(LogAddress::Tcp(_)) | Self::Named { tcp: true, .. })
    }

    /// Where it is, with the names looked up.
    async fn addresses(self) -> Result<Vec<LogAddress>> {
        match self {
            Self::Local => Ok(vec![]),
            Self::Known(address) => Ok(vec![address]),
            Self::Named { tcp, host, port } => {
                let found = teu_registry::client::lookup(&host).await.map_err(|error| {
                    Error::internal(format!("failed to initialize logging driver: look up {host}: {error}"))
                })?;
                let address = |ip| SocketAddr::new(ip, port);
                let of_kind = |ip| if tcp { LogAddress::Tcp(address(ip)) } else { LogAddress::Udp(address(ip)) };
                Ok(found.into_iter().map(of_kind).collect())
            }
        }
    }
}

fn syslog_address(text: &str) -> Result<Endpoint> {
    if text.is_empty() {
        return Ok(Endpoint::Local);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
    match scheme {
        "unix" | "unixgram" => {
            let path = Path::new(rest);
            if !path.exists() {
                return Err(Error::bad(format!("stat {rest}: no such file or directory")));
            }
            let address =
                if scheme == "unix" { LogAddress::Unix(path.into()) } else { LogAddress::Unixgram(path.into()) };
            Ok(Endpoint::Known(address))
        }
        "udp" | "tcp" => network_address(scheme == "tcp", rest, text, SYSLOG_PORT),
        "tcp+tls" => Err(Error::new(
            Kind::NotImplemented,
            "--log-opt syslog-address with tcp+tls is not supported by this version of teu",
        )),
        other => Err(Error::bad(format!("unsupported scheme: '{other}'"))),
    }
}

/// `HOST[:PORT]`, with the port of who names none.
fn network_address(tcp: bool, rest: &str, text: &str, port: u16) -> Result<Endpoint> {
    let invalid = || Error::bad(format!("invalid address of a log driver: \"{text}\""));
    let rest = rest.split(['/', '?']).next().unwrap_or(rest);
    let known = |address| Endpoint::Known(if tcp { LogAddress::Tcp(address) } else { LogAddress::Udp(address) });
    if let Ok(address) = rest.parse::<SocketAddr>() {
        return Ok(known(address));
    }
    if let Ok(address) = rest.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(known(SocketAddr::new(address, port)));
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| invalid())?),
        None => (rest, port),
    };
    if host.is_empty() || host.contains([':', ' ']) {
        return Err(invalid());
    }
    Ok(Endpoint::Named { tcp, host: host.into(), port })
}

/// Labels and variables that are added to each message.
fn details(
    config: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
    env: &[String],
    name: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, String>> {
    let pattern = |key: &str| match option(config, key) {
        "" => Ok(None),
        text => Regex::new(text).map(Some).map_err(|_| Error::bad(format!("invalid regular expression: \"{text}\""))),
    };
    let env: BTreeMap<&str, &str> = env.iter().filter_map(|entry| entry.split_once('=')).collect();
    let labels: BTreeMap<&str, &str> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut all = BTreeMap::new();
    for (values, list, pattern) in [(labels, "labels", pattern("labels-regex")?), (env, "env", pattern("env-regex")?)] {
        let listed: Vec<&str> = option(config, list).split(',').collect();
        let wanted = |key: &str| listed.contains(&key) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(key));
        all.extend(values.iter().filter(|(key, _)| wanted(key)).map(|(key, value)| (name(key), (*value).to_owned())));
    }
    Ok(all)
}

/// A name as the journal takes it: capital letters, digits and underscores, of which none stands first.
fn field_name(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter.to_ascii_uppercase() {
        letter @ ('A'..='Z' | '0'..='9') => letter,
        _ => '_',
    });
    letters.collect::<String>().trim_start_matches('_').to_owned()
}

/// What a tag and the fields of an entry are made of.
struct Info<'i> {
    record: &'i Record,
    context: &'i Context,
}

impl Info<'_> {
    /// The tag: text with `{{.Field}}` in it.
    fn tag(&self, default: &str) -> Result<String> {
        let asked = option(&self.record.host.log_config.config, "tag");
        let mut template = if asked.is_empty() { default } else { asked };
        let mut text = String::new();
        while let Some((before, rest)) = template.split_once("{{") {
            let (field, after) = rest.split_once("}}").ok_or_else(|| {
                Error::bad(format!(
                    "failed to initialize logging driver: template: log-tag: unclosed action in \"{asked}\""
                ))
            })?;
            text.push_str(before);
            text.push_str(&self.field(field.trim())?);
            template = after;
        }
        Ok(text + template)
    }

    fn field(&self, name: &str) -> Result<String> {
        let record = self.record;
        let image = record.image_id.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(match name {
            ".ID" => record.id[..12].into(),
            ".FullID" => record.id.clone(),
            ".Name" => record.name.clone(),
            ".ImageName" => record.image.clone(),
            ".ImageID" => image.trim_start_matches("sha256:").chars().take(12).collect(),
            ".ImageFullID" => image,
            ".Command" => record.words().join(" "),
            ".DaemonName" => "teu".into(),
            ".Hostname" => self.context.facts.hostname.clone(),
            other => {
                let message =
                    format!("failed to initialize logging driver: log opt tag: \"{other}\" is not one of its fields");
                return Err(Error::bad(message));
            }
        })
    }

    async fn syslog(&self, config: &BTreeMap<String, String>) -> Result<Syslog> {
        let failed = |why: String| Error::internal(format!("failed to initialize logging driver: {why}"));
        let addresses = match syslog_address(option(config, "syslog-address"))? {
            Endpoint::Local => {
                let there: Vec<_> = LOCAL_SYSLOG.iter().filter(|path| Path::new(path).exists()).collect();
                if there.is_empty() {
                    return Err(failed("Unix syslog delivery error".into()));
                }
                let both = |path: &&&str| [LogAddress::Unixgram((**path).into()), LogAddress::Unix((**path).into())];
                there.iter().flat_map(both).collect()
            }
            elsewhere => elsewhere.addresses().await?,
        };
        Ok(Syslog {
            addresses,
            facility: facility(option(config, "syslog-facility"))?,
            format: syslog_format(option(config, "syslog-format"))?,
            tag: self.tag("{{.ID}}")?,
            hostname: self.context.facts.hostname.clone(),
        })
    }

    fn journald(&self, config: &BTreeMap<String, String>) -> Result<Journald> {
        if !Path::new(JOURNAL).exists() {
            return Err(Error::internal("failed to initialize logging driver: journald is not enabled on this host"));
        }
        let (record, tag) = (self.record, self.tag("{{.ID}}")?);
        let mut fields = details(config, &record.config.labels, &record.config.env, field_name)?;
        fields.extend(
            [
                ("CONTAINER_ID", &record.id[..12]),
                ("CONTAINER_ID_FULL", &record.id),
                ("CONTAINER_NAME", &record.name),
                ("CONTAINER_TAG", &tag),
                ("IMAGE_NAME", &record.image),
                ("SYSLOG_IDENTIFIER", &tag),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        Ok(Journald { socket: LogAddress::Unixgram(JOURNAL.into()), fields })
    }
}

#[cfg(test)]
mod tests;
