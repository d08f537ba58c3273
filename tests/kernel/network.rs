//! The network: bridge, published ports, names, and nothing else.

use std::fs;
use std::net::Ipv4Addr;

use super::support::{Daemon, address_of_host, ask_tcp, ask_udp, eventually, free_port, probe, run};

/// Starts `probe echo 7` under that name, its port 7 published as told; returns when it listens.
#[track_caller]
fn echo(daemon: &Daemon, name: &str, flags: &[&str]) {
    let bind = format!("{}:/probe:ro", probe().display());
    let line = ["run", "-d", "--name", name, "-v", &bind].into_iter().chain(flags.iter().copied());
    daemon.ok(line.chain(["busybox", "/probe", "echo", "7"]));
    daemon.spawn(["logs", "-f", name]).until("ready");
}

/// Asks from a container on the bridge.
#[track_caller]
fn ask_inside(daemon: &Daemon, kind: &str, address: &str, port: &str) -> String {
    let bind = format!("{}:/probe:ro", probe().display());
    daemon.ok(["run", "--rm", "-v", &bind, "busybox", "/probe", "ask", kind, address, port])
}

/// The host's port of a container's.
#[track_caller]
fn port(daemon: &Daemon, name: &str, inside: &str) -> u16 {
    let told = daemon.ok(["port", name, inside]);
    let first = told.lines().next().expect("a line");
    first.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{told}"))
}

#[test]
fn published_ports_answer_on_localhost_on_the_hosts_address_and_to_other_containers() {
    let daemon = Daemon::start();
    echo(&daemon, "echo", &["-p", "7/tcp", "-p", "7/udp"]);
    let (tcp, udp) = (port(&daemon, "echo", "7/tcp"), port(&daemon, "echo", "7/udp"));
    let gateway = daemon.inspect("echo", "{{.NetworkSettings.Networks.bridge.Gateway}}");
    for address in [Some(Ipv4Addr::LOCALHOST), address_of_host(), gateway.parse().ok()].into_iter().flatten() {
        let answer = ask_tcp(address, tcp).unwrap_or_else(|error| panic!("tcp {address}:{tcp}: {error}"));
        assert!(answer.ends_with(" hello"), "{answer}");
        let answer = ask_udp(address, udp).unwrap_or_else(|error| panic!("udp {address}:{udp}: {error}"));
        assert!(answer.ends_with(" hello"), "{answer}");
    }
    for address in [address_of_host().map(|address| address.to_string()), Some(gateway)].into_iter().flatten() {
        assert!(ask_inside(&daemon, "tcp", &address, &tcp.to_string()).ends_with(" hello"));
        assert!(ask_inside(&daemon, "udp", &address, &udp.to_string()).ends_with(" hello"));
    }
    let direct = daemon.inspect("echo", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    assert!(ask_inside(&daemon, "tcp", &direct, "7").ends_with(" hello"));
    assert!(ask_inside(&daemon, "udp", &direct, "7").ends_with(" hello"));
}

#[test]
fn a_container_reaches_its_own_published_port() {
    let daemon = Daemon::start();
    echo(&daemon, "echo", &["-p", "7/tcp"]);
    let gateway = daemon.inspect("echo", "{{.NetworkSettings.Networks.bridge.Gateway}}");
    let tcp = port(&daemon, "echo", "7/tcp").to_string();
    assert!(daemon.ok(["exec", "echo", "/probe", "ask", "tcp", &gateway, &tcp]).ends_with(" hello"));
}

#[test]
fn a_port_published_on_one_address_does_not_answer_on_another() {
    let daemon = Daemon::start();
    echo(&daemon, "echo", &["-p", "127.0.0.1::7"]);
    let tcp = port(&daemon, "echo", "7");
    assert!(ask_tcp(Ipv4Addr::LOCALHOST, tcp).expect("an answer").ends_with(" hello"));
    if let Some(address) = address_of_host() {
        ask_tcp(address, tcp).expect_err("no answer");
    }
}

#[test]
fn a_port_is_free_again_when_its_container_ends() {
    let daemon = Daemon::start();
    let port = free_port();
    let publish = format!("{port}:7");
    echo(&daemon, "one", &["-p", &publish]);
    daemon.ok(["stop", "-t", "0", "one"]);
    ask_tcp(Ipv4Addr::LOCALHOST, port).expect_err("nobody there");
    echo(&daemon, "two", &["-p", &publish]);
    assert!(ask_tcp(Ipv4Addr::LOCALHOST, port).expect("an answer").ends_with(" hello"));
    daemon.ok(["rm", "-f", "two"]);
    daemon.ok(["start", "one"]);
    daemon.spawn(["logs", "-f", "one"]).until("ready\nready");
    assert!(ask_tcp(Ipv4Addr::LOCALHOST, port).expect("an answer").ends_with(" hello"));
}

#[test]
fn network_none_has_the_loopback_interface_only() {
    let daemon = Daemon::start();
    let script = "ls /sys/class/net; ip -o addr show lo | grep -c 127.0.0.1; ip route | wc -l";
    assert_eq!(daemon.sh(script), "lo\n1\n0");
}

#[test]
fn network_bridge_has_an_address_of_the_bridges_subnet_and_a_way_out() {
    let daemon = Daemon::start();
    let id = daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let shown = |field: &str| daemon.inspect("box", &format!("{{{{.NetworkSettings.Networks.bridge.{field}}}}}"));
    let (address, gateway) = (shown("IPAddress"), shown("Gateway"));
    let told =
        daemon.ok(["exec", "box", "sh", "-c", "ip -o -4 addr show eth0; ip route; ls /sys/class/net; cat /etc/hosts"]);
    assert!(told.contains(&format!("inet {address}/")), "{told}");
    assert!(told.contains(&format!("default via {gateway}")), "{told}");
    assert!(told.contains("eth0\nlo\n"), "{told}");
    assert!(told.contains(&format!("{address}\t{}", &id[..12])), "{told}");
    assert!(!told.contains("fe80"), "{told}");
    if let Some(host) = address_of_host() {
        // The host itself is the nearest thing beyond the bridge.
        daemon.ok(["exec", "box", "ping", "-c", "1", "-W", "5", &host.to_string()]);
    }
}

#[test]
fn network_host_is_the_hosts() {
    let daemon = Daemon::start();
    let told = daemon.ok(["run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net"]);
    assert!(told.lines().any(|name| name == daemon.bridge()) || fs::metadata("/sys/class/net/lo").is_ok());
    let inside = daemon.ok(["run", "--rm", "--network", "host", "busybox", "cat", "/proc/net/route"]);
    let header = inside.lines().next().expect("a line");
    assert!(fs::read_to_string("/proc/net/route").expect("routes").starts_with(header));
}

#[test]
fn names_resolve_inside_as_on_the_host() {
    let daemon = Daemon::start();
    let Some(name) = mirror() else {
        // A machine without a name server: then nothing resolves inside either, and that is the promise.
        return;
    };
    let ran = daemon.teu(["run", "--rm", "busybox", "nslookup", &name]);
    assert_eq!(ran.code, 0, "{name}: {ran:?}");
    let resolvers = fs::read_to_string("/etc/resolv.conf").expect("resolv.conf");
    let inside = daemon.ok(["run", "--rm", "busybox", "cat", "/etc/resolv.conf"]);
    let servers =
        |text: &str| text.lines().filter(|line| line.starts_with("nameserver")).map(str::to_owned).collect::<Vec<_>>();
    let own = servers(&resolvers).into_iter().filter(|line| !line.contains(" 127.")).collect::<Vec<_>>();
    if !own.is_empty() {
        assert_eq!(servers(&inside), own);
    }
    let chosen = daemon.ok([
        "run",
        "--rm",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "example.test",
        "busybox",
        "cat",
        "/etc/resolv.conf",
    ]);
    assert!(chosen.contains("nameserver 192.0.2.53") && chosen.contains("search example.test"), "{chosen}");
}

/// The host name of a Debian mirror of this machine, if the machine itself can resolve it.
fn mirror() -> Option<String> {
    let mut sources = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    for entry in fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten() {
        sources += &fs::read_to_string(entry.path()).unwrap_or_default();
    }
    let address = sources.split_whitespace().find_map(|word| word.strip_prefix("http://"))?;
    let name = address.split(['/', ':']).next()?.to_owned();
    let resolved = run(std::process::Command::new("busybox").args(["nslookup", &name]));
    (resolved.code == 0).then_some(name)
}

#[test]
fn many_starts_leave_no_interface_and_no_rule() {
    let daemon = Daemon::start();
    let port = free_port();
    for _ in 0..20 {
        daemon.ok(["run", "--rm", "-p", &format!("{port}:80"), "busybox", "true"]);
    }
    let rules = run(std::process::Command::new("nft").args(["list", "table", "ip", &daemon.bridge()])).ok();
    assert!(!rules.contains(&port.to_string()), "{rules}");
    // The kernel takes an interface away a moment after its namespace.
    eventually("the bridge has no ports", || {
        let ports = fs::read_dir(format!("/sys/class/net/{}/brif", daemon.bridge())).expect("bridge").count();
        (ports == 0).then_some(())
    });
}

#[test]
fn a_network_is_not_removed_while_somebody_joins_it() {
    let daemon = Daemon::start();
    for turn in 0..25 {
        let (network, name) = (format!("n{turn}"), format!("c{turn}"));
        daemon.ok(["network", "create", &network]);
        let (joined, removed) = std::thread::scope(|scope| {
            let join = scope
                .spawn(|| daemon.teu(["run", "-d", "--name", &name, "--network", &network, "busybox", "sleep", "9"]));
            let remove = scope.spawn(|| {
                // At another moment of the joining each time: there is no event to wait for.
                std::thread::sleep(std::time::Duration::from_millis(turn % 10));
                daemon.teu(["network", "rm", &network])
            });
            (join.join().expect("joined"), remove.join().expect("removed"))
        });
        if joined.code == 0 {
            removed.refused(1, &["has active endpoints"]);
        } else {
            joined.refused(125, &[&format!("network {network} not found")]);
            removed.ok();
        }
        daemon.teu(["rm", "-f", &name]);
    }
}
