//! What `inspect` and `ps` tell of a container.

use jiff::Timestamp;
use teu_api::container::{Config, GraphDriver, Inspect, State as ApiState};

use super::lifecycle::{Phase, State};
use super::{Container, Record};
use crate::error::Result;
use crate::network::{Mode, mode_of};

/// Go's zero time, which Docker gives for "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

impl Container {
    /// Everything about it.
    ///
    /// # Errors
    /// When its size was asked for and its files cannot be counted.
    pub async fn inspect(&self, size: bool) -> Result<Inspect> {
        let record = self.record();
        let context = &self.shared.context;
        let etc = context.etc_dir(&record.id);
        let file = |name: &str| etc.join(name).display().to_string();
        let mut words = record.words().into_iter();
        let (size_rw, size_root_fs) = if size { self.sizes()? } else { (None, None) };
        let execs = self.live().execs.clone();
        Ok(Inspect {
            id: record.id.clone(),
            created: record.created.clone(),
            path: words.next().unwrap_or_default(),
            args: words.collect(),
            state: state(&record.state),
            image: record.image_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: if record.host.log_config.kind == "json-file" {
                context.log_path(&record.id).display().to_string()
            } else {
                String::new()
            },
            name: format!("/{}", record.name),
            restart_count: i64::from(record.state.restarts),
            driver: "overlay2".into(),
            platform: "linux".into(),
            exec_ids: (!execs.is_empty()).then_some(execs),
            host_config: record.host.clone(),
            graph_driver: GraphDriver { data: None, name: "overlay2".into() },
            size_rw,
            size_root_fs,
            mounts: record.mounts.iter().map(|mount| mount.point.clone()).collect(),
            config: Config { mac_address: wanted_mac_address(&record), ..record.config.clone() },
            network_settings: crate::network::settings(&record, &context.networks),
            ..Inspect::default()
        })
    }

    /// Bytes of its own, and with its image's.
    pub(super) fn sizes(&self) -> Result<(Option<i64>, Option<i64>)> {
        let record = self.record();
        let context = &self.shared.context;
        let own = context.store.snapshots().usage(&record.id)?.bytes;
        let image = context.chain_size(record.chain.as_ref());
        let number = |bytes: u64| i64::try_from(bytes).ok();
        Ok((number(own), number(own.saturating_add(image))))
    }
}

/// The hardware address that was asked for on the network that the container's mode names.
fn wanted_mac_address(record: &Record) -> String {
    let Mode::Network(name) = mode_of(record) else { return String::new() };
    record.networking.endpoints_config.get(&name).map(|endpoint| endpoint.mac_address.clone()).unwrap_or_default()
}

fn state(state: &State) -> ApiState {
    let time = |text: &str| if text.is_empty() { NEVER.into() } else { text.to_string() };
    ApiState {
        status: state.phase.word().into(),
        running: matches!(state.phase, Phase::Running | Phase::Paused | Phase::Restarting),
        paused: state.phase == Phase::Paused,
        restarting: state.phase == Phase::Restarting,
        oom_killed: state.oom_killed,
        dead: false,
        pid: i64::from(state.pid),
        exit_code: i64::from(state.exit_code),
        error: state.error.clone(),
        started_at: time(&state.started_at),
        finished_at: time(&state.finished_at),
        health: state.health.clone(),
    }
}

/// `Up 3 minutes`, `Exited (0) 2 hours ago`: Docker's words.
pub(super) fn status(state: &State, now: Timestamp) -> String {
    let since = |text: &str| {
        let seconds = text.parse::<Timestamp>().map_or(0, |then| now.duration_since(then).as_secs());
        ago(u64::try_from(seconds).unwrap_or(0))
    };
    match state.phase {
        Phase::Created => "Created".into(),
        Phase::Running => format!("Up {}{}", since(&state.started_at), health(state)),
        Phase::Paused => format!("Up {} (Paused)", since(&state.started_at)),
        Phase::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(&state.finished_at)),
        Phase::Exited if state.finished_at.is_empty() => "Created".into(),
        Phase::Exited => format!("Exited ({}) {} ago", state.exit_code, since(&state.finished_at)),
        Phase::Removing => "Removal In Progress".into(),
    }
}

fn health(state: &State) -> String {
    match state.health.as_ref().map(|health| health.status.as_str()) {
        Some("starting") => " (health: starting)".into(),
        Some(word) => format!(" ({word})"),
        None => String::new(),
    }
}

fn ago(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 730 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::ago;

    #[test]
    fn durations_are_told_as_docker_tells_them() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86_400, "24 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(ago(seconds), words);
        }
    }
}
