//! teu: one binary, five faces.
//!
//! `supervise` is the process beside a container; `runtime` is an OCI runtime for other engines (also by the names
//! `teu-runtime` and `runc`); `daemon` and `registry serve` are servers; everything else is the command line. The first
//! two are chosen before anything else is looked at: they start in a millisecond and share no code with the others that
//! would cost them memory.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use teu_cli::Faces;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let program = std::env::args_os().next().unwrap_or_default();
    if teu_runtime::command::is_called(Path::new(&program)) {
        let name = Path::new(&program).file_name().unwrap_or_default();
        return teu_runtime::command::run(&name.to_string_lossy(), &args);
    }
    if args.first().is_some_and(|face| face == "supervise") {
        return supervise(&args[1..]);
    }
    if args.first().is_some_and(|face| face == "runtime") {
        return teu_runtime::command::run("teu runtime", &args[1..]);
    }
    teu_cli::run(args, &Faces { daemon, registry })
}

/// `teu supervise --nursery FOLDER`, with the daemon's socket as standard input.
fn supervise(args: &[OsString]) -> ExitCode {
    if args.first().is_none_or(|arg| arg != "--nursery") {
        eprintln!("teu supervise is started by the daemon only");
        return ExitCode::FAILURE;
    }
    // The nursery points its standard streams elsewhere, so the socket moves out of their way first.
    match rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3) {
        Ok(daemon) => teu_supervisor::nursery(daemon),
        Err(_) => ExitCode::FAILURE,
    }
}

fn daemon(args: teu_cli::DaemonArgs) -> ExitCode {
    let settings = args.settings();
    teu_server::daemon(&teu_server::DaemonArgs { config_file: args.config_file, validate: args.validate, settings })
}

#[expect(clippy::needless_pass_by_value, reason = "the type is the command line's callback")]
fn registry(args: teu_cli::RegistryArgs) -> ExitCode {
    teu_server::registry(&args.listen.to_string(), &args.root)
}
