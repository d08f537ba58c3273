//! Bridges on their way out. The kernel takes tens of milliseconds until nobody can hold an interface any more; who removes a
//! network need not wait for that, only who wants a bridge of the same name.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use teu_network::bridge;

/// The bridges that are being removed, by name.
#[derive(Default)]
pub(super) struct Going(Mutex<HashMap<String, JoinHandle<()>>>);

impl Going {
    /// Begins to remove a bridge.
    pub(super) fn start(&self, name: &str) {
        let (own, work) = (name.to_owned(), std::thread::Builder::new().name("bridge".into()));
        match work.spawn(move || remove(&own)) {
            Ok(handle) => {
                let mut going = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                going.retain(|_, handle| !handle.is_finished());
                going.insert(name.to_owned(), handle);
            }
            // No thread to be had.
            Err(_) => remove(name),
        }
    }

    /// Waits until the bridge of that name is gone, if it is going.
    pub(super) fn wait_for(&self, name: &str) {
        let handle = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        // A panic there has been told already.
        let _ = handle.map(JoinHandle::join);
    }

    /// Waits for all of them.
    pub(super) fn wait_for_all(&self) {
        let all: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
        for (_, handle) in all {
            let _ = handle.join();
        }
    }
}

fn remove(name: &str) {
    if let Err(error) = bridge::remove(name) {
        tracing::warn!(%error, bridge = name, "remove a bridge");
    }
}
