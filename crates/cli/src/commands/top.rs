//! `teu top`: a container's processes.

use teu_api::container::TopResponse;

use super::container_path;
use crate::Session;
use crate::failure::Failure;
use crate::output::{print, table};
use crate::table::Verb;

/// Shows a container's processes.
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Container whose processes are shown
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
    /// Options of ps
    #[arg(value_name = "ps OPTIONS")]
    options: Vec<String>,
}

impl Verb for Top {
    const USAGE: &'static str = "CONTAINER [ps OPTIONS]";
    const ABOUT: &'static str = "Display the running processes of a container";
    const STOPS: bool = true;

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let options = (!self.options.is_empty()).then(|| self.options.join(" "));
        let client = session.client();
        let call = client.get(format!("{}/top", container_path(&self.container))).maybe("ps_args", options);
        let top: TopResponse = call.read().await?;
        let mut rows = vec![top.titles.join("\t")];
        rows.extend(top.processes.iter().map(|process| process.join("\t")));
        print(&table::align_from(&rows, 20))?;
        Ok(0)
    }
}
