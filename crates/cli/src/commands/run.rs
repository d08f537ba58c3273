//! `teu run` and `teu create`.
//!
//! A daemon that knows how makes the container, attaches and starts it by one request, whose connection becomes the
//! streams; the last frame is the exit code. With a terminal (whose bytes have no frames), with `--cidfile` (written before
//! the start) and at an older daemon it takes four:
//!
//! ```text
//! connection A   create ─▶ attach (hijacked before the start, so that no output is lost)
//! connection B             wait (answered at exit)
//! connection C                      start ─▶ signals, sizes
//! ```

use std::io::IsTerminal;

use teu_api::container::{CreateRequest, RunResponse, WaitResponse};

use super::container::create::{call, create, request, warn, with_image};
use super::container::flags::ContainerFlags;
use super::container_path;
use crate::attach::{Ended, Streams};
use crate::client::{Client, Hijacked, JsonLines, Offered};
use crate::failure::{Failure, start_code};
use crate::output::line;
use crate::signals::Caught;
use crate::table::Verb;
use crate::terminal::DetachKeys;
use crate::{Session, signals, terminal};

/// Runs a container.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Run the container in the background and print its id
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from the container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Pass signals on to the process
    #[arg(long, value_name = "bool", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    #[command(flatten)]
    flags: ContainerFlags,
}

/// Creates a container without starting it.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    flags: ContainerFlags,
}

impl Verb for Create {
    const USAGE: &'static str = "IMAGE [COMMAND] [ARG...]";
    const ABOUT: &'static str = "Create a new container";
    const STOPS: bool = true;

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let request = request(session, &self.flags).map_err(|failure| failure.of_run(&session.called))?;
        line(&create(session, &client, &self.flags, &request).await?)?;
        Ok(0)
    }
}

impl Verb for Run {
    const USAGE: &'static str = "IMAGE [COMMAND] [ARG...]";
    const ABOUT: &'static str = "Create and run a new container from an image";
    const STOPS: bool = true;

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let request = self.request(session).map_err(|failure| failure.of_run(&session.called))?;
        let client = session.client();
        if self.flags.cidfile.is_none() && (self.detach || is_framed(&request)) {
            return self.at_once(session, &client, &request).await;
        }
        let id = create(session, &client, &self.flags, &request).await;
        let id = id.map_err(|failure| failure.code(125).of_run(&session.called))?;
        self.step_by_step(session, &client, &request, &id).await
    }
}

impl Run {
    fn request(&self, session: &Session) -> Result<CreateRequest, Failure> {
        let mut request = request(session, &self.flags)?;
        let config = &mut request.config;
        if self.detach {
            if !self.flags.attach.is_empty() {
                return Err(Failure::new("conflicting options: cannot specify both --attach and --detach").code(125));
            }
            config.attach_stdin = false;
            config.attach_stdout = false;
            config.attach_stderr = false;
            config.stdin_once = false;
        } else if config.attach_stdin && config.tty && !std::io::stdin().is_terminal() {
            return Err(
                Failure::new("the input device is not a TTY").hint("leave out -t when input comes from a pipe or file")
            );
        }
        if config.tty
            && let Some((rows, columns)) = terminal::size()
        {
            request.host_config.console_size = [u32::from(rows), u32::from(columns)];
        }
        Ok(request)
    }

    /// Makes and starts it by one request, and copies until the exit.
    async fn at_once(&self, session: &Session, client: &Client<'_>, request: &CreateRequest) -> Result<u8, Failure> {
        let keys = DetachKeys::parse(session.detach_keys(self.detach_keys.as_deref()))?;
        let catches = self.sig_proxy && !self.detach;
        let mut caught = if catches { Some(signals::catch()?) } else { None };
        let ask = async || {
            let call = call(client, &self.flags, request)?.query("start", "1");
            if self.detach { call.read().await.map(Offered::Answered) } else { call.offer().await }
        };
        let offered = with_image(session, client, &self.flags, &mut caught, ask).await.map_err(|failure| {
            // Nothing is said of what the user has broken off.
            if failure.message.is_empty() { failure } else { failure.code(125).of_run(&session.called) }
        })?;
        let connection = match offered {
            Offered::Taken(connection) => connection,
            Offered::Answered(RunResponse { id, warnings, started, error }) => {
                warn(&warnings);
                if !error.is_empty() {
                    return Err(Failure::daemon(400, &error).code(start_code(&error)).of_run(&session.called));
                }
                if !started {
                    return self.step_by_step(session, client, request, &id).await;
                }
                if !self.detach {
                    let sentence =
                        format!("the connection did not become the streams of the container, which runs: {id}");
                    return Err(Failure::new(sentence).code(125).of_run(&session.called));
                }
                line(&id)?;
                return Ok(0);
            }
        };
        let RunResponse { id, warnings, .. } = connection.run()?;
        warn(&warnings);
        let streams = Streams { stdin: request.config.attach_stdin, tty: false, keys };
        let work = async {
            match streams.copy(connection).await? {
                Ended::Closed(Some(code)) => Ok(u8::try_from(code & 0xff).unwrap_or(125)),
                Ended::Closed(None) => Err(went_away()),
                Ended::Detached => Ok(0),
            }
        };
        tokio::select! {
            outcome = work => outcome,
            code = forward(&mut caught, client, &id) => Ok(code),
        }
    }

    /// Starts what was made; in the foreground it attaches before, and copies until the exit.
    async fn step_by_step(
        &self,
        session: &Session,
        client: &Client<'_>,
        request: &CreateRequest,
        id: &str,
    ) -> Result<u8, Failure> {
        if self.detach {
            start(client, id).await.map_err(|failure| failure.of_run(&session.called))?;
            line(id)?;
            return Ok(0);
        }
        let config = &request.config;
        let path = container_path(id);
        let keys = DetachKeys::parse(session.detach_keys(self.detach_keys.as_deref()))?;
        let mut caught = if self.sig_proxy { Some(signals::catch()?) } else { None };
        let condition = if request.host_config.auto_remove { "removed" } else { "next-exit" };
        let attach = async {
            let attached = config.attach_stdin || config.attach_stdout || config.attach_stderr;
            if !attached {
                return Ok(None);
            }
            let call = client.post(format!("{path}/attach")).query("stream", "1");
            let call = call.flag("stdin", config.attach_stdin).flag("stdout", config.attach_stdout);
            call.flag("stderr", config.attach_stderr).hijack().await.map(Some)
        };
        let wait = client.post(format!("{path}/wait")).query("condition", condition).lines::<WaitResponse>();
        let (connection, exit): (Option<Hijacked>, JsonLines<WaitResponse>) =
            futures_util::future::try_join(attach, wait)
                .await
                .map_err(|failure| failure.code(125).of_run(&session.called))?;
        if let Err(failure) = start(client, id).await {
            if request.host_config.auto_remove {
                // The daemon removes it; the name is free again when this command ends.
                let _ = exit_code(exit).await;
            }
            return Err(failure.of_run(&session.called));
        }
        let streams = Streams { stdin: config.attach_stdin, tty: config.tty, keys };
        let work = async {
            if let Some(connection) = connection
                && streams.copy(connection).await? == Ended::Detached
            {
                return Ok(0);
            }
            exit_code(exit).await
        };
        let resize = follow_if(config.tty, client, &path);
        tokio::select! {
            outcome = work => outcome,
            code = forward(&mut caught, client, id) => Ok(code),
            () = resize => Ok(0),
        }
    }
}

/// Its streams come in frames.
fn is_framed(request: &CreateRequest) -> bool {
    let config = &request.config;
    !config.tty && (config.attach_stdin || config.attach_stdout || config.attach_stderr)
}

/// Passes on signals if they are caught; ends when the user wants to leave a container that does not end.
async fn forward(caught: &mut Option<Caught>, client: &Client<'_>, id: &str) -> u8 {
    match caught {
        Some(caught) => caught.forward(client, id).await,
        None => std::future::pending().await,
    }
}

/// Keeps the terminal's size when there is a terminal; never ends.
pub(crate) async fn follow_if(tty: bool, client: &Client<'_>, path: &str) {
    if tty {
        signals::follow_size(client, path).await;
    }
    std::future::pending::<()>().await;
}

/// Starts a container; a program that cannot be run has exit code 126 or 127.
pub(crate) async fn start(client: &Client<'_>, id: &str) -> Result<(), Failure> {
    client.post(format!("{}/start", container_path(id))).done().await.map_err(|failure| {
        let code = start_code(&failure.message);
        failure.code(code)
    })
}

/// The exit code from a wait that was asked for before the start.
pub(crate) async fn exit_code(mut answer: JsonLines<WaitResponse>) -> Result<u8, Failure> {
    match answer.next().await? {
        Some(WaitResponse { error: Some(error), .. }) if !error.message.is_empty() => {
            Err(Failure::new(format!("Error waiting for container: {}", error.message)).code(125))
        }
        Some(response) => Ok(u8::try_from(response.status_code & 0xff).unwrap_or(125)),
        None => Err(went_away()),
    }
}

fn went_away() -> Failure {
    Failure::new("the daemon went away before the container ended").code(125)
}
