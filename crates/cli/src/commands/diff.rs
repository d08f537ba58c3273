//! `teu diff`: what a container changed in its file system.

use teu_api::container::ChangeItem;

use super::container_path;
use crate::Session;
use crate::failure::Failure;
use crate::output::print;
use crate::table::Verb;

/// Shows changed files.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// Container whose changes are shown
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

impl Verb for Diff {
    const USAGE: &'static str = "CONTAINER";
    const ABOUT: &'static str = "Inspect changes to files or directories on a container's filesystem";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let path = format!("{}/changes", container_path(&self.container));
        let changes: Option<Vec<ChangeItem>> = client.get(path).read().await?;
        let sign = |kind| match kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        let lines = changes.into_iter().flatten().map(|change| format!("{} {}\n", sign(change.kind), change.path));
        print(&lines.collect::<String>())?;
        Ok(0)
    }
}
