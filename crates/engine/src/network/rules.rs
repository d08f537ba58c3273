//! What the firewall is told: the tables as a whole when a network comes or goes, single elements when a port does.

use std::net::IpAddr;
use std::sync::Arc;

use teu_network::firewall::{self, Mode, Settings, Watch};
use teu_network::{Error as NetworkError, Protocol, Publish, hairpin};

use tokio::io::unix::AsyncFd;

use super::options::GatewayMode;
use super::ports::Targets;
use super::record::PortRecord;
use super::{Live, Net, Networks};
use crate::error::Result;

impl Networks {
    /// Puts the tables in place, in one transaction.
    pub(super) fn apply(&self, live: &mut Live) -> Result<()> {
        let table = &self.inner.bridge;
        match firewall::apply(&ruleset(table, live)) {
            Err(NetworkError::Unsupported { what }) => {
                tracing::warn!(what, "published ports are passed on by the supervisors");
                live.hairpin = None;
                live.no_copies = true;
                firewall::apply(&ruleset(table, live))?;
            }
            outcome => outcome?,
        }
        live.installed = true;
        Ok(())
    }

    /// Puts the tables back if somebody threw them or a part of them away; says whether that was so.
    fn repair(&self) -> Result<bool> {
        let mut live = self.live();
        if !live.installed || firewall::intact(&ruleset(&self.inner.bridge, &live))? {
            return Ok(false);
        }
        self.apply(&mut live).map(|()| true)
    }

    /// Guards the tables for as long as the networks are used: a reload of the host's firewall often begins by throwing
    /// everything away.
    pub(crate) fn guard(&self) {
        let weak = Arc::downgrade(&self.inner);
        #[expect(deprecated, reason = "the descriptor is owned by what is handed over")]
        let watch = Watch::open().and_then(|watch| {
            AsyncFd::new(watch).map_err(|source| NetworkError::Io { what: "watch nftables".into(), source })
        });
        let watch = match watch {
            Ok(watch) => watch,
            Err(error) => return tracing::warn!(%error, "nobody will notice a flushed firewall"),
        };
        tokio::spawn(async move {
            while let Ok(mut ready) = watch.readable().await {
                let deleted = watch.get_ref().take().unwrap_or(true);
                ready.clear_ready();
                let Some(inner) = weak.upgrade() else { return };
                if !deleted {
                    continue;
                }
                let networks = Self { inner };
                match tokio::task::spawn_blocking(move || networks.repair()).await {
                    Ok(Ok(true)) => tracing::warn!("somebody deleted our nftables rules; they are back"),
                    Ok(Ok(false)) | Err(_) => {}
                    Ok(Err(error)) => tracing::error!(%error, "put the nftables rules back"),
                }
            }
        });
    }

    /// The name of our tables.
    pub(crate) fn table(&self) -> &str {
        &self.inner.bridge
    }

    /// Lets what comes to those ports of the host in to the container, instead of to whatever it had before.
    pub(crate) fn open_ports(&self, container: &str, ports: &[PortRecord], targets: Targets) -> Result<()> {
        let mut live = self.live();
        let before = match live.ports.insert(container.into(), (ports.to_vec(), targets)) {
            Some((ports, targets)) => targets.publish(&ports),
            None => vec![],
        };
        let now = targets.publish(ports);
        if !now.is_empty() && live.hairpin.is_none() && !live.no_copies {
            live.hairpin = Some(hairpin::ensure(&self.inner.bridge)?);
            return self.apply(&mut live);
        }
        if live.networks.values().any(is_routed) {
            return self.apply(&mut live);
        }
        let gone: Vec<Publish> = before.iter().filter(|port| !now.contains(port)).cloned().collect();
        firewall::remove(&self.inner.bridge, &gone)?;
        let new: Vec<Publish> = now.into_iter().filter(|port| !before.contains(port)).collect();
        match firewall::add(&self.inner.bridge, &new) {
            // Somebody flushed all tables.
            Err(NetworkError::NotFound { .. }) => self.apply(&mut live),
            other => Ok(other?),
        }
    }

    /// Closes whatever ports a container had.
    pub(crate) fn close_ports(&self, container: &str) {
        let mut live = self.live();
        let Some((ports, targets)) = live.ports.remove(container) else { return };
        let closed = if live.networks.values().any(is_routed) {
            self.apply(&mut live)
        } else {
            drop(live);
            firewall::remove(&self.inner.bridge, &targets.publish(&ports)).map_err(Into::into)
        };
        if let Err(error) = closed {
            tracing::warn!(%error, container, "unpublish ports");
        }
    }

    /// Whether the container's ports are reached without translation, by family: nothing of the host's is held then.
    pub(crate) fn routed(&self, address: IpAddr) -> bool {
        self.live().routes(address)
    }
}

impl Live {
    /// Whether the address is on a network that is routed for its family.
    fn routes(&self, address: IpAddr) -> bool {
        let on = |net: &&Net| net.record.subnets.iter().any(|subnet| subnet.subnet.contains(&address));
        self.networks.values().filter(on).any(|net| mode(net, address.is_ipv6()) == GatewayMode::Routed)
    }
}

fn mode(net: &Net, ipv6: bool) -> GatewayMode {
    if ipv6 { net.options.ipv6 } else { net.options.ipv4 }
}

fn is_routed(net: &Net) -> bool {
    net.options.ipv4 == GatewayMode::Routed || net.options.ipv6 == GatewayMode::Routed
}

fn ruleset(table: &str, live: &Live) -> firewall::Ruleset {
    let mut published = vec![];
    let mut routed: Vec<(IpAddr, Protocol, u16)> = vec![];
    for (ports, targets) in live.ports.values() {
        for port in targets.publish(ports) {
            if live.routes(port.container_ip) {
                routed.push((port.container_ip, port.protocol, port.container_port));
            } else {
                published.push(port);
            }
        }
    }
    let settings = Settings {
        table: table.into(),
        networks: live.networks.values().filter(|net| net.made).map(network).collect(),
        hairpin: live.hairpin.clone(),
        guarded: live.guarded.iter().map(|port| (Protocol::Tcp, *port)).collect(),
        routed,
    };
    firewall::ruleset(&settings, &published)
}

fn network(net: &Net) -> firewall::Network {
    let options = &net.options;
    let mode = |ipv6| Mode { source: options.source(ipv6), entry: mode(net, ipv6).entry() };
    firewall::Network {
        bridge: net.record.bridge.clone(),
        subnets: net.record.subnets.iter().map(|subnet| subnet.subnet).collect(),
        internal: net.record.internal,
        neighbours: options.neighbours,
        trusted: options.trusted.clone(),
        ipv4: mode(false),
        ipv6: mode(true),
    }
}
