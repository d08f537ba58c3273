//! The published ports: a real socket on the host for each, from the start of the container to its end, whatever becomes
//! of the daemon.
//!
//! The socket keeps every other program off the port, and it is why packets to the port are judged by the host's own
//! INPUT rules. What those let through from other machines the firewall then takes straight to the container; what the
//! host itself sends arrives here and is passed on, and so does everything on a kernel that cannot copy packets.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::tcp::Relay;
use super::udp::{self, Flows};
use crate::protocol::{PortPlace, PortRequest};

/// How many connections may wait to be passed on.
const BACKLOG: i32 = 4096;
/// How often another free port is tried when the first is not free on every address.
const ATTEMPTS: u32 = 16;

/// How long after its ports are published a container's program may take until it listens.
const YOUNG: Duration = Duration::from_secs(2);

/// What became ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Listener(usize),
    Datagram(usize),
    Flow(usize, usize),
    Relay(usize),
}

/// A port that cannot be had.
pub(super) struct Taken {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) error: io::Error,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket, Flows),
    /// Only a number: the kernel passes SCTP on by itself.
    Sctp,
}

/// One held port on one address.
#[derive(Debug)]
struct Held {
    protocol: String,
    host_ip: IpAddr,
    port: u16,
    target: SocketAddr,
    socket: Socket,
}

/// All of a container's.
#[derive(Debug, Default)]
pub(super) struct Ports {
    held: Vec<Held>,
    relays: Vec<Relay>,
    since: Option<Instant>,
}

impl Ports {
    /// Holds what is wanted and nothing else. All of it or, when something cannot be had, what was held before.
    pub(super) fn publish(&mut self, wanted: &[PortRequest]) -> Result<Vec<u16>, Taken> {
        self.since.get_or_insert_with(Instant::now);
        let mut new: Vec<Held> = vec![];
        let mut kept: Vec<(usize, SocketAddr)> = vec![];
        let mut ports = vec![];
        for request in wanted {
            let known = |place: &PortPlace| {
                self.held.iter().position(|held| {
                    held.protocol == request.protocol && held.host_ip == place.host_ip && held.port == request.first
                })
            };
            let have: Vec<_> = request.places.iter().filter_map(|place| Some((known(place)?, place.target))).collect();
            let missing: Vec<_> = request.places.iter().filter(|place| known(place).is_none()).cloned().collect();
            if request.first == request.last && request.first > 0 && !have.is_empty() {
                kept.extend(have);
                ports.push(request.first);
                new.extend(hold_at(&PortRequest { places: missing, ..request.clone() }, request.first)?);
                continue;
            }
            let (port, held) = hold(request)?;
            ports.push(port);
            new.extend(held);
        }
        let mut index = 0;
        self.held.retain_mut(|held| {
            let keep = kept.iter().find(|(place, _)| *place == index);
            index += 1;
            if let Some((_, target)) = keep.filter(|(_, target)| *target != held.target) {
                held.target = *target;
                if let Socket::Udp(_, flows) = &mut held.socket {
                    // They lead to where the container was.
                    *flows = Flows::default();
                }
            }
            keep.is_some()
        });
        self.held.extend(new);
        Ok(ports)
    }

    pub(super) fn interests<'fd>(&'fd self, wait: &mut dyn FnMut(BorrowedFd<'fd>, bool, bool, Place)) {
        for (index, held) in self.held.iter().enumerate() {
            match &held.socket {
                Socket::Tcp(listener) => wait(listener.as_fd(), true, false, Place::Listener(index)),
                Socket::Udp(socket, flows) => {
                    wait(socket.as_fd(), true, false, Place::Datagram(index));
                    for (number, flow) in flows.sockets() {
                        wait(flow.as_fd(), true, false, Place::Flow(index, number));
                    }
                }
                Socket::Sctp => {}
            }
        }
        for (index, relay) in self.relays.iter().enumerate() {
            relay.interests(&mut |fd, readable, writable| wait(fd, readable, writable, Place::Relay(index)));
        }
    }

    /// Flows of datagrams have no end but silence, and who does not listen yet is asked again.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let flows = self.held.iter().any(|held| matches!(&held.socket, Socket::Udp(_, flows) if !flows.is_empty()));
        let again = self.relays.iter().filter_map(Relay::timeout).min();
        flows.then_some(udp::SILENCE).into_iter().chain(again).min()
    }

    pub(super) fn act(&mut self, place: Place) {
        match place {
            Place::Listener(index) => self.accept(index),
            Place::Datagram(index) => {
                if let Some(Held { socket: Socket::Udp(socket, flows), target, .. }) = self.held.get_mut(index) {
                    flows.forward(socket, *target);
                }
            }
            Place::Flow(index, number) => {
                if let Some(Held { socket: Socket::Udp(socket, flows), .. }) = self.held.get_mut(index) {
                    flows.back(socket, number);
                }
            }
            Place::Relay(index) => {
                if let Some(relay) = self.relays.get_mut(index) {
                    relay.pump();
                }
            }
        }
    }

    fn accept(&mut self, index: usize) {
        let Some(Held { socket: Socket::Tcp(listener), target, .. }) = self.held.get(index) else { return };
        let patience = self.since.map_or_else(Instant::now, |since| since + YOUNG);
        while let Ok((client, _)) = listener.accept() {
            // Refused, or no descriptor left: the client finds its connection closed.
            if let Ok(relay) = Relay::new(client, *target, patience) {
                self.relays.push(relay);
            }
        }
    }

    pub(super) fn settle(&mut self) {
        self.relays.iter_mut().for_each(Relay::settle);
        self.relays.retain(|relay| !relay.over());
        for held in &mut self.held {
            if let Socket::Udp(_, flows) = &mut held.socket {
                flows.expire();
            }
        }
    }
}

/// Takes one port on every address that was asked for.
fn hold(request: &PortRequest) -> Result<(u16, Vec<Held>), Taken> {
    let mut attempts =
        if request.first == 0 { ATTEMPTS } else { 1 + u32::from(request.last.saturating_sub(request.first)) };
    let mut port = request.first;
    loop {
        match hold_at(request, port) {
            Ok(held) => return Ok((held.first().map_or(port, |held| held.port), held)),
            Err(taken) => {
                attempts -= 1;
                let next = if request.first == 0 { 0 } else { port.saturating_add(1) };
                if attempts == 0 || taken.error.kind() != io::ErrorKind::AddrInUse {
                    return Err(taken);
                }
                port = next;
            }
        }
    }
}

fn hold_at(request: &PortRequest, mut port: u16) -> Result<Vec<Held>, Taken> {
    let mut held = vec![];
    for place in &request.places {
        let bound = bind(&request.protocol, place.host_ip, port);
        let (bound_port, socket) = bound.map_err(|error| Taken { address: place.host_ip, port, error })?;
        // The first address chooses, the others follow.
        port = bound_port;
        held.push(Held {
            protocol: request.protocol.clone(),
            host_ip: place.host_ip,
            port,
            target: place.target,
            socket,
        });
    }
    Ok(held)
}

fn bind(protocol: &str, address: IpAddr, port: u16) -> io::Result<(u16, Socket)> {
    match protocol {
        "tcp" => {
            let listener = TcpListener::from(open(SocketType::STREAM, address, port)?);
            // Listening, because a merely bound one does not keep out a program that sets SO_REUSEADDR.
            rustix::net::listen(&listener, BACKLOG)?;
            Ok((listener.local_addr()?.port(), Socket::Tcp(listener)))
        }
        "udp" => {
            let socket = UdpSocket::from(open(SocketType::DGRAM, address, port)?);
            Ok((socket.local_addr()?.port(), Socket::Udp(socket, Flows::default())))
        }
        _ if port > 0 => Ok((port, Socket::Sctp)),
        // Some number that is free for others is as good as any.
        _ => Ok((UdpSocket::from(open(SocketType::DGRAM, address, 0)?).local_addr()?.port(), Socket::Sctp)),
    }
}

fn open(kind: SocketType, address: IpAddr, port: u16) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv6() {
        // `::` is held beside `0.0.0.0`, not instead of it.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // Connections of an earlier container that are in their last minute do not count.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, port))?;
    Ok(socket)
}

/// A connection to the container, begun.
pub(super) fn connect(kind: SocketType, target: SocketAddr) -> io::Result<OwnedFd> {
    let family = if target.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    fn request(protocol: &str, first: u16, last: u16, target: SocketAddr) -> PortRequest {
        let places = vec![PortPlace { host_ip: Ipv4Addr::LOCALHOST.into(), target }];
        PortRequest { protocol: protocol.into(), first, last, places }
    }

    /// Turns the loop until `done`.
    fn turn(ports: &mut Ports, done: impl Fn() -> bool) {
        while !done() {
            let (mut interests, mut places) = (teu_sys::poll::Interests::new(), vec![]);
            ports.interests(&mut |fd, readable, writable, place| {
                interests.add(fd, readable, writable);
                places.push(place);
            });
            interests.wait(Some(Duration::from_millis(50))).expect("poll");
            let ready: Vec<_> = places
                .into_iter()
                .enumerate()
                .filter(|(at, _)| interests.readable(*at) || interests.writable(*at))
                .map(|(_, place)| place)
                .collect();
            ready.into_iter().for_each(|place| ports.act(place));
            ports.settle();
        }
    }

    #[test]
    fn a_port_is_held_once_and_a_range_takes_the_next() {
        let target = SocketAddr::from(([127, 0, 0, 1], 9));
        let (mut one, mut two) = (Ports::default(), Ports::default());
        for protocol in ["tcp", "udp"] {
            let port = one.publish(&[request(protocol, 0, 0, target)]).ok().expect("a free port")[0];
            let taken = two.publish(&[request(protocol, port, port, target)]).expect_err("it is held");
            assert_eq!((taken.port, taken.error.kind()), (port, io::ErrorKind::AddrInUse));
            let next = two.publish(&[request(protocol, port, port.saturating_add(20), target)]).ok().expect("another");
            assert!(next[0] > port);
            let again = one.publish(&[request(protocol, port, port, target)]).ok().expect("it is ours already");
            assert_eq!(again, [port]);
            one.publish(&[]).ok().expect("nothing to hold");
            two.publish(&[request(protocol, port, port, target)]).ok().expect("it is free");
        }
    }

    #[test]
    fn of_a_port_that_is_held_on_one_address_only_the_others_are_taken() {
        let target = SocketAddr::from(([127, 0, 0, 1], 9));
        let place = |last| PortPlace { host_ip: Ipv4Addr::new(127, 0, 0, last).into(), target };
        let on = |port, places: &[u8]| PortRequest {
            protocol: "tcp".into(),
            first: port,
            last: port,
            places: places.iter().map(|last| place(*last)).collect(),
        };
        let mut ports = Ports::default();
        let port = ports.publish(&[on(0, &[2])]).ok().expect("a free port")[0];
        assert_eq!(ports.publish(&[on(port, &[2, 3])]).ok().expect("one more address"), [port]);
        assert_eq!(ports.held.len(), 2);
        let mut others = Ports::default();
        others.publish(&[on(port, &[4])]).ok().expect("another address");
        let taken = ports.publish(&[on(port, &[3, 4])]).expect_err("somebody else has it");
        assert_eq!((taken.address, ports.held.len()), (place(4).host_ip, 2), "nothing has changed");
        assert_eq!(ports.publish(&[on(port, &[3])]).ok().expect("one less"), [port]);
        assert_eq!(ports.held.len(), 1);
    }

    #[test]
    fn a_stream_passes_both_ways_and_its_ends_do_too() {
        let server = TcpListener::bind("127.0.0.1:0").expect("bind");
        let mut ports = Ports::default();
        let wanted = request("tcp", 0, 0, server.local_addr().expect("an address"));
        let port = ports.publish(&[wanted]).ok().expect("a free port")[0];
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("accept");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("read to the end");
            stream.write_all(&all).expect("write");
        });
        let client = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
            let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
            stream.write_all(&sent).expect("write");
            stream.shutdown(std::net::Shutdown::Write).expect("half close");
            let mut back = Vec::new();
            stream.read_to_end(&mut back).expect("read");
            assert!(back == sent, "{} of {} bytes came back", back.len(), sent.len());
        });
        turn(&mut ports, || client.is_finished());
        client.join().expect("the client");
        echo.join().expect("the server");
        turn(&mut ports, || true);
        assert!(ports.relays.iter().all(Relay::over));
    }

    #[test]
    fn datagrams_find_their_way_back_to_each_sender() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let mut ports = Ports::default();
        let wanted = request("udp", 0, 0, server.local_addr().expect("an address"));
        let port = ports.publish(&[wanted]).ok().expect("a free port")[0];
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, peer)) = server.recv_from(&mut buffer) {
                let _ = server.send_to(&buffer[..length], peer);
            }
        });
        let clients = std::thread::spawn(move || {
            let clients: Vec<_> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").expect("bind")).collect();
            for (number, client) in clients.iter().enumerate() {
                client.send_to(number.to_string().as_bytes(), ("127.0.0.1", port)).expect("send");
            }
            for (number, client) in clients.iter().enumerate() {
                let mut buffer = [0; 64];
                let (length, _) = client.recv_from(&mut buffer).expect("an answer");
                assert_eq!(buffer[..length], *number.to_string().as_bytes());
            }
        });
        turn(&mut ports, || clients.is_finished());
        clients.join().expect("the clients");
    }
}
