//! One directory, and what is directly in it. No method follows a link in the name it is given.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RawDir, RenameFlags, SeekFrom, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{FileKind, Metadata, Root, Time};

/// The kernel's limit for the list of attribute names and for one value.
const XATTR_MAX: usize = 65536;

/// A directory held by its descriptor.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// What it names.
    pub kind: FileKind,
}

impl Dir {
    /// Takes an open directory.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// A second handle.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// The same directory as the `/` of a tree.
    #[must_use]
    pub fn into_root(self) -> Root {
        Root::from_fd(self.fd)
    }

    /// What `name` is; `.` is the directory itself.
    pub fn metadata(&self, name: impl AsRef<OsStr>) -> io::Result<Metadata> {
        let name = single_or_self(name.as_ref())?;
        Metadata::from_stat(&rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// What `name` is, or `None` when there is nothing.
    pub fn find(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Metadata>> {
        match self.metadata(name) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file for reading; anything else is refused, not waited for.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        regular(rustix::fs::openat(&self.fd, single(name.as_ref())?, flags, Mode::empty())?)
    }

    /// Makes a new file and opens it for reading and writing; `AlreadyExists` when the name is taken, by a link too.
    pub fn create_file(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, single(name.as_ref())?, flags, bits(mode))?.into())
    }

    /// Opens a directory in this one.
    pub fn open_dir(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::openat(&self.fd, single_or_self(name.as_ref())?, flags, Mode::empty())? })
    }

    /// Makes a directory; the process's umask applies, [`Dir::set_mode`] is exact.
    pub fn create_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.fd, single(name.as_ref())?, bits(mode))?)
    }

    /// Makes a symbolic link with any text as its target.
    pub fn symlink(&self, target: impl AsRef<Path>, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target.as_ref(), &self.fd, single(name.as_ref())?)?)
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, name: impl AsRef<OsStr>) -> io::Result<PathBuf> {
        link_target(&self.fd, single(name.as_ref())?)
    }

    /// Gives what `name` is here a second name in `to`; a link is linked itself, not followed.
    pub fn link(&self, name: impl AsRef<OsStr>, to: &Self, new_name: impl AsRef<OsStr>) -> io::Result<()> {
        let (name, new_name) = (single(name.as_ref())?, single(new_name.as_ref())?);
        Ok(rustix::fs::linkat(&self.fd, name, &to.fd, new_name, AtFlags::empty())?)
    }

    /// Makes a device, FIFO or socket node; `rdev` is major and minor.
    pub fn mknod(&self, name: impl AsRef<OsStr>, kind: FileKind, mode: u32, rdev: (u32, u32)) -> io::Result<()> {
        let dev = rustix::fs::makedev(rdev.0, rdev.1);
        Ok(rustix::fs::mknodat(&self.fd, single(name.as_ref())?, kind.to_type(), bits(mode), dev)?)
    }

    /// Moves `name` to `new_name` in `to`, replacing what may be replaced there.
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Self, new_name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, single(name.as_ref())?, &to.fd, single(new_name.as_ref())?)?)
    }

    /// The same, but `AlreadyExists` when the new name is taken.
    pub fn rename_new(&self, name: impl AsRef<OsStr>, to: &Self, new_name: impl AsRef<OsStr>) -> io::Result<()> {
        let (name, new_name) = (single(name.as_ref())?, single(new_name.as_ref())?);
        Ok(rustix::fs::renameat_with(&self.fd, name, &to.fd, new_name, RenameFlags::NOREPLACE)?)
    }

    /// Sets the owner of `name`, or of the directory itself (`.`). Clears setuid, setgid and file capabilities.
    pub fn set_owner(&self, name: impl AsRef<OsStr>, uid: u32, gid: u32) -> io::Result<()> {
        // The value of all ones means "leave as is" to the kernel and is nobody's id.
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL.into());
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        Ok(rustix::fs::chownat(&self.fd, single_or_self(name.as_ref())?, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets the permission bits exactly. Nothing happens to a link, which has none.
    pub fn set_mode(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        let name = single_or_self(name.as_ref())?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, name, flags, Mode::empty())?;
        if Metadata::of(&file)?.is_symlink() {
            return Ok(());
        }
        // fchmod refuses O_PATH descriptors; their entry in /proc leads to that very file.
        Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), bits(mode))?)
    }

    /// Sets the modification time; the access time is left alone.
    pub fn set_mtime(&self, name: impl AsRef<OsStr>, time: Time) -> io::Result<()> {
        let name = single_or_self(name.as_ref())?;
        Ok(rustix::fs::utimensat(&self.fd, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The names of the extended attributes that the caller may see, sorted; none where they are not supported.
    pub fn xattrs(&self, name: impl AsRef<OsStr>) -> io::Result<Vec<OsString>> {
        let path = self.proc_path(name.as_ref())?;
        let mut small = [0_u8; 1024];
        let list = match rustix::fs::llistxattr(&path, &mut small[..]) {
            Ok(length) => small[..length].to_vec(),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(Errno::RANGE) => {
                let mut large = vec![0_u8; XATTR_MAX];
                let length = rustix::fs::llistxattr(&path, &mut large[..])?;
                large.truncate(length);
                large
            }
            Err(errno) => return Err(errno.into()),
        };
        let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        let mut names: Vec<_> = names.map(|name| OsString::from_vec(name.to_vec())).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The value of an extended attribute, or `None` when there is none of that name.
    pub fn xattr(&self, name: impl AsRef<OsStr>, attribute: impl AsRef<OsStr>) -> io::Result<Option<Vec<u8>>> {
        let (path, attribute) = (self.proc_path(name.as_ref())?, attribute.as_ref());
        let mut small = [0_u8; 256];
        match rustix::fs::lgetxattr(&path, attribute, &mut small[..]) {
            Ok(length) => Ok(Some(small[..length].to_vec())),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(Errno::RANGE) => {
                let mut large = vec![0_u8; XATTR_MAX];
                let length = rustix::fs::lgetxattr(&path, attribute, &mut large[..])?;
                large.truncate(length);
                Ok(Some(large))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&self, name: impl AsRef<OsStr>, attribute: impl AsRef<OsStr>, value: &[u8]) -> io::Result<()> {
        let path = self.proc_path(name.as_ref())?;
        Ok(rustix::fs::lsetxattr(&path, attribute.as_ref(), value, XattrFlags::empty())?)
    }

    /// Removes an extended attribute; fine when there is none.
    pub fn remove_xattr(&self, name: impl AsRef<OsStr>, attribute: impl AsRef<OsStr>) -> io::Result<()> {
        match rustix::fs::lremovexattr(self.proc_path(name.as_ref())?, attribute.as_ref()) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes a name that is not a directory's.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, single(name.as_ref())?, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, single(name.as_ref())?, AtFlags::REMOVEDIR)?)
    }

    /// All names but `.` and `..`, in byte order.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        rustix::fs::seek(&self.fd, SeekFrom::Start(0))?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16384];
        let mut listing = RawDir::new(&self.fd, &mut buffer);
        let mut entries = Vec::new();
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match FileKind::from_type(entry.file_type()) {
                Some(kind) => kind,
                None => match self.find(name)? {
                    Some(metadata) => metadata.kind,
                    None => continue,
                },
            };
            entries.push(Entry { name: name.to_os_string(), kind });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Waits until the directory's own entries are on the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// There is no xattr call relative to a directory before Linux 6.13; the descriptor's entry in /proc serves as the
    /// directory, and the last component is not followed.
    fn proc_path(&self, name: &OsStr) -> io::Result<PathBuf> {
        let mut path = format!("/proc/self/fd/{}/", self.fd.as_raw_fd()).into_bytes();
        path.extend_from_slice(single_or_self(name)?.as_bytes());
        Ok(OsString::from_vec(path).into())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sets the modification time of an open file; the access time is left alone.
pub fn set_file_mtime(file: impl AsFd, time: Time) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &timestamps(time))?)
}

/// The target of the link `name` in `dir`, or of `dir` itself, opened as a link, when the name is empty.
pub(super) fn link_target(dir: &OwnedFd, name: impl AsRef<OsStr>) -> io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(dir, name.as_ref(), Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

/// Refuses what is not a regular file.
pub(super) fn regular(fd: OwnedFd) -> io::Result<File> {
    let metadata = Metadata::of(&fd)?;
    match metadata.kind {
        FileKind::Regular => Ok(fd.into()),
        FileKind::Directory => Err(Errno::ISDIR.into()),
        _ => Err(Errno::INVAL.into()),
    }
}

fn bits(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

fn timestamps(time: Time) -> Timestamps {
    let mtime = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }, last_modification: mtime }
}

/// A name that stays in the directory.
pub(super) fn single(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    Ok(name)
}

fn single_or_self(name: &OsStr) -> io::Result<&OsStr> {
    if name == "." { Ok(name) } else { single(name) }
}
