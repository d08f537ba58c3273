//! A machine outside of the host: what of the containers it reaches, and as whom it is seen. And what networks are made of
//! that others are made after.

use std::process::{Child, Command};

use super::support::{Daemon, Ran, eventually, free_port, probe, run};

/// A network namespace on a wire of its own: the host is `.1`, it is `.2`.
struct Outside {
    holder: Child,
    subnet: String,
}

impl Outside {
    /// On `10.<second>.<third>.0/24`; the third number tells tests apart that run at once.
    fn new(second: u8) -> Self {
        let third = std::process::id() % 250;
        let holder = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().expect("unshare");
        let outside = Self { holder, subnet: format!("10.{second}.{third}") };
        let own = std::fs::read_link("/proc/self/ns/net").expect("the host's namespace");
        let pid = outside.holder.id().to_string();
        eventually("its namespace", || {
            let theirs = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
            (theirs != own).then_some(())
        });
        let wire = outside.wire();
        run(Command::new("ip").args(["link", "add", &wire, "type", "veth", "peer", "name", "up0", "netns", &pid])).ok();
        run(Command::new("ip").args(["address", "add", &format!("{}/24", outside.host()), "dev", &wire])).ok();
        run(Command::new("ip").args(["link", "set", &wire, "up"])).ok();
        outside.inside(&["ip", "link", "set", "lo", "up"]).ok();
        outside.inside(&["ip", "address", "add", &format!("{}/24", outside.own()), "dev", "up0"]).ok();
        outside.inside(&["ip", "link", "set", "up0", "up"]).ok();
        outside.inside(&["ip", "route", "add", "default", "via", &outside.host()]).ok();
        outside
    }

    fn wire(&self) -> String {
        format!("tout{}", self.holder.id())
    }

    fn host(&self) -> String {
        format!("{}.1", self.subnet)
    }

    fn own(&self) -> String {
        format!("{}.2", self.subnet)
    }

    fn inside(&self, line: &[&str]) -> Ran {
        let pid = self.holder.id().to_string();
        run(Command::new("nsenter").args(["-t", &pid, "-n", "--"]).args(line))
    }

    /// What `probe echo` answers it there; nothing when nobody does soon.
    fn ask(&self, kind: &str, address: &str, port: &str) -> Option<String> {
        let ran = self.inside(&["timeout", "2", &probe().display().to_string(), "ask", kind, address, port]);
        (ran.code == 0).then(|| ran.out.trim_end().to_owned())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.wire()]).status();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A container that answers on port 7; its address.
#[track_caller]
fn echo(daemon: &Daemon, flags: &[&str]) -> String {
    let bind = format!("{}:/probe:ro", probe().display());
    let line = ["run", "-d", "--name", "echo", "-v", &bind].into_iter().chain(flags.iter().copied());
    daemon.ok(line.chain(["busybox", "/probe", "echo", "7"]));
    daemon.spawn(["logs", "-f", "echo"]).until("ready");
    daemon.inspect("echo", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}

#[test]
fn from_outside_the_published_ports_are_reached_and_nothing_else() {
    let daemon = Daemon::start();
    let outside = Outside::new(221);
    let port = free_port();
    let (tcp, udp) = (format!("{port}:7"), format!("{port}:7/udp"));
    let address = echo(&daemon, &["-p", &tcp, "-p", &udp]);
    for kind in ["tcp", "udp"] {
        let seen = outside.ask(kind, &outside.host(), &port.to_string());
        assert_eq!(seen, Some(format!("{} hello", outside.own())), "{kind}: seen by its own address");
        assert_eq!(outside.ask(kind, &address, "7"), None, "{kind}: not by a route into the network");
    }
    let unpublished = (port ^ 1).to_string();
    assert_eq!(outside.ask("tcp", &outside.host(), &unpublished), None);
}

#[test]
fn a_routed_network_is_reached_at_the_containers_own_address_by_its_published_ports() {
    let daemon = Daemon::start();
    let outside = Outside::new(222);
    let subnet = format!("10.223.{}.0/24", std::process::id() % 250);
    let option = "com.docker.network.bridge.gateway_mode_ipv4=routed";
    daemon.ok(["network", "create", "--ipv6=false", "--subnet", &subnet, "-o", option, "routed"]);
    let address = echo(&daemon, &["--network", "routed", "-p", "7"]);
    assert_eq!(outside.ask("tcp", &address, "7"), Some(format!("{} hello", outside.own())));
    assert_eq!(outside.ask("udp", &address, "7"), None, "only TCP is published");
    // And it leaves as itself.
    outside.inside(&["ip", "route", "replace", &subnet, "via", &outside.host()]).ok();
    let mut server = Command::new("nsenter");
    server.args(["-t", &outside.holder.id().to_string(), "-n", "--"]).arg(probe()).args(["echo", "9"]);
    let mut server = super::support::Running::spawn(&mut server);
    server.until("ready");
    let seen = daemon.ok(["exec", "echo", "/probe", "ask", "tcp", &outside.own(), "9"]);
    assert_eq!(seen, format!("{address} hello"));
}

#[test]
fn the_host_is_not_on_an_isolated_network() {
    let daemon = Daemon::start();
    let options = ["-o", "com.docker.network.bridge.gateway_mode_ipv4=isolated"];
    let create = |flags: &[&'static str]| {
        daemon.teu(
            ["network", "create", "--ipv6=false"]
                .into_iter()
                .chain(flags.iter().copied())
                .chain(options)
                .chain(["alone"]),
        )
    };
    create(&[]).refused(1, &["gateway mode 'isolated' can only be used for an internal network"]);
    create(&["--internal"]).ok();
    let address = echo(&daemon, &["--network", "alone"]);
    daemon.ok(["run", "--rm", "--network", "alone", "busybox", "ping", "-c", "1", "-W", "5", &address]);
    let bridge = format!("br-{}", &daemon.ok(["network", "inspect", "-f", "{{.Id}}", "alone"])[..12]);
    assert_eq!(run(Command::new("ip").args(["-4", "-o", "address", "show", "dev", &bridge])).ok(), "");
}

#[test]
fn an_internal_network_without_a_gateway_may_have_two_addresses_alone() {
    let daemon = Daemon::start();
    let bridge = "com.docker.network.bridge";
    for (number, option) in ["gateway_mode_ipv4=isolated", "inhibit_ipv4=true"].into_iter().enumerate() {
        let subnet = format!("10.225.{}.{}/31", std::process::id() % 250, 2 * number);
        let option = format!("{bridge}.{option}");
        daemon.ok(["network", "create", "--internal", "--ipv6=false", "--subnet", &subnet, "-o", &option, "two"]);
        let address = echo(&daemon, &["--network", "two"]);
        daemon.ok(["run", "--rm", "--network", "two", "busybox", "ping", "-c", "1", "-W", "5", &address]);
        daemon.ok(["rm", "-f", "echo"]);
        daemon.ok(["network", "rm", "two"]);
    }
}

#[test]
fn a_network_takes_its_configuration_from_another() {
    let daemon = Daemon::start();
    let subnet = format!("10.224.{}.0/24", std::process::id() % 250);
    let mtu = "com.docker.network.driver.mtu=1300";
    daemon.ok(["network", "create", "--config-only", "--subnet", &subnet, "-o", mtu, "plan"]);
    daemon.ok(["network", "create", "--config-from", "plan", "real"]);
    assert_eq!(daemon.ok(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "real"]), subnet);
    let told = daemon.ok(["run", "--rm", "--network", "real", "busybox", "ip", "-4", "addr", "show", "eth0"]);
    assert!(told.contains("mtu 1300") && told.contains(subnet.trim_end_matches("0/24")), "{told}");
    daemon.teu(["network", "rm", "plan"]).refused(1, &["configuration network \"plan\" is in use"]);
    let refused = daemon.teu(["run", "--rm", "--network", "plan", "busybox", "true"]);
    refused.refused(125, &["cannot create endpoint on configuration-only network"]);
    daemon.ok(["network", "rm", "real", "plan"]);
}
