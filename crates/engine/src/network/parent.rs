//! The host's interface that a macvlan or ipvlan network hangs on: used where it is there; made, and taken away again,
//! where its name has the tag of a VLAN or no interface is named at all.

use teu_network::parent::{self, Missing};

use super::{Live, Net, Networks};
use crate::error::{Error, Result};

/// `MACVLAN_MODE_PASSTHRU`: the parent is given to one alone.
const PASSTHRU: u32 = 8;

impl Net {
    /// It hangs on an interface of the host.
    pub(super) fn has_parent(&self) -> bool {
        matches!(self.record.driver.as_str(), "macvlan" | "ipvlan") && !self.record.config_only
    }

    /// The name of a wire of its own, as Docker calls it.
    fn own_wire(&self) -> String {
        let kind = if self.record.driver == "macvlan" { "dm" } else { "di" };
        format!("{kind}-{}", &self.record.id[..12])
    }

    fn missing(&self) -> Option<Missing> {
        if self.record.parent == self.own_wire() {
            Some(Missing::Dummy)
        } else {
            Missing::from_name(&self.record.parent)
        }
    }
}

/// Decides which interface a new network hangs on, and whether that has to be made.
pub(super) fn choose(live: &Live, net: &mut Net) -> Result<()> {
    net.record.parent = net.options.parent.clone().unwrap_or_else(|| net.own_wire());
    if net.options.parent.is_none() {
        // Nothing leads out of it.
        net.record.internal = true;
        net.record.made_parent = true;
        return Ok(());
    }
    let name = net.record.parent.clone();
    for other in live.networks.values().filter(|other| other.has_parent() && other.record.parent == name) {
        if net.record.driver == "macvlan" && [net.options.mode, other.options.mode].contains(&PASSTHRU) {
            return Err(Error::conflict(format!(
                "network {} is already using parent interface {name}, which mode passthru gives to one alone",
                other.record.name
            )));
        }
        net.record.made_parent |= other.record.made_parent;
    }
    if parent::exists(&name)? {
        return Ok(());
    }
    if net.missing().is_none() {
        return Err(Error::bad(format!("the requested parent interface {name} was not found on this host")));
    }
    net.record.made_parent = true;
    Ok(())
}

impl Networks {
    /// Makes the interface if it is ours to make and is not there.
    pub(super) fn make_parent(live: &mut Live, id: &str) -> Result<()> {
        let Some(net) = live.networks.get_mut(id).filter(|net| net.record.made_parent && !net.made) else {
            return Ok(());
        };
        if let Some(missing) = net.missing() {
            parent::make(&net.record.parent, &missing)?;
        }
        net.made = true;
        Ok(())
    }

    /// Takes the interface away that was made for `gone`, if no other network hangs on it.
    pub(super) fn unmake_parent(live: &Live, gone: &Net) -> Result<()> {
        let shared =
            live.networks.values().any(|other| other.has_parent() && other.record.parent == gone.record.parent);
        if gone.record.made_parent && gone.made && !shared {
            parent::remove(&gone.record.parent)?;
        }
        Ok(())
    }
}
