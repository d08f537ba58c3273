//! Where the daemon is: `-H`, then `TEU_HOST`, then `DOCKER_HOST`, else the default socket.

use std::path::PathBuf;

use crate::failure::Failure;

/// A daemon's address, and whether this user may start one there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Where to connect.
    pub(crate) address: Address,
    /// Whether a missing daemon may be started: it is ours (default, `-H`, `TEU_HOST`) and on this machine.
    pub(crate) startable: bool,
    /// Whether the address was named, and so must be told to a daemon that is started.
    pub(crate) named: bool,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// `ip:port`, without encryption.
    Tcp(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl Address {
    /// Reads `unix:///path`, `/path`, `tcp://ip:port`.
    fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.starts_with('/').then_some(text)) {
            let path = if path.is_empty() { default_socket() } else { PathBuf::from(path) };
            return Ok(Self::Unix(path));
        }
        match text.strip_prefix("tcp://") {
            Some(rest) => {
                let rest = rest.trim_end_matches('/');
                let rest = rest.strip_prefix("localhost").map_or(rest.to_owned(), |port| format!("127.0.0.1{port}"));
                let rest =
                    if rest.rsplit(']').next().is_some_and(|end| end.contains(':')) { rest } else { rest + ":2375" };
                Ok(Self::Tcp(rest))
            }
            None => Err(Failure::new(format!("invalid host \"{text}\""))
                .hint("write unix:///path/to/socket or tcp://address:port")),
        }
    }
}

/// Finds the daemon's address from the flag and the environment.
pub(crate) fn resolve(flag: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Host, Failure> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    let (text, ours) = match (flag, variable("TEU_HOST"), variable("DOCKER_HOST")) {
        (Some(text), _, _) => (text.to_owned(), true),
        (None, Some(text), _) => (text, true),
        (None, None, Some(text)) => (text, false),
        (None, None, None) => {
            return Ok(Host { address: Address::Unix(default_socket()), startable: true, named: false });
        }
    };
    let address = Address::parse(&text)?;
    let startable = ours && matches!(address, Address::Unix(_));
    Ok(Host { address, startable, named: true })
}

/// The socket of the daemon of this user.
fn default_socket() -> PathBuf {
    runtime_folder().with_extension("sock")
}

/// The run directory of the daemon of this user, unless set otherwise.
pub(crate) fn runtime_folder() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/teu");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("teu"),
        None => PathBuf::from(format!("/tmp/teu-{}", rustix::process::geteuid().as_raw())).join("teu"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(flag: Option<&str>, teu: Option<&str>, docker: Option<&str>) -> Result<Host, Failure> {
        resolve(flag, |name| match name {
            "TEU_HOST" => teu.map(str::to_owned),
            _ => docker.map(str::to_owned),
        })
    }

    #[test]
    fn the_flag_wins_then_our_variable_then_dockers() {
        let path = |host: Result<Host, Failure>| host.unwrap().address.to_string();
        assert_eq!(path(from(Some("/a"), Some("unix:///b"), Some("unix:///c"))), "unix:///a");
        assert_eq!(path(from(None, Some("unix:///b"), Some("unix:///c"))), "unix:///b");
        assert_eq!(path(from(None, Some(""), Some("unix:///c"))), "unix:///c");
    }

    #[test]
    fn only_a_local_daemon_of_ours_is_started() {
        assert!(from(None, None, None).unwrap().startable);
        assert!(from(Some("unix:///a"), None, None).unwrap().startable);
        assert!(!from(Some("tcp://127.0.0.1:1"), None, None).unwrap().startable);
        assert!(!from(None, None, Some("unix:///var/run/docker.sock")).unwrap().startable);
    }

    #[test]
    fn addresses_are_read_and_bad_ones_refused() {
        assert_eq!(Address::parse("tcp://localhost").unwrap(), Address::Tcp("127.0.0.1:2375".into()));
        assert_eq!(Address::parse("tcp://10.0.0.1:99/").unwrap(), Address::Tcp("10.0.0.1:99".into()));
        assert!(Address::parse("ssh://x").is_err());
        assert!(Address::parse("").is_err());
    }
}
