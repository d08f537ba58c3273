//! The commands that tell containers to change: stop, restart, kill, pause, unpause, rename.

use super::{container_path, each};
use crate::Session;
use crate::failure::Failure;
use crate::output::line;
use crate::table::Verb;

/// Stops containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, alias = "time", value_name = "int", allow_negative_numbers = true)]
    timeout: Option<i64>,
    /// Containers to stop
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Stops and starts containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, alias = "time", value_name = "int", allow_negative_numbers = true)]
    timeout: Option<i64>,
    /// Containers to restart
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Sends containers a signal.
#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// Containers to signal
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Freezes containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    /// Containers to pause
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Thaws containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Unpause {
    /// Containers to unpause
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Gives a container another name.
#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    /// Container to rename
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
    /// Its new name
    #[arg(required = true, value_name = "NEW_NAME")]
    name: String,
}

/// Posts one verb to each container, and prints the name of each that did it.
async fn tell(
    session: &Session,
    names: &[String],
    verb: &str,
    query: &[(&str, Option<String>)],
) -> Result<u8, Failure> {
    let client = &session.client();
    each(names, async |name| {
        let call = client.post(format!("{}/{verb}", container_path(name)));
        let call = query.iter().fold(call, |call, (key, value)| call.maybe(key, value.as_deref()));
        call.done().await?;
        line(name)
    })
    .await
}

impl Verb for Stop {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Stop one or more running containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let query = [("signal", self.signal), ("t", self.timeout.map(|seconds| seconds.to_string()))];
        tell(session, &self.containers, "stop", &query).await
    }
}

impl Verb for Restart {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Restart one or more containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let query = [("signal", self.signal), ("t", self.timeout.map(|seconds| seconds.to_string()))];
        tell(session, &self.containers, "restart", &query).await
    }
}

impl Verb for Kill {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Kill one or more running containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        tell(session, &self.containers, "kill", &[("signal", self.signal)]).await
    }
}

impl Verb for Pause {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Pause all processes within one or more containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        tell(session, &self.containers, "pause", &[]).await
    }
}

impl Verb for Unpause {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Unpause all processes within one or more containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        tell(session, &self.containers, "unpause", &[]).await
    }
}

impl Verb for Rename {
    const USAGE: &'static str = "CONTAINER NEW_NAME";
    const ABOUT: &'static str = "Rename a container";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        client.post(format!("{}/rename", container_path(&self.container))).query("name", &self.name).done().await?;
        Ok(0)
    }
}
