//! Seccomp: which system calls a container may make ([`profile`]), and how that becomes a filter ([`mod@compile`]).
//!
//! Both are pure; loading is `teu_sys::seccomp::load`, done by the container's init after everything else.

pub mod compile;
mod numbers;
pub mod profile;

#[cfg(all(test, target_arch = "x86_64"))]
mod machine;

pub use compile::{Error, compile, flags};
