//! Address management: which subnet a network gets, and which address a container. Pure; the caller persists.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::Error;

/// A range that subnets of one size are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    /// The whole range.
    pub base: Ipv4Net,
    /// Prefix length of the subnets.
    pub size: u8,
}

/// Routes shorter than this are default routes in disguise (VPNs install 0.0.0.0/1 and 128.0.0.0/1): they say where
/// everything goes, not which addresses somebody has.
const DEFAULT_ROUTE_PREFIX: u8 = 4;

/// The pools of a fresh installation: Docker's usual range first, then the rest of the private addresses. A bridge has
/// at most 1024 ports, which a /22 just covers.
#[must_use]
pub fn default_pools() -> Vec<AddressPool> {
    let pool = |a, b, prefix, size| AddressPool { base: Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix), size };
    let mut pools: Vec<_> = (17..32).map(|second| pool(172, second, 16, 22)).collect();
    pools.push(pool(192, 168, 16, 22));
    pools.push(pool(10, 0, 8, 22));
    pools
}

/// The first subnet of the pools that overlaps none of the `taken` networks (see [`crate::route::networks`]; add the
/// networks that exist already but have no route at the moment).
pub fn choose_subnet(pools: &[AddressPool], taken: &[Ipv4Net]) -> Result<Ipv4Net, Error> {
    let taken: Vec<_> = taken.iter().filter(|network| network.prefix_len() >= DEFAULT_ROUTE_PREFIX).collect();
    let overlaps = |a: &Ipv4Net, b: &Ipv4Net| a.contains(&b.network()) || b.contains(&a.network());
    pools
        .iter()
        .filter_map(|pool| pool.base.subnets(pool.size).ok())
        .flatten()
        .find(|candidate| !taken.iter().any(|network| overlaps(network, candidate)))
        .ok_or(Error::NoSubnet)
}

/// The addresses of one subnet. The network's first address is the gateway's.
#[derive(Debug, Clone)]
pub struct Pool {
    subnet: Ipv4Net,
    used: BTreeSet<u32>,
    /// The address given last. The search goes on behind it, so a freed address comes back as late as can be: caches
    /// and half-open connections of others still mean its former owner.
    last: u32,
}

impl Pool {
    /// A pool with every address free but the gateway's.
    #[must_use]
    pub fn new(subnet: Ipv4Net) -> Self {
        let subnet = subnet.trunc();
        let last = subnet.network().to_bits().saturating_add(1);
        Self { subnet, used: BTreeSet::from([last]), last }
    }

    /// The subnet.
    #[must_use]
    pub fn subnet(&self) -> Ipv4Net {
        self.subnet
    }

    /// The gateway's address: the first.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.subnet.network().to_bits().saturating_add(1))
    }

    /// Takes a particular address: one the user named, or, after a restart, one that a container has.
    pub fn reserve(&mut self, address: Ipv4Addr) -> Result<(), Error> {
        if !self.usable().contains(&address.to_bits()) || !self.used.insert(address.to_bits()) {
            return Err(Error::AddressTaken { address, subnet: self.subnet });
        }
        self.last = self.last.max(address.to_bits());
        Ok(())
    }

    /// Takes the next free address.
    pub fn allocate(&mut self) -> Result<Ipv4Addr, Error> {
        let usable = self.usable();
        let free = (self.last.saturating_add(1)..=*usable.end())
            .chain(*usable.start()..=self.last.min(*usable.end()))
            .find(|candidate| !self.used.contains(candidate))
            .ok_or(Error::NoAddress { subnet: self.subnet })?;
        self.used.insert(free);
        self.last = free;
        Ok(Ipv4Addr::from_bits(free))
    }

    /// Gives an address back. The gateway's stays taken.
    pub fn release(&mut self, address: Ipv4Addr) {
        if address != self.gateway() {
            self.used.remove(&address.to_bits());
        }
    }

    /// Without the network's own and the broadcast address.
    fn usable(&self) -> std::ops::RangeInclusive<u32> {
        let network = self.subnet.network().to_bits();
        let broadcast = self.subnet.broadcast().to_bits();
        network.saturating_add(1)..=broadcast.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a network")
    }

    #[test]
    fn a_subnet_keeps_clear_of_every_route_but_the_default_ones() {
        let taken = [net("0.0.0.0/0"), net("0.0.0.0/1"), net("128.0.0.0/1")];
        assert_eq!(choose_subnet(&default_pools(), &taken).expect("free"), net("172.17.0.0/22"));
        let taken = [net("172.17.1.0/24"), net("172.17.4.7/32")];
        assert_eq!(choose_subnet(&default_pools(), &taken).expect("free"), net("172.17.8.0/22"));
        let taken = [net("172.16.0.0/12")];
        assert_eq!(choose_subnet(&default_pools(), &taken).expect("free"), net("192.168.0.0/22"));
        let taken = [net("172.16.0.0/12"), net("192.168.0.0/16"), net("10.0.0.0/8")];
        assert!(matches!(choose_subnet(&default_pools(), &taken), Err(Error::NoSubnet)));
    }

    #[test]
    fn addresses_are_given_in_order_and_a_freed_one_comes_back_last() {
        let mut pool = Pool::new(net("10.1.2.0/29"));
        assert_eq!(pool.gateway(), Ipv4Addr::new(10, 1, 2, 1));
        let given: Vec<u8> = (0..3).map(|_| pool.allocate().expect("free").octets()[3]).collect();
        assert_eq!(given, [2, 3, 4]);
        pool.release(Ipv4Addr::new(10, 1, 2, 2));
        pool.release(pool.gateway());
        let given: Vec<u8> = (0..3).map(|_| pool.allocate().expect("free").octets()[3]).collect();
        assert_eq!(given, [5, 6, 2]);
        assert!(matches!(pool.allocate(), Err(Error::NoAddress { .. })));
    }

    #[test]
    fn after_a_restart_reserved_addresses_are_not_given_again() {
        let mut pool = Pool::new(net("10.1.2.0/24"));
        pool.reserve(Ipv4Addr::new(10, 1, 2, 9)).expect("free");
        assert!(pool.reserve(Ipv4Addr::new(10, 1, 2, 9)).is_err());
        assert!(pool.reserve(Ipv4Addr::new(10, 1, 3, 9)).is_err(), "of another subnet");
        assert!(pool.reserve(Ipv4Addr::new(10, 1, 2, 255)).is_err(), "the broadcast address");
        assert_eq!(pool.allocate().expect("free"), Ipv4Addr::new(10, 1, 2, 10));
    }

    #[test]
    fn a_subnet_without_room_says_so() {
        assert!(Pool::new(net("10.0.0.0/31")).allocate().is_err());
        assert!(Pool::new(net("10.0.0.0/32")).allocate().is_err());
        assert!(Pool::new(net("255.255.255.252/30")).allocate().is_ok());
    }
}
