//! `teu completion`: the shell completes commands and flags.

use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::{Faces, output, table};

/// What it does, in one line.
pub(crate) const ABOUT: &str = "Print the completion script for a shell";

/// Prints a completion script.
#[derive(Debug, clap::Args)]
pub(crate) struct Completion {
    /// Shell to complete in (bash, zsh, fish)
    #[arg(required = true, value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// Prints it.
pub(crate) fn perform(matches: &ArgMatches, _: &Faces) -> Result<ExitCode, Failure> {
    let args = Completion::from_arg_matches(matches).map_err(|error| Failure::new(error.to_string()))?;
    let shell = match args.shell.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    output::print(&script(shell))?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut table::tree(), "teu", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            assert!(script.contains("commit") && script.contains("publish"), "{shell}");
        }
    }
}
