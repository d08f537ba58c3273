//! The host's interface that a macvlan or ipvlan network hangs on. One that is there is used as it is; one that is
//! missing is made where its name says what it should be.

use rustix::io::Errno;

use crate::netlink::{Family, Socket};
use crate::{Error, link};

/// `IFLA_VLAN_ID` of `<linux/if_link.h>`.
const IFLA_VLAN_ID: u16 = 1;

/// What a missing interface should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// `eth0.50`: what comes by `eth0` with that tag of 802.1Q.
    Vlan {
        /// The interface that the tagged frames come by.
        over: String,
        /// 1 to 4094.
        tag: u16,
    },
    /// A wire that leads nowhere.
    Dummy,
}

impl Missing {
    /// What the name of a missing interface says of it: a tag behind the last point.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (over, tag) = name.rsplit_once('.')?;
        let tag = tag.parse().ok().filter(|tag| (1..=4094).contains(tag))?;
        (!over.is_empty()).then(|| Self::Vlan { over: over.into(), tag })
    }
}

/// Whether there is an interface of that name.
pub fn exists(name: &str) -> Result<bool, Error> {
    crate::bridge::exists(name)
}

/// Makes the interface and sets it up. That it is there already is no error.
pub fn make(name: &str, missing: &Missing) -> Result<(), Error> {
    let mut socket = Socket::open(Family::Route).map_err(|source| Error::io("open netlink socket", source))?;
    let create = link::create().string(link::IFLA_IFNAME, name);
    let (kind, create) = match missing {
        Missing::Dummy => {
            ("dummy", create.nest(link::IFLA_LINKINFO, |info| info.string(link::IFLA_INFO_KIND, "dummy")))
        }
        Missing::Vlan { over, tag } => {
            let under = link::find(&mut socket, over)?.index;
            let create = create.u32(link::IFLA_LINK, under).nest(link::IFLA_LINKINFO, |info| {
                info.string(link::IFLA_INFO_KIND, "vlan")
                    .nest(link::IFLA_INFO_DATA, |data| data.bytes(IFLA_VLAN_ID, &tag.to_ne_bytes()))
            });
            ("vlan", create)
        }
    };
    match socket.request(vec![create]) {
        Err(refused) if refused.errno == Errno::OPNOTSUPP => return Err(Error::Unsupported { what: kind.into() }),
        Err(refused) if refused.errno != Errno::EXIST => {
            return Err(Error::refused(format!("make interface {name}"), refused));
        }
        _ => {}
    }
    let index = link::find(&mut socket, name)?.index;
    socket.request(vec![link::up(index)]).map_err(|refused| Error::refused(format!("set up {name}"), refused))
}

/// Removes an interface that was made here. That it is not there is no error.
pub fn remove(name: &str) -> Result<(), Error> {
    crate::bridge::remove(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_behind_the_last_point() {
        assert_eq!(Missing::from_name("eth0.50"), Some(Missing::Vlan { over: "eth0".into(), tag: 50 }));
        assert_eq!(Missing::from_name("a.b.4094"), Some(Missing::Vlan { over: "a.b".into(), tag: 4094 }));
        for name in ["eth0", "eth0.0", "eth0.4095", "eth0.x", ".5", "eth0."] {
            assert_eq!(Missing::from_name(name), None, "{name}");
        }
    }
}
