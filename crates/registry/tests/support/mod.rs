//! What the tests of this room share: registries on loopback, images, a listener for progress, a line that breaks.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use tempfile::TempDir;
use teu_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, RootFs, media_type};
use teu_registry::client::{Client, Config, Progress, Pulled, Retry, StoreLayers};
use teu_registry::{client, server};
use teu_store::{Lease, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A store in a directory of its own.
pub(crate) struct Home {
    pub(crate) store: Store,
    pub(crate) lease: Lease,
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Self { lease: store.lease("a test"), store, dir }
    }

    /// Makes an image whose layers exist only as trees, one file each.
    pub(crate) fn build(&self, files: &[(&str, &[u8])]) -> Descriptor {
        self.build_as(files, media_type::OCI_MANIFEST, media_type::OCI_CONFIG, media_type::OCI_LAYER)
    }

    pub(crate) fn build_as(&self, files: &[(&str, &[u8])], manifest: &str, config: &str, layer: &str) -> Descriptor {
        let (mut parent, mut diff_ids, mut layers) = (None, Vec::new(), Vec::new());
        for (name, content) in files {
            let key = format!("building-{name}");
            let overlay = self.store.snapshots().prepare(&key, parent.as_ref()).unwrap();
            std::fs::write(overlay.upper.unwrap().join(name), content).unwrap();
            let committed = self.store.snapshots().commit(&key).unwrap();
            self.lease.hold(&committed.chain_id);
            diff_ids.push(committed.diff_id.clone());
            layers.push(Descriptor::new(layer, committed.diff_id, committed.size));
            parent = Some(committed.chain_id);
        }
        let rootfs = RootFs { diff_ids, ..RootFs::default() };
        let image = ImageConfig { architecture: "amd64".into(), os: "linux".into(), rootfs, ..ImageConfig::default() };
        let config = self.put(config, &serde_json::to_vec(&image).unwrap());
        let document = Manifest { media_type: Some(manifest.into()), ..Manifest::new(config, layers) };
        self.put(manifest, &serde_json::to_vec(&document).unwrap())
    }

    pub(crate) fn put(&self, kind: &str, bytes: &[u8]) -> Descriptor {
        self.lease.hold(&Digest::sha256(bytes));
        let (digest, size) = self.store.blobs().put(bytes).unwrap();
        Descriptor::new(kind, digest, size)
    }

    pub(crate) async fn push(
        &self,
        client: &Client,
        to: &str,
        manifest: &Descriptor,
        heard: &Arc<Heard>,
    ) -> Result<Descriptor, client::Error> {
        let layers = Arc::new(StoreLayers::new(&self.store));
        client.push(&reference(to), manifest, &self.store, &self.lease, layers, heard.clone()).await
    }

    pub(crate) async fn pull(&self, client: &Client, from: &str, heard: &Arc<Heard>) -> Result<Pulled, client::Error> {
        client.pull(&reference(from), &amd64(), &self.store, &self.lease, heard.clone()).await
    }

    /// A file of the layer on top of a chain.
    pub(crate) fn file(&self, chain: &Digest, name: &str) -> Option<Vec<u8>> {
        let view = self.store.snapshots().view(Some(chain)).unwrap();
        std::fs::read(view.lowers[0].join(name)).ok()
    }
}

pub(crate) fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Bytes that hardly compress.
pub(crate) fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A client that tries again at once.
pub(crate) fn impatient() -> Config {
    Config { retry: Retry { attempts: 3, first: Duration::from_millis(1), ..Retry::default() }, ..Config::default() }
}

pub(crate) fn new_client() -> Client {
    Client::new(impatient())
}

/// Everything that was said about the blobs.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<(String, String)>>);

impl Heard {
    pub(crate) fn count(&self, status: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(_, heard)| heard == status).count()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(_, heard)| heard.clone()).collect()
    }
}

impl Progress for Heard {
    fn update(&self, id: &str, status: &str, _: u64, _: u64) {
        self.0.lock().unwrap().push((id.into(), status.into()));
    }
}

/// Serves for as long as the test's runtime lives.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::serve(listener, router, std::future::pending()));
    address
}

/// A registry on an empty store.
pub(crate) async fn registry() -> (SocketAddr, Home) {
    let home = Home::new();
    (serve(server::router(home.store.clone()).unwrap()).await, home)
}

/// A line to `to` that breaks: the first `breaks` connections over which more than `after` bytes came back are cut.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    pub(crate) breaks_left: Arc<AtomicI64>,
    pub(crate) ranges_asked: Arc<AtomicUsize>,
}

pub(crate) async fn line(to: SocketAddr, breaks: i64, after: usize) -> Line {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (breaks_left, ranges_asked) = (Arc::new(AtomicI64::new(breaks)), Arc::new(AtomicUsize::new(0)));
    let line = Line { address, breaks_left: breaks_left.clone(), ranges_asked: ranges_asked.clone() };
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(to).await else { return };
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
            let ranges = ranges_asked.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 65536];
                while let Ok(length @ 1..) = near_in.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..length]).to_ascii_lowercase();
                    ranges.fetch_add(text.matches("\r\nrange: bytes=").count(), Ordering::SeqCst);
                    if far_out.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            });
            let breaks = breaks_left.clone();
            tokio::spawn(async move {
                let (mut buffer, mut passed) = (vec![0; 65536], 0);
                while let Ok(length @ 1..) = far_in.read(&mut buffer).await {
                    passed += length;
                    if passed > after && breaks.fetch_sub(1, Ordering::SeqCst) > 0 {
                        return;
                    }
                    if near_out.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    line
}

/// A gzip layer with one file, as other tools make them: its tar is not what we would write.
pub(crate) fn foreign_layer(name: &str, content: &[u8]) -> (Vec<u8>, Digest) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, content).unwrap();
    let tar = builder.into_inner().unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&tar).unwrap();
    (encoder.finish().unwrap(), Digest::sha256(&tar))
}
