//! Talking to published ports from the host.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::eventually;

const LONG: Duration = Duration::from_secs(5);

/// The host's own address on its network; `None` on a machine without one.
pub fn address_of_host() -> Option<Ipv4Addr> {
    // Nothing is sent: connecting a datagram socket only chooses the route and with it the source address.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) if !address.ip().is_loopback() => Some(*address.ip()),
        _ => None,
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// What `probe echo` answers over TCP.
#[track_caller]
pub fn ask_tcp(ip: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip.into(), port), LONG)?;
    stream.set_read_timeout(Some(LONG))?;
    stream.write_all(b"hello")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

/// What `probe echo` answers over UDP.
#[track_caller]
pub fn ask_udp(ip: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    let ip = ip.into();
    let any: IpAddr = if ip.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(LONG))?;
    socket.connect((ip, port))?;
    socket.send(b"hello")?;
    let mut answer = [0; 512];
    let count = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..count]).trim_end().to_owned())
}

/// The page at `http://127.0.0.1:port/path`, as soon as there is a server.
#[track_caller]
pub fn fetch(port: u16, path: &str) -> String {
    eventually(&format!("a page at port {port}"), || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(LONG)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        (!page.is_empty()).then_some(page)
    })
}
