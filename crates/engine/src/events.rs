//! What happened: a bounded memory of the newest events and a channel to whoever listens.
//!
//! Order is that of [`Events::emit`]; a listener that falls behind by the channel's length is told how many it missed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use teu_api::event::{Actor, Message};
use tokio::sync::broadcast;

/// Docker keeps as many.
const REMEMBERED: usize = 256;
const CHANNEL: usize = 1024;

/// The engine's events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    channel: broadcast::Sender<Arc<Message>>,
    recent: Mutex<VecDeque<Arc<Message>>>,
}

impl Events {
    pub(crate) fn new() -> Self {
        let recent = Mutex::new(VecDeque::with_capacity(REMEMBERED));
        Self { inner: Arc::new(Inner { channel: broadcast::channel(CHANNEL).0, recent }) }
    }

    /// Everything from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Message>> {
        self.inner.channel.subscribe()
    }

    /// The remembered events from `since` (nanoseconds since the epoch) on, and everything after them, without a gap.
    #[must_use]
    pub fn since(&self, since: i64) -> (Vec<Arc<Message>>, broadcast::Receiver<Arc<Message>>) {
        let recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let past = recent.iter().filter(|message| message.time_nano >= since).cloned().collect();
        (past, self.subscribe())
    }

    /// Tells that `action` happened to the thing `id` of kind `kind`.
    pub fn emit(&self, kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let now = Timestamp::now();
        let mut message = Message {
            kind: kind.into(),
            action: action.into(),
            actor: Actor { id: id.into(), attributes },
            scope: "local".into(),
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
            ..Message::default()
        };
        if kind == "container" || kind == "image" {
            message.status = action.into();
            message.id = id.into();
            message.from = message.actor.attributes.get("image").cloned().unwrap_or_default();
        }
        let message = Arc::new(message);
        let mut recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(message.clone());
        // Sending inside the lock keeps `since` free of gaps and doubles; nobody listening is no error.
        let _ = self.inner.channel.send(message);
    }
}
