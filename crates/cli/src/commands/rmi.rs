//! `teu rmi`: images go away.

use teu_api::Filters;
use teu_api::container::Summary;
use teu_api::image::{DeleteItem, Inspect};

use super::{each, image_path};
use crate::Session;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{line, units};
use crate::table::Verb;

/// Removes images.
#[derive(Debug, clap::Args)]
pub(crate) struct Rmi {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove it even if containers or other names use it
    #[arg(short, long)]
    force: bool,
    /// Keep its untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Remove only what it holds for this platform (os/architecture)
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    platform: Vec<String>,
    /// Images to remove
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verb for Rmi {
    const USAGE: &'static str = "IMAGE [IMAGE...]";
    const ABOUT: &'static str = "Remove one or more images";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = &session.client();
        let (Self { force, no_prune, .. }, platforms) = (&self, &self.platform);
        let (force, no_prune) = (*force, *no_prune);
        let dry_run = self.dry_run;
        each(&self.images, async |name| {
            if dry_run {
                return foresee(client, name, force).await;
            }
            let call = client
                .delete(image_path(name))
                .flag("force", force)
                .flag("noprune", no_prune)
                .platforms("platforms", platforms)?;
            match call.read::<Option<Vec<DeleteItem>>>().await {
                Err(failure) if force && failure.is_not_found() => {
                    failure.report();
                    Ok(())
                }
                Err(failure) => Err(failure),
                Ok(items) => show(&items.unwrap_or_default()),
            }
        })
        .await
    }
}

/// Prints what was removed.
pub(crate) fn show(items: &[DeleteItem]) -> Result<(), Failure> {
    for item in items {
        match (&item.untagged, &item.deleted) {
            (Some(name), _) => line(&format!("Untagged: {name}"))?,
            (None, Some(id)) => line(&format!("Deleted: {id}"))?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// Prints what removing it would do: a name goes, and with its last name the image, unless a container needs it.
async fn foresee(client: &Client<'_>, name: &str, force: bool) -> Result<(), Failure> {
    let image: Inspect = client.get(format!("{}/json", image_path(name))).read().await?;
    let by_id = image.id.strip_prefix("sha256:").is_some_and(|hex| {
        let text = name.strip_prefix("sha256:").unwrap_or(name);
        !text.is_empty() && hex.starts_with(text)
    });
    let mut filters = Filters::default();
    filters.add("ancestor", &image.id);
    let users: Vec<Summary> = client.get("/containers/json").flag("all", true).filters(&filters).read().await?;
    let last = image.repo_tags.len() <= 1;
    let goes = if by_id { last || force } else { last };
    let first_running = users.iter().find(|user| user.state == "running");
    let running = first_running.is_some();
    if goes && !users.is_empty() && (!force || running) {
        let user = units::short_id(&first_running.unwrap_or(&users[0]).id);
        let how = if running { "running" } else { "stopped" };
        return Err(Failure::new(format!(
            "conflict: unable to delete {name} - image is being used by {how} container {user}"
        )));
    }
    if by_id && !last && !force {
        let id = units::short_id(&image.id);
        return Err(Failure::new(format!(
            "conflict: unable to delete {id} (must be forced) - image is referenced in multiple repositories"
        )));
    }
    let names: Vec<&str> = match by_id {
        true => image.repo_tags.iter().map(String::as_str).collect(),
        false => vec![name],
    };
    names.into_iter().try_for_each(|name| line(&format!("Would untag: {name}")))?;
    if goes { line(&format!("Would delete: {}", image.id)) } else { Ok(()) }
}
