//! Legacy links: on the default bridge a container may have a name of its own for another one.
//!
//! A link is kept as `ID:ALIAS`, so that it leads to the same container whatever that is called later. The other container
//! then has one more name, `LINKER/ALIAS`. On networks of the user's own a link is a name that the supervisor answers, and
//! stays as it was written.

use std::collections::HashMap;
use std::net::IpAddr;

use teu_api::container::{Config, HostConfig, Inspect};

use super::{Container, Containers, driver};
use crate::error::{Error, Kind, Result};
use crate::network::{Mode, mode};

/// `container:alias`; without an alias the container's name.
pub(super) fn split(link: &str) -> (&str, &str) {
    let (target, alias) = link.split_once(':').unwrap_or((link, link));
    // The form that inspect shows has the linking container's own name before the alias.
    (target.trim_start_matches('/'), alias.rsplit('/').next().unwrap_or(alias))
}

/// Whether links are kept by id.
fn is_legacy(host: &HostConfig) -> bool {
    matches!(mode(host), Mode::Network(name) if name == "bridge")
}

impl Containers {
    /// Finds whom a new container is linked to.
    ///
    /// # Errors
    /// When there is no such container, or it has the host's network.
    pub(super) fn find_links(&self, host: &mut HostConfig) -> Result<()> {
        if !is_legacy(host) {
            return Ok(());
        }
        for link in &mut host.links {
            let (target, alias) = split(link);
            let other = self.find(target).map_err(|error| {
                let kind = if error.kind == Kind::NotFound { Kind::BadRequest } else { error.kind };
                Error::new(kind, format!("could not get container for {target}: {}", error.message))
            })?;
            if other.record().host.network_mode == "host" {
                return Err(Error::bad("conflicting options: host type networking can't be used with links"));
            }
            *link = format!("{}:{alias}", other.id());
        }
        Ok(())
    }

    /// The container that `LINKER/ALIAS` means.
    pub(super) fn linked(&self, path: &str) -> Option<Container> {
        let (linker, alias) = path.trim_start_matches('/').split_once('/')?;
        let linker = self.find(linker).ok()?.record();
        let target = linker.host.links.iter().map(|link| split(link)).find(|(_, other)| *other == alias)?.0.to_owned();
        self.find(&target).ok()
    }

    /// Takes away the name `LINKER/ALIAS`.
    ///
    /// # Errors
    /// When there is no such link.
    pub async fn unlink(&self, path: &str) -> Result<()> {
        let parts = path.trim_start_matches('/').split_once('/').filter(|_| self.linked(path).is_some());
        let (linker, alias) = parts.ok_or_else(|| Error::not_found(format!("No such link: {path}")))?;
        let alias = alias.to_owned();
        self.find(linker)?.command(|reply| driver::Command::Unlink { alias, reply }).await
    }

    /// Writes a container's links as Docker shows them: `/OTHER:/OWN/ALIAS`.
    pub fn show_links(&self, inspect: &mut Inspect) {
        if !is_legacy(&inspect.host_config) {
            return;
        }
        for link in &mut inspect.host_config.links {
            let (target, alias) = split(link);
            if let Ok(other) = self.find(target) {
                *link = format!("/{}:{}/{alias}", other.name(), inspect.name);
            }
        }
    }

    /// The names that containers have by links: of all, by id.
    pub(super) fn link_names(&self) -> HashMap<String, Vec<String>> {
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for record in self.all().iter().map(Container::record).filter(|record| is_legacy(&record.host)) {
            for (target, alias) in record.host.links.iter().map(|link| split(link)) {
                names.entry(target.to_owned()).or_default().push(format!("/{}/{alias}", record.name));
            }
        }
        names
    }
}

/// The variables that tell of a linked container: where its ports are, and what its own environment has.
pub(super) fn environment(linker: &str, alias: &str, address: IpAddr, other: &Config) -> Vec<String> {
    let prefix = alias.to_uppercase().replace('-', "_");
    let mut ports: Vec<(&str, u16)> = other.exposed_ports.keys().filter_map(|key| port(key)).collect();
    // TCP first.
    ports.sort_by_key(|(protocol, number)| (*protocol != "tcp", *protocol, *number));
    let at = |(protocol, number): &(&str, u16)| format!("{protocol}://{address}:{number}");
    let name = |(protocol, number): &(&str, u16)| format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
    let mut all: Vec<String> = ports.first().map(|first| format!("{prefix}_PORT={}", at(first))).into_iter().collect();
    for run in ports.chunk_by(|(protocol, number), next| *next == (*protocol, number.saturating_add(1))) {
        for port in run {
            let (protocol, number) = port;
            let name = name(port);
            all.push(format!("{name}={}", at(port)));
            all.push(format!("{name}_ADDR={address}"));
            all.push(format!("{name}_PORT={number}"));
            all.push(format!("{name}_PROTO={protocol}"));
        }
        if let [first, .., last] = run {
            for (word, port) in [("START", first), ("END", last)] {
                all.push(format!("{}_{word}={}", name(first), at(port)));
                all.push(format!("{}_PORT_{word}={}", name(first), port.1));
            }
        }
    }
    all.push(format!("{prefix}_NAME=/{linker}/{alias}"));
    let told = |entry: &&String| entry.contains('=') && !["HOME=", "PATH="].iter().any(|own| entry.starts_with(own));
    all.extend(other.env.iter().filter(told).map(|entry| format!("{prefix}_ENV_{entry}")));
    all
}

/// `80/tcp`; without a protocol it is TCP.
fn port(key: &str) -> Option<(&str, u16)> {
    let (number, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    Some((protocol, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use teu_api::container::Config;

    use super::{environment, split};

    #[test]
    fn a_linked_container_is_told_of_in_variables() {
        let exposed = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), Default::default())).collect();
        let other = Config {
            env: vec!["FOO=1".into(), "PATH=/bin".into()],
            exposed_ports: exposed(&["53/udp", "6379/tcp", "6380/tcp"]),
            ..Config::default()
        };
        let told = environment("web", "my-db", "172.17.0.2".parse().unwrap(), &other);
        for line in [
            "MY_DB_PORT=tcp://172.17.0.2:6379",
            "MY_DB_PORT_6379_TCP_ADDR=172.17.0.2",
            "MY_DB_PORT_6379_TCP_PORT_END=6380",
            "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_FOO=1",
        ] {
            assert!(told.iter().any(|entry| entry == line), "{line} in {told:?}");
        }
        assert!(!told.iter().any(|entry| entry.contains("ENV_PATH") || entry.contains("53_UDP_START")));
    }

    #[test]
    fn a_link_is_read_in_every_form() {
        for (link, expected) in [
            ("db", ("db", "db")),
            ("/db:sql", ("db", "sql")),
            ("/db:/web/sql", ("db", "sql")),
            ("db:/sql", ("db", "sql")),
        ] {
            assert_eq!(split(link), expected, "{link}");
        }
    }
}
