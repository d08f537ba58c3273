//! `teu attach`: this terminal becomes a running container's.

use teu_api::container::{Inspect, WaitResponse};

use super::container_path;
use super::run::{exit_code, follow_if};
use crate::attach::{Ended, Streams};
use crate::client::Client;
use crate::failure::Failure;
use crate::table::Verb;
use crate::terminal::DetachKeys;
use crate::{Session, signals};

/// Attaches to a container.
#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    /// Keys that detach from the container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the process
    #[arg(long, value_name = "bool", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Container to attach to
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

impl Verb for Attach {
    const USAGE: &'static str = "CONTAINER";
    const ABOUT: &'static str = "Attach local standard input, output, and error streams to a running container";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let path = container_path(&self.container);
        let inspect: Inspect = client.get(format!("{path}/json")).read().await?;
        if !inspect.state.running {
            return Err(Failure::new("cannot attach to a stopped container, start it first"));
        }
        if inspect.state.paused {
            return Err(Failure::new("cannot attach to a paused container, unpause it first"));
        }
        let keys = DetachKeys::parse(session.detach_keys(self.detach_keys.as_deref()))?;
        let config = &inspect.config;
        let streams = Streams { stdin: !self.no_stdin && config.open_stdin, tty: config.tty, keys };
        attach(&client, &inspect.id, streams, self.sig_proxy).await
    }
}

/// Attaches to a running container and gives its exit code.
async fn attach(client: &Client<'_>, id: &str, streams: Streams, sig_proxy: bool) -> Result<u8, Failure> {
    let path = container_path(id);
    let tty = streams.tty;
    let mut caught = if sig_proxy { Some(signals::catch()?) } else { None };
    let exit = client.post(format!("{path}/wait")).lines::<WaitResponse>().await?;
    let call = client.post(format!("{path}/attach")).query("stream", "1").flag("stdin", streams.stdin);
    let connection = call.query("stdout", "1").query("stderr", "1").hijack().await?;
    let work = async {
        match streams.copy(connection).await? {
            Ended::Detached => Ok(0),
            Ended::Closed(_) => exit_code(exit).await,
        }
    };
    let forward = async {
        match &mut caught {
            Some(caught) => caught.forward(client, id).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = work => outcome,
        code = forward => Ok(code),
        () = follow_if(tty, client, &path) => Ok(0),
    }
}
