//! Modes as packets have them: those of Go's `fs.FileMode`, where the low nine bits are permissions and the rest is Go's own.

use teu_sys::fs::FileKind;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHARACTER: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
const IRREGULAR: u32 = 1 << 19;

/// Go's bits and the kernel's, `inode(7)`.
const SPECIAL: [(u32, u32); 3] = [(SETUID, 0o4000), (SETGID, 0o2000), (STICKY, 0o1000)];

/// What a mode says that a file is; none for what Go has no name for.
pub(super) fn kind(mode: u32) -> Option<FileKind> {
    Some(match mode & (DIRECTORY | SYMLINK | DEVICE | FIFO | SOCKET | CHARACTER | IRREGULAR) {
        0 => FileKind::Regular,
        DIRECTORY => FileKind::Directory,
        SYMLINK => FileKind::Symlink,
        FIFO => FileKind::Fifo,
        SOCKET => FileKind::Socket,
        DEVICE => FileKind::BlockDevice,
        both if both == DEVICE | CHARACTER => FileKind::CharDevice,
        _ => return None,
    })
}

/// The kernel's permission bits.
pub(super) fn permissions(mode: u32) -> u32 {
    SPECIAL.iter().filter(|(go, _)| mode & go != 0).fold(mode & 0o777, |bits, (_, kernel)| bits | kernel)
}

/// A kind and the kernel's permission bits as Go has them.
pub(super) fn from_kernel(kind: FileKind, permissions: u32) -> u32 {
    let kind = match kind {
        FileKind::Regular => 0,
        FileKind::Directory => DIRECTORY,
        FileKind::Symlink => SYMLINK,
        FileKind::Fifo => FIFO,
        FileKind::Socket => SOCKET,
        FileKind::CharDevice => DEVICE | CHARACTER,
        FileKind::BlockDevice => DEVICE,
    };
    let special = SPECIAL.iter().filter(|(_, kernel)| permissions & kernel != 0);
    special.fold(kind | permissions & 0o777, |bits, (go, _)| bits | go)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_come_back_as_they_went() {
        use FileKind::{BlockDevice, CharDevice, Directory, Fifo, Regular, Socket, Symlink};
        for kind_of in [Regular, Directory, Symlink, Fifo, Socket, CharDevice, BlockDevice] {
            for bits in [0o644, 0o4755, 0o2755, 0o1777, 0o7777, 0] {
                let mode = from_kernel(kind_of, bits);
                assert_eq!((kind(mode), permissions(mode)), (Some(kind_of), bits));
            }
        }
        assert_eq!(kind(IRREGULAR), None);
        assert_eq!(from_kernel(Directory, 0o755), 0x8000_01ed);
    }
}
