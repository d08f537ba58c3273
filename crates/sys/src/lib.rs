//! Linux made safe: the one crate that may write `unsafe`.
//!
//! Each module wraps one corner of the kernel's interface and keeps its invariant inside; nothing here knows what a
//! container is. Deliberately absent: policy, paths of ours, logging.

pub mod block;
pub mod bpf;
pub mod clock;
pub mod credentials;
pub mod fs;
pub mod heap;
pub mod link;
pub mod mount;
pub mod namespace;
pub mod poll;
pub mod proc;
pub mod process;
pub mod program;
pub mod pty;
pub mod quota;
pub mod scheduling;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod text;
