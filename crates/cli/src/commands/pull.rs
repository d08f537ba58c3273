//! `teu pull`: images from a registry.

use teu_api::Reference;
use teu_api::stream::JsonMessage;
use teu_api::system::REGISTRY_AUTH;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::line;
use crate::output::progress::{self, Place};
use crate::table::Verb;
use crate::{Session, config};

/// Pulls an image.
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// Content trust (no longer in use)
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Pull every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Pull this platform (os/architecture)
    #[arg(long)]
    platform: Option<String>,
    /// Print the image's name only
    #[arg(short, long)]
    quiet: bool,
    /// Image to pull
    #[arg(required = true, value_name = "NAME[:TAG|@DIGEST]")]
    image: String,
}

impl Verb for Pull {
    const USAGE: &'static str = "NAME[:TAG|@DIGEST]";
    const ABOUT: &'static str = "Download an image from a registry";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let place = if self.quiet { Place::Nowhere } else { Place::Stdout };
        pull(session, &client, &self.image, Session::platform(self.platform.clone()).as_deref(), self.all_tags, place)
            .await?;
        let canonical = self.image.parse::<Reference>().map_or(self.image.clone(), |image| image.to_string());
        line(&canonical)?;
        Ok(0)
    }
}

/// Pulls an image and shows how it goes.
pub(crate) async fn pull(
    session: &Session,
    client: &Client<'_>,
    image: &str,
    platform: Option<&str>,
    all_tags: bool,
    place: Place,
) -> Result<(), Failure> {
    let reference: Reference =
        image.parse().map_err(|error| Failure::new(format!("invalid reference \"{image}\": {error}")))?;
    let tag = match reference.digest() {
        Some(digest) => Some(digest.to_string()),
        None => reference.tag().map(str::to_owned),
    };
    if all_tags && (image.contains('@') || image.rsplit('/').next().is_some_and(|name| name.contains(':'))) {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if !all_tags
        && place == Place::Stdout
        && !image.contains('@')
        && !image.rsplit('/').next().unwrap_or_default().contains(':')
    {
        line("Using default tag: latest")?;
    }
    let call = client.post("/images/create").query("fromImage", reference.familiar_repository());
    let call = call.maybe("tag", tag.filter(|_| !all_tags)).maybe("platform", platform);
    let call = call.header(REGISTRY_AUTH, config::header_for(&session.file, image)?);
    progress::show(call.lines::<JsonMessage>().await?, place).await?;
    Ok(())
}
