//! `--network`: a mode or name, or `name=…,alias=…,ip=…`.

use teu_api::container::{EndpointIpamConfig, EndpointSettings};

use super::fields;

/// Reads the address of a name server.
pub(crate) fn server(text: &str) -> Result<std::net::IpAddr, String> {
    text.parse().map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

/// Reads one `--network`: the network's name and the container's place on it.
pub(crate) fn network(text: &str) -> Result<(String, EndpointSettings), String> {
    if !text.contains('=') {
        return match text {
            "" => Err("the network's name is empty".into()),
            name => Ok((name.to_owned(), EndpointSettings::default())),
        };
    }
    let mut name = String::new();
    let mut endpoint = EndpointSettings::default();
    for field in fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        set(&mut name, &mut endpoint, &key.trim().to_ascii_lowercase(), value.trim())?;
    }
    if name.is_empty() { Err("network name/id is not specified".into()) } else { Ok((name, endpoint)) }
}

fn set(name: &mut String, endpoint: &mut EndpointSettings, key: &str, value: &str) -> Result<(), String> {
    match key {
        "name" => value.clone_into(name),
        "alias" => endpoint.aliases.get_or_insert_default().push(value.to_owned()),
        "ip" => {
            let address: std::net::Ipv4Addr = value.parse().map_err(|_| format!("invalid ip: {value}"))?;
            ipam(endpoint).ipv4_address = address.to_string();
        }
        "ip6" => {
            let address: std::net::Ipv6Addr = value.parse().map_err(|_| format!("invalid ip6: {value}"))?;
            ipam(endpoint).ipv6_address = address.to_string();
        }
        "mac-address" => value.clone_into(&mut endpoint.mac_address),
        "link-local-ip" => ipam(endpoint).link_local_ips.push(value.to_owned()),
        "driver-opt" => {
            let (key, value) = value.split_once('=').ok_or("invalid key value pair format in driver options")?;
            endpoint.driver_opts.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        }
        "gw-priority" => endpoint.gw_priority = value.parse().map_err(|_| format!("invalid gw-priority: {value}"))?,
        _ => return Err(format!("invalid field key {key}")),
    }
    Ok(())
}

fn ipam(endpoint: &mut EndpointSettings) -> &mut EndpointIpamConfig {
    endpoint.ipam_config.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read() {
        assert_eq!(network("host").unwrap(), ("host".into(), EndpointSettings::default()));
        let (name, endpoint) = network("name=web,alias=a,alias=b,ip=10.0.0.9,driver-opt=k=v,gw-priority=2").unwrap();
        assert_eq!(name, "web");
        assert_eq!(endpoint.aliases.unwrap(), ["a", "b"]);
        assert_eq!(endpoint.ipam_config.unwrap().ipv4_address, "10.0.0.9");
        assert_eq!((endpoint.driver_opts.unwrap()["k"].as_str(), endpoint.gw_priority), ("v", 2));
        for bad in ["", "alias=a", "name=x,ip=nope", "name=x,wat=1", "name=x,driver-opt=k"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
