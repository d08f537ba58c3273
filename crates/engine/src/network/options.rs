//! What a network's options mean. Pure. Options that no driver knows are kept and mean nothing, as with Docker.

use std::collections::BTreeMap;
use std::net::IpAddr;

use teu_network::firewall::{Entry, Source};

use crate::error::{Error, Result};

/// How a bridge network treats packets of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GatewayMode {
    /// Translated, published ports only.
    #[default]
    Nat,
    /// Translated, and every port reached directly.
    Unprotected,
    /// Not translated, published ports reached directly.
    Routed,
    /// The host has no address on it.
    Isolated,
}

impl GatewayMode {
    pub(crate) fn entry(self) -> Entry {
        match self {
            Self::Nat | Self::Isolated => Entry::Published,
            Self::Unprotected => Entry::Open,
            Self::Routed => Entry::Routed,
        }
    }
}

/// The options of a network, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) bridge: Option<String>,
    pub(crate) neighbours: bool,
    pub(crate) masquerade: bool,
    pub(crate) ipv4: GatewayMode,
    pub(crate) ipv6: GatewayMode,
    pub(crate) host_ipv4: Option<IpAddr>,
    pub(crate) host_ipv6: Option<IpAddr>,
    pub(crate) binding: Option<IpAddr>,
    pub(crate) inhibit_ipv4: bool,
    pub(crate) trusted: Vec<String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) interface_prefix: String,
    pub(crate) parent: Option<String>,
    /// `MACVLAN_MODE_*` or `IPVLAN_MODE_*`.
    pub(crate) mode: u32,
    /// `IPVLAN_F_*`.
    pub(crate) flags: u16,
}

/// Reads an interface's options of a driver.
pub(crate) fn parse(driver: &str, map: &BTreeMap<String, String>) -> Result<Options> {
    let text = |key: &str| map.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let bridge = |key: &str| format!("com.docker.network.bridge.{key}");
    let mode = |family: &str| {
        let key = bridge(&format!("gateway_mode_{family}"));
        match text(&key) {
            None | Some("nat") => Ok(GatewayMode::Nat),
            Some("nat-unprotected") => Ok(GatewayMode::Unprotected),
            Some("routed") => Ok(GatewayMode::Routed),
            Some("isolated") => Ok(GatewayMode::Isolated),
            Some(other) => Err(unreadable(&key, other, "unknown gateway mode")),
        }
    };
    let (link_mode, flags) = link(driver, &text)?;
    Ok(Options {
        bridge: text(&bridge("name")).map(interface).transpose()?,
        neighbours: flag(map, &bridge("enable_icc"))?.unwrap_or(true),
        masquerade: flag(map, &bridge("enable_ip_masquerade"))?.unwrap_or(true),
        ipv4: mode("ipv4")?,
        ipv6: mode("ipv6")?,
        host_ipv4: address(map, "com.docker.network.host_ipv4")?,
        host_ipv6: address(map, "com.docker.network.host_ipv6")?,
        binding: address(map, &bridge("host_binding_ipv4"))?,
        inhibit_ipv4: flag(map, &bridge("inhibit_ipv4"))?.unwrap_or(false),
        trusted: match text(&bridge("trusted_host_interfaces")) {
            Some(names) => names.split(':').map(interface).collect::<Result<_>>()?,
            None => vec![],
        },
        mtu: match text("com.docker.network.driver.mtu") {
            Some(number) => Some(
                number
                    .parse()
                    .map_err(|_| unreadable("com.docker.network.driver.mtu", number, "it must be a whole number"))?,
            ),
            None => None,
        },
        interface_prefix: text("com.docker.network.container_iface_prefix").unwrap_or("eth").into(),
        parent: text("parent").map(interface).transpose()?,
        mode: link_mode,
        flags,
    })
}

/// The numbers behind the modes of the drivers on a parent (`<linux/if_link.h>`).
fn link<'a>(driver: &str, text: &dyn Fn(&str) -> Option<&'a str>) -> Result<(u32, u16)> {
    let unknown = |what: &str, value: &str| Error::bad(format!("requested {driver} {what} '{value}' is not valid"));
    match driver {
        "macvlan" => match text("macvlan_mode") {
            None | Some("bridge") => Ok((4, 0)),
            Some("private") => Ok((1, 0)),
            Some("vepa") => Ok((2, 0)),
            Some("passthru") => Ok((8, 0)),
            Some(other) => Err(unknown("mode", other)),
        },
        "ipvlan" => {
            let mode = match text("ipvlan_mode") {
                None | Some("l2") => 0,
                Some("l3") => 1,
                Some("l3s") => 2,
                Some(other) => return Err(unknown("mode", other)),
            };
            match text("ipvlan_flag") {
                None | Some("bridge") => Ok((mode, 0)),
                Some("private") => Ok((mode, 1)),
                Some("vepa") => Ok((mode, 2)),
                Some(other) => Err(unknown("flag", other)),
            }
        }
        _ => Ok((0, 0)),
    }
}

impl Options {
    /// Whether packets are as large as IPv6 asks for (RFC 8200, 5).
    pub(crate) fn fits_v6(&self) -> bool {
        self.mtu.is_none_or(|mtu| mtu >= 1280)
    }

    /// What the source of a packet that leaves becomes.
    pub(crate) fn source(&self, ipv6: bool) -> Source {
        let (mode, address) = if ipv6 { (self.ipv6, self.host_ipv6) } else { (self.ipv4, self.host_ipv4) };
        match (mode, address) {
            (GatewayMode::Routed | GatewayMode::Isolated, _) => Source::Kept,
            _ if !self.masquerade => Source::Kept,
            (_, Some(address)) => Source::Address(address),
            (_, None) => Source::Masqueraded,
        }
    }
}

/// A switch, in any of the spellings that Go's `strconv.ParseBool` takes.
pub(crate) fn flag(map: &BTreeMap<String, String>, key: &str) -> Result<Option<bool>> {
    match map.get(key).map(String::as_str) {
        None | Some("") => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(unreadable(key, other, "it must be true or false")),
    }
}

fn address(map: &BTreeMap<String, String>, key: &str) -> Result<Option<IpAddr>> {
    let value = map.get(key).map(String::as_str).filter(|value| !value.is_empty());
    value.map(|value| value.parse().map_err(|_| unreadable(key, value, "it must be an IP address"))).transpose()
}

/// A name that the kernel takes for an interface.
pub(crate) fn interface(name: &str) -> Result<String> {
    let sound = !name.is_empty()
        && name.len() <= 15
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
    if sound { Ok(name.into()) } else { Err(Error::bad(format!("invalid interface name '{name}'"))) }
}

fn unreadable(key: &str, value: &str, why: &str) -> Error {
    Error::bad(format!("failed to parse {key} value: {value} ({why})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(driver: &str, pairs: &[(&str, &str)]) -> Result<Options> {
        parse(driver, &pairs.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect())
    }

    #[test]
    fn a_network_without_options_translates_and_lets_neighbours_speak() {
        let plain = options("bridge", &[("com.example.unknown", "x")]).unwrap();
        assert!(plain.neighbours && plain.masquerade);
        assert_eq!((plain.source(false), plain.ipv4.entry()), (Source::Masqueraded, Entry::Published));
    }

    #[test]
    fn options_are_read_and_mistakes_are_named() {
        let read = options(
            "bridge",
            &[
                ("com.docker.network.bridge.name", "br9"),
                ("com.docker.network.bridge.enable_icc", "false"),
                ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
                ("com.docker.network.driver.mtu", "1400"),
                ("com.docker.network.bridge.trusted_host_interfaces", "a:b"),
            ],
        )
        .unwrap();
        assert_eq!((read.bridge.as_deref(), read.neighbours, read.mtu), (Some("br9"), false, Some(1400)));
        assert_eq!((read.source(true), read.trusted.len()), (Source::Kept, 2));
        assert_eq!(options("macvlan", &[("macvlan_mode", "vepa"), ("parent", "eth0")]).unwrap().mode, 2);
        for (driver, key, value) in [
            ("bridge", "com.docker.network.bridge.name", "a name"),
            ("bridge", "com.docker.network.bridge.enable_icc", "maybe"),
            ("bridge", "com.docker.network.driver.mtu", "much"),
            ("bridge", "com.docker.network.bridge.gateway_mode_ipv4", "open"),
            ("macvlan", "macvlan_mode", "l2"),
        ] {
            let error = options(driver, &[(key, value)]).unwrap_err();
            assert!(error.message.contains(value), "{}", error.message);
        }
    }
}
