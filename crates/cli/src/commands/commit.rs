//! `teu commit`: an image from a container's changes.

use teu_api::Reference;
use teu_api::container::Config;
use teu_api::image::CommitResponse;

use crate::Session;
use crate::failure::Failure;
use crate::output::line;
use crate::table::Verb;

/// Makes an image of a container.
#[derive(Debug, clap::Args)]
pub(crate) struct Commit {
    /// Author, as "Jane Doe <jane@example.com>"
    #[arg(short, long)]
    author: Option<String>,
    /// Apply a Dockerfile instruction to the new image
    #[arg(short, long)]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long)]
    message: Option<String>,
    /// Do not pause the container meanwhile
    #[arg(long)]
    no_pause: bool,
    /// Pause the container meanwhile
    #[arg(short, long, hide = true, value_name = "bool", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    pause: bool,
    /// Container to commit
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
    /// Name of the new image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Verb for Commit {
    const USAGE: &'static str = "CONTAINER [REPOSITORY[:TAG]]";
    const ABOUT: &'static str = "Create a new image from a container's changes";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let reference = match &self.name {
            Some(name) => Some(
                name.parse::<Reference>()
                    .map_err(|error| Failure::new(format!("invalid reference \"{name}\": {error}")))?,
            ),
            None => None,
        };
        let client = session.client();
        let call = client.post("/commit").query("container", &self.container);
        let call = match &reference {
            Some(reference) => call.query("repo", reference.familiar_repository()).maybe("tag", reference.tag()),
            None => call,
        };
        let call = call.maybe("comment", self.message).maybe("author", self.author);
        let call = call.query("pause", if self.pause && !self.no_pause { "1" } else { "0" });
        let call = self.change.iter().fold(call, |call, change| call.query("changes", change));
        let response: CommitResponse = call.json(&None::<Config>)?.read().await?;
        line(&response.id)?;
        Ok(0)
    }
}
