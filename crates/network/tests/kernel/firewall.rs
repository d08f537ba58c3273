//! Published ports: reached from where they should be, and from nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::Command;

use teu_network::firewall::{self, Firewall, Network, Settings, Source, Watch};
use teu_network::{Error, Protocol, bridge, hairpin};

use crate::world::{
    GATEWAY, Namespace, OUTSIDE, OUTSIDE_6, UPLINK, UPLINK_6, World, address, address_6, ask_udp, bridge_named,
    endpoint, network, port,
};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ANY_6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn server(from: &Namespace, protocol: Protocol, address: impl Into<IpAddr>, port: u16) -> Option<String> {
    from.ask(protocol, address, port).map(|answer| answer.server)
}

#[test]
fn a_port_published_everywhere_is_reached_from_everywhere() {
    reached_from_everywhere(&World::new());
}

#[test]
fn it_makes_no_difference_whether_bridged_packets_pass_the_ip_firewall() {
    for setting in ["0", "1"] {
        let world = World::new();
        // Absent where the kernel cannot do it (br_netfilter is not loaded), and then there is no difference to test.
        let path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        if world.host.run(|| std::fs::write(path, setting)).is_ok() {
            reached_from_everywhere(&world);
        }
    }
}

fn reached_from_everywhere(world: &World) {
    let web = world.container("web", 2);
    let other = world.container("other", 3);
    for protocol in BOTH {
        assert_eq!(server(&world.outside, protocol, UPLINK, 8080), None, "not published yet");
        world.publish(&[port(protocol, ANY, 8080, 2), port(protocol, ANY_6, 8080, 2)]);
        for (who, from, to) in [
            ("another machine", &world.outside, IpAddr::V4(UPLINK)),
            ("another machine by IPv6", &world.outside, UPLINK_6.into()),
            ("another container by the host's address", &other, UPLINK.into()),
            ("another container by the host's IPv6 address", &other, UPLINK_6.into()),
            ("another container by the gateway's address", &other, GATEWAY.into()),
            ("the container itself by the host's address", &web, UPLINK.into()),
            ("the container itself by the gateway's address", &web, GATEWAY.into()),
        ] {
            assert_eq!(server(from, protocol, to, 8080).as_deref(), Some("web"), "{protocol} from {who}");
        }
        world.withdraw(&[port(protocol, ANY, 8080, 2), port(protocol, ANY_6, 8080, 2)]);
        assert_eq!(server(&world.outside, protocol, UPLINK, 8080), None, "withdrawn");
        assert_eq!(server(&world.outside, protocol, UPLINK_6, 8080), None, "withdrawn");
    }
}

#[test]
fn a_firewall_that_asks_for_the_way_back_finds_it() {
    let world = World::new();
    // As firewalld has it for IPv6, with its priorities of nftables' and iptables' times; here for both families.
    for priority in ["mangle + 10", "filter + 10"] {
        let chain = priority.split(' ').next().expect("a word");
        nft(
            &world,
            &format!(
                "table inet strict {{ chain {chain} {{ type filter hook prerouting priority {priority}; icmpv6 type \
                 {{ nd-router-advert, nd-neighbor-solicit }} accept; fib saddr . mark . iif oif missing drop; }}; }}"
            ),
        );
    }
    reached_from_everywhere(&world);
    let rules = |family| world.host.run(|| Command::new("ip").args([family, "rule"]).output()).expect("ip").stdout;
    for family in ["-4", "-6"] {
        assert!(String::from_utf8_lossy(&rules(family)).contains("fwmark"));
    }
    world.host.run(|| hairpin::remove("teu-test0")).expect("remove");
    for family in ["-4", "-6"] {
        assert!(!String::from_utf8_lossy(&rules(family)).contains("fwmark"));
    }
}

/// Runs nft on the host.
fn nft(world: &World, rule: &str) {
    let output = world.host.run(|| Command::new("nft").arg(rule).output()).expect("nft: apt-get install nftables");
    assert!(output.status.success(), "{rule}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_port_that_the_hosts_firewall_denies_is_denied() {
    let world = World::new();
    let _web = world.container("web", 2);
    let other = world.container("other", 3);
    for protocol in BOTH {
        world.publish(&[port(protocol, ANY, 8080, 2), port(protocol, ANY_6, 8080, 2)]);
    }
    nft(&world, "add table inet filter");
    nft(&world, "add chain inet filter input { type filter hook input priority 10; policy accept; }");
    nft(&world, "add rule inet filter input tcp dport 8080 drop");
    nft(&world, "add rule inet filter input udp dport 8080 ip saddr 198.51.100.2 reject");
    for to in [IpAddr::V4(UPLINK), UPLINK_6.into()] {
        assert_eq!(server(&world.outside, Protocol::Tcp, to, 8080), None, "tcp {to}");
    }
    assert_eq!(server(&other, Protocol::Tcp, UPLINK, 8080), None, "from a container");
    assert_eq!(server(&world.outside, Protocol::Udp, UPLINK, 8080), None, "udp");
    assert_eq!(server(&other, Protocol::Udp, UPLINK, 8080).as_deref(), Some("web"), "another source is not denied");
    nft(&world, "flush chain inet filter input");
    for to in [IpAddr::V4(UPLINK), UPLINK_6.into()] {
        assert_eq!(server(&world.outside, Protocol::Tcp, to, 8080).as_deref(), Some("web"), "tcp {to}");
    }
    nft(&world, "add chain inet filter input { type filter hook input priority 10; policy drop; }");
    nft(&world, "add rule inet filter input icmpv6 type nd-neighbor-solicit accept");
    assert_eq!(server(&world.outside, Protocol::Tcp, UPLINK, 8080), None, "a policy denies as well");
    nft(&world, "add rule inet filter input tcp dport 8080 accept");
    assert_eq!(server(&world.outside, Protocol::Tcp, UPLINK, 8080).as_deref(), Some("web"), "and an exception opens");
}

#[test]
fn networks_are_kept_apart_and_an_internal_one_leads_nowhere() {
    let mut world = World::new();
    let web = world.container("web", 2);
    let (near, far) = (Ipv4Addr::new(10, 78, 0, 1), Ipv4Addr::new(10, 78, 0, 2));
    let inner = Namespace::new();
    let mut second = network("teu-test1", &["10.78.0.0/24"]);
    second.internal = true;
    world.settings.networks.push(second.clone());
    let ports = [port(Protocol::Tcp, ANY, 8080, 2)];
    world.host.run(|| {
        Firewall::default().apply(&firewall::ruleset(&world.settings, &ports)).expect("apply");
        bridge::ensure(&bridge_named("teu-test1", &[(near.into(), 24)])).expect("a bridge");
        teu_network::attach(inner.fd(), &endpoint("teu-test1", "vinner", far, near)).expect("attach");
    });
    inner.serve("inner", far, 80);
    world.outside.serve("outside", OUTSIDE, 80);
    world.host.serve("host", near, 7000);
    assert_eq!(server(&world.host, Protocol::Tcp, far, 80).as_deref(), Some("inner"), "the host is on the network");
    assert_eq!(server(&inner, Protocol::Tcp, near, 7000).as_deref(), Some("host"));
    assert_eq!(server(&web, Protocol::Tcp, far, 80), None, "from the other network");
    assert_eq!(server(&inner, Protocol::Tcp, address(2), 80), None, "to the other network");
    assert_eq!(server(&inner, Protocol::Tcp, OUTSIDE, 80), None, "out");
    assert_eq!(server(&inner, Protocol::Tcp, UPLINK, 8080), None, "to what the other network publishes");
    world.settings.networks[1].internal = false;
    world.host.run(|| Firewall::default().apply(&firewall::ruleset(&world.settings, &ports))).expect("apply");
    assert_eq!(server(&inner, Protocol::Tcp, OUTSIDE, 80).as_deref(), Some("outside"));
    assert_eq!(server(&inner, Protocol::Tcp, UPLINK, 8080).as_deref(), Some("web"));
    assert_eq!(server(&web, Protocol::Tcp, far, 80), None, "still apart");
    assert_eq!(server(&inner, Protocol::Tcp, address(2), 80), None, "still apart");
}

#[test]
fn what_is_not_published_is_reached_by_host_and_neighbours_only() {
    let world = World::new();
    let _web = world.container("web", 2);
    let other = world.container("other", 3);
    world.publish(&[port(Protocol::Tcp, ANY, 8080, 2), port(Protocol::Udp, LOCALHOST, 8080, 2)]);
    for protocol in BOTH {
        assert_eq!(server(&world.host, protocol, address(2), 80).as_deref(), Some("web"));
        assert_eq!(server(&other, protocol, address(2), 80).as_deref(), Some("web"));
        // The machine outside has a route to the subnet by way of the host.
        assert_eq!(server(&world.outside, protocol, address(2), 80), None, "{protocol}");
        assert_eq!(server(&world.outside, protocol, address_6(2), 80), None, "{protocol}");
        assert_eq!(server(&world.outside, protocol, address(3), 80), None, "{protocol}");
    }
}

#[test]
fn a_port_published_on_one_address_is_reached_by_that_address_only() {
    let world = World::new();
    let _web = world.container("web", 2);
    let other = world.container("other", 3);
    for protocol in BOTH {
        world.publish(&[port(protocol, LOCALHOST, 8080, 2), port(protocol, UPLINK, 9090, 2)]);
        for (from, to) in [(&world.outside, UPLINK), (&other, GATEWAY), (&other, UPLINK)] {
            assert_eq!(server(from, protocol, to, 8080), None, "{protocol} to {to}");
        }
        assert_eq!(server(&world.outside, protocol, UPLINK, 9090).as_deref(), Some("web"));
        assert_eq!(server(&other, protocol, UPLINK, 9090).as_deref(), Some("web"));
        assert_eq!(server(&other, protocol, GATEWAY, 9090), None);
    }
}

#[test]
fn source_addresses_are_kept_where_answers_find_back_without_masquerade() {
    let world = World::new();
    let web = world.container("web", 2);
    world.outside.serve("outside", OUTSIDE, 80);
    world.host.serve("host", ANY, 7000);
    world.publish(&[port(Protocol::Tcp, ANY, 8080, 2)]);
    world.publish(&[port(Protocol::Tcp, ANY_6, 8080, 2)]);
    let seen_6 = world.outside.ask(Protocol::Tcp, UPLINK_6, 8080).map(|answer| answer.seen_as);
    assert_eq!(seen_6, Some(IpAddr::V6(OUTSIDE_6)), "published, from outside, by IPv6");
    let seen = |from: &Namespace, to: Ipv4Addr, port| from.ask(Protocol::Tcp, to, port).map(|answer| answer.seen_as);
    assert_eq!(seen(&world.outside, UPLINK, 8080), Some(IpAddr::V4(OUTSIDE)), "published, from outside");
    assert_eq!(seen(&web, OUTSIDE, 80), Some(IpAddr::V4(UPLINK)), "a container goes out in the host's name");
    assert_eq!(seen(&web, UPLINK, 7000), Some(IpAddr::V4(address(2))), "a container asks its host");
}

#[test]
fn a_udp_sender_that_never_pauses_reaches_whoever_has_the_port_now() {
    let world = World::new();
    let (_one, _two) = (world.container("one", 2), world.container("two", 3));
    let other = world.container("other", 4);
    for from in [&world.outside, &other] {
        let socket = from.run(|| UdpSocket::bind((ANY, 0))).expect("bind");
        let ask = || from.run(|| ask_udp(&socket, UPLINK, 5353)).map(|answer| answer.server);
        assert_eq!(ask(), None, "before it is published");
        world.publish(&[port(Protocol::Udp, ANY, 5353, 2)]);
        assert_eq!(ask().as_deref(), Some("one"));
        world.withdraw(&[port(Protocol::Udp, ANY, 5353, 2)]);
        world.publish(&[port(Protocol::Udp, ANY, 5353, 3)]);
        assert_eq!(ask().as_deref(), Some("two"));
        world.withdraw(&[port(Protocol::Udp, ANY, 5353, 3)]);
    }
}

#[test]
fn the_table_is_remade_at_any_time_and_connections_survive() {
    let world = World::new();
    let _web = world.container("web", 2);
    let ports = [port(Protocol::Tcp, ANY, 8080, 2), port(Protocol::Udp, UPLINK, 8080, 2)];
    let socket = world.outside.run(|| UdpSocket::bind((ANY, 0))).expect("bind");
    for _ in 0..3 {
        world.host.run(|| Firewall::default().apply(&firewall::ruleset(&world.settings, &ports))).expect("apply");
        assert_eq!(server(&world.outside, Protocol::Tcp, UPLINK, 8080).as_deref(), Some("web"));
        assert!(world.outside.run(|| ask_udp(&socket, UPLINK, 8080)).is_some());
    }
    world.host.run(|| Firewall::default().apply(&firewall::ruleset(&world.settings, &[]))).expect("apply");
    assert_eq!(server(&world.outside, Protocol::Tcp, UPLINK, 8080), None, "the new table knows no port");
}

#[test]
fn a_table_beside_ours_is_not_touched() {
    let world = World::new();
    let _web = world.container("web", 2);
    let mut theirs = Settings {
        table: "theirs".into(),
        networks: vec![network("theirs0", &["10.78.0.0/24"])],
        ..Settings::default()
    };
    let (gateway, address) = (Ipv4Addr::new(10, 78, 0, 1), Ipv4Addr::new(10, 78, 0, 2));
    let foreign = Namespace::new();
    let published = teu_network::Publish {
        protocol: Protocol::Tcp,
        host_ip: ANY.into(),
        host_port: 9000,
        container_ip: address.into(),
        container_port: 80,
    };
    world.host.run(|| {
        theirs.hairpin = Some(hairpin::ensure("theirs0").expect("their hairpin"));
        Firewall::default().apply(&firewall::ruleset(&theirs, &[published])).expect("their table");
        bridge::ensure(&bridge_named("theirs0", &[(gateway.into(), 24)])).expect("their bridge");
        teu_network::attach(foreign.fd(), &endpoint("theirs0", "vtheirs", address, gateway)).expect("attach");
    });
    foreign.serve("theirs", address, 80);
    world.publish(&[port(Protocol::Tcp, ANY, 8080, 2)]);
    let check = |ours: Option<&str>| {
        assert_eq!(server(&world.outside, Protocol::Tcp, UPLINK, 9000).as_deref(), Some("theirs"));
        assert_eq!(server(&world.outside, Protocol::Tcp, address, 80), None, "theirs is still guarded");
        assert_eq!(server(&foreign, Protocol::Tcp, UPLINK, 8080).as_deref(), ours);
    };
    check(Some("web"));
    let ours = firewall::ruleset(&world.settings, &[port(Protocol::Tcp, ANY, 8080, 2)]);
    world.host.run(|| Firewall::default().apply(&ours)).expect("apply");
    check(Some("web"));
    world.host.run(|| Firewall::default().destroy(&world.settings.table)).expect("destroy");
    check(None);
}

#[test]
fn ports_are_published_all_or_none() {
    let world = World::new();
    let _web = world.container("web", 2);
    let (taken, free) = (port(Protocol::Tcp, ANY, 8080, 2), port(Protocol::Tcp, ANY, 8081, 2));
    let elsewhere = port(Protocol::Tcp, ANY, 8080, 3);
    world.publish(std::slice::from_ref(&taken));
    world.publish(std::slice::from_ref(&taken));
    let refused = world.host.run(|| Firewall::default().add(&world.settings.table, &[free.clone(), elsewhere]));
    assert_eq!(
        refused.expect_err("8080 leads to another").to_string(),
        "published port 0.0.0.0:8080/tcp already exists"
    );
    assert_eq!(server(&world.outside, Protocol::Tcp, UPLINK, 8081), None);
    assert_eq!(server(&world.outside, Protocol::Tcp, UPLINK, 8080).as_deref(), Some("web"));
    world.withdraw(&[free, taken.clone(), taken]);
    assert_eq!(server(&world.outside, Protocol::Tcp, UPLINK, 8080), None);
}

#[test]
fn a_table_that_was_flushed_by_somebody_is_told_apart() {
    let world = World::new();
    let table = &world.settings.table;
    world.host.run(|| {
        Firewall::default().destroy(table).expect("destroy");
        Firewall::default().destroy(table).expect("destroy again");
        Firewall::default().remove(table, &[port(Protocol::Tcp, ANY, 8080, 2)]).expect("nothing to remove");
        let refused = Firewall::default().add(table, &[port(Protocol::Tcp, ANY, 8080, 2)]);
        assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
    });
}

#[test]
fn a_change_leaves_what_a_replacement_would_and_the_published_ports() {
    let world = World::new();
    let table = &world.settings.table;
    let listed = || {
        let list = |family| {
            let output = Command::new("nft").args(["list", "table", family, table]).output().expect("nft");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        (list("ip"), list("ip6"))
    };
    let mut more = world.settings.clone();
    more.networks.push(Network { internal: true, ..network("teu-test1", &["10.78.0.0/24", "fd00:78::/64"]) });
    more.networks.push(Network { trusted: vec!["up0".into()], ..network("teu-test2", &["10.79.0.0/24"]) });
    more.guarded = vec![(Protocol::Tcp, 2375)];
    let mut other = more.clone();
    other.networks.remove(0);
    other.networks[1].ipv4.source = Source::Address(UPLINK.into());
    other.hairpin = None;
    let states = [world.settings.clone(), more, other, Settings { table: table.clone(), ..Settings::default() }];
    let ports = [port(Protocol::Tcp, ANY, 8080, 2)];
    world.host.run(|| {
        let firewall = Firewall::default();
        for (before, now) in states.iter().zip(states.iter().cycle().skip(1)) {
            let [plain_before, plain_now] = [before, now].map(|state| firewall::ruleset(state, &[]));
            firewall.apply(&firewall::ruleset(now, &ports)).expect("apply");
            let wanted = listed();
            firewall.apply(&firewall::ruleset(before, &ports)).expect("apply");
            assert!(firewall.change(&plain_before, &plain_now).expect("change"));
            assert_eq!(listed(), wanted);
            assert!(firewall.change(&plain_now, &plain_now).expect("change nothing"));
            // Without IPv6 they are not the same tables.
            let mut less = plain_now.clone();
            less.tables.truncate(1);
            assert!(!firewall.change(&plain_now, &less).expect("look"));
            assert_eq!(listed(), wanted, "nothing has changed");
        }
        // Against what somebody else has thrown away a change is refused.
        firewall.destroy(table).expect("destroy");
        let [before, now] = [&states[0], &states[1]].map(|state| firewall::ruleset(state, &[]));
        firewall.change(&before, &now).expect_err("nothing is there to change");
    });
}

#[test]
fn a_watch_tells_of_what_others_change() {
    let world = World::new();
    world.host.run(|| {
        let (ours, theirs) = (Firewall::default(), Firewall::default());
        let rules = firewall::ruleset(&world.settings, &[]);
        ours.apply(&rules).expect("apply");
        let (watch, table) = (Watch::open().expect("watch"), &world.settings.table);
        ours.apply(&rules).expect("apply again");
        assert!(!watch.take(&ours, table).expect("look"), "our own");
        let others = Settings { table: "teu-others".into(), ..Settings::default() };
        theirs.apply(&firewall::ruleset(&others, &[])).expect("apply");
        assert!(!watch.take(&ours, table).expect("look"), "another table");
        theirs.add(table, &[port(Protocol::Tcp, ANY, 8080, 2)]).expect("add");
        assert!(watch.take(&ours, table).expect("look"), "an element of somebody else's");
        theirs.destroy(table).expect("destroy");
        assert!(watch.take(&ours, table).expect("look"), "the end of all");
        assert!(!watch.take(&ours, table).expect("look"), "told once");
    });
}

#[test]
fn two_thousand_ports_fit_one_transaction() {
    let world = World::new();
    let _web = world.container("web", 2);
    let ports: Vec<_> = (20000..22000)
        .flat_map(|number| [port(Protocol::Tcp, ANY, number, 2), port(Protocol::Udp, UPLINK, number, 2)])
        .collect();
    world.host.run(|| Firewall::default().apply(&firewall::ruleset(&world.settings, &ports))).expect("apply");
    for number in [20000, 20511, 20512, 21999] {
        assert_eq!(server(&world.outside, Protocol::Tcp, UPLINK, number).as_deref(), Some("web"));
        assert_eq!(server(&world.outside, Protocol::Udp, UPLINK, number).as_deref(), Some("web"));
    }
}
