//! The network room: bridges, the veth that plugs a container into one, addresses, published ports, name resolution.
//!
//! ```text
//!   outside ── uplink ── [ host: routes, our nftables table ] ── bridge (gateway address) ── veth ── eth0 in a container
//! ```
//!
//! Everything is synchronous and may be called from any thread of a multi-threaded program: the calling thread's
//! namespace never changes. The kernel is spoken to by netlink alone, no other program runs. Every name (bridge, table,
//! interface) comes from the caller, so several daemons can live side by side; what is not ours is never changed.
//!
//! Deliberately not here: which network a container is on, persistence, sockets that hold a port (the supervisors have
//! them), and forwarding policy of the host: where another table (Docker's, ufw's) drops forwarded packets, an accept in
//! our table cannot revive them, because in netfilter a drop in any chain is final.

pub mod bridge;
mod conntrack;
pub mod dns;
mod endpoint;
mod error;
pub mod firewall;
pub mod hairpin;
pub mod ipam;
mod link;
mod namespace;
mod netlink;
pub mod parent;
pub mod publish;
pub mod route;
pub mod sysctl;

pub use bridge::Bridge;
pub use endpoint::{Attachment, Endpoint, Way, attach, detach, interfaces, loopback_up, mac_of, route_by};
pub use error::Error;
pub use publish::{Protocol, Publish};
