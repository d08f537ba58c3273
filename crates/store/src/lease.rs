//! Leases: what is in use although no record says so yet.
//!
//! They live in memory: one process has the store open, and when it ends its work in progress is nobody's. While a
//! collection runs nothing that is released becomes free: it is *spared* until that collection ends, because the
//! collector may have listed the records before the one that took over was written.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use teu_oci::Digest;

use crate::Result;
use crate::layout::Layout;

/// Keeps blobs and layers from the collector until it is dropped. Hold first, then look whether the thing is there.
pub struct Lease {
    layout: Arc<Layout>,
    why: String,
    held: Mutex<HashSet<Digest>>,
}

impl Lease {
    pub(crate) fn new(layout: &Arc<Layout>, why: &str) -> Self {
        Self { layout: layout.clone(), why: why.to_owned(), held: Mutex::default() }
    }

    /// Keeps this blob or chain, whether it exists yet or not. The layers below a chain are kept with it.
    pub fn hold(&self, digest: &Digest) {
        if self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone()) {
            self.layout.holds.hold(digest);
        }
    }

    /// Why it was taken.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.layout.holds.release(held.iter());
    }
}

/// All that leases hold.
#[derive(Default)]
pub(crate) struct Holds {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: HashMap<Digest, usize>,
    collecting: bool,
    spared: HashSet<Digest>,
}

impl Holds {
    fn hold(&self, digest: &Digest) {
        *self.state().held.entry(digest.clone()).or_default() += 1;
    }

    fn release<'d>(&self, digests: impl Iterator<Item = &'d Digest>) {
        let mut state = self.state();
        for digest in digests {
            if state.collecting {
                state.spared.insert(digest.clone());
            }
            if let Some(count) = state.held.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(digest);
                }
            }
        }
    }

    /// From now on nothing that is released becomes free. Collections are serialised by their caller.
    pub(crate) fn begin_collection(&self) -> Collection<'_> {
        self.state().collecting = true;
        Collection { holds: self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A collection going on.
pub(crate) struct Collection<'h> {
    holds: &'h Holds,
}

impl Collection<'_> {
    /// What is held now.
    pub(crate) fn held(&self) -> Vec<Digest> {
        self.holds.state().held.keys().cloned().collect()
    }

    /// Runs `delete` if `digest` is free, with nobody able to hold it meanwhile; `None` if it is not.
    pub(crate) fn if_free<T>(&self, digest: &Digest, delete: impl FnOnce() -> Result<T>) -> Option<Result<T>> {
        let state = self.holds.state();
        if state.held.contains_key(digest) || state.spared.contains(digest) {
            return None;
        }
        Some(delete())
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        let mut state = self.holds.state();
        state.collecting = false;
        state.spared = HashSet::new();
    }
}
