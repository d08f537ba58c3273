//! A container's place on its networks: ports, endpoints, addresses.

use std::collections::BTreeMap;

use teu_oci::Empty;

/// Ports by `80/tcp`.
pub type PortSet = BTreeMap<String, Empty>;

/// What each port (`80/tcp`) is published as; `None` is exposed but not published.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

wire! {
    /// One place on the host where a port is published.
    pub struct PortBinding {
        /// Address on the host; empty is all.
        pub host_ip: String = "HostIp",
        /// Port on the host; empty or `0` is a free one; a range takes the first free one.
        pub host_port: String = "HostPort",
    }

    /// The networks to join at create.
    pub struct NetworkingConfig {
        /// Endpoints by network name.
        pub endpoints_config: BTreeMap<String, EndpointSettings> = "EndpointsConfig",
    }

    /// A container on one network: asked for, and as it is.
    pub struct EndpointSettings {
        /// Addresses asked for.
        pub ipam_config: Option<EndpointIpamConfig> = "IPAMConfig",
        /// Legacy links.
        pub links: Option<Vec<String>> = "Links",
        /// Further names on this network.
        pub aliases: Option<Vec<String>> = "Aliases",
        /// Address of the network card.
        pub mac_address: String = "MacAddress",
        /// Driver's options.
        pub driver_opts: Option<BTreeMap<String, String>> = "DriverOpts",
        /// The highest gives the default route.
        pub gw_priority: i64 = "GwPriority",
        /// Network's id.
        pub network_id: String = "NetworkID",
        /// Endpoint's id.
        pub endpoint_id: String = "EndpointID",
        /// Default gateway.
        pub gateway: String = "Gateway",
        /// Address.
        pub ip_address: String = "IPAddress",
        /// Bits of the network's mask.
        pub ip_prefix_len: u32 = "IPPrefixLen",
        /// Default gateway, IPv6.
        pub ipv6_gateway: String = "IPv6Gateway",
        /// Address, IPv6.
        pub global_ipv6_address: String = "GlobalIPv6Address",
        /// Bits of the network's mask, IPv6.
        pub global_ipv6_prefix_len: u32 = "GlobalIPv6PrefixLen",
        /// Names other containers can resolve.
        pub dns_names: Option<Vec<String>> = "DNSNames",
    }

    /// Addresses asked for at one network.
    pub struct EndpointIpamConfig {
        /// IPv4 address.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub ipv4_address: String = "IPv4Address",
        /// IPv6 address.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub ipv6_address: String = "IPv6Address",
        /// Link-local addresses.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub link_local_ips: Vec<String> = "LinkLocalIPs",
    }

    /// The network part of an inspect.
    pub struct NetworkSettings {
        /// Name of the default bridge.
        pub bridge: String = "Bridge",
        /// Id of the network namespace.
        pub sandbox_id: String = "SandboxID",
        /// Path of the network namespace.
        pub sandbox_key: String = "SandboxKey",
        /// Published and exposed ports.
        pub ports: PortMap = "Ports",
        /// Legacy: whether hairpin mode is on.
        pub hairpin_mode: bool = "HairpinMode",
        /// Legacy: link-local address.
        pub link_local_ipv6_address: String = "LinkLocalIPv6Address",
        /// Legacy: link-local prefix.
        pub link_local_ipv6_prefix_len: u32 = "LinkLocalIPv6PrefixLen",
        /// Legacy: further addresses.
        pub secondary_ip_addresses: Option<Vec<Address>> = "SecondaryIPAddresses",
        /// Legacy: further addresses, IPv6.
        pub secondary_ipv6_addresses: Option<Vec<Address>> = "SecondaryIPv6Addresses",
        /// Endpoint on the default bridge.
        pub endpoint_id: String = "EndpointID",
        /// Gateway on the default bridge.
        pub gateway: String = "Gateway",
        /// IPv6 address on the default bridge.
        pub global_ipv6_address: String = "GlobalIPv6Address",
        /// IPv6 prefix on the default bridge.
        pub global_ipv6_prefix_len: u32 = "GlobalIPv6PrefixLen",
        /// Address on the default bridge.
        pub ip_address: String = "IPAddress",
        /// Prefix on the default bridge.
        pub ip_prefix_len: u32 = "IPPrefixLen",
        /// IPv6 gateway on the default bridge.
        pub ipv6_gateway: String = "IPv6Gateway",
        /// Card address on the default bridge.
        pub mac_address: String = "MacAddress",
        /// Endpoints by network name.
        pub networks: BTreeMap<String, EndpointSettings> = "Networks",
    }

    /// An address with its prefix.
    pub struct Address {
        /// The address.
        pub addr: String = "Addr",
        /// Bits of the mask.
        pub prefix_len: u32 = "PrefixLen",
    }
}
