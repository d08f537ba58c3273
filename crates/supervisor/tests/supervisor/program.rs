//! A supervisor to try: `teu-supervise-try <task-dir> [--warm]`, with the listening socket as standard input.
//!
//! `teu-supervise-try --stop-reading <socket>` is a client instead, which attaches to the output and stops itself.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

/// What enters a container in the supervisor's memory must leave the heap alone.
#[global_allocator]
static HEAP: teu_sys::heap::Watched = teu_sys::heap::Watched;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--stop-reading", socket] => stop_reading(socket).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        [dir, ref options @ ..] => {
            if teu_sys::process::place_descriptor(std::io::stdin().as_fd(), 3, true).is_err() {
                return ExitCode::FAILURE;
            }
            teu_supervisor::run(Path::new(dir), 3, options == ["--warm"]).into()
        }
        [] => ExitCode::FAILURE,
    }
}

fn stop_reading(socket: &str) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"{\"attach\":{\"exec\":null,\"stdin\":false,\"stdout\":true,\"stderr\":true}}\n")?;
    stream.read_exact(&mut [0; 11])?;
    println!("attached");
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)?;
    Ok(())
}
