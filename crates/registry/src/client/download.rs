//! One blob, from the registry into the store, and on the way into a snapshot.
//!
//! ```text
//! socket ──┬──> pour: hash, write the blob
//!          └──> thread: inflate, hash, unpack      (only when the stream begins at its beginning)
//! ```
//! Both sides live as long as the download, over broken connections: each attempt asks for the rest with `Range` and
//! goes on feeding them. What is on disk when all attempts have failed is where the next pull begins; then the layer is
//! unpacked from the finished blob, because its beginning does not come by any more.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use teu_oci::media_type::{self, Compression};
use teu_oci::{Descriptor, Reference};
use teu_store::{BlobWriter, Store, Unpacked};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::JoinHandle;

use super::auth::Scope;
use super::exchange::{Ask, Exchange, Payload, Url};
use super::retry::Attempts;
use super::{Error, Progress};
use crate::body::{PIECES_WAITING, PieceReader, Pour};
use crate::sources::Hints;

/// People do not read faster.
const REPORT_EVERY: Duration = Duration::from_millis(100);
const READ_AT_ONCE: usize = 256 << 10;
/// How often an attempt that was broken off is waited for.
const ATTEMPTS: usize = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// What every download of one pull needs.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) exchange: Arc<Exchange>,
    pub(super) reference: Reference,
    pub(super) store: Store,
    pub(super) hints: Arc<Hints>,
    pub(super) progress: Arc<dyn Progress>,
}

/// A blob that two pulls want is fetched by one of them: the other waits here and then finds it.
pub(super) async fn alone(store: &Store, what: &str) -> OwnedMutexGuard<()> {
    type Flights = Mutex<HashMap<(PathBuf, String), Weak<tokio::sync::Mutex<()>>>>;
    static FLIGHTS: std::sync::LazyLock<Flights> = std::sync::LazyLock::new(Flights::default);
    let flight = {
        let mut flights = FLIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        let key = (store.root().to_path_buf(), what.to_string());
        let known = flights.get(&key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let flight = Arc::default();
            flights.insert(key, Arc::downgrade(&flight));
            flight
        })
    };
    flight.lock_owned().await
}

/// Runs what blocks on a thread of its own kind.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, teu_store::Error> + Send + 'static,
) -> Result<T, Error> {
    joined(tokio::task::spawn_blocking(work)).await?.map_err(Error::from)
}

async fn joined<T>(handle: JoinHandle<T>) -> Result<T, Error> {
    handle.await.map_err(|error| Error::io("work on a blob", io::Error::other(error)))
}

impl Source {
    /// Fetches a blob that is not there; with `unpack`, makes a layer of it as well.
    /// The caller has made sure to be [`alone`] with it, and holds it by a lease.
    pub(super) async fn fetch(&self, descriptor: &Descriptor, unpack: bool) -> Result<Option<Unpacked>, Error> {
        let (writer, resumed) = self.begin(descriptor).await?;
        match self.fetch_into(writer, descriptor, unpack && !resumed).await {
            // What an earlier attempt left may be what is wrong; it is gone now.
            Err(Error::DigestMismatch { .. }) if resumed => {
                let (writer, _) = self.begin(descriptor).await?;
                self.fetch_into(writer, descriptor, unpack).await
            }
            Ok(None) if unpack => self.unpack_kept(descriptor).await.map(Some),
            other => other,
        }
    }

    /// The writer, and whether it holds something already.
    async fn begin(&self, descriptor: &Descriptor) -> Result<(BlobWriter, bool), Error> {
        let (blobs, size) = (self.store.blobs().clone(), descriptor.size);
        let key = format!("pull-{}", descriptor.digest.hex());
        blocking(move || {
            let mut attempts = 0..ATTEMPTS;
            let mut writer = loop {
                match blobs.writer(&key) {
                    // The caller is alone with it: an attempt that was broken off is still writing what it had.
                    Err(teu_store::Error::InUse { .. }) if attempts.next().is_some() => std::thread::sleep(PAUSE),
                    other => break other?,
                }
            };
            if writer.offset() > size {
                writer.restart()?;
            }
            let resumed = writer.offset() > 0;
            Ok((writer, resumed))
        })
        .await
    }

    async fn fetch_into(
        &self,
        writer: BlobWriter,
        descriptor: &Descriptor,
        unpack: bool,
    ) -> Result<Option<Unpacked>, Error> {
        let what = descriptor.digest.to_string();
        let mut meter = Meter::new(self.progress.clone(), descriptor);
        let mut taps = Taps::open(self, writer, descriptor, unpack, &meter);
        let mut attempts = Attempts::new(self.exchange.config.retry);
        while taps.received < descriptor.size {
            let before = taps.received;
            let Err(error) = self.attempt(descriptor, &mut taps, &mut meter).await else { break };
            if taps.received > before {
                attempts.progressed();
            }
            attempts.after(error).await?;
        }
        drop(taps.unpack.take());
        let writer = taps.keep.finish().await.map_err(|source| Error::io(format!("write blob {what}"), source))?;
        meter.finished();
        let expected = descriptor.digest.clone();
        blocking(move || writer.commit_deferred(Some(&expected))).await.map_err(|error| mismatch(what, error))?;
        match taps.unpacker {
            Some(unpacker) => Ok(Some(joined(unpacker).await??)),
            None => Ok(None),
        }
    }

    /// One request for all that is missing.
    async fn attempt(&self, descriptor: &Descriptor, taps: &mut Taps, meter: &mut Meter) -> Result<(), Error> {
        let what = descriptor.digest.as_str();
        let origin = self.exchange.registry(self.reference.domain()).await?;
        let scope = Scope::pull(self.reference.domain(), self.reference.path());
        let mut headers = HeaderMap::new();
        if taps.received > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", taps.received));
            headers.extend(range.ok().map(|range| (header::RANGE, range)));
        }
        let ask = Ask {
            what,
            method: Method::GET,
            url: Url { origin, target: format!("/v2/{}/blobs/{what}", self.reference.path()) },
            scope: &scope,
            headers,
            payload: Payload::Nothing,
            accept: &[StatusCode::OK, StatusCode::PARTIAL_CONTENT],
        };
        let answer = self.exchange.ask_once(&ask).await?;
        // Who ignores the range begins at the beginning; that much is passed over.
        let mut skip = if answer.status() == StatusCode::PARTIAL_CONTENT {
            check_range(what, answer.header(header::CONTENT_RANGE), taps.received)?;
            0
        } else {
            taps.received
        };
        let mut body = answer.response.into_body();
        while let Some(mut piece) = self.exchange.piece(what, &mut body).await? {
            let passed = skip.min(piece.len() as u64);
            skip -= passed;
            let piece = piece.split_off(usize::try_from(passed).unwrap_or(piece.len()));
            if taps.received + piece.len() as u64 > descriptor.size {
                return Err(Error::invalid(what, format!("is larger than its {} bytes", descriptor.size)));
            }
            taps.take(what, piece).await?;
            meter.received(taps.received);
        }
        if taps.received < descriptor.size {
            return Err(Error::CutShort { what: what.into(), received: taps.received, size: descriptor.size });
        }
        Ok(())
    }

    /// Unpacks a layer from its blob.
    pub(super) async fn unpack_kept(&self, descriptor: &Descriptor) -> Result<Unpacked, Error> {
        let meter = Meter::new(self.progress.clone(), descriptor);
        meter.downloaded.store(true, Ordering::Relaxed);
        let (store, descriptor) = (self.store.clone(), descriptor.clone());
        let work = tokio::task::spawn_blocking(move || {
            let file = store.blobs().open(&descriptor.digest)?;
            let reader = io::BufReader::with_capacity(READ_AT_ONCE, file);
            unpack(&store, &descriptor, Metered::new(reader, meter.shared()))
        });
        joined(work).await?
    }
}

/// The two sides that a download feeds.
struct Taps {
    received: u64,
    keep: Pour<BlobWriter>,
    unpack: Option<mpsc::Sender<Bytes>>,
    unpacker: Option<JoinHandle<Result<Unpacked, Error>>>,
}

impl Taps {
    fn open(source: &Source, writer: BlobWriter, descriptor: &Descriptor, unpacks: bool, meter: &Meter) -> Self {
        let received = writer.offset();
        let mut taps = Self { received, keep: Pour::into(writer), unpack: None, unpacker: None };
        if unpacks {
            let (sender, pieces) = mpsc::channel(PIECES_WAITING);
            let (store, descriptor, meter) = (source.store.clone(), descriptor.clone(), meter.shared());
            taps.unpack = Some(sender);
            taps.unpacker = Some(tokio::task::spawn_blocking(move || {
                unpack(&store, &descriptor, Metered::new(PieceReader::new(pieces), meter))
            }));
        }
        taps
    }

    async fn take(&mut self, what: &str, piece: Bytes) -> Result<(), Error> {
        if piece.is_empty() {
            return Ok(());
        }
        let length = piece.len() as u64;
        if let Some(unpack) = &self.unpack
            && unpack.send(piece.clone()).await.is_err()
        {
            // It has seen enough: either the end of the archive, or something that it cannot accept.
            self.unpack = None;
            if let Some(unpacker) = self.unpacker.take() {
                let unpacked = joined(unpacker).await??;
                self.unpacker = Some(tokio::spawn(async { Ok(unpacked) }));
            }
        }
        self.keep.write(piece).await.map_err(|source| Error::io(format!("write blob {what}"), source))?;
        self.received += length;
        Ok(())
    }
}

/// Inflates and unpacks.
fn unpack(store: &Store, descriptor: &Descriptor, packed: impl BufRead + 'static) -> Result<Unpacked, Error> {
    let what = descriptor.digest.as_str();
    let tar: Box<dyn Read> = match media_type::layer_compression(&descriptor.media_type) {
        Some(Compression::None) => Box::new(packed),
        Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Some(Compression::Zstd) => {
            let decoder = zstd::stream::read::Decoder::with_buffer(packed);
            Box::new(decoder.map_err(|source| Error::io(format!("inflate {what}"), source))?)
        }
        None => return Err(Error::invalid(what, format!("{} is no layer", descriptor.media_type))),
    };
    Ok(store.snapshots().unpack(tar)?)
}

fn check_range(what: &str, range: Option<&str>, wanted: u64) -> Result<(), Error> {
    let start = range.and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    if start == Some(wanted) {
        return Ok(());
    }
    Err(Error::invalid(what, format!("asked for bytes from {wanted} and got {}", range.unwrap_or("no range"))))
}

fn mismatch(what: String, error: Error) -> Error {
    match error {
        Error::Store(teu_store::Error::DigestMismatch { expected, actual }) => {
            Error::DigestMismatch { what, expected, actual }
        }
        other => other,
    }
}

/// Says how far a blob is, not too often: `Downloading` while bytes come, `Extracting` after.
struct Meter {
    shared: SharedMeter,
    downloaded: Arc<AtomicBool>,
    reported: Instant,
}

#[derive(Clone)]
struct SharedMeter {
    progress: Arc<dyn Progress>,
    id: Arc<str>,
    total: u64,
    downloaded: Arc<AtomicBool>,
}

impl Meter {
    fn new(progress: Arc<dyn Progress>, descriptor: &Descriptor) -> Self {
        let downloaded = Arc::new(AtomicBool::new(false));
        let shared = SharedMeter {
            progress,
            id: descriptor.digest.short().into(),
            total: descriptor.size,
            downloaded: downloaded.clone(),
        };
        Self { shared, downloaded, reported: Instant::now() }
    }

    fn shared(&self) -> SharedMeter {
        self.shared.clone()
    }

    fn received(&mut self, count: u64) {
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            self.shared.progress.update(&self.shared.id, "Downloading", count, self.shared.total);
        }
    }

    fn finished(&self) {
        self.shared.progress.update(&self.shared.id, "Download complete", 0, 0);
        self.downloaded.store(true, Ordering::Relaxed);
    }
}

/// Counts what the unpacking thread has taken.
struct Metered<R> {
    inner: R,
    taken: u64,
    told: u64,
    meter: SharedMeter,
}

impl<R> Metered<R> {
    fn new(inner: R, meter: SharedMeter) -> Self {
        Self { inner, taken: 0, told: 0, meter }
    }
}

impl<R: BufRead> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.taken += amount as u64;
        let meter = &self.meter;
        let step = (meter.total / 100).max(1 << 16);
        let due = self.taken >= self.told + step || self.taken == meter.total && self.told < self.taken;
        if due && meter.downloaded.load(Ordering::Relaxed) {
            self.told = self.taken;
            meter.progress.update(&meter.id, "Extracting", self.taken, meter.total);
        }
    }
}
