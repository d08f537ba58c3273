//! Folders made ahead of need.
//!
//! Whoever makes a file or a folder waits until the file system has found room for it. ext4 passes over everything that was
//! freed in the last minutes, one by one: where containers come and go, a folder takes ten times as long as elsewhere. To
//! give one that is there another name takes no room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::Result;
use crate::layout::Layout;

/// How many of a kind are kept.
const KEPT: usize = 2;

/// Makes what belongs into a folder that is there.
type Furnish = fn(&Path) -> Result<()>;

/// Folders of one kind that wait for a name. Clones share them.
#[derive(Clone)]
pub struct Spares {
    layout: Arc<Layout>,
    furnish: Furnish,
    ready: Arc<Mutex<Vec<PathBuf>>>,
}

impl Spares {
    /// Those that `furnish` makes out of an empty folder. None is there yet.
    pub(crate) fn new(layout: &Arc<Layout>, furnish: Furnish) -> Self {
        Self { layout: layout.clone(), furnish, ready: Arc::default() }
    }

    /// Puts a folder of this kind at `place`: one that is there, or a new one.
    ///
    /// # Errors
    /// When there is something at `place`, or it cannot be made. Then nothing is left there that was not.
    pub fn place(&self, place: &Path) -> io::Result<()> {
        if self.take(place) {
            return Ok(());
        }
        fs::DirBuilder::create(&private(), place)?;
        (self.furnish)(place).map_err(|error| {
            let _ = self.layout.trash.discard(place);
            io::Error::other(error)
        })
    }

    /// Makes as many as are kept. What cannot be made now is made when it is needed.
    pub fn refill(&self) {
        while self.ready().len() < KEPT {
            let dir = self.layout.spare().join(self.layout.unique());
            let made = fs::DirBuilder::create(&private(), &dir).is_ok() && (self.furnish)(&dir).is_ok();
            if !made {
                let _ = self.layout.trash.discard(&dir);
                return;
            }
            self.ready().push(dir);
        }
    }

    fn take(&self, place: &Path) -> bool {
        let Some(spare) = self.ready().pop() else { return false };
        let named = renameat_with(CWD, &spare, CWD, place, RenameFlags::NOREPLACE).is_ok();
        if !named && spare.exists() {
            self.ready().push(spare);
        }
        named
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn private() -> fs::DirBuilder {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    fn furnish(dir: &Path) -> Result<()> {
        fs::write(dir.join("inside"), "").map_err(|error| crate::Error::io(dir, error))
    }

    #[test]
    fn a_folder_is_the_same_whether_it_was_there_or_not() {
        let root = tempfile::tempdir().expect("folder");
        let store = Store::open(&root.path().join("store")).expect("opened");
        let spares = store.spares(furnish);
        let place = |name: &str| root.path().join("store").join(name);
        spares.place(&place("new")).expect("made");
        spares.refill();
        assert_eq!(spares.ready().len(), KEPT);
        spares.place(&place("old")).expect("named");
        assert_eq!(spares.ready().len(), KEPT - 1);
        for name in ["new", "old"] {
            assert!(place(name).join("inside").exists(), "{name}");
        }
        let taken = spares.place(&place("old")).expect_err("there is one");
        assert_eq!((taken.kind(), spares.ready().len()), (io::ErrorKind::AlreadyExists, KEPT - 1));
        drop((spares, store));
        Store::open(&root.path().join("store")).expect("opened again").empty_trash().expect("emptied");
        let left = fs::read_dir(root.path().join("store/spare")).expect("listed").count();
        assert_eq!(left, 0, "what nobody took is cleared away");
    }
}
