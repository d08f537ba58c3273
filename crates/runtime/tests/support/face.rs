//! The command `teu runtime` alone, for tests that need nothing else of the binary.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_name().unwrap_or_default();
    let args: Vec<OsString> = words.collect();
    teu_runtime::command::run(&name.to_string_lossy(), &args).into()
}
