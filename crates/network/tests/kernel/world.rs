//! A little internet of network namespaces: a host with an uplink, a machine outside it, containers.
//!
//! ```text
//!   outside 198.51.100.2 ── 198.51.100.1 up0 [ host namespace ] <bridge> 10.77.0.1 ── containers 10.77.0.2…
//! ```
//!
//! "Host" is a namespace as well: nothing of the machine that runs the tests is touched, and all of it is gone with the
//! test's process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use teu_network::firewall::{self, Entry, Firewall, Mode, Network, Settings, Source};
use teu_network::{Attachment, Bridge, Endpoint, Protocol, Publish, bridge, hairpin, sysctl};

/// How long an answer may take that should not come at all;
/// longer than the second after which the kernel repeats what was lost while a new bridge came up (a neighbour's address,
/// the first packet of a connection).
const PATIENCE: Duration = Duration::from_millis(1500);

/// A network namespace.
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    pub(crate) fn new() -> Self {
        let make = || {
            #[allow(deprecated, reason = "a network namespace breaks none of the invariants that made it unsafe")]
            rustix::thread::unshare(UnshareFlags::NEWNET).expect("tests of the network need root");
            File::open("/proc/thread-self/ns/net").expect("the new namespace")
        };
        let namespace = Self(std::thread::spawn(make).join().expect("the thread").into());
        teu_network::loopback_up(namespace.fd()).expect("loopback");
        namespace
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Runs `work` inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.fd(), Some(LinkNameSpaceType::Network)).expect("enter the namespace");
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Answers every TCP connection and UDP packet to that address with `name` and the asker's address, until the test
    /// ends.
    pub(crate) fn serve(&self, name: &'static str, address: impl Into<IpAddr>, port: u16) {
        let at = SocketAddr::new(address.into(), port);
        let (tcp, udp) = self.run(|| (TcpListener::bind(at).expect("listen"), UdpSocket::bind(at).expect("bind")));
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let mut stream = stream;
                let peer = stream.peer_addr().expect("a peer");
                // The asker may be gone already.
                let _ = write!(stream, "{name} {}", peer.ip());
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
            }
        });
    }

    /// Who answers there, and as whom it sees us; none when nobody does.
    pub(crate) fn ask(&self, protocol: Protocol, address: impl Into<IpAddr>, port: u16) -> Option<Answer> {
        let address = address.into();
        self.run(|| match protocol {
            Protocol::Tcp => ask_tcp(address, port),
            _ => {
                let any: IpAddr =
                    if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind((any, 0)).expect("bind");
                ask_udp(&socket, address, port)
            }
        })
    }

    /// The names of its interfaces.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let table = self.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").expect("the list of interfaces"));
        table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
    }
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) server: String,
    pub(crate) seen_as: IpAddr,
}

fn parse(text: &str) -> Option<Answer> {
    let (server, seen_as) = text.split_once(' ')?;
    Some(Answer { server: server.to_owned(), seen_as: seen_as.parse().ok()? })
}

fn ask_tcp(address: IpAddr, port: u16) -> Option<Answer> {
    let to = SocketAddr::from((address, port));
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    parse(&text)
}

pub(crate) fn ask_udp(socket: &UdpSocket, address: impl Into<IpAddr>, port: u16) -> Option<Answer> {
    let address = address.into();
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.send_to(b"?", (address, port)).ok()?;
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    assert_eq!(from, SocketAddr::from((address, port)), "the answer comes from where the question went");
    parse(std::str::from_utf8(&buffer[..length]).ok()?)
}

pub(crate) const UPLINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const UPLINK_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const OUTSIDE_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
pub(crate) const GATEWAY_6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// The host, one machine outside it, and a bridge with its tables.
pub(crate) struct World {
    pub(crate) host: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) settings: Settings,
}

impl World {
    pub(crate) fn new() -> Self {
        let host = Namespace::new();
        let outside = Namespace::new();
        let mut settings = Settings {
            table: "teu-test".into(),
            networks: vec![network("teu-test0", &["10.77.0.0/24", "fd77::/64"])],
            ..Settings::default()
        };
        host.run(|| {
            bridge::ensure(&bridge_named("up0", &[(UPLINK.into(), 24), (UPLINK_6.into(), 64)])).expect("the uplink");
            let mut place = endpoint("up0", "out0", OUTSIDE, UPLINK);
            place.addresses.push((OUTSIDE_6.into(), 64));
            place.gateways.push(UPLINK_6.into());
            teu_network::attach(outside.fd(), &place).expect("a machine outside");
            // A new namespace begins as the machine's first one is, which may be a router already.
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("no forwarding");
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "0").expect("no forwarding");
            // The strictest a host can be about where packets come from.
            std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").expect("source checks");
            assert!(sysctl::enable_forwarding().expect("forwarding"));
            assert!(!sysctl::enable_forwarding().expect("forwarding"));
            assert!(sysctl::enable_ipv6_forwarding().expect("forwarding"));
            settings.hairpin = Some(hairpin::ensure("teu-test0").expect("the hairpin"));
            assert_eq!(settings.hairpin, Some(hairpin::ensure("teu-test0").expect("the same hairpin")));
            Firewall::default().apply(&firewall::ruleset(&settings, &[])).expect("the tables");
            bridge::ensure(&bridge_of(&settings)).expect("the bridge");
        });
        Self { host, outside, settings }
    }

    /// A container whose last address byte is `last`, serving as `name` on port 80 of both families.
    pub(crate) fn container(&self, name: &'static str, last: u8) -> Namespace {
        let container = Namespace::new();
        let mut place = endpoint("teu-test0", &format!("v{name}"), address(last), GATEWAY);
        place.addresses.push((address_6(last).into(), 64));
        place.gateways.push(GATEWAY_6.into());
        self.host.run(|| teu_network::attach(container.fd(), &place)).expect("a container");
        container.serve(name, address(last), 80);
        container.serve(name, address_6(last), 80);
        container
    }

    pub(crate) fn publish(&self, ports: &[Publish]) {
        self.host.run(|| Firewall::default().add(&self.settings.table, ports)).expect("publish");
    }

    pub(crate) fn withdraw(&self, ports: &[Publish]) {
        self.host.run(|| Firewall::default().remove(&self.settings.table, ports)).expect("withdraw");
    }
}

/// A network as the firewall sees it.
pub(crate) fn network(bridge: &str, subnets: &[&str]) -> Network {
    let mode = || Mode { source: Source::Masqueraded, entry: Entry::Published };
    Network {
        bridge: bridge.into(),
        subnets: subnets.iter().map(|text| text.parse().expect("a network")).collect(),
        internal: false,
        neighbours: true,
        trusted: vec![],
        ipv4: mode(),
        ipv6: mode(),
    }
}

pub(crate) fn bridge_named(name: &str, addresses: &[(IpAddr, u8)]) -> Bridge {
    Bridge { name: name.into(), addresses: addresses.into(), mac: teu_network::mac_of(addresses[0].0), mtu: 1500 }
}

pub(crate) fn bridge_of(settings: &Settings) -> Bridge {
    bridge_named(&settings.networks[0].bridge, &[(GATEWAY.into(), 24), (GATEWAY_6.into(), 64)])
}

pub(crate) fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

pub(crate) fn address_6(last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last.into())
}

pub(crate) fn endpoint(bridge: &str, host_interface: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Endpoint {
    Endpoint {
        attachment: Attachment::Bridge {
            bridge: bridge.into(),
            host_interface: host_interface.into(),
            isolated: false,
        },
        container_interface: "eth0".into(),
        mac: Some(teu_network::mac_of(address.into())),
        addresses: vec![(address.into(), 24)],
        gateways: vec![gateway.into()],
        mtu: Some(1500),
        sysctls: vec![],
    }
}

/// Publishes port 80 of the container with that last byte.
pub(crate) fn port(protocol: Protocol, host_ip: impl Into<IpAddr>, host_port: u16, last: u8) -> Publish {
    let host_ip = host_ip.into();
    let container_ip = if host_ip.is_ipv6() { address_6(last).into() } else { address(last).into() };
    Publish { protocol, host_ip, host_port, container_ip, container_port: 80 }
}
