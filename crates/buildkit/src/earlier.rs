//! Trees that clients have sent, kept for when they send them again: then only what has changed is on the way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use teu_builder::Context;
use teu_oci::Digest;

/// As many trees are kept, and together no more than so many bytes.
const TREES: usize = 16;
const BYTES: u64 = 4 << 30;

/// The trees of one daemon, the newest last; they go with it.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    kept: Mutex<VecDeque<Kept>>,
}

#[derive(Debug)]
struct Kept {
    folder: String,
    tree: Tree,
    bytes: u64,
}

/// A tree, and the name of what was told of it.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) files: Arc<Context>,
    pub(crate) print: Option<Digest>,
}

impl Earlier {
    /// What a folder was the last time.
    pub(crate) fn get(&self, folder: &str) -> Option<Tree> {
        self.lock().iter().find(|kept| kept.folder == folder).map(|kept| kept.tree.clone())
    }

    /// Keeps what a folder is now, in the place of what it was.
    pub(crate) fn keep(&self, folder: String, tree: Tree, bytes: u64) {
        let mut gone: VecDeque<Kept>;
        {
            let mut kept = self.lock();
            (gone, *kept) = std::mem::take(&mut *kept).into_iter().partition(|kept| kept.folder == folder);
            if bytes <= BYTES {
                kept.push_back(Kept { folder, tree, bytes });
            }
            while kept.len() > TREES || kept.iter().map(|kept| kept.bytes).sum::<u64>() > BYTES {
                gone.extend(kept.pop_front());
            }
        }
        // To remove a tree takes its time.
        tokio::task::spawn_blocking(move || drop(gone));
    }

    /// Forgets all, and returns when that is gone from the disk.
    pub(crate) async fn clear(&self) {
        let gone = std::mem::take(&mut *self.lock());
        let _ = tokio::task::spawn_blocking(move || drop(gone)).await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_are_kept_as_far_as_there_is_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = || Tree { files: Arc::new(Context::directory(folder.path()).expect("a tree")), print: None };
        let earlier = Earlier::default();
        for number in 0..=TREES {
            earlier.keep(number.to_string(), tree(), 1);
        }
        assert!(earlier.get("0").is_none() && earlier.get("1").is_some());
        earlier.keep("large".into(), tree(), BYTES);
        assert!(earlier.get("1").is_none() && earlier.get("large").is_some());
        earlier.keep("large".into(), tree(), BYTES + 1);
        assert!(earlier.get("large").is_none());
        earlier.keep("small".into(), tree(), 1);
        earlier.clear().await;
        assert!(earlier.get("small").is_none());
    }
}
