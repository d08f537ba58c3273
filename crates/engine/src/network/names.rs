//! The files of names: one for each network, replaced atomically, read by the name servers in the supervisors.

use super::{Live, Networks};

impl Networks {
    /// Writes who is on a network now.
    pub(super) fn write_names(&self, live: &Live, id: &str) {
        let Some(net) = live.networks.get(id).filter(|net| !net.predefined() && !net.record.config_only) else {
            return;
        };
        let members = net.held.values().map(|held| {
            let addresses = held.endpoint.link.addresses.iter().map(|(address, _)| *address).collect();
            (addresses, held.endpoint.names.clone())
        });
        let text = teu_network::dns::write_names(&net.record.name, members);
        let path = self.inner.names.join(id);
        let temporary = self.inner.names.join(format!(".{id}"));
        let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            tracing::error!(%error, network = net.record.name, "write the names of a network");
        }
    }
}
