//! teu: one binary, four faces.
//!
//! `supervise` is the process beside a container; `daemon` and `registry serve` are servers; everything else is the
//! command line. The supervisor's face is chosen before anything else is looked at: it starts in a millisecond and
//! shares no code with the others that would cost it memory.

use std::ffi::OsString;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::process::ExitCode;

use teu_cli::Faces;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|face| face == "supervise") {
        return supervise(&args[1..]);
    }
    teu_cli::run(args, &Faces { daemon, registry })
}

/// `teu supervise TASK-DIR [--warm]`, with the listening socket as standard input.
fn supervise(args: &[OsString]) -> ExitCode {
    let Some(dir) = args.first() else {
        eprintln!("teu supervise is started by the daemon only");
        return ExitCode::FAILURE;
    };
    let warm = args.iter().any(|arg| arg == "--warm");
    // The supervisor points its standard streams elsewhere, so the socket moves out of their way first.
    match rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3) {
        Ok(listener) => teu_supervisor::run(Path::new(dir), listener.into_raw_fd(), warm),
        Err(_) => ExitCode::FAILURE,
    }
}

fn daemon(args: teu_cli::DaemonArgs) -> ExitCode {
    teu_server::daemon(teu_server::DaemonArgs {
        hosts: args.hosts,
        data_root: args.data_root,
        exec_root: args.exec_root,
        config_file: args.config_file,
        debug: args.debug,
        log_level: args.log_level,
        group: args.group,
        bridge: args.bridge,
        ..teu_server::DaemonArgs::default()
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the type is the command line's callback")]
fn registry(args: teu_cli::RegistryArgs) -> ExitCode {
    teu_server::registry(&args.listen.to_string(), &args.root)
}
