//! Loop devices: a file as a block device, loop(4).
//!
//! A device made here lets go of its file when the last mount of it is gone, whoever made that mount. The same file is
//! never behind two devices at once: two file systems over one set of blocks would destroy each other.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

const LOOP_GET_STATUS64: libc::Ioctl = 0x4C05;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;
/// Others look for a free device at the same time and may be first.
const TRIES: u32 = 64;

/// `struct loop_info64` of `<linux/loop.h>`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `<linux/loop.h>`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

impl Info {
    const EMPTY: Info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

/// A block device over a file. It must be mounted before this is dropped, or it is free again.
#[derive(Debug)]
pub struct LoopDevice {
    /// Holds the device until it is mounted.
    _device: File,
    /// `/dev/loop7`.
    pub path: PathBuf,
}

/// The device over the file at `path`: the one there is, or a new one.
///
/// # Errors
/// As open(2) and ioctl(2); `ENOENT` when the machine has no loop devices.
pub fn loop_device(path: &Path) -> io::Result<LoopDevice> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if let Some(existing) = find(&file)? {
        return Ok(existing);
    }
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    for _ in 0..TRIES {
        let number = ioctl_value(&control, LOOP_CTL_GET_FREE)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = OpenOptions::new().read(true).write(true).open(&path)?;
        match configure(&device, &file, AUTOCLEAR | DIRECT_IO) {
            // Not every file system can be read past the page cache.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                configure(&device, &file, AUTOCLEAR)?;
            }
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => continue,
            other => other?,
        }
        return Ok(LoopDevice { _device: device, path });
    }
    Err(Errno::BUSY.into())
}

/// The device that has this file behind it.
fn find(file: &File) -> io::Result<Option<LoopDevice>> {
    let wanted = file.metadata()?;
    let Ok(entries) = std::fs::read_dir("/sys/block") else { return Ok(None) };
    for entry in entries.flatten() {
        if !entry.path().join("loop").exists() {
            continue;
        }
        let path = Path::new("/dev").join(entry.file_name());
        let Ok(device) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
        if status(&device).is_ok_and(|info| info.inode == wanted.ino() && same_device(info.device, wanted.dev())) {
            return Ok(Some(LoopDevice { _device: device, path }));
        }
    }
    Ok(None)
}

/// The kernel gives the number in its old or new 32-bit form, stat(2) in the C library's.
fn same_device(told: u64, dev: u64) -> bool {
    let (major, minor) = (u64::from(rustix::fs::major(dev)), u64::from(rustix::fs::minor(dev)));
    told == ((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)) || told == dev
}

fn status(device: &File) -> io::Result<Info> {
    let mut info = Info::EMPTY;
    // SAFETY: the kernel writes one `struct loop_info64`, whose layout `Info` has.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info) }
}

fn configure(device: &File, file: &File, flags: u32) -> io::Result<()> {
    let fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let config = Config { fd, block_size: 0, info: Info { flags, ..Info::EMPTY }, reserved: [0; 8] };
    // SAFETY: the kernel reads one `struct loop_config`, whose layout `Config` has.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn ioctl_value(file: &File, request: libc::Ioctl) -> io::Result<i32> {
    // SAFETY: this request takes no argument; its answer is its return value.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structures_have_their_sizes() {
        assert_eq!(size_of::<Info>(), 232);
        assert_eq!(size_of::<Config>(), 304);
    }

    #[test]
    fn device_numbers_are_compared_in_the_kernels_form() {
        let dev = rustix::fs::makedev(254, 300);
        assert!(same_device((300 & 0xff) | (254 << 8) | ((300 & !0xff) << 12), dev));
        assert!(!same_device(1, dev));
    }
}
