//! What the client has comes into a tree of the daemon's.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use teu_oci::{Digest, DigestHasher};
use teu_sys::fs::{Dir, FileKind, Root, Time};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::mode::{kind, permissions};
use super::{fault, is_kept, unbounded};
use crate::session::Session;
use crate::wire::session::{Packet, PacketKind, Stat};

const SYNC: &str = "/moby.filesync.v1.FileSync/DiffCopy";

/// Which part of what a client has is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The client's name for the folder.
    pub(crate) name: String,
    /// Only these files, and what they lead to if they are links; empty is everything.
    pub(crate) paths: Vec<String>,
    /// Patterns of what is not wanted, as in `.dockerignore`.
    pub(crate) exclude: Vec<String>,
}

impl Wanted {
    /// As the client expects it: beside the call, and escaped if a value is more than ASCII.
    fn tell(&self, metadata: &mut MetadataMap) -> Result<(), Status> {
        let name = std::slice::from_ref(&self.name);
        for (key, values) in
            [("dir-name", name), ("followpaths", &self.paths[..]), ("exclude-patterns", &self.exclude[..])]
        {
            let escaped = !values.iter().all(|value| value.is_ascii());
            let refused = |_| Status::invalid_argument(format!("{key}: a value cannot be sent to the client"));
            for value in values {
                let value = if escaped { escape(value) } else { value.clone() };
                metadata.append(key, value.parse().map_err(refused)?);
            }
            if escaped {
                let key = format!("{key}-encoded").parse::<tonic::metadata::MetadataKey<_>>();
                metadata.insert(key.map_err(|_| Status::internal("a key"))?, MetadataValue::from_static("1"));
            }
        }
        Ok(())
    }
}

/// As Go's `url.QueryEscape` does it.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b' ' => text.push('+'),
            byte if plain(byte) => text.push(byte.into()),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

/// What came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes that were sent.
    pub(crate) sent: u64,
    /// Bytes that there are now.
    pub(crate) size: u64,
    /// Files that are those of the earlier tree.
    pub(crate) same: Vec<PathBuf>,
    /// Names what was told, where that says enough to know the tree by.
    pub(crate) print: Option<Digest>,
    /// Nothing came: everything is as in the earlier tree.
    pub(crate) unchanged: bool,
}

/// A tree that came before, and the name of what was told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before<'b> {
    pub(crate) root: &'b Root,
    pub(crate) print: Option<&'b Digest>,
}

/// Brings what is wanted into `root`. A file that an earlier tree has with the same size, mode and time is not sent again, unless
/// its time is one of whole seconds, which programs give to files whatever is in them. If all is as it was, `root` stays empty.
pub(crate) async fn receive(
    session: &Session,
    wanted: &Wanted,
    root: &Root,
    earlier: Option<Before<'_>>,
) -> Result<Received, Status> {
    if !session.serves(SYNC) {
        return Err(Status::failed_precondition("the client sends no files"));
    }
    // Not bounded, or both sides could wait for each other: the client takes no request while it waits for us to read.
    let (requests, outgoing) = mpsc::unbounded_channel();
    let mut request = tonic::Request::new(unbounded(outgoing));
    wanted.tell(request.metadata_mut())?;
    let mut incoming = session.converse::<Packet, Packet, _>(SYNC, request).await?;
    let (pieces, packets) = mpsc::channel(64);
    let clone = |root: &Root| root.try_clone().map_err(|error| fault("open the context", Path::new(""), &error));
    let print = earlier.and_then(|earlier| earlier.print).cloned();
    let (root, earlier) = (clone(root)?, earlier.map(|earlier| clone(earlier.root)).transpose()?);
    let writer = tokio::task::spawn_blocking(move || Writer::new(root, earlier, print, requests).run(packets));
    while let Some(packet) = incoming.message().await? {
        match packet.kind() {
            PacketKind::Error => return Err(Status::unknown(format!("error from sender: {}", lossy(&packet.data)))),
            PacketKind::Finished => break,
            // A writer that has ended says why.
            _ => {
                if pieces.send(packet).await.is_err() {
                    break;
                }
            }
        }
    }
    drop(pieces);
    writer.await.map_err(|error| Status::internal(error.to_string()))?
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Puts into a tree what packets say.
struct Writer {
    root: Root,
    /// The tree that came before, and the directory of it that the last file was in.
    earlier: Option<Root>,
    earlier_parent: Option<(PathBuf, Dir)>,
    requests: mpsc::UnboundedSender<Packet>,
    /// The directory that the last file was in.
    parent: Option<(PathBuf, Dir)>,
    /// Of the next file that is told.
    number: u32,
    /// Files that were asked for.
    wanted: HashMap<u32, Stat>,
    /// Files whose contents are coming.
    open: HashMap<u32, (File, Stat)>,
    links: Vec<Stat>,
    directories: Vec<Stat>,
    all_told: bool,
    received: Received,
    /// Of everything that is told.
    print: DigestHasher,
    /// A file's size and time say whether it has changed.
    says_enough: bool,
    /// What everything was called the last time; until all is told, nothing is done.
    expected: Option<Digest>,
    waiting: Vec<Stat>,
}

impl Writer {
    fn new(
        root: Root,
        earlier: Option<Root>,
        expected: Option<Digest>,
        requests: mpsc::UnboundedSender<Packet>,
    ) -> Self {
        Self {
            root,
            earlier,
            earlier_parent: None,
            requests,
            parent: None,
            number: 0,
            wanted: HashMap::new(),
            open: HashMap::new(),
            links: Vec::new(),
            directories: Vec::new(),
            all_told: false,
            received: Received::default(),
            print: DigestHasher::new(),
            says_enough: true,
            expected,
            waiting: Vec::new(),
        }
    }

    fn run(mut self, mut packets: mpsc::Receiver<Packet>) -> Result<Received, Status> {
        while let Some(packet) = packets.blocking_recv() {
            if let Err(error) = self.take(packet) {
                let _ = self.requests.send(Packet {
                    kind: PacketKind::Error.into(),
                    data: error.message().to_owned().into(),
                    ..Packet::default()
                });
                return Err(error);
            }
        }
        match self.all_told && self.wanted.is_empty() && self.open.is_empty() {
            true => Ok(self.received),
            false => Err(Status::unknown("the client stopped sending files before the end")),
        }
    }

    fn take(&mut self, packet: Packet) -> Result<(), Status> {
        match (packet.kind(), packet.stat) {
            (PacketKind::Stat, Some(stat)) => {
                self.print.update(&stat.encode_length_delimited_to_vec());
                self.says_enough &= !has_bytes(&stat) || time(stat.modified).nanoseconds != 0;
                match self.expected {
                    Some(_) => self.waiting.push(stat),
                    None => self.told(stat)?,
                }
            }
            (PacketKind::Stat, None) => self.everything()?,
            (PacketKind::Data, _) => self.data(packet.id, &packet.data)?,
            _ => return Err(Status::invalid_argument("a packet that a sender does not send")),
        }
        if self.all_told && self.wanted.is_empty() && self.open.is_empty() {
            self.finish()?;
        }
        Ok(())
    }

    /// Everything has been told.
    fn everything(&mut self) -> Result<(), Status> {
        let print = std::mem::replace(&mut self.print, DigestHasher::new()).finish();
        self.received.unchanged = self.says_enough && self.expected.as_ref() == Some(&print);
        self.received.print = self.says_enough.then_some(print);
        let waiting = std::mem::take(&mut self.waiting);
        if !self.received.unchanged {
            waiting.into_iter().try_for_each(|stat| self.told(stat))?;
        }
        self.all_told = true;
        Ok(())
    }

    fn told(&mut self, stat: Stat) -> Result<(), Status> {
        let number = self.number;
        self.number += 1;
        if has_bytes(&stat) && self.is_there(&stat) {
            self.received.size += u64::try_from(stat.size).unwrap_or(0);
            self.received.same.push(stat.path().to_owned());
            return Ok(());
        }
        let at = |error: io::Error| fault("receive", stat.path(), &error);
        let (dir, name) = self.place(stat.path()).map_err(at)?;
        let device = (u32::try_from(stat.major).unwrap_or(0), u32::try_from(stat.minor).unwrap_or(0));
        match kind(stat.mode) {
            Some(FileKind::Directory) => {
                dir.create_dir(&name, 0o700).or_else(there).map_err(at)?;
                self.directories.push(stat);
            }
            Some(FileKind::Symlink) => {
                dir.symlink(stat.link(), &name).and_then(|()| dress(dir, &name, &stat)).map_err(at)?;
            }
            Some(FileKind::Regular) if !stat.link.is_empty() => self.links.push(stat),
            Some(FileKind::Regular) if stat.size == 0 => {
                dir.create_file(&name, 0o600).and_then(|_| dress(dir, &name, &stat)).map_err(at)?;
            }
            Some(FileKind::Regular) => {
                self.wanted.insert(number, stat);
                let request = Packet { kind: PacketKind::Request.into(), id: number, ..Packet::default() };
                let _ = self.requests.send(request);
            }
            Some(other) => {
                let made = dir.mknod(&name, other, permissions(stat.mode), device);
                made.and_then(|()| dress(dir, &name, &stat)).map_err(at)?;
            }
            None => {
                return Err(Status::invalid_argument(format!("{}: a file of unknown kind", stat.path().display())));
            }
        }
        Ok(())
    }

    fn data(&mut self, id: u32, data: &Bytes) -> Result<(), Status> {
        if let Some(stat) = self.wanted.remove(&id) {
            let made = self.place(stat.path()).and_then(|(dir, name)| dir.create_file(name, 0o600));
            let file = made.map_err(|error| fault("receive", stat.path(), &error))?;
            self.open.insert(id, (file, stat));
        }
        let Some((file, stat)) = self.open.get_mut(&id) else {
            return Err(Status::invalid_argument(format!("file {id} was not asked for")));
        };
        if data.is_empty() {
            let Some((_, stat)) = self.open.remove(&id) else { return Ok(()) };
            let done = self.place(stat.path()).and_then(|(dir, name)| dress(dir, &name, &stat));
            return done.map_err(|error| fault("receive", stat.path(), &error));
        }
        file.write_all(data).map_err(|error| fault("receive", stat.path(), &error))?;
        self.received.sent += data.len() as u64;
        self.received.size += data.len() as u64;
        Ok(())
    }

    /// What can only be done when all files are there.
    fn finish(&mut self) -> Result<(), Status> {
        for stat in std::mem::take(&mut self.links) {
            let link = || {
                let (from, first) = self.root.parent_of(stat.link())?;
                let (to, name) = self.root.parent_of(stat.path())?;
                from.link(first, &to, name)
            };
            link().map_err(|error| fault("receive", stat.path(), &error))?;
        }
        for stat in std::mem::take(&mut self.directories).into_iter().rev() {
            let done = self.root.parent_of(stat.path()).and_then(|(dir, name)| dress(&dir, &name, &stat));
            done.map_err(|error| fault("receive", stat.path(), &error))?;
        }
        let _ = self.requests.send(Packet { kind: PacketKind::Finished.into(), ..Packet::default() });
        Ok(())
    }

    /// Whether the tree that came before has the same file, which then is in this one, too.
    fn is_there(&mut self, stat: &Stat) -> bool {
        let time = time(stat.modified);
        if self.earlier.is_none() || time.nanoseconds == 0 {
            return false;
        }
        let mut take = || -> io::Result<bool> {
            let (from, name) = self.earlier_place(stat.path())?;
            let have = from.metadata(&name)?;
            let same = have.is_file()
                && i64::try_from(have.size).is_ok_and(|size| size == stat.size)
                && (have.mtime, have.mode) == (time, permissions(stat.mode))
                && has_attributes(from, &name, stat);
            if !same {
                return Ok(false);
            }
            let from = from.try_clone()?;
            let (to, name) = self.place(stat.path())?;
            from.link(&name, to, &name).map(|()| true)
        };
        // Whatever is in the way, the client has the file.
        take().unwrap_or(false)
    }

    /// The same as [`Writer::place`] in the tree that came before.
    fn earlier_place(&mut self, path: &Path) -> io::Result<(&Dir, OsString)> {
        let (Some(name), Some(earlier)) = (path.file_name(), &self.earlier) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.earlier_parent.as_ref().is_none_or(|(have, _)| have != parent) {
            self.earlier_parent = Some((parent.to_owned(), earlier.parent_of(path)?.0));
        }
        let Some((_, dir)) = &self.earlier_parent else { return Err(io::ErrorKind::NotFound.into()) };
        Ok((dir, name.to_owned()))
    }

    /// The directory that a file is in, and its name there.
    fn place(&mut self, path: &Path) -> io::Result<(&Dir, OsString)> {
        let (Some(name), parent) = (path.file_name(), path.parent().unwrap_or(Path::new(""))) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
        };
        if self.parent.as_ref().is_none_or(|(have, _)| have != parent) {
            self.parent = Some((parent.to_owned(), self.root.parent_of(path)?.0));
        }
        let Some((_, dir)) = &self.parent else { return Err(io::ErrorKind::NotFound.into()) };
        Ok((dir, name.to_owned()))
    }
}

fn has_bytes(stat: &Stat) -> bool {
    kind(stat.mode) == Some(FileKind::Regular) && stat.link.is_empty() && stat.size > 0
}

fn there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// Gives a file what it has besides contents; the owner of all is root, as clients want it.
fn dress(dir: &Dir, name: &OsStr, stat: &Stat) -> io::Result<()> {
    for (attribute, value) in stat.xattrs.iter().filter(|(attribute, _)| is_kept(attribute)) {
        // A file system that has none is no reason to do without the file.
        let _ = dir.set_xattr(name, attribute, value);
    }
    dir.set_mode(name, permissions(stat.mode))?;
    dir.set_mtime(name, time(stat.modified))
}

/// Whether a file has the extended attributes that it shall have, and no others that are kept.
fn has_attributes(dir: &Dir, name: &OsStr, stat: &Stat) -> bool {
    let wanted = || stat.xattrs.iter().filter(|(attribute, _)| is_kept(attribute));
    let have = dir.xattrs(name).unwrap_or_default();
    let have = have.iter().filter(|attribute| attribute.to_str().is_some_and(is_kept));
    have.count() == wanted().count()
        && wanted().all(|(attribute, value)| dir.xattr(name, attribute).is_ok_and(|have| have.as_ref() == Some(value)))
}

fn time(nanoseconds: i64) -> Time {
    let second = 1_000_000_000;
    Time {
        seconds: nanoseconds.div_euclid(second),
        nanoseconds: u32::try_from(nanoseconds.rem_euclid(second)).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn packet(kind: PacketKind, id: u32, data: &'static [u8], stat: Option<Stat>) -> Packet {
        Packet { kind: kind.into(), stat, id, data: Bytes::from_static(data) }
    }

    fn stat(path: &str, mode: u32, size: i64, link: &str) -> Option<Stat> {
        let xattrs = [("user.note", b"kept"), ("trusted.overlay.opaque", b"left")]
            .map(|(name, value)| (name.into(), value.to_vec()));
        let (path, link) = (path.into(), link.into());
        Some(Stat { path, mode, size, link, modified: 5_000_000_007, xattrs: xattrs.into(), ..Stat::default() })
    }

    fn write(root: &Path, packets: Vec<Packet>) -> (Result<Received, Status>, Vec<Packet>) {
        write_after(root, None, None, packets)
    }

    fn write_after(
        root: &Path,
        earlier: Option<&Path>,
        expected: Option<Digest>,
        packets: Vec<Packet>,
    ) -> (Result<Received, Status>, Vec<Packet>) {
        let (requests, mut asked) = mpsc::unbounded_channel();
        let (sender, receiver) = mpsc::channel(packets.len().max(1));
        packets.into_iter().for_each(|packet| sender.try_send(packet).expect("room"));
        drop(sender);
        let earlier = earlier.map(|earlier| Root::open(earlier).expect("root"));
        let result = Writer::new(Root::open(root).expect("root"), earlier, expected, requests).run(receiver);
        (result, std::iter::from_fn(|| asked.try_recv().ok()).collect())
    }

    #[test]
    fn a_tree_comes_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let (told, data) = (PacketKind::Stat, PacketKind::Data);
        let (result, asked) = write(
            folder.path(),
            vec![
                packet(told, 0, b"", stat("a", 0o644, 4, "")),
                packet(told, 0, b"", stat("d", 0x8000_01ed, 0, "")),
                packet(told, 0, b"", stat("d/empty", 0o600, 0, "")),
                packet(told, 0, b"", stat("d/hard", 0o644, 4, "a")),
                packet(told, 0, b"", stat("d/soft", 0x0800_01ff, 0, "../a")),
                packet(data, 0, b"te", None),
                packet(data, 0, b"xt", None),
                packet(told, 0, b"", None),
                packet(data, 0, b"", None),
            ],
        );
        let received = result.expect("received");
        assert_eq!((received.sent, received.size), (4, 4));
        let kinds: Vec<_> = asked.iter().map(|packet| (packet.kind(), packet.id)).collect();
        assert_eq!(kinds, [(PacketKind::Request, 0), (PacketKind::Finished, 0)]);
        assert_eq!(std::fs::read(folder.path().join("d/soft")).expect("read"), b"text");
        assert_eq!(std::fs::read(folder.path().join("d/hard")).expect("read"), b"text");
        let modified = std::fs::metadata(folder.path().join("d")).and_then(|meta| meta.modified()).expect("a time");
        assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).expect("later").as_nanos(), 5_000_000_007);
    }

    #[test]
    fn files_come_with_their_times_and_attributes_whatever_they_are_and_are_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = PacketKind::Stat;
        let mut odd = stat("", 0o604, 0, "").expect("a file");
        odd.path = b"odd \xff\n".to_vec();
        let mut packets = vec![
            packet(told, 0, b"", Some(odd)),
            packet(told, 0, b"", stat("pipe", 0x0200_0182, 0, "")),
            packet(told, 0, b"", stat("soft", 0x0800_01ff, 0, "nowhere")),
        ];
        packets.push(packet(told, 0, b"", None));
        write(folder.path(), packets).0.expect("received");
        let dir = Root::open(folder.path()).and_then(|root| root.dir("/")).expect("the tree");
        let odd = OsStr::from_bytes(b"odd \xff\n");
        for (name, mode) in [(odd, 0o604), (OsStr::new("pipe"), 0o602), (OsStr::new("soft"), 0o777)] {
            let metadata = dir.metadata(name).expect("there");
            assert_eq!((metadata.mode, metadata.mtime), (mode, time(5_000_000_007)), "{}", name.display());
        }
        assert_eq!(dir.xattrs(odd).expect("names"), ["user.note"]);
    }

    #[test]
    fn a_file_that_is_the_same_is_not_sent_again() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (told, data) = (PacketKind::Stat, PacketKind::Data);
        let whole = Some(Stat { modified: 5_000_000_000, ..stat("whole", 0o644, 4, "").expect("a stat") });
        let files = |changed: i64| {
            let changed = Stat { modified: changed, ..stat("d/changed", 0o644, 4, "").expect("a stat") };
            vec![
                packet(told, 0, b"", stat("d", 0x8000_01ed, 0, "")),
                packet(told, 0, b"", Some(changed)),
                packet(told, 0, b"", stat("d/same", 0o644, 4, "")),
                packet(told, 0, b"", whole.clone()),
                packet(told, 0, b"", None),
            ]
        };
        let contents = |ids: &[u32]| -> Vec<Packet> {
            let both = |id: &u32| [packet(data, *id, b"text", None), packet(data, *id, b"", None)];
            ids.iter().flat_map(both).collect()
        };
        let (first, _) = write(one.path(), [files(7), contents(&[1, 2, 3])].concat());
        let first = first.expect("received");
        assert_eq!((first.sent, first.size, first.print), (12, 12, None));
        let (second, asked) = write_after(two.path(), Some(one.path()), None, [files(8), contents(&[1, 3])].concat());
        let second = second.expect("received");
        assert_eq!((second.sent, second.size, second.same), (8, 12, vec!["d/same".into()]));
        let wanted = asked.iter().filter(|packet| packet.kind() == PacketKind::Request).map(|packet| packet.id);
        assert_eq!(wanted.collect::<Vec<_>>(), [1, 3]);
        assert_eq!(std::fs::read(two.path().join("d/same")).expect("read"), b"text");
    }

    #[test]
    fn a_tree_that_is_the_same_is_not_written_again() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let told = PacketKind::Stat;
        let files = || vec![packet(told, 0, b"", stat("a", 0o644, 4, "")), packet(told, 0, b"", None)];
        let contents = [packet(PacketKind::Data, 0, b"text", None), packet(PacketKind::Data, 0, b"", None)];
        let (first, _) = write(one.path(), [files(), contents.to_vec()].concat());
        let print = first.expect("received").print;
        assert!(print.is_some());
        let (second, asked) = write_after(two.path(), Some(one.path()), print.clone(), files());
        assert!(second.expect("received").unchanged && asked.len() == 1);
        assert!(!two.path().join("a").exists());
        let more = [packet(told, 0, b"", stat("0", 0o644, 0, ""))];
        let (third, _) = write_after(two.path(), Some(one.path()), print, [more.to_vec(), files()].concat());
        assert!(!third.expect("received").unchanged && two.path().join("a").exists() && two.path().join("0").exists());
    }

    #[test]
    fn what_is_wrong_is_said_to_the_sender() {
        let folder = tempfile::tempdir().expect("a folder");
        let (result, asked) = write(folder.path(), vec![packet(PacketKind::Data, 7, b"x", None)]);
        assert!(result.expect_err("refused").message().contains("file 7 was not asked for"));
        assert_eq!(asked.last().map(Packet::kind), Some(PacketKind::Error));
        let (result, _) = write(folder.path(), vec![packet(PacketKind::Stat, 0, b"", stat("a", 0o644, 4, ""))]);
        assert!(result.expect_err("cut off").message().contains("before the end"));
        for path in ["../outside", "a/../../outside", "/"] {
            let _ = write(folder.path(), vec![packet(PacketKind::Stat, 0, b"", stat(path, 0o644, 0, ""))]);
            assert!(!folder.path().parent().expect("parent").join("outside").exists(), "{path}");
        }
        let other = tempfile::tempdir().expect("a folder");
        let told = |path, mode, link| packet(PacketKind::Stat, 0, b"", stat(path, mode, 0, link));
        let link = other.path().to_str().expect("a path");
        let _ = write(folder.path(), vec![told("out", 0x0800_01ff, link), told("out/file", 0o644, "")]);
        assert_eq!(other.path().read_dir().expect("read").count(), 0);
    }

    #[test]
    fn names_are_escaped_as_go_does_it() {
        assert_eq!(escape("a b/ü~"), "a+b%2F%C3%BC~");
        let mut metadata = MetadataMap::new();
        let wanted = Wanted { name: "ctx".into(), exclude: vec!["ü".into(), "b".into()], ..Wanted::default() };
        wanted.tell(&mut metadata).expect("told");
        assert_eq!(metadata.get_all("exclude-patterns").iter().count(), 2);
        assert!(metadata.get("exclude-patterns-encoded").is_some() && metadata.get("dir-name-encoded").is_none());
    }
}
