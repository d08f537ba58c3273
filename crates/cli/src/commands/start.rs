//! `teu start`: stopped containers run again.

use teu_api::container::{Inspect, WaitResponse};

use super::run::{exit_code, follow_if};
use super::{container_path, each};
use crate::attach::{Ended, Streams};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::line;
use crate::table::Verb;
use crate::terminal::DetachKeys;
use crate::{Session, signals};

/// Starts containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// Attach STDOUT and STDERR, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Go on from this checkpoint
    #[arg(long)]
    checkpoint: Option<String>,
    /// Folder of the checkpoints, other than the usual one
    #[arg(long)]
    checkpoint_dir: Option<String>,
    /// Keys that detach from the container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Attach the container's STDIN
    #[arg(short, long)]
    interactive: bool,
    /// Containers to start
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Start {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Start one or more stopped containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let query = [("checkpoint", self.checkpoint.as_deref()), ("checkpoint-dir", self.checkpoint_dir.as_deref())];
        if self.attach || self.interactive {
            let [name] = self.containers.as_slice() else {
                return Err(Failure::new("you cannot start and attach multiple containers at once"));
            };
            return self.attached(session, &client, name).await;
        }
        let client = &client;
        each(&self.containers, async |name| {
            let call = client.post(format!("{}/start", container_path(name)));
            query.iter().fold(call, |call, (key, value)| call.maybe(key, *value)).done().await?;
            line(name)
        })
        .await
    }
}

impl Start {
    async fn attached(&self, session: &Session, client: &Client<'_>, name: &str) -> Result<u8, Failure> {
        let path = container_path(name);
        let inspect: Inspect = client.get(format!("{path}/json")).read().await?;
        let config = &inspect.config;
        let mut caught = signals::catch()?;
        let stdin = self.interactive && config.open_stdin;
        let call = client.post(format!("{path}/attach")).query("stream", "1").flag("stdin", stdin);
        let connection = call.query("stdout", "1").query("stderr", "1").hijack().await?;
        let condition = if inspect.host_config.auto_remove { "removed" } else { "next-exit" };
        let wait = client.post(format!("{path}/wait")).query("condition", condition);
        let exit = wait.lines::<WaitResponse>().await?;
        super::run::start(client, name).await.map_err(|failure| failure.code(1))?;
        let streams = Streams {
            stdin,
            tty: config.tty,
            keys: DetachKeys::parse(session.detach_keys(self.detach_keys.as_deref()))?,
        };
        let work = async {
            match streams.copy(connection).await? {
                Ended::Detached => Ok(0),
                Ended::Closed(_) => exit_code(exit).await,
            }
        };
        tokio::select! {
            outcome = work => outcome,
            code = caught.forward(client, &inspect.id) => Ok(code),
            () = follow_if(config.tty, client, &path) => Ok(0),
        }
    }
}
