//! A change to a container config: the one type behind `commit --change`, `import --change` and a Dockerfile's metadata instructions.

use crate::{ContainerConfig, Empty, Healthcheck};

/// One change, with every variable already expanded.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigChange {
    /// `ENV`: sets or replaces a variable, keeping its place.
    Env(String, String),
    /// `LABEL`.
    Label(String, String),
    /// `CMD`.
    Cmd(Vec<String>),
    /// `ENTRYPOINT`: also clears an inherited command that was not set since.
    Entrypoint(Vec<String>),
    /// `USER`.
    User(String),
    /// `WORKDIR`, absolute or relative to the present one.
    Workdir(String),
    /// `EXPOSE`, one port with protocol.
    Expose(String),
    /// `VOLUME`, one path.
    Volume(String),
    /// `STOPSIGNAL`.
    StopSignal(String),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `ONBUILD`, the instruction as written.
    OnBuild(String),
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A port that is no port.
    #[error("invalid port {0:?}: want PORT or PORT/tcp, PORT/udp, PORT/sctp")]
    Port(String),
    /// An empty path.
    #[error("{0} needs a path that is not empty")]
    EmptyPath(&'static str),
}

impl ContainerConfig {
    /// Makes one change.
    ///
    /// # Errors
    /// When the change's value has no meaning, such as a port that is no number.
    pub fn apply(&mut self, change: &ConfigChange) -> Result<(), ChangeError> {
        match change {
            ConfigChange::Env(name, value) => self.set_env(name, value),
            ConfigChange::Label(name, value) => {
                self.labels.insert(name.clone(), value.clone());
            }
            ConfigChange::Cmd(words) => self.cmd = Some(words.clone()),
            ConfigChange::Entrypoint(words) => self.entrypoint = Some(words.clone()),
            ConfigChange::User(user) => self.user.clone_from(user),
            ConfigChange::Workdir(path) => self.working_dir = join(&self.working_dir, path)?,
            ConfigChange::Expose(port) => {
                self.exposed_ports.insert(port_key(port)?, Empty {});
            }
            ConfigChange::Volume(path) if path.is_empty() => return Err(ChangeError::EmptyPath("VOLUME")),
            ConfigChange::Volume(path) => {
                self.volumes.insert(path.clone(), Empty {});
            }
            ConfigChange::StopSignal(signal) => self.stop_signal = Some(signal.clone()),
            ConfigChange::Healthcheck(check) => self.healthcheck = Some(check.clone()),
            ConfigChange::Shell(words) => self.shell = Some(words.clone()),
            ConfigChange::OnBuild(instruction) => self.on_build.push(instruction.clone()),
        }
        Ok(())
    }

    fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |have: &&mut String| have.split_once('=').map_or(have.as_str(), |(key, _)| key) == name;
        match self.env.iter_mut().find(same) {
            Some(have) => *have = entry,
            None => self.env.push(entry),
        }
    }
}

/// `80` and `80/TCP` both mean `80/tcp`; a range stays a range.
fn port_key(text: &str) -> Result<String, ChangeError> {
    let refuse = || ChangeError::Port(text.into());
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let number = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let sound = match ports.split_once('-') {
        Some((first, last)) => number(first) && number(last),
        None => number(ports),
    };
    if !sound || !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(refuse());
    }
    Ok(format!("{ports}/{protocol}"))
}

/// Joins and cleans a working directory lexically, as Dockerfiles mean it.
fn join(base: &str, path: &str) -> Result<String, ChangeError> {
    if path.is_empty() {
        return Err(ChangeError::EmptyPath("WORKDIR"));
    }
    let whole = if path.starts_with('/') { path.to_string() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_land_where_they_belong() {
        let mut config = ContainerConfig { env: vec!["A=1".into(), "B=2".into()], ..Default::default() };
        for change in [
            ConfigChange::Env("A".into(), "3".into()),
            ConfigChange::Env("C".into(), "4".into()),
            ConfigChange::Workdir("/a".into()),
            ConfigChange::Workdir("../b/./c".into()),
            ConfigChange::Expose("80".into()),
            ConfigChange::Expose("53/UDP".into()),
        ] {
            config.apply(&change).unwrap();
        }
        assert_eq!(config.env, ["A=3", "B=2", "C=4"]);
        assert_eq!(config.working_dir, "/b/c");
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert!(config.apply(&ConfigChange::Expose("0".into())).is_err());
        assert!(config.apply(&ConfigChange::Expose("eighty".into())).is_err());
        assert!(config.apply(&ConfigChange::Workdir(String::new())).is_err());
    }
}
