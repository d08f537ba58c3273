//! The three files of a container that the engine writes: `hosts`, `hostname` and `resolv.conf`.
//!
//! On the default bridge names are resolved as on the host, and `hosts` tells how the host is reached; on a network of the
//! user's own the supervisor answers, and `hosts` has the container itself. With the host's network they are the host's.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::Record;
use crate::Context;
use crate::error::{Error, Result};
use crate::network::{Mode, asked, mode_of};

/// What they are called.
pub(crate) const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Another container that is found by a name of this one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its address on the default bridge.
    pub(super) address: IpAddr,
    /// The names it is found by.
    pub(super) names: Vec<String>,
}

/// Whether the container is on a network of the user's own, where its supervisor answers for names.
pub(super) fn has_names(record: &Record) -> bool {
    matches!(mode_of(record), Mode::Network(_)) && asked(record).iter().any(|(name, _)| name != "bridge")
}

/// Writes all three, before the container is plugged in.
pub(super) fn write(context: &Context, record: &Record, etc: &Path, links: &[Link]) -> Result<()> {
    context.ahead.make_etc(etc)?;
    let hosts = hosts(context, record, links)?;
    write_file(etc, "hosts", &hosts)?;
    write_file(etc, "hostname", &format!("{}\n", record.config.hostname))?;
    write_file(etc, "resolv.conf", &resolv_conf(context, record))
}

/// Writes `resolv.conf` anew for a container that runs; the file stays the same one, which is mounted inside.
pub(super) fn rewrite_resolv_conf(context: &Context, record: &Record) -> Result<()> {
    write_file(&context.etc_dir(&record.id), "resolv.conf", &resolv_conf(context, record))
}

/// Takes a link's line out of `hosts` of a container that runs; the file stays the same one.
pub(super) fn forget_link(context: &Context, record: &Record, alias: &str) -> Result<()> {
    let etc = context.etc_dir(&record.id);
    let path = etc.join("hosts");
    let hosts = teu_sys::text::read(&path).map_err(|error| Error::io("read", &path, error))?;
    let told = record.host.extra_hosts.iter().any(|entry| entry.split([':', '=']).next() == Some(alias));
    let is_links = |line: &str| !told && line.split_whitespace().nth(1) == Some(alias);
    let rest = hosts.lines().filter(|line| !is_links(line)).fold(String::new(), |text, line| text + line + "\n");
    if rest == hosts { Ok(()) } else { write_file(&etc, "hosts", &rest) }
}

fn write_file(etc: &Path, name: &str, text: &str) -> Result<()> {
    let path = etc.join(name);
    std::fs::write(&path, text).map_err(|error| Error::io("write", &path, error))
}

fn hosts(context: &Context, record: &Record, links: &[Link]) -> Result<String> {
    let host_mode = mode_of(record) == Mode::Host;
    let mut hosts = if host_mode {
        teu_sys::text::read("/etc/hosts").unwrap_or_default()
    } else {
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_string()
    };
    let mut gateways = context.networks.gateways();
    let gateway = gateways.first().map(ToString::to_string).unwrap_or_default();
    if !context.config.defaults.host_gateway.is_empty() {
        gateways.clone_from(&context.config.defaults.host_gateway);
    } else if !context.networks.has_ipv6(record) {
        gateways.retain(IpAddr::is_ipv4);
    }
    for entry in &record.host.extra_hosts {
        let (name, address) =
            entry.split_once([':', '=']).ok_or_else(|| Error::bad(format!("bad format for add-host: \"{entry}\"")))?;
        if address == "host-gateway" {
            for address in &gateways {
                let _ = writeln!(hosts, "{address}\t{name}");
            }
        } else {
            let _ = writeln!(hosts, "{address}\t{name}");
        }
    }
    for link in links {
        let _ = writeln!(hosts, "{}\t{}", link.address, link.names.join(" "));
    }
    let told = |name: &str| record.host.extra_hosts.iter().any(|entry| entry.split([':', '=']).next() == Some(name));
    let host = match mode_of(record) {
        Mode::Host => Some("127.0.0.1"),
        Mode::Network(_) if !has_names(record) => Some(gateway.as_str()),
        _ => None,
    };
    let names: Vec<&str> =
        ["host.docker.internal", "gateway.docker.internal"].into_iter().filter(|name| !told(name)).collect();
    if let Some(address) = host.filter(|address| !address.is_empty() && !names.is_empty()) {
        let _ = writeln!(hosts, "{address}\t{}", names.join(" "));
    }
    Ok(hosts)
}

/// The container finds itself by its name; its address is known only once it is plugged in.
pub(super) fn append_own_name(hosts: &Path, record: &Record, address: &str) -> Result<()> {
    use std::io::Write as _;
    let host = &record.config.hostname;
    let full = if record.config.domainname.is_empty() {
        host.clone()
    } else {
        format!("{host}.{} {host}", record.config.domainname)
    };
    let mut file = std::fs::OpenOptions::new().append(true).open(hosts);
    let line = format!("{address}\t{full}\n");
    file.as_mut()
        .map_or_else(|error| Err(error.kind().into()), |file| file.write_all(line.as_bytes()))
        .map_err(|error| Error::io("write", hosts, error))
}

fn resolv_conf(context: &Context, record: &Record) -> String {
    let host = teu_sys::text::read("/etc/resolv.conf").unwrap_or_default();
    let names = has_names(record);
    let mut text = if names {
        teu_network::dns::resolv_conf_of_names(&host)
    } else if mode_of(record) == Mode::Host {
        host
    } else {
        let uplink = teu_sys::text::read("/run/systemd/resolve/resolv.conf").ok();
        teu_network::dns::resolv_conf(&host, uplink.as_deref(), &[])
    };
    let servers = if record.host.dns.is_empty() { &context.config.dns } else { &record.host.dns };
    let mut replace = |key: &str, values: &[String], joined: bool| {
        if values.is_empty() {
            return;
        }
        text = text.lines().filter(|line| !line.starts_with(key)).fold(String::new(), |text, line| text + line + "\n");
        if joined {
            let _ = writeln!(text, "{key} {}", values.join(" "));
        } else {
            values.iter().for_each(|value| {
                let _ = writeln!(text, "{key} {value}");
            });
        }
    };
    if !names {
        replace("nameserver", servers, false);
    }
    replace("search", &record.host.dns_search, true);
    let mut options = record.host.dns_options.clone();
    if names && !options.is_empty() && !options.iter().any(|option| option.starts_with("ndots")) {
        options.push("ndots:0".into());
    }
    replace("options", &options, true);
    text
}
