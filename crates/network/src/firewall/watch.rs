//! Noticing that somebody changed our tables: the kernel tells of every nftables transaction.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink, recv, socket_with};

use super::Firewall;
use crate::Error;
use crate::netlink::attribute;

/// `NFNLGRP_NFTABLES`, as a bit of the address.
const GROUP: u32 = 1 << (7 - 1);
/// News of tables, chains, rules, sets and their elements, made or deleted (`enum nf_tables_msg_types`).
const CHANGES: [u8; 10] = [0, 2, 3, 5, 6, 8, 9, 11, 12, 14];
const SUBSYSTEM: u8 = 10;
/// The lengths of `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 16 + 4;
/// The name of the table, in each of these messages.
const TABLE: u16 = 1;

/// Tells of changes to nftables. Its descriptor becomes readable when there are some.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Watch {
    /// Watches the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = || {
            let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
            rustix::net::bind(&fd, &netlink::SocketAddrNetlink::new(0, GROUP))?;
            Ok::<_, Errno>(fd)
        };
        open().map(Self).map_err(|errno| Error::io("watch nftables", errno))
    }

    /// Takes what has happened; true when others than `own` have changed tables of that name, or when news were lost. What
    /// they have made of them cannot be told by looking at a listing: one that was saved and restored lacks what its
    /// language has no words for.
    pub fn take(&self, own: &Firewall, table: &str) -> io::Result<bool> {
        let own = own.number();
        let mut buffer = vec![0; 64 << 10];
        let mut changed = false;
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => changed |= mentions_change(&buffer[..length.min(buffer.len())], own, table),
                Err(Errno::AGAIN) => return Ok(changed),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => changed = true,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn mentions_change(mut datagram: &[u8], own: Option<u32>, table: &str) -> bool {
    while let Some(header) = datagram.get(..16) {
        let by = u32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let named = || {
            let name = datagram.get(HEADERS..length).and_then(|body| attribute(body, TABLE));
            name.and_then(|name| name.strip_suffix(b"\0")) == Some(table.as_bytes())
        };
        if header[5] == SUBSYSTEM && CHANGES.contains(&header[4]) && Some(by) != own && named() {
            return true;
        }
        datagram = datagram.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
    }
    false
}
