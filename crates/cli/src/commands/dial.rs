//! `teu system dial-stdio`: standard input and output become a connection to the daemon, for `ssh://`.

use std::io::{self, Write};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Session;
use crate::attach::read_stdin;
use crate::failure::{Failure, Naming};
use crate::table::Verb;

/// Connects the standard streams to the daemon.
#[derive(Debug, clap::Args)]
pub(crate) struct DialStdio {}

impl Verb for DialStdio {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Proxy the stdio stream to the daemon connection";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let stream = session.client().dial().await?;
        let (mut from_daemon, mut to_daemon) = tokio::io::split(stream);
        let upwards = async {
            let mut pieces = read_stdin();
            while let Some(piece) = pieces.recv().await {
                to_daemon.write_all(&piece).await.or_fail("write to the daemon")?;
            }
            to_daemon.shutdown().await.or_fail("end the connection to the daemon")
        };
        let downwards = async {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match from_daemon.read(&mut buffer).await.or_fail("read from the daemon")? {
                    0 => return Ok(()),
                    count => write_out(&buffer[..count])?,
                }
            }
        };
        tokio::pin!(upwards, downwards);
        // The user's end of input is not the end of the daemon's answers; the reverse is.
        tokio::select! {
            outcome = &mut downwards => outcome?,
            outcome = &mut upwards => {
                outcome?;
                downwards.await?;
            }
        }
        Ok(0)
    }
}

fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).or_fail("write standard output")
}
