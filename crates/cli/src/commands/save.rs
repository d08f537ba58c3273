//! `teu save`: images as a tar archive.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

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
    #[arg(long)]
    platform: Option<String>,
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
        let call = client.get("/images/get").maybe("platform", self.platform);
        let call = self.images.iter().fold(call, |call, image| call.query("names", image));
        call.copy_to(&mut target, "write the archive").await?;
        target.commit()?;
        Ok(0)
    }
}

/// Where an archive goes: a file that appears when it is complete, or standard output unless that is a terminal.
pub(crate) enum Target {
    /// A file, under another name until it is complete.
    File { file: Option<File>, draft: PathBuf, path: PathBuf },
    /// Standard output.
    Stdout(io::Stdout),
}

impl Target {
    /// Opens it.
    pub(crate) fn open(path: Option<&str>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            if io::stdout().is_terminal() {
                return Err(Failure::new("cowardly refusing to save to a terminal")
                    .hint("use the -o option or redirect the output"));
            }
            return Ok(Self::Stdout(io::stdout()));
        };
        let path = PathBuf::from(path);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // A device, as /dev/null, is written in place.
        let in_place = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        let draft =
            if in_place { path.clone() } else { path.with_file_name(format!(".{name}.{}", std::process::id())) };
        let file = File::create(&draft).or_fail(format!("write {}", path.display()))?;
        Ok(Self::File { file: Some(file), draft, path })
    }

    /// The archive is complete.
    pub(crate) fn commit(mut self) -> Result<(), Failure> {
        if let Self::File { file, draft, path } = &mut self {
            *file = None;
            if draft != path {
                fs::rename(&*draft, &*path).or_fail(format!("write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { file: Some(file), .. } => file.write(bytes),
            Self::File { file: None, .. } => Err(io::ErrorKind::WriteZero.into()),
            Self::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { file: Some(file), .. } => file.flush(),
            Self::File { file: None, .. } => Ok(()),
            Self::Stdout(out) => out.flush(),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Still open: it was not completed.
        if let Self::File { file: Some(_), draft, path } = self
            && draft != path
        {
            let _ = fs::remove_file(draft);
        }
    }
}
