//! The door that programs use: HTTP on a Unix socket becomes calls of the engine, and the daemon's main.
//!
//! ```text
//! connection → sniff → hyper → compat (version, headers) → routes → engine / builder
//!                                                 ↘ hijack (attach, exec)  ↘ json_lines (pull, push, build, load)
//! ```
//!
//! A handler is a few lines, because each difficulty has one home: the shape of parameters in [`query`] and [`body`],
//! API versions in [`compat`], errors and status codes in [`failure`], raw streams in [`hijack`] and [`sniff`], progress
//! streams in [`json_lines`]. Which doors there are is a table ([`openapi`]). Deliberately absent: rules about containers and images (the engine's), and TCP without mutual
//! TLS.

mod body;
mod compat;
mod config;
mod connection;
#[cfg(test)]
mod conversation;
mod daemon;
mod detach;
mod failure;
mod framing;
mod hijack;
mod json_fault;
mod json_lines;
mod listen;
mod metrics;
mod notify;
mod openapi;
mod query;
mod registry;
mod routes;
mod sniff;
mod tls;
mod websocket;

pub use config::DaemonArgs;
pub use daemon::daemon;
pub use registry::registry;
