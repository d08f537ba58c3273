//! The default bridge: its subnets, and what it is told as other networks are by their options.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use teu_engine::Subnet;

use super::{Error, Settings};

impl Settings {
    /// What it is called.
    pub(super) fn bridge_name(&self) -> Result<Option<String>, Error> {
        match self.bridge.as_deref() {
            Some("none") => Err(Error::NoBridge),
            name => Ok(name.filter(|name| !name.is_empty()).map(str::to_owned)),
        }
    }

    /// The subnets it has been named, at most one of each family.
    pub(super) fn subnets(&self) -> Result<Vec<Subnet>, Error> {
        let ipv4 = ("bip", &self.bip, "fixed-cidr", &self.fixed_cidr, "IPv4", "172.30.0.1/16");
        let ipv6 = ("bip6", &self.bip6, "fixed-cidr-v6", &self.fixed_cidr_v6, "IPv6", "fd00:30::1/64");
        let mut subnets = vec![];
        for (key, address, range_key, range, family, example) in [ipv4, ipv6] {
            let read = |key, text: &Option<String>| match text.as_deref().filter(|text| !text.is_empty()) {
                None => Ok(None),
                Some(text) => match text.parse::<IpNet>() {
                    Ok(net) if net.addr().is_ipv6() == (family == "IPv6") => Ok(Some(net)),
                    _ => Err(Error::Subnet { key, text: text.into(), family, example }),
                },
            };
            let range = read(range_key, range)?.map(|range| range.trunc());
            let Some(address) = read(key, address)? else {
                subnets.extend(range.map(Subnet::of));
                continue;
            };
            let usual = Subnet::of(address);
            let way_out = self.way_out(&usual)?;
            if let Some(range) = range.filter(|range| !usual.subnet.contains(range)) {
                return Err(Error::Range { key: range_key, range, subnet: usual.subnet });
            }
            let named = (address.addr() != usual.subnet.network()).then(|| address.addr());
            let reserved = way_out.into_iter().collect();
            subnets.push(Subnet { range, gateway: named.or(usual.gateway), reserved, way_out, ..usual });
        }
        for ipv6 in [false, true] {
            if subnets.iter().all(|subnet| subnet.way_out.is_none_or(|address| address.is_ipv6() != ipv6)) {
                self.no_way_out(ipv6)?;
            }
        }
        Ok(subnets)
    }

    /// The address by which containers leave the default bridge: its key, the text, and the key of the subnet it is in.
    fn wanted_way_out(&self, ipv6: bool) -> (&'static str, &str, &'static str) {
        let (key, text, subnet) = match ipv6 {
            false => ("default-gateway", &self.default_gateway, "bip"),
            true => ("default-gateway-v6", &self.default_gateway_v6, "bip6"),
        };
        (key, text.as_deref().unwrap_or_default(), subnet)
    }

    /// That address, when it is in a subnet.
    fn way_out(&self, subnet: &Subnet) -> Result<Option<IpAddr>, Error> {
        let ipv6 = subnet.subnet.addr().is_ipv6();
        let (_, text, _) = self.wanted_way_out(ipv6);
        match text.parse() {
            Ok(address) if subnet.subnet.contains(&address) => Ok(Some(address)),
            _ => self.no_way_out(ipv6).map(|()| None),
        }
    }

    /// An address outside of every subnet that is named leads nowhere.
    fn no_way_out(&self, ipv6: bool) -> Result<(), Error> {
        let (key, text, subnet) = self.wanted_way_out(ipv6);
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        match text {
            "" => Ok(()),
            text => Err(Error::WayOut { key, text: text.into(), family, subnet }),
        }
    }

    /// Its options.
    pub(super) fn bridge_options(&self) -> Result<BTreeMap<String, String>, Error> {
        if self.mtu != 0 && !(68..=65535).contains(&self.mtu) {
            return Err(Error::Mtu(self.mtu));
        }
        let host = self.ip.as_deref().filter(|text| !text.is_empty());
        if let Some(wrong) = host.filter(|text| text.parse::<Ipv4Addr>().is_err()) {
            return Err(Error::HostAddress(wrong.into()));
        }
        let word = |flag: Option<bool>| flag.map(|flag| flag.to_string());
        let options = [
            ("com.docker.network.bridge.enable_icc", word(self.icc)),
            ("com.docker.network.bridge.enable_ip_masquerade", word(self.ip_masq)),
            ("com.docker.network.bridge.host_binding_ipv4", host.map(str::to_owned)),
            ("com.docker.network.driver.mtu", (self.mtu != 0).then(|| self.mtu.to_string())),
            ("com.docker.network.enable_ipv6", word(self.ipv6)),
        ];
        Ok(options.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}
