//! What happened: a bounded memory of the newest events, and a queue to each who listens.
//!
//! Order is that of [`Events::emit`], and nobody misses any: a listener that lets more events wait than its queue holds
//! is cut off, which it notices, and can ask for what came since.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use teu_api::event::{Actor, Message};
use tokio::sync::mpsc::{self, error::TrySendError};

/// How many are remembered; Docker remembers 256.
const REMEMBERED: usize = 1024;
/// How many may wait for one listener.
const QUEUE: usize = 64 << 10;

/// The engine's events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Mutex<Inner>>,
}

/// The events from a moment on, without a gap; at its end when its reader was too slow.
pub type Listener = mpsc::Receiver<Arc<Message>>;

#[derive(Default)]
struct Inner {
    recent: VecDeque<Arc<Message>>,
    listeners: Vec<mpsc::Sender<Arc<Message>>>,
    told: u64,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { inner: Arc::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything from now on.
    #[must_use]
    pub fn subscribe(&self) -> Listener {
        self.inner().listen()
    }

    /// The remembered events from `since` (nanoseconds since the epoch) on, and everything after them, without a gap.
    #[must_use]
    pub fn since(&self, since: i64) -> (Vec<Arc<Message>>, Listener) {
        let mut inner = self.inner();
        let past = inner.recent.iter().filter(|message| message.time_nano >= since).cloned().collect();
        (past, inner.listen())
    }

    /// How many there have been.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.inner().told
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.inner().listeners.iter().filter(|listener| !listener.is_closed()).count()
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
        self.inner().tell(&Arc::new(message));
    }
}

impl Inner {
    fn listen(&mut self) -> Listener {
        let (sender, listener) = mpsc::channel(QUEUE);
        self.listeners.retain(|listener| !listener.is_closed());
        self.listeners.push(sender);
        listener
    }

    /// In one step with the memory, so that [`Events::since`] has neither gaps nor doubles.
    fn tell(&mut self, message: &Arc<Message>) {
        self.told += 1;
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(message.clone());
        self.listeners.retain(|listener| match listener.try_send(message.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("a listener to the events is too slow and is cut off");
                false
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emit(events: &Events, count: usize) {
        (0..count).for_each(|number| events.emit("container", "start", &number.to_string(), BTreeMap::new()));
    }

    #[tokio::test]
    async fn a_listener_gets_every_event_in_order_however_late_it_reads() {
        let events = Events::new();
        emit(&events, 3);
        let (past, mut listener) = events.since(0);
        emit(&events, 5000);
        assert_eq!(past.iter().map(|message| message.actor.id.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
        for number in 0..5000 {
            assert_eq!(listener.recv().await.expect("an event").actor.id, number.to_string());
        }
    }

    #[tokio::test]
    async fn one_that_never_reads_is_cut_off_and_the_others_are_not() {
        let events = Events::new();
        let (mut sleeper, mut reader) = (events.subscribe(), events.subscribe());
        assert_eq!(events.listeners(), 2);
        for number in 0..=QUEUE {
            emit(&events, 1);
            assert!(reader.recv().await.is_some(), "{number}");
        }
        assert_eq!(events.listeners(), 1);
        let mut heard = 0;
        while sleeper.recv().await.is_some() {
            heard += 1;
        }
        assert_eq!(heard, QUEUE);
    }
}
