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
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use teu_network::firewall::{self, Settings};
use teu_network::{Bridge, Endpoint, Protocol, Publish, bridge, sysctl};

/// How long an answer may take that should not come at all.
const PATIENCE: Duration = Duration::from_millis(300);

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
    pub(crate) fn serve(&self, name: &'static str, address: Ipv4Addr, port: u16) {
        let (tcp, udp) = self.run(|| {
            let at = SocketAddrV4::new(address, port);
            (TcpListener::bind(at).expect("listen"), UdpSocket::bind(at).expect("bind"))
        });
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
    pub(crate) fn ask(&self, protocol: Protocol, address: Ipv4Addr, port: u16) -> Option<Answer> {
        self.run(|| match protocol {
            Protocol::Tcp => ask_tcp(address, port),
            Protocol::Udp => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
                ask_udp(&socket, address, port)
            }
        })
    }

    /// The names of its interfaces.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let table = self.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").expect("the list of interfaces"));
        table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
    }

    /// Takes 127.0.0.1 away from the loopback interface, so that packets to it leave by the default route, and lets the
    /// answers in: what a hostile neighbour does. An `RTM_DELADDR` by hand, because the crate has no use for it.
    pub(crate) fn lose_loopback_address(&self) {
        let mut message = Vec::new();
        message.extend_from_slice(&32_u32.to_ne_bytes());
        message.extend_from_slice(&21_u16.to_ne_bytes());
        message.extend_from_slice(&5_u16.to_ne_bytes()); // REQUEST, ACK
        message.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        message.extend_from_slice(&[2, 8, 0, 0, 1, 0, 0, 0]);
        message.extend_from_slice(&[8, 0, 2, 0, 127, 0, 0, 1]);
        self.run(|| {
            use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};
            let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, None).expect("a netlink socket");
            send(&netlink, &message, SendFlags::empty()).expect("ask the kernel");
            let mut answer = [0_u8; 64];
            recv(&netlink, &mut answer[..], RecvFlags::empty()).expect("an answer");
            assert_eq!(answer[16..20], [0; 4], "the address is removed");
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").expect("let answers in");
        });
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

fn ask_tcp(address: Ipv4Addr, port: u16) -> Option<Answer> {
    let to = SocketAddr::from((address, port));
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    parse(&text)
}

pub(crate) fn ask_udp(socket: &UdpSocket, address: Ipv4Addr, port: u16) -> Option<Answer> {
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

/// The host, one machine outside it, and a bridge with its table.
pub(crate) struct World {
    pub(crate) host: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) settings: Settings,
}

impl World {
    pub(crate) fn new() -> Self {
        let host = Namespace::new();
        let outside = Namespace::new();
        let settings = Settings {
            table: "teu-test".into(),
            bridge: "teu-test0".into(),
            subnet: "10.77.0.0/24".parse().expect("a network"),
        };
        host.run(|| {
            bridge::ensure(&bridge_named("up0", UPLINK)).expect("the uplink");
            std::fs::write("/proc/sys/net/ipv4/conf/up0/route_localnet", "0").expect("an uplink is no bridge of ours");
            teu_network::attach(outside.fd(), &endpoint("up0", "out0", OUTSIDE, UPLINK)).expect("a machine outside");
            // A new namespace begins as the machine's first one is, which may be a router already.
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("no forwarding");
            assert!(sysctl::enable_forwarding().expect("forwarding"));
            assert!(!sysctl::enable_forwarding().expect("forwarding"));
            firewall::apply(&firewall::ruleset(&settings, &[])).expect("the table");
            bridge::ensure(&bridge_of(&settings)).expect("the bridge");
        });
        Self { host, outside, settings }
    }

    /// A container whose last address byte is `last`, serving as `name` on port 80.
    pub(crate) fn container(&self, name: &'static str, last: u8) -> Namespace {
        let container = Namespace::new();
        let address = address(last);
        let place = endpoint(&self.settings.bridge, &format!("v{name}"), address, GATEWAY);
        self.host.run(|| teu_network::attach(container.fd(), &place)).expect("a container");
        container.serve(name, address, 80);
        container
    }

    pub(crate) fn publish(&self, ports: &[Publish]) {
        self.host.run(|| firewall::add(&self.settings.table, ports)).expect("publish");
    }

    pub(crate) fn withdraw(&self, ports: &[Publish]) {
        self.host.run(|| firewall::remove(&self.settings.table, ports)).expect("withdraw");
    }
}

pub(crate) fn bridge_named(name: &str, gateway: Ipv4Addr) -> Bridge {
    Bridge { name: name.into(), gateway, prefix: 24, mtu: 1500 }
}

pub(crate) fn bridge_of(settings: &Settings) -> Bridge {
    Bridge { name: settings.bridge.clone(), gateway: GATEWAY, prefix: settings.subnet.prefix_len(), mtu: 1500 }
}

pub(crate) fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

pub(crate) fn endpoint(bridge: &str, host_interface: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Endpoint {
    Endpoint {
        bridge: bridge.into(),
        host_interface: host_interface.into(),
        container_interface: "eth0".into(),
        mac: teu_network::mac_of(address),
        address,
        prefix: 24,
        gateway,
        mtu: 1500,
    }
}

/// Publishes port 80 of the container with that last byte.
pub(crate) fn port(protocol: Protocol, host_ip: Ipv4Addr, host_port: u16, last: u8) -> Publish {
    Publish { protocol, host_ip, host_port, container_ip: address(last), container_port: 80 }
}
