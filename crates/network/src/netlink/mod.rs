//! Netlink, as much of it as this room needs: messages are built and read in `message`, exchanged in `socket`.
//!
//! ```text
//!   nlmsghdr (16 bytes: length, type, flags, sequence, port) · fixed header of the family · attributes
//!   attribute: length u16 (with its own 4 bytes), type u16, value, padding to 4; a nest's value is attributes again
//! ```
//!
//! Three families are spoken with it (route, nf_tables, conntrack); only they know what the numbers mean.

mod message;
mod socket;

pub(crate) use message::{Message, attribute, read_u32};
pub(crate) use socket::{Family, Refused, Socket};

/// Flags of a netlink message header, netlink(7).
pub(crate) mod flag {
    /// It is a request.
    pub(crate) const REQUEST: u16 = 0x1;
    /// Answer even when it went well.
    pub(crate) const ACK: u16 = 0x4;
    /// For "new": refuse when it exists.
    pub(crate) const EXCLUSIVE: u16 = 0x200;
    /// For "new": replace what exists.
    pub(crate) const REPLACE: u16 = 0x100;
    /// For "new": make it when it does not exist.
    pub(crate) const CREATE: u16 = 0x400;
    /// For "new": put it behind what is there.
    pub(crate) const APPEND: u16 = 0x800;
    /// For "get": all there are.
    pub(crate) const DUMP: u16 = 0x300;
}
