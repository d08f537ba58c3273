//! `teu daemon`: the flags of the daemon; what they mean is the server's affair.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches};

use crate::Faces;
use crate::failure::Failure;

/// What `teu daemon` was told: a flag wins over its environment variable; what neither sets is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct DaemonArgs {
    /// Configuration file (default $TEU_CONFIG or /etc/teu/daemon.json)
    #[arg(long, value_name = "string")]
    pub config_file: Option<PathBuf>,
    /// Folder of everything that outlives the daemon (default $TEU_DATA_ROOT or /var/lib/teu)
    #[arg(long, value_name = "string")]
    pub data_root: Option<PathBuf>,
    /// Log for debugging
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Folder of what a reboot may lose (default $TEU_EXEC_ROOT or /run/teu)
    #[arg(long, value_name = "string")]
    pub exec_root: Option<PathBuf>,
    /// Group that may use the socket
    #[arg(short = 'G', long, value_name = "string")]
    pub group: Option<String>,
    /// Sockets to listen on (default $TEU_HOST or unix:///run/teu.sock)
    #[arg(short = 'H', long = "host", value_name = "list")]
    pub hosts: Vec<String>,
    /// Name of the bridge of the default network
    #[arg(long, value_name = "string")]
    pub bridge: Option<String>,
    /// Least level to log (trace|debug|info|warn|error)
    #[arg(short, long, value_name = "string")]
    pub log_level: Option<String>,
    /// Leave the session of whoever started it
    #[arg(long, hide = true)]
    pub detached: bool,
}

impl DaemonArgs {
    /// Fills in from the environment what no flag has set.
    fn fill_in(&mut self, variable: impl Fn(&str) -> Option<OsString>) {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.config_file = self.config_file.take().or_else(|| path("TEU_CONFIG"));
        self.data_root = self.data_root.take().or_else(|| path("TEU_DATA_ROOT"));
        self.exec_root = self.exec_root.take().or_else(|| path("TEU_EXEC_ROOT"));
        if self.hosts.is_empty() {
            self.hosts.extend(path("TEU_HOST").map(|path| path.display().to_string()));
        }
    }
}

/// Hands over to the daemon.
pub(crate) fn perform(matches: &ArgMatches, faces: &Faces) -> Result<ExitCode, Failure> {
    let mut args = DaemonArgs::from_arg_matches(matches).map_err(|error| Failure::new(error.to_string()).code(125))?;
    args.fill_in(|name| std::env::var_os(name));
    if args.detached {
        // Whoever started it may end with its terminal; the daemon must not.
        let _ = rustix::process::setsid();
    }
    Ok((faces.daemon)(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_environment() {
        let mut args = DaemonArgs { data_root: Some("/flag".into()), ..DaemonArgs::default() };
        args.fill_in(|name| Some(OsString::from(format!("/{name}"))));
        assert_eq!(args.data_root, Some("/flag".into()));
        assert_eq!(args.exec_root, Some("/TEU_EXEC_ROOT".into()));
        assert_eq!(args.hosts, ["/TEU_HOST"]);
    }
}
