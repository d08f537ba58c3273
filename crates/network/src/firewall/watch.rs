//! Noticing that somebody changed our tables: the kernel tells of every nftables transaction.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink, recv, socket_with};

use super::Firewall;
use crate::Error;

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

    /// Takes what has happened; true when something was deleted by others than `own`, or when news were lost.
    pub fn take(&self, own: &Firewall) -> io::Result<bool> {
        let own = own.number();
        let mut buffer = vec![0; 64 << 10];
        let mut deleted = false;
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => deleted |= mentions_deletion(&buffer[..length.min(buffer.len())], own),
                Err(Errno::AGAIN) => return Ok(deleted),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => deleted = true,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn mentions_deletion(mut datagram: &[u8], own: Option<u32>) -> bool {
    while let Some(header) = datagram.get(..16) {
        let by = u32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
        if header[5] == SUBSYSTEM && DELETIONS.contains(&header[4]) && Some(by) != own {
            return true;
        }
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        datagram = datagram.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
    }
    false
}
