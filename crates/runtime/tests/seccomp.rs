//! The default profile, loaded into a real thread: the kernel takes it, and answers as it says.
//!
//! A filter belongs to the thread that loads it, so each test loads in a thread of its own, which then ends.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use teu_runtime::seccomp;

fn under(capabilities: &'static [&'static str], check: impl FnOnce() + Send + 'static) {
    let filtered = move || {
        let profile = seccomp::profile::default(capabilities);
        let filter = seccomp::compile(&profile).expect("compiles");
        rustix::thread::set_no_new_privs(true).expect("no new privileges");
        teu_sys::seccomp::load(&filter, seccomp::flags(&profile).expect("flags")).expect("loaded");
        check();
    };
    std::thread::spawn(filtered).join().expect("the thread's assertions hold");
}

#[test]
fn calls_outside_the_profile_are_not_permitted_even_to_root() {
    under(&["CAP_CHOWN"], || {
        let opened = rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::empty());
        assert_eq!(opened.expect_err("refused"), Errno::PERM);
        let name = rustix::system::uname().nodename().to_bytes().to_vec();
        assert_eq!(rustix::system::sethostname(&name).expect_err("refused"), Errno::PERM);
        assert_eq!(rustix::process::chroot("/").expect_err("refused"), Errno::PERM);
    });
}

#[test]
fn a_capability_brings_its_calls() {
    under(&["CAP_SYS_CHROOT", "CAP_SYS_ADMIN"], || {
        rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::empty()).expect("allowed");
    });
}

#[test]
fn the_kernel_crypto_and_the_hypervisor_are_no_socket_families_but_others_are() {
    under(&["CAP_CHOWN"], || {
        for family in [38, 40] {
            let made = socket(AddressFamily::from_raw(family), SocketType::SEQPACKET, None);
            assert_eq!(made.expect_err("refused"), Errno::PERM, "family {family}");
        }
        socket(AddressFamily::INET, SocketType::STREAM, None).expect("allowed");
        socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("allowed");
        socket(AddressFamily::NETLINK, SocketType::RAW, None).expect("allowed");
    });
}

#[test]
fn threads_are_made_although_clone3_does_not_exist() {
    under(&["CAP_CHOWN"], || {
        assert_eq!(std::thread::spawn(|| 7).join().expect("joined"), 7);
    });
}
