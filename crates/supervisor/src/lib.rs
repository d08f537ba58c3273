//! The process beside each container: it makes it, feeds it, listens to it, writes down what it says and how it ended.
//!
//! `teu supervise <task-dir>` is [`run()`]: single-threaded, one poll loop, reached only through the socket in its task
//! directory ([`protocol`]). It belongs to nobody: the daemon may stop, crash or be replaced while it goes on.
//!
//! Invariants: the only writer of the task directory's `pid` and `exit.json` and of the container's log; output is
//! never held back by a daemon that is stopped or gone; nothing here waits for more than one thing outside the loop,
//! except for the kernel while a process is being made.
//!
//! Deliberately absent: restart policy, interfaces and addresses, images, threads, an async runtime.

mod attach;
mod children;
mod connection;
mod hooks;
pub mod log;
mod nursery;
pub mod protocol;
mod requests;
mod revival;
mod run;
mod rundir;
mod services;
mod streams;

pub use nursery::nursery;
pub use run::run;
