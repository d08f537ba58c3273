//! What the tests of the whole binary share: a daemon of their own, commands with a deadline, fixtures.
//!
//! A [`Daemon`] lives on private folders and, when it is dropped, everything that it made must be gone: processes,
//! cgroups, mounts, interfaces, firewall tables. That check is part of every test that has a daemon.
//! Only [`eventually`] sleeps, for what cannot be waited for (a port to answer, the kernel to finish a removal).

// Every test program uses a part.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod bundle;
mod command;
mod daemon;
mod fixture;
mod leftovers;
mod network;
mod registry;

use std::time::{Duration, Instant};

pub use bundle::Bundle;
pub use command::{Ran, Running, run, run_with};
pub use daemon::{Daemon, TEU, on_terminal};
pub use fixture::{base_image, packages, probe, script, systemd_image, tree};
pub use leftovers::{cgroup_of, processes_of};
pub use network::{address_of_host, ask_tcp, ask_udp, fetch, free_port};
pub use registry::{DebianRegistry, Registry};

/// Longer than anything here takes; a test that waits so long has failed.
pub fn patience() -> Duration {
    Duration::from_secs(60) * slowness()
}

/// How many times slower than others a machine is that is emulated.
pub fn slowness() -> u32 {
    std::env::var("TEU_TEST_SLOWNESS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Tries until there is an answer.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
