//! Real namespaces, bridges and nftables: who reaches whom. Needs root.

mod firewall;
mod links;
mod world;
