//! What containers promise, one test per promise, on a real kernel: as root, asserted from inside the container where
//! that is possible, and from the host's view of it where it is not.

#[path = "../support/mod.rs"]
mod support;

mod advisories;
mod advisories_races;
mod checkpoint;
mod devices;
mod files;
mod inherited;
mod isolation;
mod life;
mod limits;
mod logs;
mod mounts;
mod network;
mod networks;
mod outside;
mod rootless;
mod runtime;
mod streams;
mod systemd;
mod users;
mod volumes;

#[test]
fn what_the_tests_share_can_be_made() {
    assert!(support::base_image().is_file());
    assert!(support::probe().is_file());
    assert!(support::systemd_image().is_file());
    assert!(support::packages("criu").join("bin/criu").is_file());
}
