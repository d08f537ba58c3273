//! `teu volume clone`, `snapshot`, `rename`, `export` and `import`: what only teu does with volumes.

use std::fs::File;
use std::io::{self, IsTerminal};

use teu_api::volume::Volume;

use crate::Session;
use crate::client::escape;
use crate::commands::load::stream;
use crate::commands::save::Target;
use crate::failure::{Failure, Naming};
use crate::output::line;
use crate::table::Verb;

/// Clones a volume.
#[derive(Debug, clap::Args)]
pub(crate) struct Clone {
    /// Do not pause the containers that write to the volume while it is copied
    #[arg(long)]
    no_pause: bool,
    /// Volume to copy
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// Name of the new volume
    #[arg(value_name = "NEW")]
    new: String,
}

/// Takes a snapshot of a volume.
#[derive(Debug, clap::Args)]
pub(crate) struct Snapshot {
    /// Do not pause the containers that write to the volume while it is copied
    #[arg(long)]
    no_pause: bool,
    /// Volume to copy
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// Name of the snapshot; VOLUME and the time by default
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Renames a volume.
#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    /// Volume to rename
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// Its new name
    #[arg(value_name = "NEW")]
    new: String,
}

/// Exports a volume.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    output: Option<String>,
    /// Volume to export
    #[arg(value_name = "VOLUME")]
    volume: String,
}

/// Imports a volume.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Also into a volume that has files; those of the same name are replaced
    #[arg(short, long)]
    force: bool,
    /// Volume to fill; made if it is not there
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// Tar archive, or - for STDIN
    #[arg(value_name = "FILE", default_value = "-")]
    source: String,
}

fn path(volume: &str, verb: &str) -> String {
    format!("/teu/volumes/{}/{verb}", escape(volume))
}

impl Verb for Clone {
    const USAGE: &'static str = "VOLUME NEW";
    const ABOUT: &'static str = "Copy a volume into a new one";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let call = client.post(path(&self.volume, "clone")).query("to", &self.new);
        let volume: Volume = call.query("pause", if self.no_pause { "0" } else { "1" }).read().await?;
        line(&volume.name)?;
        Ok(0)
    }
}

impl Verb for Snapshot {
    const USAGE: &'static str = "VOLUME [NAME]";
    const ABOUT: &'static str = "Copy a volume into a new one that cannot be changed";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let call = client.post(path(&self.volume, "snapshot")).maybe("to", self.name);
        let volume: Volume = call.query("pause", if self.no_pause { "0" } else { "1" }).read().await?;
        line(&volume.name)?;
        Ok(0)
    }
}

impl Verb for Rename {
    const USAGE: &'static str = "VOLUME NEW";
    const ABOUT: &'static str = "Rename a volume";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.client().post(path(&self.volume, "rename")).query("to", &self.new).done().await?;
        Ok(0)
    }
}

impl Verb for Export {
    const USAGE: &'static str = "VOLUME";
    const ABOUT: &'static str = "Export the files of a volume as a tar archive";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut target = Target::open(self.output.as_deref())?;
        session.client().get(path(&self.volume, "export")).copy_to(&mut target, "write the archive").await?;
        target.commit()?;
        Ok(0)
    }
}

impl Verb for Import {
    const USAGE: &'static str = "VOLUME [FILE|-]";
    const ABOUT: &'static str = "Import files from a tar archive into a volume";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let body = match self.source.as_str() {
            "-" if io::stdin().is_terminal() => {
                return Err(Failure::new("requested import from stdin, but stdin is a terminal")
                    .hint("name the archive, or redirect it: teu volume import VOLUME < archive.tar"));
            }
            "-" => stream(io::stdin()),
            path => stream(File::open(path).or_fail(format!("open {path}"))?),
        };
        let client = session.client();
        let call = client.post(path(&self.volume, "import")).flag("force", self.force);
        let volume: Volume = call.header("content-type", "application/x-tar").body(body).read().await?;
        line(&volume.name)?;
        Ok(0)
    }
}
