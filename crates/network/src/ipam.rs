//! Address management: which subnet a network gets, and which address a container. Pure; the caller persists.
//!
//! IPv4 and IPv6 are the same here: an address is a number of 32 or 128 bits.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A range that subnets of one size are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// The whole range.
    pub base: IpNet,
    /// Prefix length of the subnets.
    pub size: u8,
}

/// Routes shorter than this are default routes in disguise (VPNs install 0.0.0.0/1 and 128.0.0.0/1): they say where
/// everything goes, not which addresses somebody has.
const DEFAULT_ROUTE_PREFIX: u8 = 4;
/// The same for IPv6, where providers route all of 2000::/3.
const DEFAULT_ROUTE_PREFIX_6: u8 = 7;
/// How many subnets of a pool are looked at before it counts as full; a pool of IPv6 has more than can be walked.
const MOST_SUBNETS: usize = 1 << 16;

/// The pools of a fresh installation: Docker's usual range first, then the rest of the private addresses. A bridge has
/// at most 1024 ports, which a /22 just covers.
#[must_use]
pub fn default_pools() -> Vec<AddressPool> {
    let pool =
        |a, b, prefix, size| AddressPool { base: Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix).into(), size };
    let mut pools: Vec<_> = (17..32).map(|second| pool(172, second, 16, 22)).collect();
    pools.push(pool(192, 168, 16, 22));
    pools.push(pool(10, 0, 8, 22));
    pools
}

/// The IPv6 pool of an installation: unique local addresses (RFC 4193) whose 40 random bits come from `seed`, so that two
/// machines that are joined later do not collide.
#[must_use]
pub fn local_pool(seed: [u8; 5]) -> AddressPool {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&seed);
    AddressPool { base: Ipv6Net::new_assert(Ipv6Addr::from(octets), 48).into(), size: 64 }
}

/// The first subnet of that family that overlaps none of the `taken` networks (see [`crate::route::networks`]; add the
/// networks that exist already but have no route at the moment).
pub fn choose_subnet(pools: &[AddressPool], taken: &[IpNet], ipv6: bool) -> Result<IpNet, Error> {
    let meant = |network: &&IpNet| match network {
        IpNet::V4(network) => network.prefix_len() >= DEFAULT_ROUTE_PREFIX,
        IpNet::V6(network) => network.prefix_len() >= DEFAULT_ROUTE_PREFIX_6,
    };
    let taken: Vec<_> = taken.iter().filter(meant).collect();
    pools
        .iter()
        .filter(|pool| matches!(pool.base, IpNet::V6(_)) == ipv6)
        .filter_map(|pool| pool.base.subnets(pool.size).ok())
        .flat_map(|subnets| subnets.take(MOST_SUBNETS))
        .find(|candidate| !taken.iter().any(|network| overlaps(network, candidate)))
        .ok_or(Error::NoSubnet)
}

/// Whether two networks have an address in common.
#[must_use]
pub fn overlaps(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// What a pool is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The network.
    pub subnet: IpNet,
    /// The part of it that addresses are given from; all of it if none.
    pub range: Option<IpNet>,
    /// The host's address in it; none where nothing routes.
    pub gateway: Option<IpAddr>,
    /// Addresses that are somebody's already.
    pub reserved: Vec<IpAddr>,
    /// Who leads out of it, where that is another than the host.
    #[serde(default)]
    pub way_out: Option<IpAddr>,
}

impl Subnet {
    /// A subnet whose first address is the gateway's.
    #[must_use]
    pub fn of(subnet: IpNet) -> Self {
        let subnet = subnet.trunc();
        Self { subnet, range: None, gateway: Some(first(&subnet)), reserved: vec![], way_out: None }
    }
}

/// The first address behind the network's own; in a /31, /32, /127 or /128 the network's own.
#[must_use]
pub fn first(subnet: &IpNet) -> IpAddr {
    let only = subnet.max_prefix_len() - subnet.prefix_len() <= 1;
    to_address(bits(subnet.network()) + u128::from(!only), subnet)
}

/// The addresses of one subnet.
#[derive(Debug, Clone)]
pub struct Pool {
    plan: Subnet,
    used: BTreeSet<u128>,
    /// The address given last. The search goes on behind it, so a freed address comes back as late as can be: caches
    /// and half-open connections of others still mean its former owner.
    last: u128,
}

impl Pool {
    /// A pool with every address free but the gateway's and the reserved ones.
    #[must_use]
    pub fn new(plan: Subnet) -> Self {
        let used = plan.gateway.iter().chain(&plan.reserved).map(|address| bits(*address)).collect();
        let mut pool = Self { plan, used, last: 0 };
        pool.last = pool.usable().0.saturating_sub(1);
        pool
    }

    /// The subnet.
    #[must_use]
    pub fn subnet(&self) -> IpNet {
        self.plan.subnet
    }

    /// The gateway's address.
    #[must_use]
    pub fn gateway(&self) -> Option<IpAddr> {
        self.plan.gateway
    }

    /// Where containers send what is for elsewhere.
    #[must_use]
    pub fn way_out(&self) -> Option<IpAddr> {
        self.plan.gateway.map(|gateway| self.plan.way_out.unwrap_or(gateway))
    }

    /// Takes a particular address: one the user named, or, after a restart, one that a container has.
    pub fn reserve(&mut self, address: IpAddr) -> Result<(), Error> {
        let (start, end) = all(&self.plan.subnet);
        let number = bits(address);
        let inside = self.plan.subnet.contains(&address) && (start..=end).contains(&number);
        if !inside || !self.used.insert(number) {
            return Err(Error::AddressTaken { address, subnet: self.plan.subnet });
        }
        Ok(())
    }

    /// Takes the next free address.
    pub fn allocate(&mut self) -> Result<IpAddr, Error> {
        let (start, end) = self.usable();
        let free = self.next_free(self.last.max(start.saturating_sub(1)).saturating_add(1), end);
        let free = free.or_else(|| self.next_free(start, end)).ok_or(Error::NoAddress { subnet: self.plan.subnet })?;
        self.used.insert(free);
        self.last = free;
        Ok(to_address(free, &self.plan.subnet))
    }

    /// The first number of that span that is not in use: runs of used ones are stepped over one by one, never the whole
    /// of a /64.
    fn next_free(&self, start: u128, end: u128) -> Option<u128> {
        let mut candidate = start;
        for used in self.used.range(start..) {
            if *used != candidate {
                break;
            }
            candidate = candidate.checked_add(1)?;
        }
        (candidate <= end).then_some(candidate)
    }

    /// Gives an address back. The gateway's and the reserved ones stay taken.
    pub fn release(&mut self, address: IpAddr) {
        if self.plan.gateway != Some(address) && !self.plan.reserved.contains(&address) {
            self.used.remove(&bits(address));
        }
    }

    /// How many addresses are in use (the network's own, the broadcast and the gateway's among them), and how many are
    /// left to be given; as many as a `u64` can tell.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let (start, end) = self.usable();
        let taken = self.used.range(start..=end).count() as u128;
        let left = (end + 1).saturating_sub(start).saturating_sub(taken);
        let (low, high) = span(&self.plan.subnet);
        let (inner_low, inner_high) = all(&self.plan.subnet);
        let edges = (inner_low - low) + (high - inner_high);
        let clamp = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        (clamp(self.used.len() as u128 + edges), clamp(left))
    }

    /// First and last address to be given.
    fn usable(&self) -> (u128, u128) {
        let (start, end) = all(&self.plan.subnet);
        let Some(range) = &self.plan.range else { return (start, end) };
        let (low, high) = span(range);
        (start.max(low), end.min(high))
    }
}

/// Every address of a network.
fn span(subnet: &IpNet) -> (u128, u128) {
    (bits(subnet.network()), bits(subnet.broadcast()))
}

/// Without the network's own and the broadcast address, where there are such.
fn all(subnet: &IpNet) -> (u128, u128) {
    let (low, high) = span(subnet);
    if high - low <= 1 { (low, high) } else { (low + 1, high - u128::from(matches!(subnet, IpNet::V4(_)))) }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn to_address(number: u128, like: &IpNet) -> IpAddr {
    match like {
        IpNet::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn pool(text: &str) -> Pool {
        Pool::new(Subnet::of(net(text)))
    }

    #[test]
    fn a_subnet_keeps_clear_of_every_route_but_the_default_ones() {
        let choose = |taken: &[&str]| {
            choose_subnet(&default_pools(), &taken.iter().map(|text| net(text)).collect::<Vec<_>>(), false)
        };
        assert_eq!(choose(&["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"]).expect("free"), net("172.17.0.0/22"));
        assert_eq!(choose(&["172.17.1.0/24", "172.17.4.7/32", "::/0"]).expect("free"), net("172.17.8.0/22"));
        assert_eq!(choose(&["172.16.0.0/12"]).expect("free"), net("192.168.0.0/22"));
        assert!(matches!(choose(&["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"]), Err(Error::NoSubnet)));
    }

    #[test]
    fn ipv6_subnets_come_from_the_installations_own_prefix() {
        let pools = [local_pool([1, 2, 3, 4, 5])];
        let first = choose_subnet(&pools, &[net("::/0"), net("2000::/3")], true).expect("free");
        assert_eq!(first, net("fd01:203:405::/64"));
        assert_eq!(choose_subnet(&pools, &[first], true).expect("free"), net("fd01:203:405:1::/64"));
    }

    #[test]
    fn addresses_are_given_in_order_and_a_freed_one_comes_back_last() {
        let mut pool = pool("10.1.2.0/29");
        assert_eq!(pool.gateway(), Some(ip("10.1.2.1")));
        let mut given = || (0..3).map(|_| pool.allocate().expect("free").to_string()).collect::<Vec<_>>();
        assert_eq!(given(), ["10.1.2.2", "10.1.2.3", "10.1.2.4"]);
        pool.release(ip("10.1.2.2"));
        pool.release(ip("10.1.2.1"));
        let mut given = || (0..3).map(|_| pool.allocate().expect("free").to_string()).collect::<Vec<_>>();
        assert_eq!(given(), ["10.1.2.5", "10.1.2.6", "10.1.2.2"]);
        assert!(matches!(pool.allocate(), Err(Error::NoAddress { .. })));
    }

    #[test]
    fn a_range_and_reserved_addresses_are_respected() {
        let mut pool = Pool::new(Subnet {
            subnet: net("172.28.0.0/16"),
            range: Some(net("172.28.5.0/30")),
            gateway: Some(ip("172.28.5.2")),
            reserved: vec![ip("172.28.5.1")],
            way_out: None,
        });
        assert_eq!(pool.allocate().expect("free"), ip("172.28.5.0"));
        pool.reserve(ip("172.28.9.9")).expect("outside the range, inside the subnet");
        assert_eq!(pool.allocate().expect("free"), ip("172.28.5.3"));
        assert!(pool.allocate().is_err());
        assert_eq!(pool.counts(), (7, 0));
    }

    #[test]
    fn after_a_restart_reserved_addresses_are_not_given_again() {
        let mut pool = pool("10.1.2.0/24");
        pool.reserve(ip("10.1.2.2")).expect("free");
        assert!(pool.reserve(ip("10.1.2.2")).is_err());
        assert!(pool.reserve(ip("10.1.3.9")).is_err(), "of another subnet");
        assert!(pool.reserve(ip("10.1.2.255")).is_err(), "the broadcast address");
        assert_eq!(pool.allocate().expect("free"), ip("10.1.2.3"));
    }

    #[test]
    fn ipv6_has_room_and_small_subnets_say_when_they_have_none() {
        let mut wide = pool("fd00::/64");
        assert_eq!(wide.allocate().expect("free"), ip("fd00::2"));
        assert_eq!(wide.counts(), (3, u64::MAX - 2));
        assert!(pool("10.0.0.0/32").allocate().is_err());
        assert!(pool("255.255.255.252/30").allocate().is_ok());
    }
}
