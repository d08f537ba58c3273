//! Networks as users make and see them.

use std::collections::BTreeMap;

use crate::container::EndpointSettings;

wire! {
    /// A network: a row of `GET /networks` and the answer to `GET /networks/{id}`.
    pub struct Network {
        /// Name.
        pub name: String = "Name",
        /// Id.
        pub id: String = "Id",
        /// Creation, RFC 3339.
        pub created: String = "Created",
        /// `local`.
        pub scope: String = "Scope",
        /// Driver.
        pub driver: String = "Driver",
        /// Whether IPv4 addresses are given.
        pub enable_ipv4: bool = "EnableIPv4",
        /// Whether IPv6 addresses are given.
        pub enable_ipv6: bool = "EnableIPv6",
        /// Addresses.
        pub ipam: Ipam = "IPAM",
        /// No way out.
        pub internal: bool = "Internal",
        /// Containers may join by hand.
        pub attachable: bool = "Attachable",
        /// Swarm's routing mesh.
        pub ingress: bool = "Ingress",
        /// Network whose configuration is used.
        pub config_from: ConfigReference = "ConfigFrom",
        /// Only a configuration for others.
        pub config_only: bool = "ConfigOnly",
        /// Endpoints by container id; only of one network that was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub containers: Option<BTreeMap<String, EndpointResource>> = "Containers",
        /// How many addresses are in use; only of one network that was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub status: Option<Status> = "Status",
        /// Driver's options.
        pub options: BTreeMap<String, String> = "Options",
        /// Labels.
        pub labels: BTreeMap<String, String> = "Labels",
    }

    /// How a network stands.
    pub struct Status {
        /// Its addresses.
        pub ipam: IpamStatus = "IPAM",
    }

    /// How a network's addresses stand.
    pub struct IpamStatus {
        /// By subnet.
        pub subnets: BTreeMap<String, SubnetStatus> = "Subnets",
    }

    /// How one subnet's addresses stand.
    pub struct SubnetStatus {
        /// In use, the gateway's among them.
        pub ips_in_use: u64 = "IPsInUse",
        /// Left to be given.
        pub dynamic_ips_available: u64 = "DynamicIPsAvailable",
    }

    /// Reference to another network's configuration.
    pub struct ConfigReference {
        /// That network.
        pub network: String = "Network",
    }

    /// Address management of a network.
    pub struct Ipam {
        /// Driver; empty or `default`.
        pub driver: String = "Driver",
        /// Driver's options.
        pub options: Option<BTreeMap<String, String>> = "Options",
        /// Subnets.
        pub config: Vec<IpamConfig> = "Config",
    }

    /// One subnet.
    pub struct IpamConfig {
        /// Subnet, `10.0.0.0/24`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subnet: String = "Subnet",
        /// Part of it that containers get addresses from.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub ip_range: String = "IPRange",
        /// Gateway.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub gateway: String = "Gateway",
        /// Addresses to leave alone, by host name.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub auxiliary_addresses: BTreeMap<String, String> = "AuxiliaryAddresses",
    }

    /// A container on a network, as the network sees it.
    pub struct EndpointResource {
        /// Container's name.
        pub name: String = "Name",
        /// Endpoint's id.
        pub endpoint_id: String = "EndpointID",
        /// Address of the network card.
        pub mac_address: String = "MacAddress",
        /// Address with prefix.
        pub ipv4_address: String = "IPv4Address",
        /// IPv6 address with prefix.
        pub ipv6_address: String = "IPv6Address",
    }

    /// Body of `POST /networks/create`.
    pub struct CreateRequest {
        /// Name.
        pub name: String = "Name",
        /// Driver; empty is `bridge`.
        pub driver: String = "Driver",
        /// Scope.
        pub scope: String = "Scope",
        /// Whether IPv4 addresses are given; `None` is yes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enable_ipv4: Option<bool> = "EnableIPv4",
        /// Whether IPv6 addresses are given.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enable_ipv6: Option<bool> = "EnableIPv6",
        /// Addresses.
        pub ipam: Option<Ipam> = "IPAM",
        /// No way out.
        pub internal: bool = "Internal",
        /// Containers may join by hand.
        pub attachable: bool = "Attachable",
        /// Swarm's routing mesh.
        pub ingress: bool = "Ingress",
        /// Only a configuration for others.
        pub config_only: bool = "ConfigOnly",
        /// Network whose configuration is used.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub config_from: Option<ConfigReference> = "ConfigFrom",
        /// Driver's options.
        pub options: BTreeMap<String, String> = "Options",
        /// Labels.
        pub labels: BTreeMap<String, String> = "Labels",
    }

    /// Answer to `POST /networks/create`.
    pub struct CreateResponse {
        /// Id of the new network.
        pub id: String = "Id",
        /// What was accepted but will not work as asked.
        pub warning: String = "Warning",
    }

    /// Body of `POST /networks/{id}/connect`.
    pub struct ConnectRequest {
        /// Container, by id or name.
        pub container: String = "Container",
        /// How it joins.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub endpoint_config: Option<EndpointSettings> = "EndpointConfig",
    }

    /// Body of `POST /networks/{id}/disconnect`.
    pub struct DisconnectRequest {
        /// Container, by id or name.
        pub container: String = "Container",
        /// Also when it is not running.
        pub force: bool = "Force",
    }

    /// Answer to `POST /networks/prune`.
    pub struct PruneReport {
        /// Names removed.
        pub networks_deleted: Vec<String> = "NetworksDeleted",
    }
}
