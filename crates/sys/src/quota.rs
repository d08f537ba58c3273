//! Project quotas: a limit on the bytes of a directory and all that is made in it, quotactl(2), `ioctl_xfs_fssetxattr`.
//!
//! A project is a number; files made in a directory of a project belong to it too. ext4 (with the feature `project`),
//! xfs and f2fs have them when mounted with `prjquota`.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// The same number on every architecture; the C library's bindings lack it on some.
const QUOTACTL_FD: libc::c_long = 443;
/// `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, struct fsxattr)`.
const FS_IOC_FSGETXATTR: libc::Ioctl = 0x801C_581F_u32 as libc::Ioctl;
const FS_IOC_FSSETXATTR: libc::Ioctl = 0x401C_5820_u32 as libc::Ioctl;
/// Files made in the directory belong to its project.
const PROJECT_INHERIT: u32 = 0x200;
/// `QCMD(Q_XSETQLIM, PRJQUOTA)`.
const SET_LIMITS: u32 = (((b'X' as u32) << 8) + 4) << 8 | 2;
/// `QCMD(Q_XGETQUOTA, PRJQUOTA)`.
const GET_QUOTA: u32 = (((b'X' as u32) << 8) + 3) << 8 | 2;
const VERSION: i8 = 1;
const PROJECT: i8 = 2;
const SOFT_AND_HARD_BLOCKS: u16 = (1 << 2) | (1 << 3);
/// Quota counts in blocks of this many bytes, whatever the file system's are.
const BLOCK: u64 = 512;

/// `struct fsxattr` of `<linux/fs.h>`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct fs_disk_quota` of `<linux/dqblk_xfs.h>`.
#[repr(C)]
#[derive(Default)]
struct DiskQuota {
    version: i8,
    flags: i8,
    field_mask: u16,
    id: u32,
    block_hard: u64,
    block_soft: u64,
    inode_hard: u64,
    inode_soft: u64,
    blocks: u64,
    inodes: u64,
    inode_timer: i32,
    block_timer: i32,
    inode_warnings: u16,
    block_warnings: u16,
    inode_timer_high: i8,
    block_timer_high: i8,
    realtime_timer_high: i8,
    padding2: i8,
    realtime_hard: u64,
    realtime_soft: u64,
    realtime_blocks: u64,
    realtime_timer: i32,
    realtime_warnings: u16,
    padding3: i16,
    padding4: [u8; 8],
}

/// Puts the directory `dir` and whatever will be made in it into `project`, and limits that to `bytes`.
///
/// # Errors
/// As quotactl_fd(2) and ioctl(2): an error of any kind where the file system has no project quotas.
pub fn limit(dir: &File, project: u32, bytes: u64) -> io::Result<()> {
    set_limit(dir, project, bytes)?;
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes one `struct fsxattr`, whose layout `Attributes` has.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSGETXATTR, &raw mut attributes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.project = project;
    attributes.flags |= PROJECT_INHERIT;
    // SAFETY: the kernel reads one `struct fsxattr`.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSSETXATTR, &raw const attributes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes the limit of a project away; its directory is gone.
///
/// # Errors
/// As for [`limit`].
pub fn unlimit(dir: &File, project: u32) -> io::Result<()> {
    set_limit(dir, project, 0)
}

/// Bytes that a project has.
///
/// # Errors
/// As for [`limit`].
pub fn usage(dir: &File, project: u32) -> io::Result<u64> {
    let mut quota = DiskQuota::default();
    // SAFETY: the kernel writes one `struct fs_disk_quota`, whose layout `DiskQuota` has.
    let result = unsafe { libc::syscall(QUOTACTL_FD, dir.as_raw_fd(), GET_QUOTA, project, &raw mut quota) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(quota.blocks * BLOCK) }
}

fn set_limit(dir: &File, project: u32, bytes: u64) -> io::Result<()> {
    let blocks = bytes.div_ceil(BLOCK);
    let quota = DiskQuota {
        version: VERSION,
        flags: PROJECT,
        field_mask: SOFT_AND_HARD_BLOCKS,
        id: project,
        block_hard: blocks,
        block_soft: blocks,
        ..DiskQuota::default()
    };
    // SAFETY: the kernel reads one `struct fs_disk_quota`.
    let result = unsafe { libc::syscall(QUOTACTL_FD, dir.as_raw_fd(), SET_LIMITS, project, &raw const quota) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structures_have_their_sizes() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert_eq!(size_of::<DiskQuota>(), 112);
    }

    #[test]
    fn a_file_system_without_projects_says_so() {
        let dir = File::open("/proc").expect("a directory");
        assert!(limit(&dir, 7, 1 << 20).is_err());
    }
}
