//! `teu load`: images from a tar archive.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};

use teu_api::stream::JsonMessage;

use crate::Session;
use crate::client::{Body, channel_body};
use crate::failure::{Failure, Naming};
use crate::output::progress::{self, Place};
use crate::table::Verb;

/// Loads images.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Read from a tar archive file, instead of STDIN
    #[arg(short, long)]
    input: Option<String>,
    /// Load only this platform (os/architecture)
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    platform: Vec<String>,
    /// Say nothing while loading
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for Load {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Load an image from a tar archive or STDIN";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let body = match self.input.as_deref() {
            Some(path) => stream(File::open(path).or_fail(format!("open {path}"))?),
            None if io::stdin().is_terminal() => {
                return Err(Failure::new("requested load from stdin, but stdin is empty")
                    .hint("name the archive with -i, or redirect it: teu load < archive.tar"));
            }
            None => stream(io::stdin()),
        };
        let client = session.client();
        let call = client.post("/images/load").query("quiet", if self.quiet { "1" } else { "0" });
        let call = call.platforms("platform", &self.platform)?.header("content-type", "application/x-tar").body(body);
        progress::show(call.lines::<JsonMessage>().await?, Place::Stdout).await?;
        Ok(0)
    }
}

/// A request body that a thread reads from a file.
pub(crate) fn stream(mut source: impl Read + Send + 'static) -> Body {
    let (mut writer, body) = channel_body();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 128 << 10];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if writer.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return writer.abort(error),
            }
        }
    });
    body
}
