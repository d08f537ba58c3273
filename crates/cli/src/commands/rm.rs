//! `teu rm`: containers go away.

use super::{container_path, each};
use crate::Session;
use crate::failure::Failure;
use crate::output::line;
use crate::table::Verb;

/// Removes containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Kill a running container first
    #[arg(short, long)]
    force: bool,
    /// Remove the link, not the container
    #[arg(short, long)]
    link: bool,
    /// Remove its anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Containers to remove
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Rm {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Remove one or more containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = &session.client();
        let Self { force, link, volumes, .. } = self;
        each(&self.containers, async |name| {
            let call = client.delete(container_path(name)).flag("force", force).flag("link", link).flag("v", volumes);
            match call.done().await {
                // Who forces wants it gone; it is.
                Err(failure) if force && failure.is_not_found() => {
                    failure.report();
                    Ok(())
                }
                Err(failure) => Err(failure),
                Ok(()) => line(name),
            }
        })
        .await
    }
}
