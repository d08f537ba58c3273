//! Network interfaces, as far as a container needs them before anybody else cares: its loopback set up, and one moved
//! into its namespace with its name and addresses, by rtnetlink(7).

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

// <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>, <linux/netlink.h>
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE_NEW: u16 = 0x600;
const LINK_NAME: u16 = 3;
const LINK_NAMESPACE_FD: u16 = 28;
const ADDRESS_FLAGS: u16 = 8;
const HEADER: usize = 16;
const UP: u32 = 1;
const GLOBAL: u8 = 0;
const PERMANENT: u32 = 0x80;

/// Sets the loopback interface of the caller's network namespace up, netdevice(7).
///
/// # Errors
/// As socket(2) and ioctl(2); `EPERM` without `CAP_NET_ADMIN` over the namespace.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads one `ifreq`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Moves the interface `name` of the caller's network namespace into `namespace`, where it is called `new`, is up, and
/// has the lasting global addresses that it had.
///
/// # Errors
/// As rtnetlink(7): `ENODEV` when there is no such interface, `EEXIST` when the new name is taken.
pub fn give(name: &str, new: &str, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let socket = open()?;
    let index = index_of(&socket, name)?;
    let addresses = addresses(&socket, index)?;
    let mut body = link_header(index, 0, 0);
    attribute(&mut body, LINK_NAME, &with_end(new));
    attribute(&mut body, LINK_NAMESPACE_FD, &namespace.as_raw_fd().to_ne_bytes());
    acknowledge(&socket, NEW_LINK, 0, &body)?;
    // The rest happens over there, where a socket is made by a thread of its own that goes in for it.
    let inside = std::thread::scope(|scope| {
        let make = || {
            crate::namespace::enter(namespace, crate::namespace::NETWORK)?;
            open()
        };
        let joined = std::thread::Builder::new().spawn_scoped(scope, make)?.join();
        joined.unwrap_or_else(|_| Err(io::Error::other("the visiting thread ended early")))
    })?;
    let index = index_of(&inside, new)?;
    for (fixed, attributes) in addresses {
        let mut body = fixed;
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body.extend(attributes);
        acknowledge(&inside, NEW_ADDRESS, CREATE_NEW, &body)?;
    }
    acknowledge(&inside, NEW_LINK, 0, &link_header(index, UP, UP))
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

fn with_end(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn send(socket: &Socket, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let mut message = vec![0; HEADER];
    message.extend(body);
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[0..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
    socket.send(&message, 0).map(drop)
}

/// Sends a request and waits for the kernel's word on it.
fn acknowledge(socket: &Socket, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    send(socket, kind, flags | ACK, body)?;
    each_answer(socket, |_, _| {})
}

/// Reads answers up to an error, an acknowledgement or the end of a list.
fn each_answer(socket: &Socket, mut take: impl FnMut(u16, &[u8])) -> io::Result<()> {
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while rest.len() >= HEADER {
            let length = number(rest, 0) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let Some(message) = rest.get(HEADER..length) else { return Err(io::ErrorKind::InvalidData.into()) };
            match kind {
                DONE => return Ok(()),
                ERROR if message.len() >= 4 => {
                    let code = i32::from_ne_bytes([message[0], message[1], message[2], message[3]]);
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => take(kind, message),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

fn index_of(socket: &Socket, name: &str) -> io::Result<u32> {
    let mut body = link_header(0, 0, 0);
    attribute(&mut body, LINK_NAME, &with_end(name));
    let mut index = 0;
    send(socket, GET_LINK, ACK, &body)?;
    each_answer(socket, |kind, message| {
        if kind == NEW_LINK {
            index = number(message, 4);
        }
    })?;
    if index == 0 { Err(io::Error::from_raw_os_error(rustix::io::Errno::NODEV.raw_os_error())) } else { Ok(index) }
}

/// The lasting global addresses of an interface: the fixed header (`struct ifaddrmsg`) and the attributes of each.
fn addresses(socket: &Socket, index: u32) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    send(socket, GET_ADDRESS, DUMP, &[0; 8])?;
    each_answer(socket, |kind, message| {
        let (Some(fixed), Some(attributes)) = (message.get(..8), message.get(8..)) else { return };
        let ours = kind == NEW_ADDRESS && number(fixed, 4) == index && fixed[3] == GLOBAL;
        if ours && flags(fixed, attributes) & PERMANENT != 0 {
            let wanted = [1, 2, 4, ADDRESS_FLAGS];
            let kept = attributes_of(attributes).filter(|(kind, _)| wanted.contains(kind));
            let mut body = Vec::new();
            for (kind, value) in kept {
                attribute(&mut body, kind, value);
            }
            found.push((fixed.to_vec(), body));
        }
    })?;
    Ok(found)
}

fn flags(fixed: &[u8], attributes: &[u8]) -> u32 {
    let wide = attributes_of(attributes).find(|(kind, _)| *kind == ADDRESS_FLAGS);
    wide.map_or(u32::from(fixed[2]), |(_, value)| number(value, 0))
}

fn attributes_of(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}
