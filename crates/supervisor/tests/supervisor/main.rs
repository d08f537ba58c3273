//! The supervisor from outside: as a process of its own, driven through its socket, with real containers of busybox.
//!
//! Needs root and a static busybox at /bin/busybox (`apt-get install busybox-static`).

mod collectors;
mod execs;
mod harness;
mod life;
mod streams;
