//! What is remembered of networks and of containers' places on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use teu_api::network::Ipam;
use teu_network::Endpoint;
use teu_network::ipam::Subnet;
use teu_oci::Digest;

/// A network: `<root>/networks/<id>.json`, and by their names the three that are always there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkRecord {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// When it was made, RFC 3339.
    pub(crate) created: String,
    /// `bridge`, `macvlan`, `ipvlan`, `host`, `null`.
    pub(crate) driver: String,
    /// Whether IPv4 addresses are given.
    pub(crate) ipv4: bool,
    /// Whether IPv6 addresses are given.
    pub(crate) ipv6: bool,
    /// No way out.
    pub(crate) internal: bool,
    /// As asked for.
    pub(crate) attachable: bool,
    /// It is only a configuration for others.
    pub(crate) config_only: bool,
    /// The network whose configuration it took.
    pub(crate) config_from: String,
    /// The driver's options, as asked for.
    pub(crate) options: BTreeMap<String, String>,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Driver and options of the address management, and the configuration as asked for.
    pub(crate) ipam: Ipam,
    /// The subnets it has.
    pub(crate) subnets: Vec<Subnet>,
    /// Its bridge.
    pub(crate) bridge: String,
    /// The bridge was there before, and stays when the network goes.
    pub(crate) foreign_bridge: bool,
    /// The host's interface that a macvlan or ipvlan network hangs on.
    pub(crate) parent: String,
    /// It was made for this network, and goes with the last one that hangs on it.
    pub(crate) made_parent: bool,
    /// The default bridge's subnet, as earlier versions wrote it.
    #[serde(skip_serializing)]
    pub(crate) subnet: Option<Ipv4Net>,
}

impl NetworkRecord {
    /// Its bridge's: what belongs to the bridge's own address, or, where it has none, to no address at all.
    pub(crate) fn hardware_address(&self) -> [u8; 6] {
        if let Some(gateway) = self.subnets.iter().find_map(|subnet| subnet.gateway) {
            return teu_network::mac_of(gateway);
        }
        let digits = self.id.get(..10).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default();
        let [.., a, b, c, d, e] = digits.to_be_bytes();
        // Locally administered, for one station, and begins as none of `mac_of` does.
        [0x06, a, b, c, d, e]
    }
}

impl teu_store::Record for NetworkRecord {
    fn refers_to(&self) -> Vec<Digest> {
        vec![]
    }
}

/// A container's place on a network while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The network's id.
    pub network: String,
    /// The gateways of its networks, whether the container uses them or not.
    pub gateways: Vec<IpAddr>,
    /// Who leads out when several could: the highest.
    pub priority: i64,
    /// The names it is found by.
    pub names: Vec<String>,
    /// Its interface.
    pub link: Endpoint,
}

impl EndpointRecord {
    /// Its IPv4 address and the length of the prefix.
    #[must_use]
    pub fn ipv4(&self) -> Option<(Ipv4Addr, u8)> {
        self.link.addresses.iter().find_map(|(address, prefix)| match address {
            IpAddr::V4(address) if !address.is_link_local() => Some((*address, *prefix)),
            _ => None,
        })
    }

    /// Its IPv6 address and the length of the prefix.
    #[must_use]
    pub fn ipv6(&self) -> Option<(Ipv6Addr, u8)> {
        self.link.addresses.iter().find_map(|(address, prefix)| match address {
            IpAddr::V6(address) if !address.is_unicast_link_local() => Some((*address, *prefix)),
            _ => None,
        })
    }

    /// Its address of that family.
    #[must_use]
    pub fn address(&self, ipv6: bool) -> Option<IpAddr> {
        if ipv6 {
            self.ipv6().map(|(address, _)| address.into())
        } else {
            self.ipv4().map(|(address, _)| address.into())
        }
    }

    /// The gateway of that family.
    #[must_use]
    pub fn gateway(&self, ipv6: bool) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv6() == ipv6)
    }

    /// Its hardware address, `02:42:…`.
    #[must_use]
    pub fn mac(&self) -> String {
        self.link
            .mac
            .map_or_else(String::new, |mac| mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
    }
}

/// One published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRecord {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The host's address; `0.0.0.0` and `::` are every one of their family.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
}

/// A place as earlier versions wrote it: on the default bridge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OldEndpoint {
    id: String,
    address: Ipv4Addr,
    prefix: u8,
    gateway: Ipv4Addr,
    mac: String,
    ports: Vec<PortRecord>,
}

impl OldEndpoint {
    /// In today's shape.
    pub(crate) fn upgrade(self, network: &str, bridge: &str) -> (EndpointRecord, Vec<PortRecord>) {
        let record = EndpointRecord {
            network: network.into(),
            gateways: vec![self.gateway.into()],
            priority: 0,
            names: vec![],
            link: Endpoint {
                attachment: teu_network::Attachment::Bridge {
                    bridge: bridge.into(),
                    host_interface: format!("veth{}", self.id.get(..8).unwrap_or_default()),
                    isolated: false,
                },
                container_interface: "eth0".into(),
                mac: parse_mac(&self.mac),
                addresses: vec![(self.address.into(), self.prefix)],
                gateways: vec![self.gateway.into()],
                mtu: None,
                sysctls: vec![],
            },
            id: self.id,
        };
        (record, self.ports)
    }
}

/// Six hexadecimal bytes with colons or dashes between them.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let byte = |part: &str| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok())?;
    let bytes: Option<Vec<u8>> = text.split([':', '-']).map(byte).collect();
    bytes?.try_into().ok()
}
