//! Which ports a container wants published. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use teu_api::container::{HostConfig, PortBinding};
use teu_network::{Protocol, Publish};
use teu_supervisor::protocol::{PortPlace, PortRequest};

use super::record::{EndpointRecord, PortRecord};
use crate::error::{Error, Result};

/// A port to publish; several candidates where the user gave a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) protocol: Protocol,
    /// The host's address; none is every one of both families.
    pub(crate) host_ip: Option<IpAddr>,
    /// First and last candidate; zero is any.
    pub(crate) host_ports: (u16, u16),
    pub(crate) container_port: u16,
}

/// The ports a container publishes, from its bindings and, with `-P`, from what it exposes.
pub(crate) fn wanted<'a>(host: &HostConfig, exposed: impl Iterator<Item = &'a String>) -> Result<Vec<Wanted>> {
    let mut wanted = vec![];
    for (key, bindings) in &host.port_bindings {
        let (container_port, protocol) = port(key)?;
        for binding in bindings.iter().flatten() {
            wanted.push(bound(binding, container_port, protocol)?);
        }
    }
    if host.publish_all_ports {
        for key in exposed.filter(|key| !host.port_bindings.contains_key(*key)) {
            let (container_port, protocol) = port(key)?;
            wanted.push(Wanted { protocol, host_ip: None, host_ports: (0, 0), container_port });
        }
    }
    Ok(wanted)
}

/// `80/tcp`, as number and transport.
pub(crate) fn port(key: &str) -> Result<(u16, Protocol)> {
    let invalid = || Error::bad(format!("invalid port specification: \"{key}\""));
    let (number, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(invalid)?;
    Ok((number, protocol.parse().map_err(|()| invalid())?))
}

fn bound(binding: &PortBinding, container_port: u16, protocol: Protocol) -> Result<Wanted> {
    let invalid = || Error::bad(format!("invalid port specification: \"{}\"", binding.host_port));
    let host_ip = match binding.host_ip.as_str() {
        "" => None,
        text => {
            let bare = text.trim_start_matches('[').trim_end_matches(']');
            Some(bare.parse().map_err(|_| Error::bad(format!("invalid IP address: {text}")))?)
        }
    };
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let host_ports = match binding.host_port.split_once('-') {
        None if binding.host_port.is_empty() => (0, 0),
        None => (number(&binding.host_port)?, number(&binding.host_port)?),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if host_ports.0 > host_ports.1 {
        return Err(invalid());
    }
    Ok(Wanted { protocol, host_ip, host_ports, container_port })
}

/// The container's addresses that published ports lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) ipv4: Option<IpAddr>,
    pub(crate) ipv6: Option<IpAddr>,
}

impl Targets {
    /// Those of the endpoints that lead out.
    pub(crate) fn of(ipv4: Option<&EndpointRecord>, ipv6: Option<&EndpointRecord>) -> Self {
        Self {
            ipv4: ipv4.and_then(|endpoint| endpoint.address(false)),
            ipv6: ipv6.and_then(|endpoint| endpoint.address(true)),
        }
    }

    /// Where what comes to that address of the host goes: of the same family if there is one.
    fn target(self, host_ip: IpAddr) -> Option<IpAddr> {
        if host_ip.is_ipv6() { self.ipv6.or(self.ipv4) } else { self.ipv4.or(self.ipv6) }
    }

    /// What the firewall does; a port that leads to the other family goes by the supervisor's socket.
    pub(crate) fn publish(self, ports: &[PortRecord]) -> Vec<Publish> {
        let publish = |port: &PortRecord| {
            let container_ip = if port.host_ip.is_ipv6() { self.ipv6 } else { self.ipv4 }?;
            Some(Publish {
                protocol: port.protocol.parse().ok()?,
                host_ip: port.host_ip,
                host_port: port.host_port,
                container_ip,
                container_port: port.container_port,
            })
        };
        ports.iter().filter_map(publish).collect()
    }

    /// What the supervisor is asked to hold.
    pub(crate) fn request(self, wanted: &Wanted, default: Option<IpAddr>, ipv6: bool) -> PortRequest {
        let mut addresses = match wanted.host_ip.or(default) {
            Some(address) => vec![address],
            None if ipv6 => vec![Ipv4Addr::UNSPECIFIED.into(), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            None => vec![Ipv4Addr::UNSPECIFIED.into()],
        };
        addresses.dedup();
        let place = |host_ip: IpAddr| {
            let target = self.target(host_ip)?;
            Some(PortPlace { host_ip, target: SocketAddr::new(target, wanted.container_port) })
        };
        PortRequest {
            protocol: wanted.protocol.name().into(),
            first: wanted.host_ports.0,
            last: wanted.host_ports.1,
            places: addresses.into_iter().filter_map(place).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_become_ports() {
        let mut host = HostConfig::default();
        let binding = |ip: &str, port: &str| PortBinding { host_ip: ip.into(), host_port: port.into() };
        host.port_bindings.insert(
            "80/sctp".into(),
            Some(vec![binding("127.0.0.1", "8080-8090"), binding("", ""), binding("::1", "9")]),
        );
        let wanted = wanted(&host, std::iter::empty()).unwrap();
        assert_eq!(wanted[0].host_ports, (8080, 8090));
        assert_eq!(wanted[0].host_ip, Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!((wanted[1].host_ports, wanted[1].host_ip), ((0, 0), None));
        assert_eq!(wanted[2].host_ip, Some(Ipv6Addr::LOCALHOST.into()));
        for bad in ["0/tcp", "x/tcp", "80/icmp"] {
            let host = HostConfig { port_bindings: [(bad.to_string(), None)].into(), ..HostConfig::default() };
            assert!(super::wanted(&host, std::iter::empty()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_of_every_address_is_held_in_both_families_and_leads_to_what_there_is() {
        let targets = Targets { ipv4: Some(Ipv4Addr::new(10, 0, 0, 2).into()), ipv6: None };
        let wanted = Wanted { protocol: Protocol::Tcp, host_ip: None, host_ports: (80, 80), container_port: 8080 };
        let request = targets.request(&wanted, None, true);
        let shown: Vec<_> = request.places.iter().map(|place| format!("{} {}", place.host_ip, place.target)).collect();
        assert_eq!(shown, ["0.0.0.0 10.0.0.2:8080", ":: 10.0.0.2:8080"]);
        let held = |host_ip| PortRecord { protocol: "tcp".into(), host_ip, host_port: 80, container_port: 8080 };
        let ports = [held(Ipv4Addr::UNSPECIFIED.into()), held(IpAddr::V6(Ipv6Addr::UNSPECIFIED))];
        assert_eq!(targets.publish(&ports).len(), 1);
    }
}
