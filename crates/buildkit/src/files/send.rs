//! What a build made goes to the client: as a tree of files, or as the bytes of one file.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use teu_sys::fs::{Dir, FileKind, Metadata, Root};
use tokio::sync::mpsc;
use tonic::Status;

use super::mode::from_kernel;
use super::{fault, is_kept, stream};
use crate::session::Session;
use crate::wire::BytesMessage;
use crate::wire::session::{Packet, PacketKind, Stat};

const SEND: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// Which of the client's outputs is meant.
const EXPORTER: &str = "buildkit-attachable-exporter-id";
/// Bytes of a file in one packet.
const PIECE: usize = 32 << 10;

fn request<S>(outgoing: S, exporter: usize) -> tonic::Request<S> {
    let mut request = tonic::Request::new(outgoing);
    request.metadata_mut().insert(EXPORTER, exporter.into());
    request
}

fn able(session: &Session) -> Result<(), Status> {
    match session.serves(SEND) {
        true => Ok(()),
        false => Err(Status::failed_precondition("the client takes no files")),
    }
}

/// Sends a tree to the client's output of that number.
pub(crate) async fn send_tree(session: &Session, exporter: usize, root: Root) -> Result<(), Status> {
    able(session)?;
    let (packets, outgoing) = mpsc::channel(64);
    let (wanted, numbers) = mpsc::unbounded_channel();
    let sender = packets.clone();
    // Begun first: the client's answer begins when it has been told something.
    let worker = tokio::task::spawn_blocking(move || Sender { root, packets: sender, files: Vec::new() }.run(numbers));
    let mut incoming = session.converse::<Packet, Packet, _>(SEND, request(stream(outgoing), exporter)).await?;
    let mut wanted = Some(wanted);
    while let Some(packet) = incoming.message().await? {
        match packet.kind() {
            PacketKind::Request => drop(wanted.as_ref().map(|wanted| wanted.send(packet.id))),
            PacketKind::Finished => {
                wanted = None;
                let _ = packets.send(Packet { kind: PacketKind::Finished.into(), ..Packet::default() }).await;
                break;
            }
            PacketKind::Error => {
                let text = String::from_utf8_lossy(&packet.data).into_owned();
                return Err(Status::unknown(format!("error from receiver: {text}")));
            }
            _ => return Err(Status::invalid_argument("a packet that a receiver does not send")),
        }
    }
    drop((wanted, packets));
    worker.await.map_err(|error| Status::internal(error.to_string()))??;
    while incoming.message().await?.is_some() {}
    Ok(())
}

/// Tells what there is and sends what is asked for.
struct Sender {
    root: Root,
    packets: mpsc::Sender<Packet>,
    /// By number; what is no file has no path.
    files: Vec<PathBuf>,
}

impl Sender {
    fn run(mut self, mut numbers: mpsc::UnboundedReceiver<u32>) -> Result<(), Status> {
        let walked = self.walk(Path::new(""));
        let told = walked.and_then(|()| self.send(Packet { kind: PacketKind::Stat.into(), ..Packet::default() }));
        told.map_err(|error| fault("send", Path::new("the tree"), &error))?;
        while let Some(number) = numbers.blocking_recv() {
            let path = self.files.get(number as usize).cloned().unwrap_or_default();
            self.file(number, &path).map_err(|error| fault("send", &path, &error))?;
        }
        Ok(())
    }

    /// In the order of the names, each directory before what is in it.
    fn walk(&mut self, at: &Path) -> io::Result<()> {
        let dir = self.root.dir(Path::new("/").join(at))?;
        let mut entries = dir.entries()?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        for entry in entries {
            let (path, metadata) = (at.join(&entry.name), dir.metadata(&entry.name)?);
            let link = match metadata.is_symlink() {
                true => dir.read_link(&entry.name)?.into_os_string().into_vec(),
                false => Vec::new(),
            };
            let xattrs = attributes(&dir, &entry.name)?;
            self.files.push(path.clone());
            self.send(Packet {
                kind: PacketKind::Stat.into(),
                stat: Some(Stat { link, xattrs, ..stat(&path, &metadata) }),
                ..Packet::default()
            })?;
            if metadata.is_dir() {
                self.walk(&path)?;
            }
        }
        Ok(())
    }

    fn file(&self, number: u32, path: &Path) -> io::Result<()> {
        let mut file = self.root.open_file(Path::new("/").join(path))?;
        let data = |data: Bytes| Packet { kind: PacketKind::Data.into(), id: number, data, ..Packet::default() };
        loop {
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            // The last one is empty.
            self.send(data(piece.into()))?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn send(&self, packet: Packet) -> io::Result<()> {
        self.packets.blocking_send(packet).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn attributes(dir: &Dir, name: &OsStr) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let names = dir.xattrs(name)?.into_iter().filter_map(|attribute| attribute.into_string().ok());
    let values = names.filter(|attribute| is_kept(attribute)).map(|attribute| {
        let value = dir.xattr(name, &attribute)?.unwrap_or_default();
        Ok((attribute, value))
    });
    values.collect()
}

fn stat(path: &Path, metadata: &Metadata) -> Stat {
    let time = metadata.mtime;
    let size = if metadata.kind == FileKind::Regular { metadata.size } else { 0 };
    Stat {
        path: path.as_os_str().as_bytes().to_vec(),
        mode: from_kernel(metadata.kind, metadata.mode),
        uid: metadata.uid,
        gid: metadata.gid,
        size: i64::try_from(size).unwrap_or(i64::MAX),
        modified: time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanoseconds.into()),
        major: metadata.rdev.0.into(),
        minor: metadata.rdev.1.into(),
        ..Stat::default()
    }
}

/// Sends bytes to the client's output of that number.
pub(crate) async fn send_bytes(
    session: &Session,
    exporter: usize,
    mut bytes: mpsc::Receiver<io::Result<Bytes>>,
) -> Result<(), Status> {
    able(session)?;
    let (messages, outgoing) = mpsc::channel(16);
    // Let go at the end alone: a stream that breaks off must not look like one that has ended.
    let mut messages = Some(messages);
    let pump = async {
        while let Some(piece) = bytes.recv().await {
            let data = piece.map_err(|error| Status::unknown(error.to_string()))?;
            let Some(messages) = &messages else { break };
            if messages.send(BytesMessage { data }).await.is_err() {
                break;
            }
        }
        messages = None;
        Ok(())
    };
    let asked = request(stream(outgoing), exporter);
    let client = async {
        let mut incoming = session.converse::<BytesMessage, BytesMessage, _>(SEND, asked).await?;
        while incoming.message().await?.is_some() {}
        Ok(())
    };
    tokio::try_join!(pump, client).map(|_| ())
}
