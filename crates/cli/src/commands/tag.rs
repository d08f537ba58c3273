//! `teu tag`: a further name for an image.

use teu_api::Reference;

use super::image_path;
use crate::Session;
use crate::failure::Failure;
use crate::table::Verb;

/// Names an image.
#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    /// Image to name
    #[arg(required = true, value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    /// Its further name
    #[arg(required = true, value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

impl Verb for Tag {
    const USAGE: &'static str = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]";
    const ABOUT: &'static str = "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let target = &self.target;
        let reference: Reference =
            target.parse().map_err(|error| Failure::new(format!("invalid reference \"{target}\": {error}")))?;
        if reference.digest().is_some() {
            return Err(Failure::new("refusing to create a tag with a digest reference"));
        }
        let client = session.client();
        let call = client.post(format!("{}/tag", image_path(&self.source)));
        call.query("repo", reference.familiar_repository()).maybe("tag", reference.tag()).done().await?;
        Ok(0)
    }
}
