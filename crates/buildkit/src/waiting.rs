//! Things by their names that may be asked for before they are there: sessions, builds, archives. Clients open several connections
//! at once, and what one names another brings.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How long whoever asks waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What is there, and who waits for more.
pub(crate) struct Waiting<T> {
    there: Mutex<HashMap<String, T>>,
    changed: Notify,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { there: Mutex::default(), changed: Notify::new() }
    }
}

impl<T> Waiting<T> {
    /// Brings a thing, unless there is one of that name.
    pub(crate) fn put(&self, name: &str, thing: T) -> bool {
        let mut there = self.lock();
        if there.contains_key(name) {
            return false;
        }
        there.insert(name.to_owned(), thing);
        drop(there);
        self.changed.notify_waiters();
        true
    }

    /// What `look` finds, when it finds it, or soon.
    pub(crate) async fn find<R>(&self, mut look: impl FnMut(&mut HashMap<String, T>) -> Option<R>) -> Option<R> {
        let found = async {
            loop {
                // Before looking, so that what comes in between is heard of.
                let changed = self.changed.notified();
                let found = look(&mut self.lock());
                match found {
                    Some(found) => return found,
                    None => changed.await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.ok()
    }

    /// What is there now.
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<String, T>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_soon_is_found_and_nobody_waits_for_ever() {
        let things = Waiting::default();
        let look = things.find(|all| all.get("a").copied());
        let (found, ()) = tokio::join!(look, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(things.put("a", 1) && !things.put("a", 2));
        });
        assert_eq!(found, Some(1));
        assert_eq!(things.find(|all| all.remove("b")).await, None);
    }
}
