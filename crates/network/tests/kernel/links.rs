//! Bridges and veths: made, made again, removed, and nothing left behind.

use std::net::Ipv4Addr;
use std::time::Instant;

use teu_network::firewall::Firewall;
use teu_network::{Error, bridge, hairpin, route};

use crate::world::{GATEWAY, Namespace, UPLINK, World, address, bridge_named, bridge_of, endpoint};

#[test]
fn a_bridge_is_set_right_however_it_was_found() {
    let world = World::new();
    world.host.run(|| {
        let mut wanted = bridge_of(&world.settings);
        bridge::ensure(&wanted).expect("the same again");
        let other = Ipv4Addr::new(10, 79, 0, 1).into();
        wanted.addresses = vec![(other, 24)];
        wanted.mtu = 1400;
        bridge::ensure(&wanted).expect("another address");
        let addresses = route::addresses().expect("addresses");
        assert!(addresses.contains(&other) && !addresses.contains(&GATEWAY.into()), "{addresses:?}");
        let setting = |path: &str| std::fs::read_to_string(path).expect("a setting").trim().to_owned();
        assert_eq!(setting("/proc/sys/net/ipv4/conf/teu-test0/route_localnet"), "0");
        assert_eq!(setting("/proc/sys/net/ipv6/conf/teu-test0/disable_ipv6"), "1");
        assert_eq!(setting("/proc/sys/net/ipv6/conf/teu-test0/accept_ra"), "0");
        let networks = route::networks().expect("networks");
        assert!(networks.contains(&"10.79.0.0/24".parse().expect("a network")), "{networks:?}");
        assert_eq!(route::uplink_mtu().expect("routes"), None, "the host of this test has no default route");
    });
}

#[test]
fn an_interface_that_is_no_bridge_is_left_alone() {
    let host = Namespace::new();
    let refused =
        host.run(|| bridge::ensure(&bridge_named("lo", &[(GATEWAY.into(), 24)]))).expect_err("lo is no bridge");
    assert!(matches!(refused, Error::Exists { .. }), "{refused}");
}

#[test]
fn a_container_finds_its_interface_configured() {
    let world = World::new();
    let container = Namespace::new();
    let place = endpoint("teu-test0", "vweb", address(2), GATEWAY);
    world.host.run(|| teu_network::attach(container.fd(), &place)).expect("a container");
    assert!(container.interfaces().contains(&"eth0".to_owned()));
    container.run(|| {
        let addresses = route::addresses().expect("addresses");
        assert!(addresses.contains(&address(2).into()), "{addresses:?}");
        assert_eq!(route::uplink_mtu().expect("routes"), Some(1500), "it has a default route");
        let inet6 = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
        assert!(!inet6.contains("eth0"), "{inet6}");
    });
    let inet6 = world.host.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6")).unwrap_or_default();
    assert!(!inet6.contains("vweb"), "{inet6}");
}

#[test]
fn a_failed_attach_leaves_nothing() {
    let world = World::new();
    let container = Namespace::new();
    let before = (world.host.interfaces(), container.interfaces());
    let nowhere = endpoint("no-bridge", "vweb", address(2), GATEWAY);
    let refused = world.host.run(|| teu_network::attach(container.fd(), &nowhere)).expect_err("there is no bridge");
    assert!(matches!(&refused, Error::NotFound { what } if what.contains("no-bridge")), "{refused}");
    let unreachable = endpoint("teu-test0", "vweb", address(2), Ipv4Addr::new(10, 99, 0, 1));
    let refused = world.host.run(|| teu_network::attach(container.fd(), &unreachable)).expect_err("no route to it");
    assert!(refused.to_string().contains("default route of eth0"), "{refused}");
    assert_eq!((world.host.interfaces(), container.interfaces()), before);
}

#[test]
fn a_name_left_by_a_dead_container_is_taken_over() {
    let world = World::new();
    let (first, second) = (Namespace::new(), Namespace::new());
    let place = endpoint("teu-test0", "vweb", address(2), GATEWAY);
    world.host.run(|| {
        teu_network::attach(first.fd(), &place).expect("attach");
        teu_network::attach(second.fd(), &place).expect("attach again");
        assert!(!first.interfaces().contains(&"eth0".to_owned()), "the stale pair is gone");
        teu_network::detach(second.fd(), &place).expect("detach");
        teu_network::detach(second.fd(), &place).expect("detach again");
        assert!(!second.interfaces().contains(&"eth0".to_owned()));
        let foreign = endpoint("teu-test0", "up0", address(2), GATEWAY);
        let refused = teu_network::attach(first.fd(), &foreign);
        assert!(matches!(refused, Err(Error::Exists { .. })), "an interface of another kind stays: {refused:?}");
        assert!(route::addresses().expect("addresses").contains(&UPLINK.into()));
    });
}

#[test]
fn removal_leaves_nothing() {
    let world = World::new();
    let container = world.container("web", 2);
    let place = endpoint("teu-test0", "vweb", address(2), GATEWAY);
    world.host.run(|| {
        teu_network::detach(container.fd(), &place).expect("detach");
        hairpin::remove("teu-test0").expect("remove");
        bridge::remove("teu-test0").expect("remove");
        bridge::remove("teu-test0").expect("remove again");
        Firewall::default().destroy("teu-test").expect("destroy");
    });
    let left = world.host.interfaces();
    assert!(!left.iter().any(|name| name.contains("teu-test") || name.contains("vweb")), "{left:?}");
}

/// Prints how long plugging in takes; the target is a millisecond.
#[test]
fn attaching_is_measured() {
    let world = World::new();
    let namespaces: Vec<_> = (0..20).map(|_| Namespace::new()).collect();
    let mut times: Vec<_> = world.host.run(|| {
        let attach = |(at, namespace): (usize, &Namespace)| {
            let last = u8::try_from(at + 2).expect("few");
            let place = endpoint("teu-test0", &format!("v{at}"), address(last), GATEWAY);
            let start = Instant::now();
            teu_network::attach(namespace.fd(), &place).expect("attach");
            start.elapsed()
        };
        namespaces.iter().enumerate().map(attach).collect()
    });
    times.sort_unstable();
    println!("attach: median {:?}, fastest {:?}, slowest {:?}", times[10], times[0], times[19]);
}
