//! `teu login` and `teu logout`: credentials of registries.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use teu_api::system::{AuthConfig, AuthResponse};

use crate::Session;
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
        let (username, password) = self.credentials()?;
        let mut auth = AuthConfig { username, password, server_address: registry.clone(), ..AuthConfig::default() };
        let client = session.client();
        let answer: AuthResponse = client.post("/auth").json(&auth)?.read().await?;
        auth.identity_token = answer.identity_token;
        let mut file = ConfigFile::load(&session.config)?;
        file.remember(&registry, &auth);
        file.save()?;
        eprintln!("\nWARNING: the password is stored unencrypted in {}/config.json", session.config.display());
        line(if answer.status.is_empty() { "Login Succeeded" } else { &answer.status })?;
        Ok(0)
    }
}

impl Login {
    fn credentials(&self) -> Result<(String, String), Failure> {
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
            None => ask("Username: ")?,
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
        let mut file = ConfigFile::load(&session.config)?;
        if !file.forget(&registry) {
            line(&format!("Not logged in to {registry}"))?;
            return Ok(0);
        }
        file.save()?;
        line(&format!("Removing login credentials for {registry}"))?;
        Ok(0)
    }
}

fn ask(question: &str) -> Result<String, Failure> {
    eprint!("{question}");
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
    eprintln!();
    answer
}
