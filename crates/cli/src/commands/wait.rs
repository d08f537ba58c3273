//! `teu wait`: until containers end.

use teu_api::container::WaitResponse;

use super::{container_path, each};
use crate::Session;
use crate::failure::Failure;
use crate::output::line;
use crate::table::Verb;

/// Waits for containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// Containers to wait for
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Wait {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Block until one or more containers stop, then print their exit codes";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = &session.client();
        each(&self.containers, async |name| {
            let answer: WaitResponse = client.post(format!("{}/wait", container_path(name))).read().await?;
            match answer.error.filter(|error| !error.message.is_empty()) {
                Some(error) => Err(Failure::new(error.message)),
                None => line(&answer.status_code.to_string()),
            }
        })
        .await
    }
}
