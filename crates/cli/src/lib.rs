//! The `teu` command line: arguments → API → text.
//!
//! ```text
//! words ─ arguments::read ─▶ (globals, command, its words) ─ clap ─▶ a Verb ─ client ─▶ daemon ─▶ output
//! ```
//!
//! One table (`table`) holds every command; parsing, help, man pages and completions all read it. Only the command
//! that was asked for is built, so that starting costs microseconds. The faces that are not clients (`daemon`,
//! `registry serve`) are parsed here and performed by callbacks, because this room does not know the server.

// What documents an argument is its help text, where brackets mean what may be left out.
#![allow(rustdoc::broken_intra_doc_links)]

mod arguments;
mod attach;
mod build_context;
mod client;
mod commands;
mod config;
mod endpoint;
mod failure;
mod grammar;
mod help;
mod ignore;
mod output;
mod plugins;
mod session;
mod signals;
mod table;
mod terminal;
mod zip;

use std::ffi::OsString;

pub use commands::daemon::DaemonArgs;
pub use commands::registry::RegistryArgs;

pub(crate) use session::Session;

use arguments::Reading;
use failure::Failure;
use table::Action;

/// The faces of the binary that the command line hands over to.
#[derive(Clone, Copy, Debug)]
pub struct Faces {
    /// Runs the daemon in the foreground.
    pub daemon: fn(DaemonArgs) -> u8,
    /// Serves a registry in the foreground.
    pub registry: fn(RegistryArgs) -> u8,
}

/// Runs one command line (without the program's name) and tells the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, faces: &Faces) -> u8 {
    let outcome = match arguments::read(args) {
        Ok(Reading::Help(text)) => output::print(&text).map(|()| 0),
        Ok(Reading::Command { session, entry, matches }) => match entry.action {
            Action::Local(perform) => return perform(&matches, faces).unwrap_or_else(|failure| failure.report()),
            Action::Client(start) => start(&matches, &session).and_then(block_on),
        },
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn block_on(work: table::Work<'_>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::io("start the event loop", &source))?;
    let outcome = runtime.block_on(work);
    // A thread may still wait for a key on standard input: it must not hold up the exit.
    runtime.shutdown_background();
    outcome
}
