//! What the firewall is told: the tables as a whole when a network comes or goes, single elements when a port does.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use teu_network::firewall::{self, Mode, Ruleset, Settings, Watch};
use teu_network::{Error as NetworkError, Protocol, Publish, hairpin};

use tokio::io::unix::AsyncFd;

use super::options::GatewayMode;
use super::ports::Targets;
use super::record::PortRecord;
use super::{Inner, Live, Net, Networks};
use crate::error::Result;

/// How long nobody looks after our tables were laid anew.
const BETWEEN_REPAIRS: Duration = Duration::from_millis(50);
/// What that becomes while repairs fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Networks {
    /// Makes the tables say what is so now: what is different from last time, in one transaction.
    pub(super) fn apply(&self, live: &mut Live) -> Result<()> {
        if let Some(told) = &live.told {
            let now = self.rules(live);
            match self.inner.firewall.change(told, &now) {
                Ok(true) => {
                    live.told = Some(now);
                    return Ok(());
                }
                // IPv6 has come or gone.
                Ok(false) => {}
                // Somebody flushed all tables, or the kernel cannot do what is new in them.
                Err(error) => tracing::debug!(%error, "the nftables rules are laid anew"),
            }
        }
        self.replace(live)
    }

    /// Puts the tables in place as a whole, in one transaction.
    fn replace(&self, live: &mut Live) -> Result<()> {
        match self.inner.firewall.apply(&self.ruleset(live)) {
            Err(NetworkError::Unsupported { what }) => {
                tracing::warn!(what, "published ports are passed on by the supervisors");
                live.hairpin = None;
                live.no_copies = true;
                self.inner.firewall.apply(&self.ruleset(live))?;
            }
            outcome => outcome?,
        }
        live.told = Some(self.rules(live));
        Ok(())
    }

    /// Puts the tables back as they should be; says whether there are any.
    fn repair(&self) -> Result<bool> {
        let mut live = self.live();
        if live.told.is_none() {
            return Ok(false);
        }
        self.replace(&mut live).map(|()| true)
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
                let Some(inner) = weak.upgrade() else { return };
                let changed = watch.get_ref().take(&inner.firewall, &inner.bridge).unwrap_or(true);
                ready.clear_ready();
                drop(inner);
                if changed && Self::put_back(&weak).await.is_none() {
                    return;
                }
            }
        });
    }

    /// Puts the tables back, however often that has to be tried: nobody tells again of a change that could not be undone.
    /// `None` when the networks are gone.
    async fn put_back(weak: &Weak<Inner>) -> Option<()> {
        let mut pause = BETWEEN_REPAIRS;
        loop {
            let networks = Self { inner: weak.upgrade()? };
            let failed = match tokio::task::spawn_blocking(move || networks.repair()).await {
                Ok(Ok(there)) => {
                    if there {
                        tracing::warn!("somebody changed our nftables rules; they are back");
                    }
                    false
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "put the nftables rules back");
                    true
                }
                Err(_) => false,
            };
            // Should somebody change them for ever, the machine has time for other things.
            tokio::time::sleep(pause).await;
            if !failed {
                return Some(());
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The name of our tables.
    pub(crate) fn table(&self) -> &str {
        &self.inner.bridge
    }

    /// Lets what comes to those ports of the host in to the container, instead of to whatever it had before.
    pub(crate) fn open_ports(&self, container: &str, ports: &[PortRecord], targets: Targets) -> Result<()> {
        let mut live = self.live();
        let (before, straight) = match live.ports.insert(container.into(), (ports.to_vec(), targets)) {
            Some((ports, targets)) => (live.translated(&ports, targets), live.straight(&ports, targets)),
            None => (vec![], vec![]),
        };
        let now = live.translated(ports, targets);
        let first = !now.is_empty() && live.hairpin.is_none() && !live.no_copies;
        if first {
            live.hairpin = Some(hairpin::ensure(&self.inner.bridge)?);
        }
        if first || live.networks.values().any(is_routed) {
            self.apply(&mut live)?;
        }
        let kept = live.straight(ports, targets);
        let closed: Vec<Publish> = straight.into_iter().filter(|port| !kept.contains(port)).collect();
        self.inner.firewall.forget_flows(&closed)?;
        let gone: Vec<Publish> = before.iter().filter(|port| !now.contains(port)).cloned().collect();
        self.inner.firewall.remove(&self.inner.bridge, &gone)?;
        let new: Vec<Publish> = now.into_iter().filter(|port| !before.contains(port)).collect();
        match self.inner.firewall.add(&self.inner.bridge, &new) {
            // Somebody flushed all tables.
            Err(NetworkError::NotFound { .. }) => self.replace(&mut live),
            other => Ok(other?),
        }
    }

    /// Closes whatever ports a container had.
    pub(crate) fn close_ports(&self, container: &str) {
        let mut live = self.live();
        let Some((ports, targets)) = live.ports.remove(container) else { return };
        let (closed, straight) = (live.translated(&ports, targets), live.straight(&ports, targets));
        let routed = if live.networks.values().any(is_routed) { self.apply(&mut live) } else { Ok(()) };
        drop(live);
        let removed = self.inner.firewall.remove(&self.inner.bridge, &closed);
        let forgotten = self.inner.firewall.forget_flows(&straight);
        if let Err(error) = routed.and(removed.and(forgotten).map_err(Into::into)) {
            tracing::warn!(%error, container, "unpublish ports");
        }
    }

    /// The tables as they are to be, but for published ports, which come and go by themselves.
    fn rules(&self, live: &Live) -> Ruleset {
        firewall::ruleset(&settings(&self.inner.bridge, live), &[])
    }

    /// The tables as they are to be.
    fn ruleset(&self, live: &Live) -> Ruleset {
        let published: Vec<Publish> =
            live.ports.values().flat_map(|(ports, targets)| live.translated(ports, *targets)).collect();
        firewall::ruleset(&settings(&self.inner.bridge, live), &published)
    }

    /// Whether the container's ports are reached without translation, by family: nothing of the host's is held then.
    pub(crate) fn routed(&self, address: IpAddr) -> bool {
        self.live().routes(address)
    }
}

impl Live {
    /// The ports that are translated; others are reached at the container's own address.
    fn translated(&self, ports: &[PortRecord], targets: Targets) -> Vec<Publish> {
        targets.publish(ports).into_iter().filter(|port| !self.routes(port.container_ip)).collect()
    }

    /// The ports that are reached at the container's own address, as if that were the host's.
    fn straight(&self, ports: &[PortRecord], targets: Targets) -> Vec<Publish> {
        let routed = targets.publish(ports).into_iter().filter(|port| self.routes(port.container_ip));
        routed.map(|port| Publish { host_ip: port.container_ip, host_port: port.container_port, ..port }).collect()
    }

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

fn settings(table: &str, live: &Live) -> Settings {
    let ports = live.ports.values().flat_map(|(ports, targets)| targets.publish(ports));
    let routed = ports.filter(|port| live.routes(port.container_ip));
    Settings {
        table: table.into(),
        networks: live.networks.values().filter(|net| net.made).map(network).collect(),
        hairpin: live.hairpin.clone(),
        guarded: live.guarded.iter().map(|port| (Protocol::Tcp, *port)).collect(),
        routed: routed.map(|port| (port.container_ip, port.protocol, port.container_port)).collect(),
    }
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
