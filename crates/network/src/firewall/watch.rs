//! Noticing that somebody changed our tables: the kernel tells of every nftables transaction.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink, recv, socket_with};

use super::encode;
use super::{Ruleset, Table};
use crate::Error;
use crate::netlink::{Family, Socket, attribute};

/// `NFNLGRP_NFTABLES`, as a bit of the address.
const GROUP: u32 = 1 << (7 - 1);
/// Deletions of tables, chains, rules and sets.
const DELETIONS: [u8; 4] = [2, 5, 8, 11];
const SUBSYSTEM: u8 = 10;

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

    /// Takes what has happened; true when something was deleted, by whomever, or when news were lost.
    pub fn take(&self) -> io::Result<bool> {
        let mut buffer = vec![0; 64 << 10];
        let mut deleted = false;
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => deleted |= mentions_deletion(&buffer[..length.min(buffer.len())]),
                Err(Errno::AGAIN) => return Ok(deleted),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => deleted = true,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn mentions_deletion(mut datagram: &[u8]) -> bool {
    while let Some(header) = datagram.get(..16) {
        if header[5] == SUBSYSTEM && DELETIONS.contains(&header[4]) {
            return true;
        }
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        datagram = datagram.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// Whether the tables have every rule they should have.
pub fn intact(ruleset: &Ruleset) -> Result<bool, Error> {
    for table in &ruleset.tables {
        let wanted: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
        if count_rules(table)? != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

fn count_rules(table: &Table) -> Result<usize, Error> {
    const TABLE: u16 = 1;
    let failed = |source| Error::io(format!("list the rules of nftables table {}", table.name), source);
    let mut socket = Socket::open(Family::Netfilter).map_err(failed)?;
    let rules = socket.dump(encode::list_rules(table.ipv6, &table.name)).map_err(failed)?;
    let name = [table.name.as_bytes(), b"\0"].concat();
    // Kernels that do not filter by table answer with every rule of the family.
    Ok(rules.iter().filter(|rule| attribute(rule.get(4..).unwrap_or_default(), TABLE) == Some(&name[..])).count())
}
