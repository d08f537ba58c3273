//! `teu checkpoint`: states of running containers, kept to go on from.

use serde_json::{Value, json};

use super::container_path;
use crate::Session;
use crate::client::escape;
use crate::failure::Failure;
use crate::output::line;
use crate::output::list::{List, Row, row};
use crate::table::Verb;

/// Keeps a container's state.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Folder of the checkpoints, other than the usual one
    #[arg(long)]
    checkpoint_dir: Option<String>,
    /// Leave the container running
    #[arg(long)]
    leave_running: bool,
    /// Container whose state is kept
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
    /// Name of its state
    #[arg(required = true, value_name = "CHECKPOINT")]
    checkpoint: String,
}

/// Lists kept states.
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// Folder of the checkpoints, other than the usual one
    #[arg(long)]
    checkpoint_dir: Option<String>,
    /// Container whose states are listed
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

/// Removes a kept state.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Folder of the checkpoints, other than the usual one
    #[arg(long)]
    checkpoint_dir: Option<String>,
    /// Container whose state is removed
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
    /// Name of the state
    #[arg(required = true, value_name = "CHECKPOINT")]
    checkpoint: String,
}

fn path(container: &str) -> String {
    format!("{}/checkpoints", container_path(container))
}

impl Verb for Create {
    const USAGE: &'static str = "CONTAINER CHECKPOINT";
    const ABOUT: &'static str = "Create a checkpoint from a running container";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let request = json!({
            "CheckpointID": self.checkpoint,
            "CheckpointDir": self.checkpoint_dir.unwrap_or_default(),
            "Exit": !self.leave_running,
        });
        session.client().post(path(&self.container)).json(&request)?.done().await?;
        line(&self.checkpoint)?;
        Ok(0)
    }
}

impl Verb for Ls {
    const USAGE: &'static str = "CONTAINER";
    const ABOUT: &'static str = "List checkpoints for a container";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let call = client.get(path(&self.container)).maybe("dir", self.checkpoint_dir);
        let checkpoints: Option<Vec<Value>> = call.read().await?;
        let cells = |checkpoint: &Value| row([("Name", checkpoint["Name"].clone())]);
        let rows: Vec<Row> = checkpoints.iter().flatten().map(cells).collect();
        let columns = &[("Name", "CHECKPOINT NAME")];
        List { columns, default: "table {{.Name}}", quiet: None, raw: "", format: None }.print(rows)?;
        Ok(0)
    }
}

impl Verb for Remove {
    const USAGE: &'static str = "CONTAINER CHECKPOINT";
    const ABOUT: &'static str = "Remove a checkpoint";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        if self.dry_run {
            let call = client.get(path(&self.container)).maybe("dir", self.checkpoint_dir);
            let checkpoints: Option<Vec<Value>> = call.read().await?;
            let known = checkpoints.iter().flatten().any(|one| one["Name"] == self.checkpoint.as_str());
            if !known {
                let (name, container) = (&self.checkpoint, &self.container);
                return Err(Failure::new(format!("checkpoint {name} does not exist for container {container}")));
            }
            line(&self.checkpoint)?;
            return Ok(0);
        }
        let call = client.delete(format!("{}/{}", path(&self.container), escape(&self.checkpoint)));
        call.maybe("dir", self.checkpoint_dir).done().await?;
        Ok(0)
    }
}
