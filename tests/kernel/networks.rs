//! Networks of the user's own: who is on which, who finds whom by what name, and nobody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use super::support::{Daemon, address_of_host, ask_tcp, ask_udp, eventually, free_port, probe, run};

/// Starts a container that sleeps, with those flags.
#[track_caller]
fn sleeper(daemon: &Daemon, name: &str, flags: &[&str]) {
    let line = ["run", "-d", "--name", name].into_iter().chain(flags.iter().copied());
    daemon.ok(line.chain(["busybox", "sleep", "1000"]));
}

/// Starts one that answers on port 7.
#[track_caller]
fn echo(daemon: &Daemon, name: &str, flags: &[&str]) {
    let bind = format!("{}:/probe:ro", probe().display());
    let line = ["run", "-d", "--name", name, "-v", &bind].into_iter().chain(flags.iter().copied());
    daemon.ok(line.chain(["busybox", "/probe", "echo", "7"]));
    daemon.spawn(["logs", "-f", name]).until("ready");
}

/// What a container resolves a name to.
#[track_caller]
fn resolve(daemon: &Daemon, container: &str, name: &str) -> String {
    let ran = daemon.teu(["exec", container, "nslookup", name]);
    // The first address is the server's.
    ran.out.lines().skip_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn address(daemon: &Daemon, container: &str, network: &str, field: &str) -> String {
    daemon.inspect(container, &format!("{{{{(index .NetworkSettings.Networks \"{network}\").{field}}}}}"))
}

#[test]
fn containers_find_each_other_by_name_alias_id_and_address() {
    let mut daemon = Daemon::start();
    daemon.ok(["network", "create", "inner"]);
    sleeper(&daemon, "web", &["--network", "name=inner,alias=www"]);
    sleeper(&daemon, "web2", &["--network", "inner", "--network-alias", "www"]);
    sleeper(&daemon, "asker", &["--network", "inner"]);
    let (one, two) = (address(&daemon, "web", "inner", "IPAddress"), address(&daemon, "web2", "inner", "IPAddress"));
    let id = daemon.inspect("web", "{{.Id}}");
    let check = |daemon: &Daemon| {
        for name in ["web", "WEB", "web.inner", &id[..12]] {
            let told = resolve(daemon, "asker", name);
            assert!(told.contains(&one) && !told.contains(&two), "{name}: {told}");
        }
        let both = resolve(daemon, "asker", "www");
        assert!(both.contains(&one) && both.contains(&two), "{both}");
        let reverse = resolve(daemon, "asker", &one);
        assert!(reverse.contains("web.inner"), "{reverse}");
        let host = resolve(daemon, "asker", "host.docker.internal");
        assert!(host.contains(&address(daemon, "asker", "inner", "Gateway")), "{host}");
    };
    check(&daemon);
    let six = address(&daemon, "web", "inner", "GlobalIPv6Address");
    if !six.is_empty() {
        assert!(resolve(&daemon, "asker", "web").contains(&six));
    }
    daemon.ok(["rename", "web2", "other"]);
    assert!(resolve(&daemon, "asker", "other").contains(&two));
    daemon.ok(["rename", "other", "web2"]);
    // Names are answered while no daemon runs, and by its successor's word afterwards.
    daemon.kill9();
    daemon.restart();
    check(&daemon);
    daemon.ok(["rm", "-f", "web2"]);
    assert!(!resolve(&daemon, "asker", "www").contains(&two));
}

#[test]
fn host_gateway_is_the_host_in_every_family_that_the_container_has() {
    let daemon = Daemon::start();
    let of = |flags: &[&str]| {
        let line = ["run", "--rm", "--add-host", "hg:host-gateway"].into_iter().chain(flags.iter().copied());
        daemon.ok(line.chain(["busybox", "grep", "hg$", "/etc/hosts"]))
    };
    let gateways =
        daemon.ok(["network", "inspect", "bridge", "--format", "{{range .IPAM.Config}}{{.Gateway}}\thg\n{{end}}"]);
    let gateways: Vec<_> = gateways.lines().filter(|line| !line.is_empty()).collect();
    let four = gateways.iter().find(|line| line.contains('.')).expect("IPv4");
    assert_eq!(of(&[]), gateways.join("\n"));
    daemon.ok(["network", "create", "--ipv6=false", "four"]);
    daemon.ok(["network", "create", "both"]);
    assert_eq!(of(&["--network", "four"]), **four);
    assert_eq!(of(&["--network", "both"]), gateways.join("\n"));
    assert_eq!(of(&["--network", "none"]), **four);
    assert_eq!(of(&["--sysctl", "net.ipv6.conf.all.disable_ipv6=1"]), **four);
    if let Some(six) = gateways.iter().find(|line| line.contains(':')) {
        let address = six.split('\t').next().expect("an address");
        daemon.ok(["run", "--rm", "busybox", "ping", "-c", "1", "-W", "5", address]);
    }
}

#[test]
fn names_are_answered_while_the_daemon_is_stopped() {
    let mut daemon = Daemon::start();
    daemon.ok(["network", "create", "inner"]);
    sleeper(&daemon, "web", &["--network", "inner"]);
    let script = "while ! test -e /go; do sleep 0.1; done; nslookup web >/told 2>&1; echo $? >>/told; mv /told /done; sleep 1000";
    daemon.ok(["run", "-d", "--name", "asker", "--network", "inner", "busybox", "sh", "-c", script]);
    let pid = daemon.inspect("asker", "{{.State.Pid}}");
    let one = address(&daemon, "web", "inner", "IPAddress");
    daemon.kill9();
    let inside = format!("/proc/{pid}/root");
    std::fs::write(format!("{inside}/go"), "").expect("write");
    let told = eventually("it is told", || std::fs::read_to_string(format!("{inside}/done")).ok());
    assert!(told.contains(&one) && told.ends_with("0\n"), "{told}");
    daemon.restart();
}

#[test]
fn a_name_server_of_the_containers_own_has_port_53() {
    let daemon = Daemon::start();
    daemon.ok(["network", "create", "inner"]);
    sleeper(&daemon, "web", &["--network", "inner"]);
    let bind = format!("{}:/probe:ro", probe().display());
    daemon.ok(["run", "-d", "--name", "dns", "--network", "inner", "-v", &bind, "busybox", "/probe", "echo", "53"]);
    daemon.spawn(["logs", "-f", "dns"]).until("ready");
    let one = address(&daemon, "web", "inner", "IPAddress");
    assert!(resolve(&daemon, "dns", "web").contains(&one), "and it still resolves by ours");
    let own = daemon.ok(["exec", "dns", "/probe", "ask", "udp", "127.0.0.1", "53"]);
    assert!(own.ends_with(" hello"), "{own}");
}

#[test]
fn networks_are_kept_apart_until_a_container_is_on_both() {
    let daemon = Daemon::start();
    for network in ["one", "two"] {
        daemon.ok(["network", "create", network]);
    }
    echo(&daemon, "echo", &["--network", "one"]);
    let bind = format!("{}:/probe:ro", probe().display());
    sleeper(&daemon, "asker", &["--network", "two", "-v", &bind]);
    let there = address(&daemon, "echo", "one", "IPAddress");
    let ask =
        |seconds: &str| daemon.teu(["exec", "asker", "timeout", seconds, "/probe", "ask", "tcp", &there, "7"]).out;
    assert!(!ask("1").contains("hello"), "the other network is out of reach");
    assert!(!resolve(&daemon, "asker", "echo").contains(&there), "and its names are not told");
    daemon.ok(["network", "connect", "--alias", "second", "one", "asker"]);
    assert!(ask("5").contains("hello"));
    assert!(resolve(&daemon, "asker", "echo").contains(&there));
    assert_eq!(daemon.ok(["exec", "asker", "ls", "/sys/class/net"]), "eth0\neth1\nlo");
    daemon.teu(["network", "connect", "one", "asker"]).refused(1, &["already exists in network one"]);
    daemon.teu(["network", "rm", "one"]).refused(1, &["network one has active endpoints"]);
    daemon.ok(["network", "disconnect", "one", "asker"]);
    assert!(!ask("1").contains("hello"), "it left");
    daemon.teu(["network", "disconnect", "one", "asker"]).refused(1, &["is not connected to network one"]);
    daemon.ok(["rm", "-f", "echo", "asker"]);
    daemon.ok(["network", "rm", "one", "two"]);
}

#[test]
fn addresses_of_the_users_choice_are_given() {
    let daemon = Daemon::start();
    let subnets = ["--subnet", "10.213.0.0/24", "--ip-range", "10.213.0.128/25", "--subnet", "fd00:213::/64"];
    daemon.ok(["network", "create"].into_iter().chain(subnets).chain(["--gateway", "10.213.0.9", "mine"]));
    let asked = "name=mine,ip=10.213.0.77,ip6=fd00:213::77,mac-address=02:42:aa:bb:cc:dd";
    sleeper(&daemon, "fixed", &["--network", asked]);
    let shown = daemon.ok(["exec", "fixed", "ip", "addr", "show", "eth0"]);
    for part in ["10.213.0.77/24", "fd00:213::77/64", "02:42:aa:bb:cc:dd"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(daemon.ok(["exec", "fixed", "ip", "route"]).contains("default via 10.213.0.9"));
    let taken = daemon.teu(["run", "--rm", "--network", "name=mine,ip=10.213.0.77", "busybox", "true"]);
    taken.refused(125, &["Address already in use"]);
    let outside = daemon.teu(["run", "--rm", "--network", "name=mine,ip=10.9.9.9", "busybox", "true"]);
    assert!(outside.ends_with(125).err.contains("no configured subnet contains IP address 10.9.9.9"));
    let next = daemon.ok(["run", "--rm", "--network", "mine", "busybox", "ip", "-4", "addr", "show", "eth0"]);
    assert!(next.contains("10.213.0.128/24"), "from the range: {next}");
}

#[test]
fn the_highest_priority_leads_out() {
    let daemon = Daemon::start();
    for network in ["first", "second"] {
        daemon.ok(["network", "create", network]);
    }
    daemon.ok(["network", "create", "--internal", "inside"]);
    sleeper(&daemon, "box", &["--network", "first", "--network", "name=second,gw-priority=1", "--network", "inside"]);
    let way = || daemon.ok(["exec", "box", "ip", "route"]).lines().next().unwrap_or_default().to_owned();
    let gateway = |network| format!("default via {} ", address(&daemon, "box", network, "Gateway"));
    assert!(way().starts_with(&gateway("second")), "{}", way());
    let first = gateway("first");
    daemon.ok(["network", "disconnect", "second", "box"]);
    assert!(way().starts_with(&first), "{}", way());
    daemon.ok(["network", "disconnect", "first", "box"]);
    assert!(!way().starts_with("default"), "an internal network leads nowhere: {}", way());
}

#[test]
fn an_internal_network_tells_nothing_and_lets_nothing_out() {
    let daemon = Daemon::start();
    daemon.ok(["network", "create", "--internal", "inside"]);
    sleeper(&daemon, "web", &["--network", "inside"]);
    sleeper(&daemon, "box", &["--network", "inside"]);
    assert!(resolve(&daemon, "box", "web").contains(&address(&daemon, "web", "inside", "IPAddress")));
    let told = daemon.teu(["exec", "box", "nslookup", "example.org"]);
    assert!(told.code != 0 && format!("{}{}", told.out, told.err).contains("REFUSED"), "{told:?}");
    if let Some(host) = address_of_host() {
        let ran = daemon.teu(["exec", "box", "ping", "-c", "1", "-W", "1", &host.to_string()]);
        assert_ne!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn a_network_without_ipv6_has_none_at_all() {
    let daemon = Daemon::start();
    daemon.ok(["network", "create", "--ipv6=false", "four"]);
    let told = daemon.ok(["run", "--rm", "--network", "four", "busybox", "ip", "addr"]);
    assert!(!told.contains("fe80") && !told.contains("fd"), "{told}");
    let bridge = format!("br-{}", &daemon.ok(["network", "inspect", "-f", "{{.Id}}", "four"])[..12]);
    let ours = run(Command::new("ip").args(["-6", "addr", "show", "dev", &bridge])).ok();
    assert!(!ours.contains("fe80"), "{ours}");
}

#[test]
fn a_container_that_turns_ipv6_off_has_no_address_of_it() {
    let daemon = Daemon::start();
    daemon.ok(["network", "create", "both"]);
    sleeper(&daemon, "four", &["--network", "both", "--sysctl", "net.ipv6.conf.all.disable_ipv6=1"]);
    assert_eq!(address(&daemon, "four", "both", "GlobalIPv6Address"), "");
    let other = |words: &[&str]| daemon.teu(["run", "--rm", "--network", "both", "busybox"].iter().chain(words));
    other(&["ping", "-4", "-c", "1", "-W", "5", "four"]).ok();
    other(&["ping", "-6", "-c", "1", "-W", "5", "four"]).refused(1, &["bad address"]);
}

#[test]
fn a_container_shares_the_network_of_another() {
    let daemon = Daemon::start();
    sleeper(&daemon, "owner", &[]);
    let own = address(&daemon, "owner", "bridge", "IPAddress");
    let shared =
        daemon.ok(["run", "--rm", "--network", "container:owner", "busybox", "ip", "-4", "addr", "show", "eth0"]);
    assert!(shared.contains(&own), "{shared}");
    daemon.ok(["stop", "-t", "0", "owner"]);
    let refused = daemon.teu(["run", "--rm", "--network", "container:owner", "busybox", "true"]);
    refused.refused(125, &["cannot join network namespace of a non running container"]);
}

/// A table of the machine's firewall that denies one port, gone with the test.
struct Denied(String);

impl Denied {
    fn new(port: u16) -> Self {
        let table = format!("teu-test-{port}");
        let script = format!(
            "table inet {table} {{ chain input {{ type filter hook input priority 0; tcp dport {port} drop; udp dport \
             {port} drop; }}; }}"
        );
        run(Command::new("nft").arg(script)).ok();
        Self(table)
    }
}

impl Drop for Denied {
    fn drop(&mut self) {
        let _ = Command::new("nft").args(["delete", "table", "inet", &self.0]).status();
    }
}

#[test]
fn a_port_denied_by_the_hosts_firewall_is_denied_to_everybody() {
    let daemon = Daemon::start();
    let port = free_port();
    let (tcp, udp) = (format!("{port}:7"), format!("{port}:7/udp"));
    echo(&daemon, "echo", &["-p", &tcp, "-p", &udp]);
    let bind = format!("{}:/probe:ro", probe().display());
    sleeper(&daemon, "asker", &["-v", &bind]);
    let gateway = address(&daemon, "asker", "bridge", "Gateway");
    let number = port.to_string();
    let from_inside = |kind: &str| {
        daemon.teu(["exec", "asker", "timeout", "1", "/probe", "ask", kind, &gateway, &number]).out.contains("hello")
    };
    assert!(ask_tcp(Ipv4Addr::LOCALHOST, port).is_ok() && from_inside("tcp") && from_inside("udp"));
    let denied = Denied::new(port);
    assert!(!from_inside("tcp") && !from_inside("udp"), "a container comes in by INPUT as well");
    let timeout = std::time::Duration::from_millis(500);
    let there = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    std::net::TcpStream::connect_timeout(&there, timeout).expect_err("and so does the host itself");
    drop(denied);
    assert!(ask_tcp(Ipv4Addr::LOCALHOST, port).is_ok() && from_inside("tcp"));
}

#[test]
fn published_ports_answer_on_localhost_of_both_families_and_while_the_daemon_is_gone() {
    let mut daemon = Daemon::start();
    let port = free_port();
    let (tcp, udp) = (format!("{port}:7"), format!("{port}:7/udp"));
    echo(&daemon, "echo", &["-p", &tcp, "-p", &udp]);
    let check = |what: &str| {
        let mut local = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        if std::fs::exists("/proc/sys/net/ipv6").unwrap_or(false) {
            local.push(Ipv6Addr::LOCALHOST.into());
        }
        for address in local.into_iter().chain(address_of_host().map(IpAddr::V4)) {
            for (kind, answer) in [("tcp", ask_tcp(address, port)), ("udp", ask_udp(address, port))] {
                let answer = answer.unwrap_or_else(|error| panic!("{what}: {kind} {address}: {error}"));
                assert!(answer.ends_with(" hello"), "{what}: {kind} {address}: {answer}");
            }
        }
    };
    check("at first");
    daemon.kill9();
    check("without a daemon");
    daemon.restart();
    check("with the next one");
    daemon.ok(["restart", "-t", "0", "echo"]);
    daemon.spawn(["logs", "-f", "echo"]).until("ready\nready");
    check("after a restart");
}

#[test]
fn rules_that_somebody_threw_away_come_back() {
    let daemon = Daemon::start();
    let port = free_port();
    echo(&daemon, "echo", &["-p", &format!("{port}:7")]);
    let bind = format!("{}:/probe:ro", probe().display());
    sleeper(&daemon, "asker", &["-v", &bind]);
    let table = daemon.bridge();
    let whole = run(Command::new("nft").args(["list", "table", "ip", &table])).ok();
    assert!(whole.contains(&port.to_string()), "{whole}");
    // A listing has no words for the look-ups of some rules, so what was saved and restored lacks them.
    let lookups = || {
        let shown = run(Command::new("nft").args(["--debug=netlink", "list", "table", "ip", &table]));
        shown.out.matches("[ lookup").count() + shown.err.matches("[ lookup").count()
    };
    let (lines, all) = (whole.lines().count(), lookups());
    assert!(all > 0, "what the rules are is shown");
    let saved = format!("delete table ip {table}\n{whole}");
    let element = format!("{{ tcp . {port} }}");
    let hows = [
        &["delete", "table", "ip", &table][..],
        &["flush", "chain", "ip", &table, "forward"],
        &["flush", "set", "ip", &table, "bridges"],
        &["delete", "element", "ip", &table, "published", &element],
        &[&saved],
    ];
    for how in hows {
        run(Command::new("nft").args(how)).ok();
        eventually("the table is whole again", || {
            let now = run(Command::new("nft").args(["list", "table", "ip", &table]));
            (now.out.lines().count() == lines && lookups() == all).then_some(())
        });
    }
    assert!(ask_tcp(Ipv4Addr::LOCALHOST, port).is_ok());
}

#[test]
fn whoever_asks_for_both_families_gets_every_container_of_a_name_in_turn() {
    let daemon = Daemon::start();
    daemon.ok(["network", "create", "turns"]);
    for name in ["one", "two"] {
        sleeper(&daemon, name, &["--network", "turns", "--network-alias", "both"]);
    }
    sleeper(&daemon, "asker", &["--network", "turns"]);
    // As the C library asks: for an IPv4 address, and at once for an IPv6 one.
    let ask = || daemon.ok(["exec", "asker", "ping", "-c", "1", "-W", "1", "both"]);
    let found = |told: String| told.split(['(', ')']).nth(1).expect("an address").to_owned();
    let addresses: std::collections::BTreeSet<String> = (0..6).map(|_| found(ask())).collect();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
}

#[test]
fn a_published_port_stays_while_its_container_joins_and_leaves_networks_of_other_kinds() {
    let daemon = Daemon::start();
    let port = free_port();
    let routed = "com.docker.network.bridge.gateway_mode_ipv4=routed";
    daemon.ok(["network", "create", "--opt", routed, "straight"]);
    daemon.ok(["network", "create", "plain"]);
    daemon.ok(["network", "create", "--ipv6=false", "old"]);
    echo(&daemon, "echo", &["--network", "straight", "-p", &format!("{port}:7")]);
    for network in ["plain", "old"] {
        daemon.ok(["network", "connect", network, "echo"]);
        daemon.ok(["network", "disconnect", "straight", "echo"]);
        assert!(ask_tcp(Ipv4Addr::LOCALHOST, port).is_ok(), "by {network}");
        daemon.ok(["network", "connect", "straight", "echo"]);
        daemon.ok(["network", "disconnect", network, "echo"]);
        let shown =
            daemon.ok(["inspect", "--format", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}", "echo"]);
        assert_eq!(shown.trim(), "straight");
    }
}

#[test]
fn the_start_of_a_container_is_no_news_to_its_neighbours() {
    let daemon = Daemon::start();
    sleeper(&daemon, "neighbour", &[]);
    let counted = |container: &str, what: &str| -> u64 {
        let told = daemon.ok(["exec", container, "grep", what, "/proc/net/snmp6"]);
        told.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    };
    let before = counted("neighbour", "Icmp6InMLDv2Reports");
    sleeper(&daemon, "new", &[]);
    eventually("it reports its groups", || (counted("new", "Icmp6OutMLDv2Reports") >= 2).then_some(()));
    let heard = || counted("neighbour", "Icmp6InMLDv2Reports") > before;
    // Our rules see what passes between ports of a bridge only where the host asks the kernel for that.
    let rules_see = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-ip6tables");
    if rules_see.is_ok_and(|value| value.trim() == "1") {
        assert!(!heard());
    } else {
        eventually("it is told to everybody", || heard().then_some(()));
    }
    daemon.ok(["rm", "-f", "neighbour", "new"]);
}

#[test]
fn what_a_network_is_asked_for_is_shown_again() {
    let daemon = Daemon::start();
    daemon.ok(["network", "create", "--label", "a=b", "-o", "com.docker.network.driver.mtu=1400", "--internal", "n"]);
    let shown = |template: &str| daemon.ok(["network", "inspect", "-f", template, "n"]);
    assert_eq!(shown("{{.Internal}} {{.Driver}} {{.Scope}} {{.Labels.a}}"), "true bridge local b");
    assert_eq!(daemon.ok(["network", "ls", "-q", "--filter", "label=a=b", "--no-trunc"]), shown("{{.Id}}"));
    assert_eq!(
        daemon.ok(["network", "ls", "--filter", "name=n", "--filter", "type=custom", "--format", "{{.Name}}"]),
        "n"
    );
    let mtu = daemon.ok(["run", "--rm", "--network", "n", "busybox", "cat", "/sys/class/net/eth0/mtu"]);
    assert_eq!(mtu, "1400");
    daemon.teu(["network", "create", "n"]).refused(1, &["network with name n already exists"]);
    daemon.teu(["network", "create", "host"]).refused(1, &["operation is not permitted on predefined host network"]);
    daemon.teu(["network", "rm", "bridge"]).refused(1, &["bridge is a pre-defined network and cannot be removed"]);
    daemon.teu(["network", "create", "-d", "overlay", "o"]).refused(1, &["This node is not a swarm manager"]);
    assert_eq!(daemon.ok(["network", "prune", "-f"]), "Deleted Networks:\nn");
}

#[test]
fn neighbours_of_a_network_without_icc_reach_the_host_only() {
    let daemon = Daemon::start();
    daemon.ok(["network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "alone"]);
    echo(&daemon, "echo", &["--network", "alone"]);
    let bind = format!("{}:/probe:ro", probe().display());
    sleeper(&daemon, "asker", &["--network", "alone", "-v", &bind]);
    let there = address(&daemon, "echo", "alone", "IPAddress");
    let ran = daemon.teu(["exec", "asker", "timeout", "1", "/probe", "ask", "tcp", &there, "7"]);
    assert!(!ran.out.contains("hello"), "{ran:?}");
    let there: Ipv4Addr = there.parse().expect("an address");
    assert!(ask_tcp(there, 7).expect("the host reaches it").ends_with(" hello"));
}

#[test]
fn the_daemon_says_how_networks_are_that_say_nothing() {
    let opts = "bridge=com.docker.network.driver.mtu=1300";
    let net = 128 + std::process::id() % 64;
    let (bip, range) = (format!("10.{net}.0.9/16"), format!("10.{net}.7.0/24"));
    let mut flags = vec!["--mtu", "1400", "--icc=false", "--ip-masq=false", "--default-network-opt", opts];
    flags.extend(["--bip", &bip, "--fixed-cidr", &range, "--ipv6=false", "--ip", "127.0.0.1"]);
    let way_out = format!("10.{net}.0.77");
    flags.extend(["--default-gateway", &way_out]);
    let daemon = Daemon::with(&flags);
    daemon.load();
    let routes = daemon.ok(["run", "--rm", "busybox", "ip", "route"]);
    assert!(routes.contains(&format!("default via {way_out} ")), "{routes}");
    let shown = |network: &str, option: &str| {
        daemon.ok([
            "network",
            "inspect",
            "-f",
            &format!("{{{{index .Options \"com.docker.network.{option}\"}}}}"),
            network,
        ])
    };
    assert_eq!(shown("bridge", "driver.mtu"), "1400");
    assert_eq!(shown("bridge", "bridge.enable_icc"), "false");
    assert_eq!(shown("bridge", "bridge.enable_ip_masquerade"), "false");
    assert_eq!(
        daemon.ok(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}} {{.EnableIPv6}}", "bridge"]),
        format!("10.{net}.0.9 false")
    );
    daemon.ok(["network", "create", "usual"]);
    assert_eq!(shown("usual", "driver.mtu"), "1300");
    daemon.ok(["network", "create", "-o", "com.docker.network.driver.mtu=1000", "own"]);
    for (network, mtu) in [("bridge", "1400"), ("usual", "1300"), ("own", "1000")] {
        let seen = daemon.ok(["run", "--rm", "--network", network, "busybox", "cat", "/sys/class/net/eth0/mtu"]);
        assert_eq!(seen, mtu, "{network}");
    }
    echo(&daemon, "echo", &["-p", "7"]);
    assert!(daemon.ok(["port", "echo", "7"]).starts_with("127.0.0.1:"));
    let bind = format!("{}:/probe:ro", probe().display());
    let there = address(&daemon, "echo", "bridge", "IPAddress");
    assert!(there.starts_with(&format!("10.{net}.7.")), "{there}");
    let ask = ["run", "--rm", "-v", &bind, "busybox", "timeout", "1", "/probe", "ask", "tcp", &there, "7"];
    let ran = daemon.teu(ask);
    assert!(!ran.out.contains("hello"), "{ran:?}");
    let there: Ipv4Addr = there.parse().expect("an address");
    assert!(ask_tcp(there, 7).expect("the host reaches it").ends_with(" hello"));
}

#[test]
fn ports_of_a_container_that_runs_are_changed() {
    let daemon = Daemon::start();
    let (first, second) = (free_port(), free_port());
    echo(&daemon, "echo", &["-p", &format!("{first}:7")]);
    daemon.ok(["update", "-p", &format!("{second}:7"), "echo"]);
    assert!(ask_tcp(Ipv4Addr::LOCALHOST, second).expect("an answer").ends_with(" hello"));
    ask_tcp(Ipv4Addr::LOCALHOST, first).expect_err("nobody there any more");
    daemon.ok(["restart", "-t", "0", "echo"]);
    daemon.spawn(["logs", "-f", "echo"]).until("ready\nready");
    assert!(ask_tcp(Ipv4Addr::LOCALHOST, second).expect("an answer").ends_with(" hello"));
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = other.local_addr().expect("an address").port();
    daemon.teu(["update", "-p", &format!("{taken}:7"), "echo"]).refused(1, &["port is already allocated"]);
    assert!(ask_tcp(Ipv4Addr::LOCALHOST, second).expect("as before").ends_with(" hello"));
    daemon.ok(["update", "--publish-rm", "7", "echo"]);
    ask_tcp(Ipv4Addr::LOCALHOST, second).expect_err("withdrawn");
    assert_eq!(daemon.ok(["port", "echo"]), "");
}

#[test]
fn a_macvlan_is_a_second_card_on_the_parents_wire() {
    let daemon = Daemon::start();
    let (here, there) = (format!("tm{}a", std::process::id()), format!("tm{}b", std::process::id()));
    run(Command::new("ip").args(["link", "add", &here, "type", "veth", "peer", "name", &there])).ok();
    let _gone = Link(here.clone());
    for (name, address) in [(&here, None), (&there, Some("10.214.0.1/24"))] {
        run(Command::new("ip").args(["link", "set", name, "up"])).ok();
        if let Some(address) = address {
            run(Command::new("ip").args(["address", "add", address, "dev", name])).ok();
        }
    }
    let parent = format!("parent={here}");
    daemon.ok(["network", "create", "-d", "macvlan", "-o", &parent, "--subnet", "10.214.0.0/24", "wire"]);
    sleeper(&daemon, "one", &["--network", "name=wire,ip=10.214.0.9"]);
    let told = daemon.ok(["exec", "one", "sh", "-c", "ip addr show eth0; ip route; ping -c 1 -W 5 10.214.0.1"]);
    assert!(told.contains("10.214.0.9/24") && told.contains("default via 10.214.0.1"), "{told}");
    sleeper(&daemon, "two", &["--network", "wire"]);
    daemon.ok(["exec", "two", "ping", "-c", "1", "-W", "5", "one"]);
    daemon.ok(["rm", "-f", "one", "two"]);
    let refused = daemon.teu(["network", "create", "-d", "macvlan", "-o", "macvlan_mode=wild", "odd"]);
    refused.refused(1, &["requested macvlan mode 'wild' is not valid"]);
}

/// An interface of the test's own.
struct Link(String);

impl Drop for Link {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.0]).status();
    }
}

#[test]
fn who_leaves_none_can_join_a_network() {
    let daemon = Daemon::start();
    daemon.ok(["network", "create", "mine"]);
    daemon.ok(["run", "-d", "--name", "alone", "--network", "none", "busybox", "sleep", "1000"]);
    daemon.ok(["run", "-d", "--name", "peer", "--network", "mine", "busybox", "sleep", "1000"]);
    let private = "one of the networks in private (none) mode";
    daemon.teu(["network", "connect", "mine", "alone"]).refused(1, &[private]);
    daemon.ok(["network", "disconnect", "none", "alone"]);
    assert_eq!(daemon.inspect("alone", "{{len .NetworkSettings.Networks}}"), "0");
    daemon.ok(["network", "connect", "--alias", "other", "mine", "alone"]);
    let talks = || {
        daemon.ok(["exec", "alone", "ping", "-c", "1", "peer"]);
        daemon.ok(["exec", "peer", "ping", "-c", "1", "other"]);
        assert_eq!(
            daemon.inspect("alone", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"),
            "mine "
        );
        assert_eq!(daemon.inspect("alone", "{{.HostConfig.NetworkMode}}"), "none");
    };
    talks();
    daemon.ok(["restart", "-t", "0", "alone"]);
    talks();
    // And back.
    daemon.ok(["network", "disconnect", "mine", "alone"]);
    daemon.ok(["network", "connect", "none", "alone"]);
    daemon.ok(["restart", "-t", "0", "alone"]);
    assert_eq!(daemon.ok(["exec", "alone", "ls", "/sys/class/net"]), "lo");
    assert_eq!(daemon.inspect("alone", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"), "none");
    daemon.ok(["rm", "-f", "alone", "peer"]);
    daemon.ok(["network", "rm", "mine"]);
}

#[test]
fn a_build_step_finds_who_is_on_its_network_by_name() {
    let daemon = Daemon::start();
    daemon.ok(["network", "create", "yard"]);
    daemon.ok([
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "yard",
        "--network-alias",
        "crate",
        "busybox",
        "sleep",
        "1000",
    ]);
    let id = daemon.ok(["network", "inspect", "-f", "{{.Id}}", "yard"]);
    for network in ["yard", id.as_str()] {
        let file = b"FROM busybox\nRUN nslookup crate && ping -c 1 box\n";
        daemon.teu_with(["build", "--no-cache", "--network", network, "-"], file).ok();
    }
}
