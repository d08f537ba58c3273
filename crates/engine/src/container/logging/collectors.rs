//! The options of Graylog's driver and Fluentd's: Docker's names and words.

use std::collections::BTreeMap;

use teu_supervisor::protocol::{Fluentd, Gelf, GelfCompression, LogAddress};

use super::{Endpoint, Info, boolean, details, network_address, option, within};
use crate::error::{Error, Kind, Result};
use crate::size;

/// What Graylog's driver takes besides what every driver does.
pub(super) const GELF: [&str; 10] = [
    "gelf-address",
    "gelf-compression-type",
    "gelf-compression-level",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "tag",
];
/// What Fluentd's driver takes besides.
pub(super) const FLUENTD: [&str; 15] = [
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-read-timeout",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "tag",
];
/// Where a Fluentd listens that nobody says otherwise of.
const FLUENTD_PORT: u16 = 24224;

type Options = BTreeMap<String, String>;

/// Whether Graylog's options mean something.
pub(super) fn check_gelf(config: &Options) -> Result<()> {
    let tcp = gelf_address(config)?.is_tcp();
    let unknown = |key: &str| {
        let value = option(config, key);
        Err(Error::bad(format!("unknown value \"{value}\" for log opt \"{key}\" for gelf log driver")))
    };
    for key in ["gelf-compression-type", "gelf-compression-level"] {
        if tcp && config.contains_key(key) {
            return Err(Error::bad("compression is only supported on UDP"));
        }
    }
    for key in ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"] {
        let Some(value) = config.get(key) else { continue };
        if !tcp {
            return Err(Error::bad(format!("{key} is only supported for TCP")));
        }
        if value.parse::<u32>().is_err() {
            return unknown(key);
        }
    }
    if !matches!(option(config, "gelf-compression-type"), "" | "gzip" | "zlib" | "none") {
        return unknown("gelf-compression-type");
    }
    match config.get("gelf-compression-level").map(|text| text.parse::<i8>()) {
        None | Some(Ok(-1..=9)) => Ok(()),
        _ => unknown("gelf-compression-level"),
    }
}

fn gelf_address(config: &Options) -> Result<Endpoint> {
    let text = option(config, "gelf-address");
    let (scheme, rest) = match text.split_once("://") {
        None if text.is_empty() => return Err(Error::bad("gelf-address is a required parameter")),
        None => return Err(Error::bad("gelf: endpoint needs to be UDP or TCP")),
        Some((scheme @ ("udp" | "tcp"), rest)) => (scheme, rest),
        Some(_) => return Err(Error::bad("gelf: endpoint needs to be UDP or TCP")),
    };
    let place = rest.split('/').next().unwrap_or(rest);
    if place.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        return Err(Error::bad("gelf: please provide gelf-address as proto://host:port"));
    }
    network_address(scheme == "tcp", rest, text, 0)
}

/// Whether Fluentd's options mean something.
pub(super) fn check_fluentd(config: &Options) -> Result<()> {
    fluentd_address(config)?;
    for key in ["fluentd-async", "fluentd-request-ack", "fluentd-sub-second-precision"] {
        boolean(config, key).map_err(|error| within(&format!("invalid value for {key}"), &error))?;
    }
    if boolean(config, "fluentd-request-ack")? == Some(true) {
        let message = "--log-opt fluentd-request-ack is not supported by this version of teu";
        return Err(Error::new(Kind::NotImplemented, message));
    }
    if let Some(limit) = config.get("fluentd-buffer-limit") {
        size::binary(limit).map_err(|error| within("invalid value for fluentd-buffer-limit", &error))?;
    }
    if let Some(retries) = config.get("fluentd-max-retries").filter(|text| text.parse::<u32>().is_err()) {
        return Err(Error::bad(format!("invalid value for fluentd-max-retries: \"{retries}\"")));
    }
    Ok(())
}

fn fluentd_address(config: &Options) -> Result<Endpoint> {
    let text = option(config, "fluentd-address");
    let invalid = || Error::bad(format!("invalid fluentd-address ({text}): write [tcp://]HOST[:PORT] or unix:///PATH"));
    match text.split_once("://") {
        None if text.is_empty() => Ok(Endpoint::Known(LogAddress::Tcp(([127, 0, 0, 1], FLUENTD_PORT).into()))),
        None => network_address(true, text, text, FLUENTD_PORT).map_err(|_| invalid()),
        Some(("tcp", rest)) if !rest.contains('/') => {
            network_address(true, rest, text, FLUENTD_PORT).map_err(|_| invalid())
        }
        Some(("unix", path)) if path.len() > 1 => Ok(Endpoint::Known(LogAddress::Unix(path.into()))),
        Some(("tls", _)) => {
            let message = "--log-opt fluentd-address with tls is not supported by this version of teu";
            Err(Error::new(Kind::NotImplemented, message))
        }
        _ => Err(invalid()),
    }
}

impl Info<'_> {
    pub(super) async fn gelf(&self, config: &Options) -> Result<Gelf> {
        let endpoint = gelf_address(config)?;
        let level = option(config, "gelf-compression-level").parse().unwrap_or(1);
        let compression = match option(config, "gelf-compression-type") {
            _ if endpoint.is_tcp() => None,
            "none" => Some(GelfCompression::Plain),
            "zlib" => Some(GelfCompression::Zlib(level)),
            _ => Some(GelfCompression::Gzip(level)),
        };
        let record = self.record;
        let mut fields = details(config, &record.config.labels, &record.config.env, |name| name.into())?;
        let image = record.image_id.as_ref().map(ToString::to_string).unwrap_or_default();
        fields.extend(
            [
                ("container_id", record.id.clone()),
                ("container_name", record.name.clone()),
                ("image_id", image),
                ("image_name", record.image.clone()),
                ("command", record.words().join(" ")),
                ("tag", self.tag("{{.ID}}")?),
                ("created", record.created.clone()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let hostname = self.context.facts.hostname.clone();
        Ok(Gelf { addresses: endpoint.addresses().await?, hostname, compression, fields })
    }

    pub(super) async fn fluentd(&self, config: &Options) -> Result<Fluentd> {
        let record = self.record;
        let mut fields = details(config, &record.config.labels, &record.config.env, |name| name.into())?;
        fields.insert("container_id".into(), record.id.clone());
        fields.insert("container_name".into(), format!("/{}", record.name));
        Ok(Fluentd {
            addresses: fluentd_address(config)?.addresses().await?,
            tag: self.tag("{{.ID}}")?,
            fields,
            sub_second: boolean(config, "fluentd-sub-second-precision")?.unwrap_or(false),
            limit: config.get("fluentd-buffer-limit").map(|text| size::binary(text)).transpose()?,
        })
    }
}
