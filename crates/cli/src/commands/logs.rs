//! `teu logs`: what a container has printed.

use http_body_util::BodyExt;

use super::container_path;
use crate::Session;
use crate::attach::Printer;
use crate::failure::Failure;
use crate::grammar::time;
use crate::table::Verb;

/// Shows a container's log.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Show extra details of the log
    #[arg(long)]
    details: bool,
    /// Follow the log
    #[arg(short, long)]
    follow: bool,
    /// Show what came since a time (2024-05-01T12:00:00Z) or a duration ago (42m)
    #[arg(long, allow_hyphen_values = true)]
    since: Option<String>,
    /// Number of lines to show from the end of the log
    #[arg(short = 'n', long, default_value = "all", allow_negative_numbers = true)]
    tail: String,
    /// Show when each line came
    #[arg(short, long)]
    timestamps: bool,
    /// Show what came before a time (2024-05-01T12:00:00Z) or a duration ago (42m)
    #[arg(long, allow_hyphen_values = true)]
    until: Option<String>,
    /// Container whose log is shown
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

impl Verb for Logs {
    const USAGE: &'static str = "CONTAINER";
    const ABOUT: &'static str = "Fetch the logs of a container";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let now = jiff::Timestamp::now();
        let since = time::flag("since", self.since.as_deref(), now)?;
        let until = time::flag("until", self.until.as_deref(), now)?;
        let client = session.client();
        let call = client.get(format!("{}/logs", container_path(&self.container))).query("stdout", "1");
        let call = call.query("stderr", "1").flag("follow", self.follow).flag("timestamps", self.timestamps);
        let call = call.flag("details", self.details).query("tail", &self.tail);
        let call = call.maybe("since", since).maybe("until", until);
        let (mut body, raw) = call.output().await?;
        let mut printer = Printer::new(raw);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::new(format!("read the log: {error}")))?;
            if let Some(data) = frame.data_ref() {
                printer.print(data)?;
            }
        }
        Ok(0)
    }
}
