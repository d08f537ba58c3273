//! Mounts by the new mount API: every mount is first a descriptor, then lands on a descriptor.
//!
//! Invariant: nothing here follows a path inside a container's tree. A mount that was made but not attached is seen by
//! nobody and vanishes with its descriptor.

#![allow(unsafe_code)]

mod table;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use serde::{Deserialize, Serialize};

pub use table::{Entry, mount_id, table};

/// Attributes of a mount, `MOUNT_ATTR_*` of mount_setattr(2).
pub mod attribute {
    /// Nothing can be written.
    pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    /// Set-user-id bits and file capabilities are ignored.
    pub const NO_SETUID: u64 = libc::MOUNT_ATTR_NOSUID;
    /// Device nodes are dead.
    pub const NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;
    /// Nothing can be executed.
    pub const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
    /// The field of the three access time modes.
    pub const ACCESS_TIME: u64 = libc::MOUNT_ATTR__ATIME;
    /// Access times are never updated.
    pub const NO_ACCESS_TIME: u64 = libc::MOUNT_ATTR_NOATIME;
    /// Access times are always updated.
    pub const STRICT_ACCESS_TIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
    /// Access times of directories are never updated.
    pub const NO_DIRECTORY_ACCESS_TIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
    /// Symbolic links are not followed.
    pub const NO_SYMLINK_FOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
}

/// How mount events travel between a mount and its copies, mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// From the original only.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and no bind mount can be made of it.
    Unbindable,
}

impl Propagation {
    fn flag(self) -> u64 {
        match self {
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// What [`set_attributes`] changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// Attributes to add.
    pub set: u64,
    /// Attributes to take away; done first.
    pub clear: u64,
    /// The new propagation.
    pub propagation: Option<Propagation>,
}

/// An overlay as data: mounted where it is needed, and nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Read-only layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Where changes go; without it the view is read-only.
    pub upper: Option<PathBuf>,
    /// The kernel's workplace, on the same file system as `upper`.
    pub work: Option<PathBuf>,
    /// Whether the upper is never synced, for trees that do not outlive a crash.
    pub volatile: bool,
}

impl Overlay {
    /// Mounts it, attached to no tree. Lowers that are one directory without an upper are a read-only bind.
    ///
    /// # Errors
    /// As fsconfig(2); `EINVAL` when there is no lower.
    pub fn mount_detached(&self) -> io::Result<OwnedFd> {
        if let ([only], None) = (self.lowers.as_slice(), &self.upper) {
            let tree = clone_tree(CWD, only, false)?;
            set_attributes(&tree, false, Change { set: attribute::READ_ONLY, ..Change::default() })?;
            return Ok(tree);
        }
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "source", "overlay")?;
        for lower in &self.lowers {
            rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir+", lower)?;
        }
        if let (Some(upper), Some(work)) = (&self.upper, &self.work) {
            rustix::mount::fsconfig_set_string(context.as_fd(), "upperdir", upper)?;
            rustix::mount::fsconfig_set_string(context.as_fd(), "workdir", work)?;
            if self.volatile {
                rustix::mount::fsconfig_set_flag(context.as_fd(), "volatile")?;
            }
        }
        // The upper must be a diff that can be read without overlayfs, wherever it is taken.
        for option in ["redirect_dir", "metacopy", "index", "xino"] {
            rustix::mount::fsconfig_set_string(context.as_fd(), option, "off")?;
        }
        match finish(&context, 0) {
            // A kernel that does not know `lowerdir+` says so only now.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.mount_by_options(),
            mounted => mounted,
        }
    }

    /// Mounts it with the owners of every layer shown as the user namespace `users` maps them; attached to no tree. What
    /// is written is owned as if there were no maps.
    ///
    /// overlayfs works on its layers as whoever mounted it, and an id that is in no map can make nothing there; so a thread
    /// of its own mounts, which makes files as `root`: a user and a group outside, who are the root inside.
    ///
    /// # Errors
    /// As [`Overlay::mount_detached`] and mount_setattr(2); `EINVAL` on a kernel before 6.15, which takes no layer that
    /// is not attached.
    pub fn mount_mapped(&self, users: BorrowedFd<'_>, root: (u32, u32)) -> io::Result<OwnedFd> {
        let mount = || {
            crate::credentials::make_files_as(root.0, root.1)?;
            self.mount_mapped_here(users)
        };
        std::thread::scope(|scope| {
            let broken = || io::Error::other("the mounting thread ended early");
            std::thread::Builder::new().spawn_scoped(scope, mount)?.join().unwrap_or_else(|_| Err(broken()))
        })
    }

    fn mount_mapped_here(&self, users: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let mapped = |path: &Path| -> io::Result<OwnedFd> {
            let tree = clone_tree(CWD, path, false)?;
            map_owners(&tree, false, users.as_fd())?;
            Ok(tree)
        };
        if let ([only], None) = (self.lowers.as_slice(), &self.upper) {
            let tree = mapped(only)?;
            set_attributes(&tree, false, Change { set: attribute::READ_ONLY, ..Change::default() })?;
            return Ok(tree);
        }
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "source", "overlay")?;
        // A detached mount is gone with its descriptor, and overlayfs takes only what is there.
        let mut held = Vec::with_capacity(self.lowers.len() + 1);
        for lower in &self.lowers {
            let tree = mapped(lower)?;
            rustix::mount::fsconfig_set_fd(context.as_fd(), "lowerdir+", tree.as_fd())?;
            held.push(tree);
        }
        if let (Some(upper), Some(work)) = (&self.upper, &self.work) {
            // Both must be on one mount: that of the directory that holds them.
            let (Some(above), true) = (upper.parent(), upper.parent() == work.parent()) else {
                return Err(io::Error::from(Errno::XDEV));
            };
            let above = mapped(above)?;
            for (key, path) in [("upperdir", upper), ("workdir", work)] {
                let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = rustix::fs::openat(&above, name, flags, Mode::empty())?;
                rustix::mount::fsconfig_set_fd(context.as_fd(), key, directory.as_fd())?;
            }
            held.push(above);
            if self.volatile {
                rustix::mount::fsconfig_set_flag(context.as_fd(), "volatile")?;
            }
        }
        for option in ["redirect_dir", "metacopy", "index", "xino"] {
            rustix::mount::fsconfig_set_string(context.as_fd(), option, "off")?;
        }
        finish(&context, 0)
    }

    /// The same for kernels before 6.5, which take lowers only as one option of mount(2), at most a page long: the
    /// layers are named by descriptor, which is short whatever their paths are. A thread of its own mounts, in a mount
    /// namespace of its own that ends with it; what stays is a detached copy.
    fn mount_by_options(&self) -> io::Result<OwnedFd> {
        let open =
            |path: &PathBuf| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let name = |fd: &OwnedFd| format!("/proc/thread-self/fd/{}", fd.as_raw_fd());
        let place = self.lowers.first().ok_or(io::ErrorKind::InvalidInput)?;
        let mount = || -> io::Result<OwnedFd> {
            crate::namespace::unshare(crate::namespace::MOUNT)?;
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private)?;
            // Opened only now: overlayfs takes no layer whose mount is in another namespace.
            let lowers = self.lowers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
            let own = self.upper.iter().chain(&self.work).map(open).collect::<Result<Vec<_>, _>>()?;
            let mut options = format!("lowerdir={}", lowers.iter().map(name).collect::<Vec<_>>().join(":"));
            if let [upper, work] = own.as_slice() {
                options += &format!(",upperdir={},workdir={}", name(upper), name(work));
                options += if self.volatile { ",volatile" } else { "" };
            }
            options += ",redirect_dir=off,metacopy=off,index=off,xino=off";
            let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
            rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), Some(options.as_c_str()))?;
            clone_tree(CWD, place, false)
        };
        std::thread::scope(|scope| {
            let broken = || io::Error::other("the mounting thread ended early");
            std::thread::Builder::new().spawn_scoped(scope, mount)?.join().unwrap_or_else(|_| Err(broken()))
        })
    }
}

/// Makes a mount of the file system `kind`, attached to no tree.
///
/// An option without a value is a flag. `attributes` are those of [`attribute`].
///
/// # Errors
/// As fsopen(2), fsconfig(2) and fsmount(2); `EINVAL` for an option that the file system does not know.
pub fn filesystem(kind: &str, options: &[(&str, Option<&str>)], attributes: u64) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?,
            None => rustix::mount::fsconfig_set_flag(context.as_fd(), *key)?,
        }
    }
    finish(&context, attributes)
}

/// Gives the file system whose mount `mount` is the root of other options.
///
/// # Errors
/// As fspick(2) and fsconfig(2); `EINVAL` when `mount` is not the root of one.
pub fn reconfigure(mount: impl AsFd, options: &[(&str, Option<&str>)]) -> io::Result<()> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = rustix::mount::fspick(mount.as_fd(), "", flags)?;
    for (key, value) in options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?,
            None => rustix::mount::fsconfig_set_flag(context.as_fd(), *key)?,
        }
    }
    Ok(rustix::mount::fsconfig_reconfigure(context.as_fd())?)
}

fn finish(context: &OwnedFd, attributes: u64) -> io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
    Ok(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Makes a copy of the tree at `path` (of the mounts below it too when `recursive`), attached to no tree.
///
/// # Errors
/// As open_tree(2).
pub fn clone_tree(directory: impl AsFd, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(directory.as_fd(), path, flags)?)
}

/// The same for a path that somebody else has arranged: no link is followed anywhere in it.
///
/// # Errors
/// As openat2(2) and open_tree(2); `ELOOP` for a link.
pub fn clone_linkless(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    clone_at(rustix::fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?, recursive)
}

/// Makes a copy of what is at `subpath` of the directory `path`, attached to no tree. No link leads out of the directory.
///
/// # Errors
/// As openat2(2) and open_tree(2); `EXDEV` for a subpath that would lead out.
pub fn clone_part(path: &Path, subpath: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let base = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    clone_at(beneath(&base, subpath)?, recursive)
}

/// The same of a mount that is attached nowhere.
///
/// # Errors
/// As [`clone_part`].
pub fn part_of_detached(whole: &OwnedFd, subpath: &Path) -> io::Result<OwnedFd> {
    match clone_at(beneath(whole, subpath)?, false) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        other => return other,
    }
    // Kernels before 6.15 copy only what is attached: it is, for a moment, in a mount namespace of a thread of its own.
    let copy = || -> io::Result<OwnedFd> {
        crate::namespace::unshare(crate::namespace::MOUNT)?;
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        attach_over_root(whole)?;
        clone_at(beneath(whole, subpath)?, false)
    };
    std::thread::scope(|scope| {
        let broken = || io::Error::other("the mounting thread ended early");
        std::thread::Builder::new().spawn_scoped(scope, copy)?.join().unwrap_or_else(|_| Err(broken()))
    })
}

/// What is at `subpath` of `base`, which may not lead out of it.
fn beneath(base: &OwnedFd, subpath: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(base, subpath, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename somewhere on the machine, during a step upwards.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Makes a copy of the mount that `place` is in, rooted at `place`, attached to no tree.
///
/// # Errors
/// As open_tree(2).
pub fn clone_at(place: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    clone_tree(place, Path::new(""), recursive)
}

/// Attaches a mount on the file or directory `target`.
///
/// # Errors
/// As move_mount(2); `ENOTDIR` when one is a directory and the other is not.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount.as_fd(), "", target.as_fd(), "", flags)?)
}

/// Changes the attributes of a mount, and of those below it when `recursive`.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_attributes(mount: impl AsFd, recursive: bool, change: Change) -> io::Result<()> {
    set_attributes_of(mount.as_fd(), c"", recursive, change)
}

/// Shows the owners of a detached mount's files as the user namespace `users` maps them, mount_setattr(2).
///
/// # Errors
/// As mount_setattr(2): `EINVAL` when the file system has no such mounts, or one of them is mapped already.
pub fn map_owners(mount: impl AsFd, recursive: bool, users: impl AsFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(users.as_fd().as_raw_fd().unsigned_abs()),
    };
    change(mount.as_fd(), c"", recursive, attributes)
}

/// Sets how events travel for every mount of the caller's namespace.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_propagation_of_all(propagation: Propagation) -> io::Result<()> {
    let change = Change { propagation: Some(propagation), ..Change::default() };
    set_attributes_of(CWD, c"/", true, change)?;
    if propagation == Propagation::Shared {
        // A new root attached to a shared mount would show up outside; pivot_root refuses it as well.
        set_attributes_of(CWD, c"/", false, Change { propagation: Some(Propagation::Private), ..Change::default() })?;
    }
    Ok(())
}

fn set_attributes_of(fd: BorrowedFd<'_>, path: &std::ffi::CStr, recursive: bool, wanted: Change) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: wanted.set,
        attr_clr: wanted.clear,
        propagation: wanted.propagation.map_or(0, Propagation::flag),
        userns_fd: 0,
    };
    change(fd, path, recursive, attributes)
}

fn change(fd: BorrowedFd<'_>, path: &std::ffi::CStr, recursive: bool, attributes: libc::mount_attr) -> io::Result<()> {
    let mut flags = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: `path` ends with a null byte and the kernel reads as many bytes of `attributes` as it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attaches `mount` over the root directory of the caller's namespace, where it waits for [`pivot_into`].
///
/// # Errors
/// As move_mount(2).
pub fn attach_over_root(mount: impl AsFd) -> io::Result<()> {
    Ok(rustix::mount::move_mount(mount.as_fd(), "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Makes the attached mount `root` the root directory, for where pivot_root(2) cannot be used (the first root of a
/// machine). The old tree stays underneath, out of sight.
///
/// # Errors
/// As move_mount(2) and chroot(2).
pub fn change_root_into(root: impl AsFd) -> io::Result<()> {
    attach_over_root(&root)?;
    enter_over_root(root)?;
    Ok(rustix::process::chdir("/")?)
}

/// Makes the attached mount `root` the root directory, and lets go of the whole old tree.
///
/// # Errors
/// As pivot_root(2) and umount2(2).
pub fn pivot_into(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(&root)?;
    // The old root lands on top of the new one, at the same place, and is then taken off.
    rustix::process::pivot_root(".", ".")?;
    let own = mount_id(&root, "")?;
    loop {
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        // What had been mounted over the old root is unstacked before it. `..` of a root is what is on top there.
        if mount_id(&root, "..")? == own {
            return Ok(rustix::process::chdir("/")?);
        }
    }
}

/// Makes the mount `root`, attached over the root directory of the caller's namespace, the caller's root.
///
/// For a namespace whose own root is empty: it stays below, where no path leads, and nothing has to be unmounted. A
/// process whose root is the topmost mount there does not count as chrooted (it may make user namespaces).
///
/// # Errors
/// As chroot(2).
pub fn enter_over_root(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    Ok(rustix::process::chroot(".")?)
}

/// Takes off what lies topmost on the root of the mount behind `fd`, be it that mount itself, lazily and with all that is
/// mounted below it. Nothing is taken off elsewhere for it: all of that is made private first, so that mounts which are
/// the peers of others do not take those along (mount_namespaces(7), "umount"). The caller visits the place, and has one
/// thread, or a root and working directory of its thread's own.
///
/// # Errors
/// As mount_setattr(2) and umount2(2); `EINVAL` where it is not mounted in the caller's mount namespace.
pub fn take_off(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_attributes(fd, true, Change { propagation: Some(Propagation::Private), ..Change::default() })?;
    let before = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::fchdir(fd)?;
    let taken = rustix::mount::unmount(".", UnmountFlags::DETACH);
    rustix::process::fchdir(before)?;
    Ok(taken?)
}
