//! `teu push`: images to a registry.

use teu_api::Reference;
use teu_api::stream::JsonMessage;
use teu_api::system::REGISTRY_AUTH;

use super::image_path;
use crate::failure::Failure;
use crate::output::line;
use crate::output::progress::{self, Place};
use crate::table::Verb;
use crate::{Session, config};

/// Pushes an image.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Content trust (no longer in use)
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Push every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Push only this platform (os/architecture)
    #[arg(long)]
    platform: Option<String>,
    /// Print the image's name only
    #[arg(short, long)]
    quiet: bool,
    /// Image to push
    #[arg(required = true, value_name = "NAME[:TAG]")]
    image: String,
}

impl Verb for Push {
    const USAGE: &'static str = "NAME[:TAG]";
    const ABOUT: &'static str = "Upload an image to a registry";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let place = if self.quiet { Place::Nowhere } else { Place::Stdout };
        let platform = Session::platform(self.platform);
        let reference = push(session, &self.image, self.all_tags, platform.as_deref(), place).await?;
        if self.quiet {
            line(&reference.to_string())?;
        }
        Ok(0)
    }
}

/// Pushes an image under one of its names, or all that the repository has, and shows how it goes.
pub(crate) async fn push(
    session: &Session,
    image: &str,
    all_tags: bool,
    platform: Option<&str>,
    place: Place,
) -> Result<Reference, Failure> {
    let reference: Reference =
        image.parse().map_err(|error| Failure::new(format!("invalid reference \"{image}\": {error}")))?;
    let client = session.client();
    let call = client.post(format!("{}/push", image_path(&reference.familiar_repository())));
    let call = call.maybe("tag", reference.tag().filter(|_| !all_tags)).platform(platform)?;
    let call = call.header(REGISTRY_AUTH, config::header_for(&session.file, image)?);
    progress::show(call.lines::<JsonMessage>().await?, place).await?;
    Ok(reference)
}
