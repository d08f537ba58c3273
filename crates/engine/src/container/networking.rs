//! A container and its networks: plugged in before its program runs, ports held by its supervisor, names answered there;
//! joining and leaving while it runs.

use std::fs::File;
use std::net::IpAddr;

use teu_api::container::{EndpointSettings, PortMap};
use teu_supervisor::protocol::{Event, NamesRequest, PortRequest, Request};

use super::driver::Driver;
use super::etc::{self, Link, has_names};
use super::links::split;
use super::{Phase, Record};
use crate::Context;
use crate::error::{Error, Result};
use crate::network::record::PortRecord;
use crate::network::{Mode, Networks, Targets, asked, leads_out, mode_of, ports, shares_namespace};
use crate::task::Task;

impl Driver {
    /// Plugs the container, which is not yet started, into its networks.
    pub(super) async fn plug(&mut self, context: &Context, task: &Task, netns: &File) -> Result<()> {
        self.record.endpoints = tokio::task::block_in_place(|| context.networks.attach(&self.record, netns))?;
        if self.record.endpoints.is_empty() {
            return Ok(());
        }
        let hosts = context.etc_dir(&self.record.id).join("hosts");
        for place in self.record.endpoints.values() {
            for address in [place.address(false), place.address(true)].into_iter().flatten() {
                etc::append_own_name(&hosts, &self.record, &address.to_string())?;
            }
        }
        if has_names(&self.record) {
            self.serve_names(context, task).await?;
        }
        self.record.ports = vec![];
        self.publish_ports(context, task).await?;
        for place in self.record.endpoints.values() {
            context.networks.emit_member("connect", &place.network, &self.record.id);
        }
        Ok(())
    }

    /// Gives back what [`Driver::plug`] took.
    pub(super) fn unplug(&mut self) {
        let places = std::mem::take(&mut self.record.endpoints);
        self.record.ports.clear();
        if places.is_empty() {
            return;
        }
        let context = self.containers.context.clone();
        context.networks.detach(&self.record.id, &places);
        for place in places.values() {
            context.networks.emit_member("disconnect", &place.network, &self.record.id);
        }
    }

    /// After a start that failed.
    pub(super) fn detach_quietly(&mut self) {
        self.container.live().task = None;
        let places = std::mem::take(&mut self.record.endpoints);
        self.record.ports.clear();
        if !places.is_empty() {
            self.containers.context.networks.detach(&self.record.id, &places);
        }
    }

    /// The container whose network this one shares: its id and its first process.
    pub(super) fn joined_namespace(&self) -> Result<Option<(String, i32)>> {
        let Mode::Container(other) = mode_of(&self.record) else { return Ok(None) };
        let other = self.containers.find(&other)?;
        if other.id() == self.record.id {
            return Err(Error::bad("cannot join own network namespace"));
        }
        let record = other.record();
        if !matches!(record.state.phase, Phase::Running | Phase::Paused) {
            return Err(Error::conflict(format!(
                "cannot join network namespace of a non running container: container {} is {}",
                record.name,
                record.state.phase.word()
            )));
        }
        Ok(Some((record.id.clone(), record.state.pid)))
    }

    /// What a linked container's environment tells of the others.
    pub(super) fn link_environment(&self) -> Result<Vec<String>> {
        let mut environment = vec![];
        let links = if has_names(&self.record) { &[] } else { self.record.host.links.as_slice() };
        for (target, alias) in links.iter().map(|link| split(link)) {
            let other = self.containers.find(target)?.record();
            if let Some(address) = other.endpoints.get("bridge").and_then(|place| place.address(false)) {
                environment.extend(super::links::environment(&self.record.name, alias, address, &other.config));
            }
        }
        Ok(environment)
    }

    /// Who is linked by the default bridge, with the addresses they have now.
    pub(super) fn links(&self) -> Result<Vec<Link>> {
        if has_names(&self.record) {
            return Ok(vec![]);
        }
        let mut links = vec![];
        for (target, alias) in self.record.host.links.iter().map(|link| split(link)) {
            let other = self.containers.find(target)?.record();
            let address = other.endpoints.get("bridge").and_then(|place| place.address(false));
            let address = address.ok_or_else(|| {
                Error::bad(format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    other.name, self.record.name
                ))
            })?;
            let mut names = vec![alias.to_string(), other.config.hostname.clone(), other.name.clone()];
            names.dedup();
            links.push(Link { address, names });
        }
        Ok(links)
    }

    /// Forgets another container's name; at once if it runs.
    pub(super) fn unlink(&mut self, alias: &str) -> Result<()> {
        self.record.host.links.retain(|link| split(link).1 != alias);
        if !has_names(&self.record) && self.running_task().is_some() {
            etc::forget_link(&self.containers.context, &self.record, alias)?;
        }
        self.save()
    }

    async fn serve_names(&self, context: &Context, task: &Task) -> Result<()> {
        serve_names(context, task, &self.record).await
    }

    /// Has the wanted ports held, each where it was if it was held before, and lets the firewall know.
    async fn publish_ports(&mut self, context: &Context, task: &Task) -> Result<()> {
        let requests = context.networks.port_requests(&self.record)?;
        if requests.is_empty() && self.record.ports.is_empty() {
            return Ok(());
        }
        let (ipv4, ipv6) = leads_out(&self.record.endpoints);
        let targets = Targets::of(ipv4, ipv6);
        let before = self.record.ports.clone();
        let wishes: Vec<_> = requests
            .into_iter()
            .map(|(wanted, request, routed)| (pin(request, &wanted, &before), wanted, routed))
            .collect();
        let held = self.hold(task, wishes.iter().map(|(request, ..)| request.clone()).collect()).await?;
        let mut records = vec![];
        for ((request, wanted, routed), port) in wishes.iter().zip(held) {
            let here = request.places.iter().map(|place| (place.host_ip, port));
            // Nothing of the host's is taken for a container that is reached at its own address.
            let there = routed.iter().map(|host_ip| (*host_ip, 0));
            records.extend(here.chain(there).map(|(host_ip, host_port)| PortRecord {
                protocol: wanted.protocol.name().into(),
                host_ip,
                host_port,
                container_port: wanted.container_port,
            }));
        }
        self.record.ports = records;
        tokio::task::block_in_place(|| context.networks.open_ports(&self.record.id, &self.record.ports, targets))
    }

    /// Other places on the host for the ports that are named; in the record alone.
    pub(super) fn rebind(&mut self, bindings: &PortMap) -> Result<()> {
        let host = &mut self.record.host;
        for (key, places) in bindings {
            ports::port(key)?;
            match places.as_deref() {
                None | Some([]) => drop(host.port_bindings.remove(key)),
                Some(places) => drop(host.port_bindings.insert(key.clone(), Some(places.to_vec()))),
            }
        }
        ports::wanted(host, std::iter::empty()).map(|_| ())
    }

    /// Publishes what the record wants now. A container that does not run does so when it starts.
    pub(super) async fn republish(&mut self) -> Result<()> {
        let context = self.containers.context.clone();
        match self.running_task() {
            Some(task) if !self.record.endpoints.is_empty() => self.publish_ports(&context, &task).await,
            _ => Ok(()),
        }
    }

    async fn hold(&self, task: &Task, requests: Vec<PortRequest>) -> Result<Vec<u16>> {
        let (name, endpoint) = (&self.record.name, self.record.endpoints.values().next());
        let endpoint = endpoint.map_or("", |place| place.id.as_str());
        let failed = |why: String| {
            Error::internal(format!(
                "failed to set up container networking: driver failed programming external connectivity on endpoint \
                 {name} ({endpoint}): {why}"
            ))
        };
        match task.ask(&Request::Publish(requests)).await? {
            Event::Published { ports } => Ok(ports),
            Event::PortTaken { address, port, taken: true, .. } => {
                let address = std::net::SocketAddr::new(address, port);
                Err(failed(format!("Bind for {address} failed: port is already allocated")))
            }
            Event::PortTaken { address, port, message, .. } => {
                let address = std::net::SocketAddr::new(address, port);
                Err(failed(format!("failed to bind host port {address}: {message}")))
            }
            Event::Refused { message } => Err(failed(message)),
            other => Err(failed(format!("unexpected answer from the supervisor: {other:?}"))),
        }
    }

    /// Joins a network, now if it runs.
    pub(super) async fn connect(&mut self, network: &str, settings: EndpointSettings) -> Result<()> {
        let context = self.containers.context.clone();
        let mut record = self.record.clone();
        let name = context.networks.ask(&mut record, network, settings)?;
        let before = std::mem::replace(&mut self.record, record);
        if let Some(task) = self.running_task().filter(|_| name != "none") {
            if let Err(error) = self.join(&context, &task, &name).await {
                self.record = before;
                return Err(error);
            }
            let id = self.record.endpoints.get(&name).map(|place| place.network.clone()).unwrap_or_default();
            context.networks.emit_member("connect", &id, &self.record.id);
        }
        self.save_record()?;
        self.publish();
        Ok(())
    }

    async fn join(&mut self, context: &Context, task: &Task, name: &str) -> Result<()> {
        let pid = self.record.state.pid;
        self.record.endpoints = tokio::task::block_in_place(|| context.networks.join(&self.record, pid, name))?;
        let hosts = context.etc_dir(&self.record.id).join("hosts");
        if let Some(place) = self.record.endpoints.get(name) {
            for address in [place.address(false), place.address(true)].into_iter().flatten() {
                etc::append_own_name(&hosts, &self.record, &address.to_string())?;
            }
        }
        if has_names(&self.record) {
            etc::rewrite_resolv_conf(context, &self.record)?;
            self.serve_names(context, task).await?;
        }
        self.publish_ports(context, task).await
    }

    /// Leaves a network, now if it runs.
    pub(super) async fn disconnect(&mut self, network: &str, force: bool) -> Result<()> {
        let context = self.containers.context.clone();
        let name = match context.networks.name_of(network) {
            Ok(name) => name,
            Err(_) if force => network.to_string(),
            Err(error) => return Err(error),
        };
        match mode_of(&self.record) {
            Mode::Host if name == "host" => {
                return Err(Error::bad(
                    "cannot disconnect container from host network - container was created in host network mode",
                ));
            }
            Mode::Container(_) => return Err(shares_namespace()),
            Mode::None if name == "none" => {
                self.record.alone = true;
                context.networks.emit_member("disconnect", &context.networks.id_of("none"), &self.record.id);
                self.save_record()?;
                self.publish();
                return Ok(());
            }
            _ => {}
        }
        let joined = asked(&self.record);
        if !joined.iter().any(|(other, _)| *other == name) {
            return Err(if self.running_task().is_some() {
                Error::conflict(format!("container {} is not connected to network {name}", self.record.id))
            } else {
                Error::conflict(format!("container {} is not connected to the network {name}", self.record.id))
            });
        }
        if let Some(task) = self.running_task() {
            let id = self.record.endpoints.get(&name).map(|place| place.network.clone()).unwrap_or_default();
            let pid = self.record.state.pid;
            self.record.endpoints = tokio::task::block_in_place(|| context.networks.leave(&self.record, pid, &name))?;
            if has_names(&self.record) {
                self.serve_names(&context, &task).await?;
            }
            context.networks.emit_member("disconnect", &id, &self.record.id);
            self.forget_network(joined, &name);
            self.publish_ports(&context, &task).await?;
        } else {
            self.forget_network(joined, &name);
        }
        self.save_record()?;
        self.publish();
        Ok(())
    }

    fn forget_network(&mut self, joined: Vec<(String, EndpointSettings)>, name: &str) {
        self.record.networking.endpoints_config = joined.into_iter().filter(|(other, _)| other != name).collect();
        self.record.alone = self.record.networking.endpoints_config.is_empty();
    }

    fn running_task(&self) -> Option<Task> {
        let running = matches!(self.record.state.phase, Phase::Running | Phase::Paused);
        self.container.live().task.clone().filter(|_| running)
    }
}

/// Tells the supervisor what to answer; it reads who is on the networks by itself.
pub(super) async fn serve_names(context: &Context, task: &Task, record: &Record) -> Result<()> {
    let own = |name: &str| record.networking.endpoints_config.get(name).and_then(|own| own.links.clone());
    let endpoint_links = record.endpoints.keys().filter_map(|name| own(name)).flatten();
    let links = endpoint_links.chain(record.host.links.iter().cloned());
    let links = links.map(|link| {
        let (target, alias) = split(&link);
        (alias.to_string(), target.to_string())
    });
    let gateways = record.endpoints.values().flat_map(|place| place.gateways.iter().copied());
    let resolv = teu_sys::text::read(context.etc_dir(&record.id).join("resolv.conf")).unwrap_or_default();
    let servers = if record.host.dns.is_empty() { &context.config.dns } else { &record.host.dns };
    let servers: Vec<IpAddr> = servers.iter().filter_map(|text| text.parse().ok()).collect();
    let request = NamesRequest {
        files: record
            .endpoints
            .iter()
            .filter(|(name, _)| *name != "bridge")
            .map(|(_, place)| context.config.run.join("networks").join(&place.network))
            .collect(),
        links: links.collect(),
        host: gateways.collect(),
        search: teu_network::dns::search_domains(&resolv),
        servers,
        upstream: Networks::has_way_out(record),
    };
    task.order(&Request::Names(Box::new(request))).await
}

/// A wish for any port that was fulfilled before is fulfilled the same way again.
fn pin(mut request: PortRequest, wanted: &ports::Wanted, before: &[PortRecord]) -> PortRequest {
    let same = |port: &&PortRecord| {
        port.protocol == request.protocol
            && port.host_port > 0
            && port.container_port == wanted.container_port
            && request.places.iter().any(|place| place.host_ip == port.host_ip)
            && (request.first == 0 || (request.first..=request.last).contains(&port.host_port))
    };
    if let Some(port) = before.iter().find(same) {
        (request.first, request.last) = (port.host_port, port.host_port);
    }
    request
}
