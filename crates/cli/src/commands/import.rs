//! `teu import`: an image from the tar archive of a file system.

use std::fs::File;
use std::io;

use teu_api::stream::JsonMessage;

use super::load::stream;
use crate::Session;
use crate::failure::{Failure, Naming};
use crate::output::progress::{self, Place};
use crate::table::Verb;

/// Imports a file system.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Apply a Dockerfile instruction to the new image
    #[arg(short, long)]
    change: Vec<String>,
    /// Set the commit message of the new image
    #[arg(short, long)]
    message: Option<String>,
    /// Set the platform of the new image (os/architecture)
    #[arg(long)]
    platform: Option<String>,
    /// Tar archive: a file, an URL, or - for STDIN
    #[arg(required = true, value_name = "file|URL|-")]
    source: String,
    /// Name of the new image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Verb for Import {
    const USAGE: &'static str = "file|URL|- [REPOSITORY[:TAG]]";
    const ABOUT: &'static str = "Import the contents from a tarball to create a filesystem image";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let is_url = ["http://", "https://"].iter().any(|sign| self.source.starts_with(sign));
        let call = client.post("/images/create").query("fromSrc", if is_url { self.source.as_str() } else { "-" });
        let call = call
            .maybe("repo", self.name)
            .maybe("message", self.message)
            .maybe("platform", Session::platform(self.platform));
        let call = self.change.iter().fold(call, |call, change| call.query("changes", change));
        let call = match self.source.as_str() {
            _ if is_url => call,
            "-" => call.body(stream(io::stdin())),
            path => call.body(stream(File::open(path).or_fail(format!("open {path}"))?)),
        };
        progress::show(call.lines::<JsonMessage>().await?, Place::Stdout).await?;
        Ok(0)
    }
}
