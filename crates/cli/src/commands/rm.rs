//! `teu rm`: containers go away.

use teu_api::container::Inspect;

use super::{container_path, each};
use crate::Session;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::line;
use crate::table::Verb;

/// Removes containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
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
        let Self { force, link, volumes, dry_run, .. } = self;
        each(&self.containers, async |name| {
            if dry_run {
                return if may_go(client, name, force).await? { line(name) } else { Ok(()) };
            }
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

/// Whether the daemon would remove it; why not is said in its words.
async fn may_go(client: &Client<'_>, name: &str, force: bool) -> Result<bool, Failure> {
    let found: Inspect = match client.get(format!("{}/json", container_path(name))).read().await {
        Err(failure) if force && failure.is_not_found() => {
            failure.report();
            return Ok(false);
        }
        other => other?,
    };
    let state = &found.state;
    match state.running && !force {
        true if state.paused => Err(Failure::new(format!(
            "cannot remove container \"{name}\": container is paused and must be unpaused first"
        ))),
        true => Err(Failure::new(format!(
            "cannot remove container \"{name}\": container is running: stop the container before removing or force remove"
        ))),
        false => Ok(true),
    }
}
