//! The default bridge: its subnets, and what it is told as other networks are by their options.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::IpNet;
use teu_engine::Subnet;

use super::{Error, Settings};

impl Settings {
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
            if let Some(range) = range.filter(|range| !usual.subnet.contains(range)) {
                return Err(Error::Range { key: range_key, range, subnet: usual.subnet });
            }
            let named = (address.addr() != usual.subnet.network()).then(|| address.addr());
            subnets.push(Subnet { range, gateway: named.or(usual.gateway), ..usual });
        }
        Ok(subnets)
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
