//! Trees of files between client and daemon, in packets: the sender tells what there is in the order of the names, the
//! receiver asks for the contents that it wants by their number.
//!
//! ```text
//! sender ── Stat 0, Stat 1, … Stat (none: all told) ──▶ receiver
//! sender ◀── Request 1, … ── receiver                        as soon as a Stat is there
//! sender ── Data 1, Data 1, … Data 1 (empty: its end) ──▶ receiver
//! sender ◀── Finished ── receiver        sender ── Finished ──▶ receiver
//! ```

mod mode;
mod receive;
mod send;
mod upload;

pub(crate) use receive::{Before, Received, Wanted, receive};
pub(crate) use send::{send_bytes, send_tree};
pub(crate) use upload::upload;

use std::path::Path;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::mpsc;

/// What comes out of a channel, as a stream.
fn stream<T>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|next| (next, receiver)) })
}

/// The same of an unbounded one.
fn unbounded<T>(receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
    unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|next| (next, receiver)) })
}

/// What went wrong with a file, for the other side.
fn fault(what: impl std::fmt::Display, path: &Path, error: &std::io::Error) -> tonic::Status {
    tonic::Status::unknown(format!("{what} {}: {error}", path.display()))
}

/// Whether an extended attribute goes with its file: what programs may do, and what users wrote. The others are the
/// machine's.
fn is_kept(attribute: &str) -> bool {
    attribute == "security.capability" || attribute.starts_with("user.")
}
