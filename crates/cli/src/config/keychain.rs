//! Credential helpers: programs named `docker-credential-NAME` that keep secrets where the system keeps them.
//!
//! ```text
//! get:   server on standard input  → {"ServerURL", "Username", "Secret"}
//! store: the same JSON on standard input
//! erase: server on standard input
//! list:  → {server: user name}
//! ```
//! What goes wrong is told on standard output, with an exit code that is not 0.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Naming};

/// The user name that says the secret is an identity token.
pub(super) const TOKEN: &str = "<token>";

/// What a helper keeps for a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Kept {
    /// The registry.
    #[serde(rename = "ServerURL")]
    pub(super) server_url: String,
    /// User name, or [`TOKEN`].
    pub(super) username: String,
    /// Password or identity token.
    pub(super) secret: String,
}

/// A helper by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Helper(pub(super) String);

impl Helper {
    /// What is kept for a registry.
    pub(super) fn get(&self, server: &str) -> Result<Option<Kept>, Failure> {
        let answer = match self.ask("get", server) {
            Ok(answer) => answer,
            Err(failure) if failure.message.contains("credentials not found") => return Ok(None),
            Err(failure) => return Err(failure),
        };
        self.read(&answer).map(Some)
    }

    /// Keeps something.
    pub(super) fn store(&self, kept: &Kept) -> Result<(), Failure> {
        self.ask("store", &serde_json::to_string(kept).unwrap_or_default()).map(drop)
    }

    /// Forgets a registry.
    pub(super) fn erase(&self, server: &str) -> Result<(), Failure> {
        match self.ask("erase", server) {
            Err(failure) if !failure.message.contains("credentials not found") => Err(failure),
            _ => Ok(()),
        }
    }

    /// User names by registry.
    pub(super) fn list(&self) -> Result<BTreeMap<String, String>, Failure> {
        self.read(&self.ask("list", "unused")?)
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, answer: &str) -> Result<T, Failure> {
        serde_json::from_str(answer)
            .map_err(|error| Failure::new(format!("read the answer of {}: {error}", self.program())))
    }

    fn program(&self) -> String {
        format!("docker-credential-{}", self.0)
    }

    fn ask(&self, verb: &str, input: &str) -> Result<String, Failure> {
        let program = self.program();
        let mut command = Command::new(&program);
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new(format!("the credential helper {program} is not installed"))
                .hint("install it, or take credsStore and credHelpers out of config.json"),
            _ => Failure::io(&format!("run {program}"), &error),
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that reads nothing breaks the pipe, which is its right.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().or_fail(format!("run {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match output.status.success() {
            true => Ok(text),
            false => {
                Err(Failure::new(format!("{program} {verb}: {}", if text.is_empty() { "it failed" } else { &text })))
            }
        }
    }
}
