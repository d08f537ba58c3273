//! `teu rmi`: images go away.

use teu_api::image::DeleteItem;

use super::{each, image_path};
use crate::Session;
use crate::failure::Failure;
use crate::output::line;
use crate::table::Verb;

/// Removes images.
#[derive(Debug, clap::Args)]
pub(crate) struct Rmi {
    /// Remove it even if containers or other names use it
    #[arg(short, long)]
    force: bool,
    /// Keep its untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Images to remove
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verb for Rmi {
    const USAGE: &'static str = "IMAGE [IMAGE...]";
    const ABOUT: &'static str = "Remove one or more images";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = &session.client();
        let Self { force, no_prune, .. } = self;
        each(&self.images, async |name| {
            let call = client.delete(image_path(name)).flag("force", force).flag("noprune", no_prune);
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
