//! Removal marks: `.wh.` names in a layer's tar (image spec, "Whiteouts"), character devices 0:0 and an attribute in an
//! overlay's directory (kernel documentation, overlayfs).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use teu_sys::fs::{Dir, FileKind, Metadata};

/// What a removed name is prefixed with.
pub(crate) const PREFIX: &[u8] = b".wh.";

/// In a directory: nothing from below shows.
pub(crate) const OPAQUE_NAME: &[u8] = b".wh..wh..opq";

/// The attribute that says the same to the kernel.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// The same where the overlay was mounted with `userxattr`, in a user namespace.
const USER_OPAQUE: &str = "user.overlay.opaque";

/// What a name in a layer's tar means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'n> {
    /// An entry like any other.
    Plain,
    /// This name is removed.
    Removed(&'n OsStr),
    /// Everything below the directory it is in is removed.
    Opaque,
    /// Bookkeeping of aufs.
    Ignored,
    /// No name that could be removed.
    Invalid,
}

pub(crate) fn meaning(name: &OsStr) -> Meaning<'_> {
    match name.as_bytes() {
        OPAQUE_NAME => Meaning::Opaque,
        name if name.starts_with(b".wh..wh.") => Meaning::Ignored,
        name => match name.strip_prefix(PREFIX) {
            None => Meaning::Plain,
            Some(b"" | b"." | b"..") => Meaning::Invalid,
            Some(removed) => Meaning::Removed(OsStr::from_bytes(removed)),
        },
    }
}

/// Whether an overlay takes this for a removal.
pub(crate) fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.kind == FileKind::CharDevice && metadata.rdev == (0, 0)
}

/// Whether an overlay hides what is below this directory.
pub(crate) fn is_opaque(dir: &Dir, name: impl AsRef<OsStr>) -> io::Result<bool> {
    let name = name.as_ref();
    for attribute in [OPAQUE, USER_OPAQUE] {
        if dir.xattr(name, attribute)?.as_deref() == Some(b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an extended attribute travels with a file: file capabilities and what users set, not what belongs to this
/// machine (labels) or to the overlay, whose attributes in an archive could redirect it.
pub(crate) fn carried(attribute: &OsStr) -> bool {
    let attribute = attribute.as_bytes();
    attribute == b"security.capability" || (attribute.starts_with(b"user.") && !attribute.starts_with(b"user.overlay."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_names_can_be_removed() {
        let meaning_of = |name: &'static str| meaning(OsStr::new(name));
        assert_eq!(meaning_of("file"), Meaning::Plain);
        assert_eq!(meaning_of(".wh.file"), Meaning::Removed(OsStr::new("file")));
        assert_eq!(meaning_of(".wh..wh..opq"), Meaning::Opaque);
        assert_eq!(meaning_of(".wh..wh.plnk"), Meaning::Ignored);
        for name in [".wh.", ".wh..", ".wh..."] {
            assert_eq!(meaning_of(name), Meaning::Invalid, "{name}");
        }
    }

    #[test]
    fn attributes_of_the_overlay_and_of_this_machine_stay_behind() {
        for attribute in ["trusted.overlay.redirect", "trusted.x", "user.overlay.opaque", "security.selinux"] {
            assert!(!carried(OsStr::new(attribute)));
        }
        assert!(carried(OsStr::new("security.capability")) && carried(OsStr::new("user.note")));
    }
}
