//! `teu export`: a container's file system as a tar archive.

use super::container_path;
use super::save::Target;
use crate::Session;
use crate::failure::Failure;
use crate::table::Verb;

/// Exports a container's file system.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    output: Option<String>,
    /// Container to export
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

impl Verb for Export {
    const USAGE: &'static str = "CONTAINER";
    const ABOUT: &'static str = "Export a container's filesystem as a tar archive";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut target = Target::open(self.output.as_deref())?;
        let client = session.client();
        let call = client.get(format!("{}/export", container_path(&self.container)));
        call.copy_to(&mut target, "write the archive").await?;
        target.commit()?;
        Ok(0)
    }
}
