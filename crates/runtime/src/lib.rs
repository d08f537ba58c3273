//! A spec becomes a process: namespaces, mounts, limits, credentials, filter, `execve`.
//!
//! Two stories run at once. The parent's is in `create`: plan, cgroup, clone, wait for *ready*, say *start*. The
//! child's is in `init`: it turns itself into the container and never logs; whatever stops it is an [`Error`], which
//! is data and crosses the socket between the two (drawn in `sync`). `exec` is the same for a further process.
//!
//! Invariants: callers are single-threaded; nothing is ever mounted in the host's mount namespace, but for the one
//! container whose configuration asks for that (`shown`); every path inside a
//! container is resolved against a descriptor of its root, and every mount lands on a descriptor; what is to be done
//! is computed first (`mounts::plan`, `cgroup::settings`, `process`), so the child mostly applies it.
//!
//! Deliberately absent: restart policy, logs, streams, network, images. Nobody here knows a daemon.

mod birth;
pub mod cgroup;
pub mod checkpoint;
pub mod command;
mod create;
mod credentials;
mod devices;
mod error;
mod exec;
pub mod hooks;
pub mod idmap;
mod init;
mod labels;
mod launch;
mod lean;
mod listener;
mod mounts;
mod namespaces;
mod netdev;
mod orders;
mod program;
mod reaper;
mod resctrl;
mod rootfs;
mod rootless;
mod schedule;
pub mod seccomp;
pub mod shown;
mod sources;
mod stock;
mod sync;
mod sysctl;
mod systemd;
mod zygote;

pub use cgroup::{Cgroup, Stats};
pub use create::{Created, Options, Process, Stdio, create, create_telling, create_with, start_at};
pub use error::Error;
pub use exec::{Doors, Entrance, exec, exec_with};
pub use mounts::plan::attribute_of;
pub use rootfs::Rootfs;
pub use stock::Stock;
pub use zygote::{Herald, Zygote};
