//! `teu save`: images as a tar archive.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::Session;
use crate::failure::{Failure, Naming};
use crate::table::Verb;

/// Saves images.
#[derive(Debug, clap::Args)]
pub(crate) struct Save {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    output: Option<String>,
    /// Save only this platform (os/architecture)
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    platform: Vec<String>,
    /// Images to save
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verb for Save {
    const USAGE: &'static str = "IMAGE [IMAGE...]";
    const ABOUT: &'static str = "Save one or more images to a tar archive (streamed to STDOUT by default)";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut target = Target::open(self.output.as_deref())?;
        let client = session.client();
        let call = client.get("/images/get").platforms("platform", &self.platform)?;
        let call = self.images.iter().fold(call, |call, image| call.query("names", image));
        call.copy_to(&mut target, "write the archive").await?;
        target.commit()?;
        Ok(0)
    }
}

/// Where an archive goes: a file that appears when it is complete, or standard output unless that is a terminal.
pub(crate) enum Target {
    /// A file without a name until it is complete, so that nothing is left behind however this program ends.
    File { file: File, path: PathBuf },
    /// Standard output, or a device.
    Direct(Box<dyn Write>),
}

impl Target {
    /// Opens it.
    pub(crate) fn open(path: Option<&str>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            if io::stdout().is_terminal() {
                return Err(Failure::new("cowardly refusing to save to a terminal")
                    .hint("use the -o option or redirect the output"));
            }
            return Ok(Self::Direct(Box::new(io::stdout())));
        };
        let path = PathBuf::from(path);
        let what = format!("write {}", path.display());
        // A device, as /dev/null, cannot be replaced by a file.
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(&path).or_fail(&what)?;
            return Ok(Self::Direct(Box::new(file)));
        }
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(folder(&path), flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => Ok(Self::File { file: File::from(file), path }),
            // The file system has no nameless files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Ok(Self::Direct(Box::new(File::create(&path).or_fail(&what)?))),
            Err(error) => Err(Failure::io(&what, &error.into())),
        }
    }

    /// The archive is complete.
    pub(crate) fn commit(self) -> Result<(), Failure> {
        let Self::File { file, path } = self else { return Ok(()) };
        let what = format!("write {}", path.display());
        // A link cannot replace a file, a rename can.
        let draft = folder(&path).join(format!(".teu-{}", std::process::id()));
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, own, CWD, &draft, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from).or_fail(&what)?;
        fs::rename(&draft, &path).or_fail(&what)
    }
}

/// The folder of a file.
fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { file, .. } => file.write(bytes),
            Self::Direct(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.flush(),
            Self::Direct(out) => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_appears_when_it_is_complete_and_replaces_the_one_before() {
        let root = std::env::temp_dir().join(format!("teu-save-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let path = root.join("out.tar");
        fs::write(&path, "before").unwrap();
        let mut dropped = Target::open(path.to_str()).ok().unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        let mut target = Target::open(path.to_str()).ok().unwrap();
        target.write_all(b"whole").unwrap();
        target.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1, "nothing else is left");
        fs::remove_dir_all(&root).unwrap();
    }
}
