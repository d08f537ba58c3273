//! `teu exec`: a further process in a running container.

use std::io::IsTerminal;

use teu_api::exec::{ExecCreate, ExecCreateResponse, ExecInspect, ExecStart};

use super::container_path;
use super::run::follow_if;
use crate::Session;
use crate::attach::{Ended, Streams};
use crate::client::{Hijacked, Offered};
use crate::failure::{Failure, Naming};
use crate::grammar::environment;
use crate::table::Verb;
use crate::terminal::{self, DetachKeys};

/// Runs a process in a container.
#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// Run the command in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from the command
    #[arg(long)]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_parser = environment::named_variable)]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long)]
    env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give the command all capabilities
    #[arg(long)]
    privileged: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// User name or id (name|uid[:group|gid])
    #[arg(short, long)]
    user: Option<String>,
    /// Working folder of the command
    #[arg(short, long)]
    workdir: Option<String>,
    /// Container to run in
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
    /// Command and its arguments
    #[arg(required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Verb for Exec {
    const USAGE: &'static str = "CONTAINER COMMAND [ARG...]";
    const ABOUT: &'static str = "Execute a command in a running container";
    const STOPS: bool = true;

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        if self.interactive && self.tty && !self.detach && !std::io::stdin().is_terminal() {
            return Err(
                Failure::new("the input device is not a TTY").hint("leave out -t when input comes from a pipe or file")
            );
        }
        let keys = DetachKeys::parse(session.detach_keys(self.detach_keys.as_deref()))?;
        let client = session.client();
        let create = client.post(format!("{}/exec", container_path(&self.container)));
        let at_once = !self.detach && !self.tty;
        let create = create.flag("start", at_once).json(&self.request()?)?;
        let created: ExecCreateResponse = if at_once {
            match create.offer().await? {
                Offered::Taken(connection) => return self.follow(connection, keys).await,
                Offered::Answered(created) => created,
            }
        } else {
            create.read().await?
        };
        let id = created.id;
        let start = ExecStart { detach: self.detach, tty: self.tty, console_size: self.console_size() };
        let start = client.post(format!("/exec/{id}/start")).json(&start)?;
        if self.detach {
            start.done().await?;
            return Ok(0);
        }
        let connection = start.hijack().await?;
        let streams = Streams { stdin: self.interactive, tty: self.tty, keys };
        let path = format!("/exec/{id}");
        let ended = tokio::select! {
            ended = streams.copy(connection) => ended?,
            () = follow_if(self.tty, &client, &path) => Ended::Detached,
        };
        if ended == Ended::Detached {
            return Ok(0);
        }
        let inspect: ExecInspect = client.get(format!("{path}/json")).read().await?;
        Ok(u8::try_from(inspect.exit_code.unwrap_or(0) & 0xff).unwrap_or(1))
    }
}

impl Exec {
    /// Copies the streams of one that runs without a terminal; the last frame says what it returned.
    async fn follow(&self, connection: Hijacked, keys: DetachKeys) -> Result<u8, Failure> {
        match (Streams { stdin: self.interactive, tty: false, keys }).copy(connection).await? {
            Ended::Closed(Some(code)) => Ok(u8::try_from(code & 0xff).unwrap_or(1)),
            Ended::Closed(None) => Err(Failure::new("the connection to the daemon broke before the command had ended")),
            Ended::Detached => Ok(0),
        }
    }

    fn console_size(&self) -> Option<[u32; 2]> {
        let size = self.tty.then(terminal::size)?;
        size.map(|(rows, columns)| [u32::from(rows), u32::from(columns)])
    }

    fn request(&self) -> Result<ExecCreate, Failure> {
        let lookup = |name: &str| std::env::var(name).ok();
        let mut env = Vec::new();
        for file in &self.env_file {
            let text = std::fs::read_to_string(file).or_fail(format!("open {file}"))?;
            env.extend(
                environment::file(&text, lookup).map_err(|why| Failure::new(format!("env file {file}: {why}")))?,
            );
        }
        for text in &self.env {
            env.extend(environment::variable(text, lookup).map_err(Failure::new)?);
        }
        Ok(ExecCreate {
            user: self.user.clone().unwrap_or_default(),
            privileged: self.privileged,
            tty: self.tty,
            console_size: self.console_size(),
            attach_stdin: self.interactive && !self.detach,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            detach: self.detach,
            detach_keys: self.detach_keys.clone().unwrap_or_default(),
            env,
            working_dir: self.workdir.clone().unwrap_or_default(),
            cmd: self.command.clone(),
        })
    }
}
