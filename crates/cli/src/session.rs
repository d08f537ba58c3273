//! What every command knows about its surroundings.

use std::path::PathBuf;

use clap::ArgMatches;

use crate::config::ConfigFile;
use crate::endpoint::tls::TlsFlags;
use crate::endpoint::{self, Choice, Host};
use crate::failure::Failure;
use crate::grammar;

/// What every command knows about its surroundings.
#[derive(Debug)]
pub(crate) struct Session {
    /// The daemon's address, and how it was named; why there is none matters only to who wants to talk to it.
    host: Result<Host, Failure>,
    /// The context in use, whether it is there or not.
    pub(crate) context: String,
    /// Whether a missing daemon is started.
    pub(crate) autostart: bool,
    /// Folder of `config.json`.
    pub(crate) config: PathBuf,
    /// What `config.json` says; what writes it reads it again, because here a broken one counts as empty.
    pub(crate) file: ConfigFile,
    /// Headers that go along with every request.
    pub(crate) headers: Vec<(String, String)>,
    /// Says more than needed.
    pub(crate) debug: bool,
    /// The names this command was called by: `teu run`, `teu container run`.
    pub(crate) called: String,
}

impl Session {
    /// Reads the flags before the command, the environment and `config.json`.
    pub(crate) fn new(globals: &ArgMatches, called: String) -> Result<Self, Failure> {
        let text = |name: &str| globals.get_one::<String>(name).cloned();
        let config = config_folder(text("config"));
        let file = ConfigFile::load(&config).unwrap_or_else(|failure| {
            crate::output::note!("WARNING: Error loading config file: {}", failure.message);
            ConfigFile::empty(&config)
        });
        let tls = TlsFlags {
            on: globals.get_flag("tls"),
            verify: globals.get_flag("tlsverify").then_some(true),
            ca: text("tlscacert"),
            cert: text("tlscert"),
            key: text("tlskey"),
        };
        let choice = Choice { host: text("host"), context: text("context"), tls };
        let context = endpoint::context_name(&choice, variable, file.current_context())?;
        let host = endpoint::resolve(&choice, variable, &config, context.clone());
        let mut headers = file.headers();
        headers.extend(custom_headers(variable("DOCKER_CUSTOM_HEADERS").as_deref())?);
        let autostart = !globals.get_flag("no-autostart") && variable("TEU_AUTOSTART").is_none_or(|value| value != "0");
        let debug = globals.get_flag("debug") || debugs(text("log-level").as_deref())?;
        Ok(Self { host, context, autostart, config, file, headers, debug, called })
    }

    /// The daemon's address.
    pub(crate) fn host(&self) -> Result<&Host, Failure> {
        self.host.as_ref().map_err(Clone::clone)
    }

    /// The user's own format of a list, else the flag's.
    pub(crate) fn format<'s>(&'s self, flag: Option<&'s str>, member: &str) -> Option<&'s str> {
        flag.filter(|format| !format.is_empty()).or_else(|| self.file.format(member))
    }

    /// The keys that detach: the flag's, else the user's own.
    pub(crate) fn detach_keys<'s>(&'s self, flag: Option<&'s str>) -> Option<&'s str> {
        flag.or_else(|| self.file.detach_keys())
    }

    /// The platform that is meant when no flag says one.
    pub(crate) fn platform(flag: Option<String>) -> Option<String> {
        flag.or_else(|| variable("DOCKER_DEFAULT_PLATFORM"))
    }
}

/// Whether a level of `--log-level` lets debugging through.
fn debugs(level: Option<&str>) -> Result<bool, Failure> {
    match level.unwrap_or("info") {
        "trace" | "debug" => Ok(true),
        "info" | "warn" | "warning" | "error" | "fatal" | "panic" => Ok(false),
        other => Err(Failure::new(format!("unable to parse logging level: {other}"))),
    }
}

/// An environment variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The folder of `config.json`: the flag's, `$DOCKER_CONFIG`, or `~/.docker`.
fn config_folder(flag: Option<String>) -> PathBuf {
    match flag.or_else(|| variable("DOCKER_CONFIG")) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(variable("HOME").unwrap_or_else(|| "/".into())).join(".docker"),
    }
}

/// Reads `DOCKER_CUSTOM_HEADERS`: `name=value,"name=with, comma"`.
fn custom_headers(text: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
    let wrong = |why: String| Failure::new(format!("invalid DOCKER_CUSTOM_HEADERS: {why}"));
    let Some(text) = text else { return Ok(Vec::new()) };
    let mut headers = Vec::new();
    for field in grammar::fields(text).map_err(wrong)? {
        let (name, value) = field.split_once('=').ok_or_else(|| wrong(format!("'{field}' is not name=value")))?;
        if name.is_empty() {
            return Err(wrong(format!("'{field}' has no name")));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_from_one_variable() {
        let read = |text| custom_headers(Some(text));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("A=1,\"B=2,3\"").unwrap(), [pair("A", "1"), pair("B", "2,3")]);
        assert_eq!(custom_headers(None).unwrap(), []);
        assert!(read("A").is_err() && read("=x").is_err());
    }
}
