//! A build's context: which files go to the daemon, and how.
//!
//! A folder is packed by a thread while it is sent; owners become root, as everywhere in the field, and what
//! `.dockerignore` leaves out is not even read. The Dockerfile and `.dockerignore` always go along.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use tar::{Builder, EntryType, Header};
use teu_git::GitUrl;

use crate::client::{Body, ChannelWriter, channel_body};
use crate::failure::{Failure, Naming};
use crate::ignore::Ignore;

/// What `teu build` was asked to build from.
pub(crate) enum Source {
    /// A folder, with the Dockerfile's place in it or its text.
    Folder(Folder),
    /// A tar archive on standard input; what was read of it already comes first.
    Stdin(Vec<u8>),
    /// A Dockerfile alone.
    Dockerfile(Vec<u8>),
    /// Something for the daemon to fetch.
    Remote(String),
}

/// A folder to pack.
pub(crate) struct Folder {
    root: PathBuf,
    ignore: Ignore,
    /// Files that go along whatever the rules say.
    kept: Vec<String>,
    /// A Dockerfile from elsewhere, with its name in the archive.
    extra: Option<(String, Vec<u8>)>,
}

/// A context and the Dockerfile's path in it.
pub(crate) struct Context {
    /// Where it comes from.
    pub(crate) source: Source,
    /// Path in the context; empty is the default.
    pub(crate) dockerfile: String,
}

/// Finds the context and the Dockerfile.
pub(crate) fn find(context: &str, file: Option<&str>) -> Result<Context, Failure> {
    if context == "-" {
        if file == Some("-") {
            return Err(Failure::new("invalid argument: can't use stdin for both build context and dockerfile"));
        }
        return from_stdin(file);
    }
    if ["http://", "https://"].iter().any(|sign| context.starts_with(sign)) {
        return Ok(Context {
            source: Source::Remote(context.to_owned()),
            dockerfile: file.unwrap_or_default().to_owned(),
        });
    }
    let root = Path::new(context).canonicalize().or_fail(format!("prepare context: path \"{context}\""))?;
    if !root.is_dir() {
        return Err(Failure::new(format!("prepare context: path \"{context}\" is not a folder"))
            .hint("the last argument is the context; name the Dockerfile with -f"));
    }
    in_folder(root, file)
}

/// The repository that a context names; a folder that is there comes first.
pub(crate) fn repository(context: &str) -> Result<Option<GitUrl>, Failure> {
    if Path::new(context).is_dir() {
        return Ok(None);
    }
    let wrong = |why| Failure::new(format!("prepare context: {why}"));
    GitUrl::context(context).transpose().map_err(wrong)
}

/// Takes a repository's folder as the context. Its Dockerfile is in it: a link in it may not show this machine's files.
pub(crate) fn in_repository(root: PathBuf, file: Option<&str>) -> Result<Context, Failure> {
    if file == Some("-") {
        return in_folder(root, file);
    }
    let name = file.unwrap_or("Dockerfile");
    let path = root.join(name).canonicalize().map_err(|_| {
        Failure::new(format!("read the Dockerfile: open {name}: no such file or directory"))
            .hint("name it with -f, as its path in the repository")
    })?;
    if !path.starts_with(&root) {
        return Err(Failure::new(format!("the Dockerfile ({name}) must be within the build context")));
    }
    in_folder(root, path.to_str())
}

/// Sixteen hexadecimal digits.
pub(crate) fn random() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(io::Error::from)
        .or_fail("get random bytes")?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Takes a folder as a context that is known by a name, without what its `.dockerignore` names.
pub(crate) fn named(folder: &Path) -> Result<Source, Failure> {
    let root = folder.canonicalize().or_fail(format!("build context {}", folder.display()))?;
    let (_, ignore) = read_ignore(&root, "")?;
    Ok(Source::Folder(Folder { root, ignore, kept: Vec::new(), extra: None }))
}

/// A folder for a checkout, for this user alone; it goes with this.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// Makes it.
    pub(crate) fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("teu-build-{}", random()?));
        fs::DirBuilder::new().mode(0o700).create(&path).or_fail(format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A program that was just told to end may still have made a file.
        let _ = (0..5).find(|_| match fs::remove_dir_all(&self.0) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        });
    }
}

fn from_stdin(file: Option<&str>) -> Result<Context, Failure> {
    let mut start = vec![0; 512];
    let mut have = 0;
    let mut stdin = io::stdin().lock();
    while have < start.len() {
        match stdin.read(&mut start[have..]).or_fail("read standard input")? {
            0 => break,
            count => have += count,
        }
    }
    start.truncate(have);
    if is_archive(&start) {
        let dockerfile = file.unwrap_or_default().to_owned();
        return Ok(Context { source: Source::Stdin(start), dockerfile });
    }
    if start.is_empty() {
        return Err(Failure::new("read standard input: it is empty, neither a Dockerfile nor a tar archive"));
    }
    stdin.read_to_end(&mut start).or_fail("read standard input")?;
    Ok(Context { source: Source::Dockerfile(start), dockerfile: String::new() })
}

/// Whether the first bytes are of a tar archive, plain or compressed.
fn is_archive(start: &[u8]) -> bool {
    let magics: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    magics.iter().any(|magic| start.starts_with(magic)) || start.get(257..262) == Some(b"ustar")
}

fn in_folder(root: PathBuf, file: Option<&str>) -> Result<Context, Failure> {
    let missing = |path: &Path| {
        Failure::new(format!("read the Dockerfile: open {}: no such file or directory", path.display()))
            .hint("name it with -f, or call it Dockerfile in the context")
    };
    let (dockerfile, extra) = match file {
        Some("-") => {
            let mut text = Vec::new();
            io::stdin().lock().read_to_end(&mut text).or_fail("read the Dockerfile from standard input")?;
            (String::new(), Some(text))
        }
        file => {
            let path = file.map_or_else(|| root.join("Dockerfile"), PathBuf::from);
            let full = path.canonicalize().map_err(|_| missing(&path))?;
            match full.strip_prefix(&root) {
                Ok(inside) if !path.is_symlink() => (slashes(inside), None),
                _ => (String::new(), Some(fs::read(&full).or_fail(format!("read {}", path.display()))?)),
            }
        }
    };
    let (ignore_file, ignore) = read_ignore(&root, &dockerfile)?;
    let extra = extra.map(|text| (format!(".dockerfile.{:x}", std::process::id()), text));
    let name = extra.as_ref().map_or(dockerfile, |(name, _)| name.clone());
    let kept = vec![name.clone(), ignore_file];
    Ok(Context { source: Source::Folder(Folder { root, ignore, kept, extra }), dockerfile: name })
}

/// The rules that apply, and their file's path in the context.
fn read_ignore(root: &Path, dockerfile: &str) -> Result<(String, Ignore), Failure> {
    let own = format!("{dockerfile}.dockerignore");
    for name in [own.as_str(), ".dockerignore"] {
        let path = root.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let ignore = Ignore::parse(&text).map_err(|why| Failure::new(format!("read {name}: {why}")))?;
                return Ok((name.to_owned(), ignore));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::io(&format!("read {}", path.display()), &error)),
        }
    }
    Ok((".dockerignore".to_owned(), Ignore::default()))
}

fn slashes(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

impl Source {
    /// The request's body; `None` when the daemon fetches the context.
    pub(crate) fn into_body(self) -> Option<Body> {
        if matches!(self, Self::Remote(_)) {
            return None;
        }
        let (writer, body) = channel_body();
        std::thread::spawn(move || {
            let mut buffered = BufWriter::with_capacity(128 << 10, writer);
            let sent = self.write(&mut buffered).and_then(|()| buffered.flush());
            if let Err(error) = sent {
                // Drop what is buffered: the archive is broken off anyway.
                let (writer, _) = buffered.into_parts();
                ChannelWriter::abort(&writer, error);
            }
        });
        Some(body)
    }

    fn write(self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.pack(out),
            Self::Stdin(start) => {
                out.write_all(&start)?;
                io::copy(&mut io::stdin().lock(), out).map(drop)
            }
            Self::Dockerfile(text) => {
                let mut archive = Builder::new(out);
                append_text(&mut archive, "Dockerfile", &text)?;
                archive.into_inner().map(drop)
            }
            Self::Remote(_) => Ok(()),
        }
    }
}

impl Folder {
    /// Writes the archive.
    fn pack(&self, out: &mut impl Write) -> io::Result<()> {
        let mut archive = Builder::new(out);
        self.pack_folder(&mut archive, "")?;
        if let Some((name, text)) = &self.extra {
            append_text(&mut archive, name, text)?;
        }
        archive.into_inner().map(drop)
    }

    fn pack_folder(&self, archive: &mut Builder<impl Write>, folder: &str) -> io::Result<()> {
        let about =
            |path: &Path, error: &io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let path = self.root.join(folder);
        let entries = fs::read_dir(&path).map_err(|error| about(&path, &error))?;
        let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let name = name.to_string_lossy();
            let relative = if folder.is_empty() { name.into_owned() } else { format!("{folder}/{name}") };
            let path = self.root.join(&relative);
            let metadata = fs::symlink_metadata(&path).map_err(|error| about(&path, &error))?;
            let out = self.ignore.excludes(&relative) && !self.kept.contains(&relative);
            if !out {
                append(archive, &relative, &path, &metadata).map_err(|error| about(&path, &error))?;
            }
            if metadata.is_dir() && (!out || self.holds_kept(&relative) || self.ignore.may_keep_below(&relative)) {
                self.pack_folder(archive, &relative)?;
            }
        }
        Ok(())
    }

    fn holds_kept(&self, folder: &str) -> bool {
        self.kept.iter().any(|kept| kept.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
    }
}

fn append_text(archive: &mut Builder<impl Write>, name: &str, text: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(text.len() as u64);
    archive.append_data(&mut header, name, text)
}

/// Adds one file; sockets and devices have no place in a context.
fn append(archive: &mut Builder<impl Write>, name: &str, path: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        archive.append_data(&mut header, format!("{name}/"), io::empty())
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        archive.append_link(&mut header, name, fs::read_link(path)?)
    } else if kind.is_fifo() {
        header.set_entry_type(EntryType::Fifo);
        archive.append_data(&mut header, name, io::empty())
    } else if kind.is_file() {
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        let mut exact = Exact { file: File::open(path)?, left: metadata.len() };
        archive.append_data(&mut header, name, &mut exact)
    } else {
        Ok(())
    }
}

/// A file of which exactly the promised bytes are read, whatever happens to it meanwhile.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("teu-context-{}-{name}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn packed(context: Context) -> Vec<String> {
        let mut bytes = Vec::new();
        context.source.write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_folder_is_packed_by_its_rules() {
        let files = [
            ("Dockerfile", "FROM scratch"),
            (".dockerignore", "*\n!src\nsrc/secret\n"),
            ("big.bin", "x"),
            ("src/a.c", "int"),
            ("src/secret", "s"),
        ];
        let scratch = Scratch::new("rules", &files);
        let context = find(scratch.0.to_str().unwrap(), None).ok().unwrap();
        assert_eq!(context.dockerfile, "Dockerfile");
        assert_eq!(packed(context), [".dockerignore", "Dockerfile", "src/", "src/a.c"]);
    }

    #[test]
    fn a_dockerfile_from_elsewhere_goes_along_under_a_name_of_its_own() {
        let scratch = Scratch::new("elsewhere", &[("ctx/a", "1"), ("other/My.Dockerfile", "FROM x")]);
        let file = scratch.0.join("other/My.Dockerfile");
        let context = find(scratch.0.join("ctx").to_str().unwrap(), file.to_str()).ok().unwrap();
        assert!(context.dockerfile.starts_with(".dockerfile."));
        let name = context.dockerfile.clone();
        assert_eq!(packed(context), ["a".to_owned(), name]);
    }

    #[test]
    fn mistakes_are_told() {
        let scratch = Scratch::new("mistakes", &[("a", "1")]);
        let root = scratch.0.to_str().unwrap();
        assert!(find(root, None).err().unwrap().message.contains("Dockerfile: no such file"));
        assert!(find(&format!("{root}/a"), None).err().unwrap().message.contains("is not a folder"));
        assert!(find("/nope/nope", None).err().unwrap().message.contains("no such file"));
        assert!(find("-", Some("-")).is_err());
    }

    #[test]
    fn a_repositorys_dockerfile_is_one_of_its_files() {
        let scratch = Scratch::new("repository", &[("tree/sub/File", "FROM x"), ("tree/a", "1"), ("secret", "s")]);
        let root = || scratch.0.join("tree").canonicalize().unwrap();
        std::os::unix::fs::symlink("../secret", root().join("Dockerfile")).unwrap();
        assert_eq!(in_repository(root(), Some("sub/File")).ok().unwrap().dockerfile, "sub/File");
        let why = |file: Option<&str>| in_repository(root(), file).err().unwrap().message;
        assert_eq!(why(None), "the Dockerfile (Dockerfile) must be within the build context");
        assert!(why(Some("../secret")).contains("must be within the build context"));
        assert!(why(Some("missing")).contains("open missing: no such file"));
        assert!(repository("github.com/a/b").ok().unwrap().is_some());
        assert!(repository(scratch.0.to_str().unwrap()).ok().unwrap().is_none());
        assert!(repository("git://-x/b").is_err());
    }

    #[test]
    fn a_temporary_folder_goes_with_its_owner() {
        let temporary = Temporary::new().ok().unwrap();
        let path = temporary.path().to_owned();
        fs::create_dir_all(path.join("a/b")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        drop(temporary);
        assert!(!path.exists());
    }

    #[test]
    fn archives_are_told_from_dockerfiles() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(is_archive(&tar) && is_archive(b"\x1f\x8b\x08") && !is_archive(b"FROM scratch\n"));
    }
}
