//! Joining and leaving networks: of a container that does not run only what it asks for changes, of one that runs its
//! interfaces, its default routes and where its ports lead as well.

use std::os::fd::AsFd;

use teu_api::container::EndpointSettings;
use teu_network::Way;

use super::attach::{Places, asked, leads_out, names, namespace_of};
use super::{Mode, Networks, mode, mode_of, shares_namespace};
use crate::container::Record;
use crate::error::{Error, Result};

impl Networks {
    /// Is what a container asks for sound? Its networks may still be missing; a start will tell.
    pub(crate) fn check(&self, record: &Record) -> Result<()> {
        let endpoints = &record.networking.endpoints_config;
        match mode(&record.host) {
            Mode::Network(_) => {}
            Mode::None if endpoints.keys().any(|name| name != "none") => return Err(private()),
            Mode::Container(_) if record.host.publish_all_ports || !record.host.port_bindings.is_empty() => {
                return Err(Error::bad("conflicting options: port publishing and the container type network mode"));
            }
            _ => return Ok(()),
        }
        super::ports::wanted(&record.host, record.config.exposed_ports.keys())?;
        for (name, settings) in endpoints {
            self.check_endpoint(name, settings)?;
        }
        Ok(())
    }

    /// Is a place sound on that network?
    pub(crate) fn check_endpoint(&self, name: &str, settings: &EndpointSettings) -> Result<()> {
        let mut errors: Vec<String> = vec![];
        let live = self.live();
        let net = live.find(name).ok();
        let user_defined = net.is_none_or(|net| !net.predefined());
        let asked = settings.ipam_config.clone().unwrap_or_default();
        let named = [&asked.ipv4_address, &asked.ipv6_address];
        if !user_defined && named.iter().any(|text| !text.is_empty()) {
            errors.push("user-specified IP address is supported on user-defined networks only".into());
        }
        if !user_defined && settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
            errors.push("network-scoped aliases are only supported for user-defined networks".into());
        }
        for (text, ipv6) in named.into_iter().zip([false, true]).filter(|(text, _)| !text.is_empty()) {
            let family = if ipv6 { 6 } else { 4 };
            match text.parse::<std::net::IpAddr>() {
                Ok(address) if address.is_ipv6() == ipv6 && !address.is_unspecified() => {
                    let inside = |net: &super::Net| net.record.subnets.iter().any(|own| own.subnet.contains(&address));
                    if user_defined && net.is_some_and(|net| !inside(net)) {
                        errors.push(format!("no configured subnet contains IP address {address}"));
                    }
                }
                _ => errors.push(format!("invalid IPv{family} address: {text}")),
            }
        }
        for text in &asked.link_local_ips {
            if text.parse::<std::net::IpAddr>().is_err() {
                errors.push(format!("invalid link-local IP address: {text}"));
            }
        }
        if !settings.mac_address.is_empty() && super::record::parse_mac(&settings.mac_address).is_none() {
            errors.push(format!("invalid MAC address: {}", settings.mac_address));
        }
        let options = settings.driver_opts.iter().flatten();
        for (_, text) in options.filter(|(key, _)| *key == "com.docker.network.endpoint.sysctls") {
            errors.extend(super::attach::sysctls(text).err().map(|error| error.message));
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Error::bad(format!("invalid endpoint settings:\n{}", errors.join("\n"))))
    }

    /// Keys the networks asked for by their names, whatever the user called them; the one of the mode is always there.
    pub(crate) fn normalise(&self, record: &mut Record) {
        let first = match mode(&record.host) {
            Mode::Network(first) => first,
            // There is nothing to be said of it, and whoever leaves it is told apart by what is here.
            Mode::None => return record.networking.endpoints_config.clear(),
            _ => return,
        };
        let live = self.live();
        let name_of = |text: &str| live.find(text).map_or_else(|_| text.to_string(), |net| net.record.name.clone());
        let endpoints = std::mem::take(&mut record.networking.endpoints_config);
        let mut named: std::collections::BTreeMap<_, _> =
            endpoints.into_iter().map(|(name, settings)| (name_of(&name), settings)).collect();
        let first = name_of(&first);
        // Whoever names networks is not on the default one as well.
        if named.is_empty() || (first != "bridge" && record.host.network_mode == first) {
            named.entry(first).or_default();
        }
        record.networking.endpoints_config = named;
    }

    /// Adds a network to what a container asks for; in the record alone.
    ///
    /// # Errors
    /// When it is on it already, or cannot be.
    pub(crate) fn ask(&self, record: &mut Record, network: &str, settings: EndpointSettings) -> Result<String> {
        let (name, kind) = {
            let live = self.live();
            let net = live.find(network)?;
            (net.record.name.clone(), net.record.driver.clone())
        };
        let joined: Vec<String> = match mode_of(record) {
            Mode::Host | Mode::Container(_) => return Err(shares_namespace()),
            Mode::None => vec!["none".into()],
            _ => asked(record).into_iter().map(|(name, _)| name).collect(),
        };
        if kind == "host" {
            return Err(shares_namespace());
        }
        if joined.iter().any(|other| other == "none") || (kind == "null" && !joined.is_empty()) {
            return Err(private());
        }
        if joined.contains(&name) {
            return Err(Error::forbidden(format!(
                "endpoint with name {} already exists in network {name}",
                record.name
            )));
        }
        self.check_endpoint(&name, &settings)?;
        if name == "none" && mode(&record.host) == Mode::None {
            record.alone = false;
            return Ok(name);
        }
        if record.networking.endpoints_config.is_empty()
            && let Some((first, own)) = asked(record).into_iter().next()
        {
            record.networking.endpoints_config.insert(first, own);
        }
        record.networking.endpoints_config.insert(name.clone(), settings);
        record.alone = false;
        Ok(name)
    }

    /// Plugs a running container into one more network.
    pub(crate) fn join(&self, record: &Record, pid: i32, name: &str) -> Result<Places> {
        let netns = namespace_of(pid)?;
        let interfaces = teu_network::interfaces(netns.as_fd())?;
        let settings = record.networking.endpoints_config.get(name).cloned().unwrap_or_default();
        let (name, place) = self.take_place(record, name, &settings, &interfaces)?;
        let mut places = record.endpoints.clone();
        if let Err(error) = teu_network::attach(netns.as_fd(), &place.link) {
            self.give_back(&record.id, &Places::from([(name, place)]));
            return Err(error.into());
        }
        places.insert(name.clone(), place.clone());
        let routed = set_ways(&netns, &mut places);
        if let Err(error) = routed {
            let _ = teu_network::detach(netns.as_fd(), &place.link);
            self.give_back(&record.id, &Places::from([(name, place)]));
            return Err(error);
        }
        self.hold(record, &places);
        Ok(places)
    }

    /// Takes a running container off a network; returns what is left.
    pub(crate) fn leave(&self, record: &Record, pid: i32, name: &str) -> Result<Places> {
        let netns = namespace_of(pid)?;
        let mut places = record.endpoints.clone();
        let Some(place) = places.remove(name) else {
            return Err(not_connected(record, name));
        };
        teu_network::detach(netns.as_fd(), &place.link)?;
        set_ways(&netns, &mut places)?;
        self.forget(&record.id, &place);
        Ok(places)
    }

    fn forget(&self, container: &str, place: &super::EndpointRecord) {
        let mut live = self.live();
        if let Some(net) = live.networks.get_mut(&place.network) {
            net.held.remove(container);
            for (address, _) in &place.link.addresses {
                if let Some(pool) = net.pools.iter_mut().find(|pool| pool.subnet().contains(address)) {
                    pool.release(*address);
                }
            }
        }
        self.write_names(&live, &place.network);
    }

    /// A network's name, whatever the user called it.
    pub(crate) fn name_of(&self, wanted: &str) -> Result<String> {
        Ok(self.live().find(wanted)?.record.name.clone())
    }

    /// The names a container has on its networks after it was renamed.
    pub(crate) fn rename(&self, record: &mut Record) {
        let all: Vec<_> = asked(record);
        let mut endpoints = std::mem::take(&mut record.endpoints);
        for (name, settings) in all {
            if let Some(place) = endpoints.get_mut(&name).filter(|place| !place.names.is_empty()) {
                place.names = names(record, &settings);
            }
        }
        record.endpoints = endpoints;
        self.renamed(record);
    }
}

fn private() -> Error {
    Error::bad("container cannot be connected to multiple networks with one of the networks in private (none) mode")
}

/// Docker's words for leaving where one is not.
pub(crate) fn not_connected(record: &Record, network: &str) -> Error {
    Error::conflict(format!("container {} is not connected to network {network}", record.id))
}

fn set_ways(netns: &std::fs::File, places: &mut Places) -> Result<()> {
    let way = |place: Option<&super::EndpointRecord>, ipv6: bool| match place {
        Some(place) => match place.gateway(ipv6) {
            Some(gateway) => Way::Gateway(place.link.container_interface.clone(), gateway),
            None => Way::None,
        },
        None => Way::None,
    };
    let (ipv4, ipv6) = leads_out(places);
    let (four, six) = (way(ipv4, false), way(ipv6, true));
    teu_network::route_by(netns.as_fd(), &four, &six)?;
    let chosen = (ipv4.map(|place| place.id.clone()), ipv6.map(|place| place.id.clone()));
    for place in places.values_mut() {
        let leads = |gateway: &std::net::IpAddr| {
            (if gateway.is_ipv6() { &chosen.1 } else { &chosen.0 }).as_ref() == Some(&place.id)
        };
        place.link.gateways = place.gateways.iter().copied().filter(leads).collect();
    }
    Ok(())
}
