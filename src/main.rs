//! teu: one binary, five faces.
//!
//! `supervise` is the process beside a container; `runtime` is an OCI runtime for other engines (also by the names
//! `teu-runtime` and `runc`); `daemon` and `registry serve` are servers; everything else is the command line. The first
//! two are chosen before anything else is looked at: they start in a millisecond and share no code with the others that
//! would cost them memory.

#![cfg_attr(not(test), no_main)]

use std::ffi::OsString;
use std::path::Path;

use teu_cli::Faces;

/// Called by the C library. The beginning that `fn main` would have looks for the stack in `/proc/self/maps` to tell an
/// overflow from another violation, which took longer than anything else that a short command does; what programs rely
/// on besides is here.
#[cfg(not(test))]
#[expect(unsafe_code, reason = "the C library has one function of that name and calls it with what it ignores")]
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    teu_sys::process::begin();
    // A panic has been told of by its hook.
    std::process::exit(std::panic::catch_unwind(teu).map_or(teu_sys::process::PANICKED, i32::from))
}

#[cfg_attr(test, expect(dead_code, reason = "called by the C library's entry"))]
fn teu() -> u8 {
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
fn supervise(args: &[OsString]) -> u8 {
    if args.first().is_none_or(|arg| arg != "--nursery") {
        eprintln!("teu supervise is started by the daemon only");
        return 1;
    }
    // The nursery points its standard streams elsewhere, so the socket moves out of their way first.
    match rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3) {
        Ok(daemon) => teu_supervisor::nursery(daemon),
        Err(_) => 1,
    }
}

fn daemon(args: teu_cli::DaemonArgs) -> u8 {
    let settings = args.settings();
    teu_server::daemon(&teu_server::DaemonArgs { config_file: args.config_file, validate: args.validate, settings })
}

#[expect(clippy::needless_pass_by_value, reason = "the type is the command line's callback")]
fn registry(args: teu_cli::RegistryArgs) -> u8 {
    teu_server::registry(&args.listen.to_string(), &args.root)
}
