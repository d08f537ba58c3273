//! Where the daemon is: `-H` or `--context`, then `TEU_HOST`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the context in use, and
//! last the default socket.

pub(crate) mod store;
pub(crate) mod tls;

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use store::{DEFAULT, Store};
use tls::{Tls, TlsFlags};

/// A daemon's address, and whether this user may start one there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Where to connect.
    pub(crate) address: Address,
    /// How a connection over TCP is encrypted.
    pub(crate) tls: Option<Tls>,
    /// Whether a missing daemon may be started: it is ours and on this machine, and it is known where it has its data. That
    /// is so for the default socket, and for the one of `TEU_HOST` where `TEU_DATA_ROOT` is set.
    pub(crate) startable: bool,
    /// Whether the address was named, and so must be told to a daemon that is started.
    pub(crate) named: bool,
    /// The context it is from.
    pub(crate) context: String,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// Another machine's daemon, through `ssh`.
    Ssh(Ssh),
}

/// Another machine, as `ssh` knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ssh {
    /// User there.
    pub(crate) user: Option<String>,
    /// Its name or address, or an alias of `ssh`'s configuration.
    pub(crate) host: String,
    /// Port of its `sshd`.
    pub(crate) port: Option<u16>,
    /// Socket of the daemon there.
    pub(crate) socket: Option<String>,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Ssh(ssh) => {
                let user = ssh.user.iter().map(|user| format!("{user}@")).collect::<String>();
                let port = ssh.port.iter().map(|port| format!(":{port}")).collect::<String>();
                write!(f, "ssh://{user}{}{port}{}", ssh.host, ssh.socket.as_deref().unwrap_or_default())
            }
        }
    }
}

impl Address {
    /// Reads `unix:///path`, `/path`, `tcp://host:port`, `ssh://user@host`.
    pub(crate) fn parse(text: &str, encrypted: bool) -> Result<Self, Failure> {
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.starts_with('/').then_some(text)) {
            let path = if path.is_empty() { default_socket() } else { PathBuf::from(path) };
            return Ok(Self::Unix(path));
        }
        if let Some(rest) = text.strip_prefix("ssh://") {
            return ssh(rest).map(Self::Ssh).ok_or_else(|| wrong(text));
        }
        let rest = match text.split_once("://") {
            Some(("tcp" | "http" | "https", rest)) => rest,
            Some(_) => return Err(wrong(text)),
            None if text.contains(':') => text,
            None => return Err(wrong(text)),
        };
        let rest = rest.trim_end_matches('/');
        let rest = match rest {
            "" => "127.0.0.1".to_owned(),
            _ if rest.starts_with(':') => format!("127.0.0.1{rest}"),
            _ => rest.to_owned(),
        };
        // What is in brackets is an IPv6 address, whose colons begin no port.
        let has_port = rest.rsplit(']').next().is_some_and(|end| end.contains(':'));
        Ok(Self::Tcp(if has_port { rest } else { format!("{rest}:{}", if encrypted { 2376 } else { 2375 }) }))
    }
}

fn wrong(text: &str) -> Failure {
    Failure::new(format!("invalid host \"{text}\""))
        .hint("write unix:///path/to/socket, tcp://address:port or ssh://user@host")
}

/// Reads `[user@]host[:port][/socket]`.
fn ssh(text: &str) -> Option<Ssh> {
    let (place, socket) = match text.split_once('/') {
        Some((place, socket)) => (place, (!socket.is_empty()).then(|| format!("/{socket}"))),
        None => (text, None),
    };
    let (user, place) = match place.rsplit_once('@') {
        // A password would be seen by everybody on this machine.
        Some((user, _)) if user.contains(':') => return None,
        Some((user, place)) => (Some(user.to_owned()), place),
        None => (None, place),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !place.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (place, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // A dash would be a flag of `ssh`.
    let sound = |text: &str| !text.is_empty() && !text.starts_with('-');
    (sound(host) && user.as_deref().is_none_or(sound)).then(|| Ssh { user, host: host.to_owned(), port, socket })
}

/// What the command line says of where the daemon is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// `--host`.
    pub(crate) host: Option<String>,
    /// `--context`.
    pub(crate) context: Option<String>,
    /// The flags about encryption.
    pub(crate) tls: TlsFlags,
}

/// The context a command line means, by its name.
pub(crate) fn context_name(
    choice: &Choice,
    variable: impl Fn(&str) -> Option<String>,
    in_use: Option<&str>,
) -> Result<String, Failure> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    Ok(match (&choice.context, &choice.host) {
        (Some(_), Some(_)) => {
            return Err(Failure::new("conflicting options: cannot specify both --host and --context"));
        }
        (Some(name), None) if !name.is_empty() => name.clone(),
        (_, Some(_)) => DEFAULT.to_owned(),
        _ if variable("TEU_HOST").is_some() || variable("DOCKER_HOST").is_some() => DEFAULT.to_owned(),
        _ => variable("DOCKER_CONTEXT").or_else(|| in_use.map(str::to_owned)).unwrap_or_else(|| DEFAULT.to_owned()),
    })
}

/// Finds the daemon's address from the flags, the environment and the context of that name.
pub(crate) fn resolve(
    choice: &Choice,
    variable: impl Fn(&str) -> Option<String>,
    config: &Path,
    context: String,
) -> Result<Host, Failure> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if context != DEFAULT {
        let store = Store::new(config);
        let missing = |failure: Failure| failure.hint("see which there are with 'teu context ls'");
        let meta = store.get(&context).map_err(missing)?;
        let tls = store.tls(&meta)?;
        let address = match meta.host() {
            "" => Address::Unix(default_socket()),
            host => Address::parse(host, tls.is_some())?,
        };
        return Ok(Host { address, tls, startable: false, named: true, context });
    }
    let tls = choice.tls.read(config, variable)?;
    let (text, ours) = match (&choice.host, variable("TEU_HOST"), variable("DOCKER_HOST")) {
        (Some(text), teus, _) => (text.clone(), teus.as_ref() == Some(text)),
        (None, Some(text), _) => (text, true),
        (None, None, Some(text)) => (text, false),
        (None, None, None) => {
            let address = Address::Unix(default_socket());
            return Ok(Host { address, tls: None, startable: true, named: false, context });
        }
    };
    let address = Address::parse(&text, tls.is_some())?;
    let startable = match &address {
        Address::Unix(path) => (ours && variable("TEU_DATA_ROOT").is_some()) || *path == default_socket(),
        _ => false,
    };
    Ok(Host { address, tls, startable, named: true, context })
}

/// The address of the default context.
pub(crate) fn default_address() -> String {
    Address::Unix(default_socket()).to_string()
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
        let choice = Choice { host: flag.map(str::to_owned), ..Choice::default() };
        let variable = |name: &str| match name {
            "TEU_HOST" => teu.map(str::to_owned),
            "DOCKER_HOST" => docker.map(str::to_owned),
            "TEU_DATA_ROOT" => teu.filter(|host| host.ends_with("/a")).map(str::to_owned),
            _ => None,
        };
        resolve(&choice, variable, Path::new("/nowhere"), DEFAULT.into())
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
        assert!(from(None, Some("unix:///a"), None).unwrap().startable);
        assert!(from(Some("unix:///a"), Some("unix:///a"), None).unwrap().startable);
        assert!(!from(Some("unix:///a"), Some("unix:///b"), None).unwrap().startable);
        assert!(!from(None, Some("unix:///b"), None).unwrap().startable, "nobody knows where its data is");
        assert!(!from(Some("tcp://127.0.0.1:1"), None, None).unwrap().startable);
        assert!(!from(None, None, Some("unix:///var/run/docker.sock")).unwrap().startable);
    }

    #[test]
    fn the_context_is_found_as_dockers_client_finds_it() {
        let name = |host: Option<&str>, context: Option<&str>, variables: &[(&str, &str)], in_use: Option<&str>| {
            let choice = Choice { host: host.map(Into::into), context: context.map(Into::into), ..Choice::default() };
            let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            context_name(&choice, variable, in_use)
        };
        assert_eq!(name(None, Some("a"), &[("DOCKER_HOST", "x")], Some("c")).unwrap(), "a");
        assert_eq!(name(Some("x"), None, &[("DOCKER_CONTEXT", "b")], Some("c")).unwrap(), "default");
        assert_eq!(name(None, None, &[("DOCKER_HOST", "x"), ("DOCKER_CONTEXT", "b")], None).unwrap(), "default");
        assert_eq!(name(None, None, &[("DOCKER_CONTEXT", "b")], Some("c")).unwrap(), "b");
        assert_eq!(name(None, None, &[], Some("c")).unwrap(), "c");
        assert_eq!(name(None, None, &[], None).unwrap(), "default");
        assert!(name(Some("x"), Some("a"), &[], None).is_err());
    }

    #[test]
    fn addresses_are_read_and_bad_ones_refused() {
        let read = |text| Address::parse(text, false).map(|address| address.to_string());
        for (text, wanted) in [
            ("tcp://localhost", "tcp://localhost:2375"),
            ("tcp://10.0.0.1:99/", "tcp://10.0.0.1:99"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            (":2375", "tcp://127.0.0.1:2375"),
            ("ssh://ann@far:22/run/x.sock", "ssh://ann@far:22/run/x.sock"),
            ("ssh://far", "ssh://far"),
        ] {
            assert_eq!(read(text).unwrap(), wanted);
        }
        assert_eq!(Address::parse("tcp://far", true).unwrap(), Address::Tcp("far:2376".into()));
        for bad in ["", "far", "ftp://x", "ssh://", "ssh://-oProxyCommand=x", "ssh://a:secret@far", "ssh://far:x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
