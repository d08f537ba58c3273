//! `teu login` and `teu logout`: credentials of registries.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use teu_api::system::{AuthConfig, AuthResponse};

use crate::Session;
use crate::client::Client;
use crate::config::{ConfigFile, registry_key};
use crate::failure::{Failure, Naming};
use crate::output::line;
use crate::table::Verb;

/// Logs in to a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// Password (better: --password-stdin)
    #[arg(short, long)]
    password: Option<String>,
    /// Take the password from STDIN
    #[arg(long)]
    password_stdin: bool,
    /// User name
    #[arg(short, long)]
    username: Option<String>,
    /// Registry, Docker Hub by default
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// Logs out of a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// Registry, Docker Hub by default
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

impl Verb for Login {
    const USAGE: &'static str = "[SERVER]";
    const ABOUT: &'static str = "Authenticate to a registry";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let registry = registry_key(self.server.as_deref());
        if self.password.is_some() {
            crate::output::note!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        let client = session.client();
        let kept = session.file.credentials(&registry)?;
        let named = self.username.is_some() || self.password.is_some() || self.password_stdin;
        let known = !kept.username.is_empty() || !kept.identity_token.is_empty();
        if !named && known {
            let user = if kept.username.is_empty() { String::new() } else { format!(" [Username: {}]", kept.username) };
            line(&format!("Authenticating with existing credentials...{user}"))?;
            match authenticate(&client, &kept).await {
                Ok(answer) => return finish(session, &registry, kept, answer),
                Err(failure) if failure.status != Some(401) => return Err(failure),
                Err(failure) => crate::output::note!("Login did not succeed: {}", failure.message),
            }
        }
        let (username, password) = self.credentials(&kept.username)?;
        let auth = AuthConfig { username, password, server_address: registry.clone(), ..AuthConfig::default() };
        let answer = authenticate(&client, &auth).await?;
        finish(session, &registry, auth, answer)
    }
}

async fn authenticate(client: &Client<'_>, auth: &AuthConfig) -> Result<AuthResponse, Failure> {
    client.post("/auth").json(auth)?.read().await
}

/// Keeps what the registry has accepted.
fn finish(session: &Session, registry: &str, mut auth: AuthConfig, answer: AuthResponse) -> Result<u8, Failure> {
    if !answer.identity_token.is_empty() {
        auth.password.clear();
        auth.identity_token = answer.identity_token;
    }
    let mut file = ConfigFile::load(&session.config)?;
    let plain = file.remember(registry, &auth)?;
    file.save()?;
    if plain {
        crate::output::note!("\nWARNING! Your credentials are stored unencrypted in '{}'.", file.path().display());
        crate::output::note!("hint: name a credential helper as credsStore there to keep them elsewhere\n");
    }
    line(if answer.status.is_empty() { "Login Succeeded" } else { &answer.status })?;
    Ok(0)
}

impl Login {
    fn credentials(&self, usual: &str) -> Result<(String, String), Failure> {
        if self.password_stdin {
            if self.password.is_some() {
                return Err(Failure::new("--password and --password-stdin are mutually exclusive"));
            }
            let Some(username) = &self.username else {
                return Err(Failure::new("the --password-stdin option requires --username"));
            };
            let mut password = String::new();
            io::stdin().read_to_string(&mut password).or_fail("read the password from standard input")?;
            return Ok((username.clone(), password.trim_end_matches(['\r', '\n']).to_owned()));
        }
        let terminal = io::stdin().is_terminal();
        if !terminal && (self.username.is_none() || self.password.is_none()) {
            return Err(Failure::new("cannot perform an interactive login from a non TTY device")
                .hint("give --username and --password-stdin"));
        }
        let username = match &self.username {
            Some(username) => username.clone(),
            None if usual.is_empty() => ask("Username: ")?,
            None => match ask(&format!("Username ({usual}): "))? {
                empty if empty.is_empty() => usual.to_owned(),
                username => username,
            },
        };
        if username.is_empty() {
            return Err(Failure::new("username is required"));
        }
        let password = match &self.password {
            Some(password) => password.clone(),
            None => ask_hidden("Password: ")?,
        };
        if password.is_empty() { Err(Failure::new("password is required")) } else { Ok((username, password)) }
    }
}

impl Verb for Logout {
    const USAGE: &'static str = "[SERVER]";
    const ABOUT: &'static str = "Log out from a registry";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let registry = registry_key(self.server.as_deref());
        line(&format!("Removing login credentials for {registry}"))?;
        let mut file = ConfigFile::load(&session.config)?;
        match file.forget(&registry)? {
            true => file.save()?,
            false => line(&format!("Not logged in to {registry}"))?,
        }
        Ok(0)
    }
}

fn ask(question: &str) -> Result<String, Failure> {
    crate::output::aside(question);
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).or_fail("read the answer")?;
    Ok(answer.trim().to_owned())
}

/// Asks without showing what is typed.
fn ask_hidden(question: &str) -> Result<String, Failure> {
    let stdin = io::stdin();
    let before = tcgetattr(stdin.as_fd()).map_err(io::Error::from).or_fail("set up the terminal")?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO;
    tcsetattr(stdin.as_fd(), OptionalActions::Flush, &silent)
        .map_err(io::Error::from)
        .or_fail("set up the terminal")?;
    let answer = ask(question);
    let _ = tcsetattr(stdin.as_fd(), OptionalActions::Now, &before);
    crate::output::note!("");
    answer
}
