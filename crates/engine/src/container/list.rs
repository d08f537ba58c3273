//! `ps`: rows of containers, filtered. Reads only what drivers have published, so nothing can block it.

use jiff::Timestamp;
use teu_api::Filters;
use teu_api::container::{HealthSummary, Port, PruneReport, Summary, SummaryHostConfig, SummaryNetworks};

use super::inspect::status;
use super::{Container, Containers, Phase, Record, RemoveOptions};
use crate::error::{Error, Result};
use crate::pattern::Patterns;
use crate::prune::Mode;

/// What `ps` asks for.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Those that do not run, too.
    pub all: bool,
    /// Only the newest so many.
    pub limit: Option<usize>,
    /// With sizes.
    pub size: bool,
    /// The members of a row that are looked at, `Id`; all of them when there are none.
    pub fields: Vec<String>,
    /// Only those that match.
    pub filters: Filters,
}

const KNOWN: &[&str] = &[
    "ancestor",
    "before",
    "expose",
    "exited",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "label!",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// Filters that are made ready once.
struct Wanted {
    before: Option<String>,
    since: Option<String>,
    names: Patterns,
}

/// Refuses filters whose values mean nothing.
fn check(filters: &Filters) -> Result<()> {
    let words: [(&str, &[&str]); 2] = [
        ("status", &["created", "restarting", "running", "removing", "paused", "exited", "dead"]),
        ("health", &["none", "starting", "healthy", "unhealthy"]),
    ];
    let invalid = |key: &str, value: &str| Err(Error::bad(format!("invalid filter '{key}={value}'")));
    for (key, known) in words {
        if let Some(word) = filters.get(key).iter().find(|word| !known.contains(&word.as_str())) {
            return invalid(key, word);
        }
    }
    if let Some(code) = filters.get("exited").iter().find(|code| code.parse::<i64>().is_err()) {
        return invalid("exited", code);
    }
    if let Err(value) = filters.flag("is-task") {
        return invalid("is-task", &value);
    }
    for key in ["publish", "expose"] {
        if let Some(port) = filters.get(key).iter().find(|port| range(port).is_none()) {
            return invalid(key, port);
        }
    }
    Ok(())
}

/// `80`, `80/udp`, `80-90/tcp`: first, last, protocol.
fn range(text: &str) -> Option<(u16, u16, &str)> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && matches!(protocol, "tcp" | "udp" | "sctp")).then_some((first, last, protocol))
}

impl Containers {
    /// The containers, newest first.
    ///
    /// # Errors
    /// When a filter is unknown or has no meaning.
    pub async fn list(&self, query: &ListQuery) -> Result<Vec<Summary>> {
        let filters = &query.filters;
        if let Some(unknown) = filters.unknown(KNOWN) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        check(filters)?;
        let wanted = Wanted {
            before: self.bound(filters, "before")?,
            since: self.bound(filters, "since")?,
            names: Patterns::new(filters.get("name")),
        };
        let explicit = filters.contains("status") || filters.contains("exited");
        let all = query.all || query.limit.is_some() || explicit;
        let mut rows: Vec<(Container, std::sync::Arc<Record>)> = vec![];
        for container in self.all() {
            let record = container.record();
            let running = matches!(record.state.phase, Phase::Running | Phase::Paused | Phase::Restarting);
            if (running || all) && self.passes(&record, filters, &wanted) {
                rows.push((container, record));
            }
        }
        rows.sort_by(|(_, a), (_, b)| b.created.cmp(&a.created));
        rows.truncate(query.limit.unwrap_or(usize::MAX));
        let now = Timestamp::now();
        let mut links = self.link_names();
        let mut row = |(container, record): &(Container, std::sync::Arc<Record>)| {
            let mut row = self.row(container, record, query, now)?;
            row.names.extend(links.remove(&record.id).unwrap_or_default());
            Ok(row)
        };
        rows.iter().map(&mut row).collect()
    }

    fn bound(&self, filters: &Filters, key: &str) -> Result<Option<String>> {
        filters.get(key).first().map(|name| Ok(self.find(name)?.record().created.clone())).transpose()
    }

    fn passes(&self, record: &Record, filters: &Filters, wanted: &Wanted) -> bool {
        if filters.is_empty() {
            return true;
        }
        let any = |key: &str, test: &dyn Fn(&str) -> bool| {
            !filters.contains(key) || filters.get(key).iter().any(|value| test(value))
        };
        let state = &record.state;
        let code = state.exit_code.to_string();
        let image_id = record.image_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let ancestor = |wanted: &str| {
            record.image == wanted
                || image_id.trim_start_matches("sha256:").starts_with(wanted.trim_start_matches("sha256:"))
                || self.context.images.resolve(wanted).is_ok_and(|image| Some(image.id) == record.image_id)
        };
        any("status", &|word| word == state.phase.word())
            && any("exited", &|wanted| wanted == code && state.phase == Phase::Exited)
            && any("id", &|wanted| record.id.starts_with(wanted))
            && (wanted.names.match_any(&record.name) || wanted.names.match_any(&format!("/{}", record.name)))
            && any("network", &|wanted| {
                let on = self.context.networks.of(record);
                on.iter().any(|(name, id)| name == wanted || id.starts_with(wanted))
            })
            && any("volume", &|wanted| {
                let mut points = record.mounts.iter().map(|mount| &mount.point);
                points.any(|point| point.name == wanted || point.destination == wanted || point.source == wanted)
            })
            && any("publish", &|wanted| has_port(record, wanted, true))
            && any("expose", &|wanted| has_port(record, wanted, false))
            && any("ancestor", &ancestor)
            && any("health", &|wanted| wanted == state.health.as_ref().map_or("none", |health| health.status.as_str()))
            && filters.flag("is-task") != Ok(Some(true))
            && wanted.before.as_ref().is_none_or(|before| record.created < *before)
            && wanted.since.as_ref().is_none_or(|since| record.created > *since)
            && filters.match_labels(&record.config.labels)
    }

    /// One row, without what is large and not looked at.
    fn row(&self, container: &Container, record: &Record, query: &ListQuery, now: Timestamp) -> Result<Summary> {
        fn when<T: Default>(wanted: bool, member: impl FnOnce() -> T) -> T {
            if wanted { member() } else { T::default() }
        }
        let has = |name: &str| query.fields.is_empty() || query.fields.iter().any(|field| field == name);
        let (size_rw, size_root_fs) = if query.size { container.sizes()? } else { (None, None) };
        let mode = &record.host.network_mode;
        Ok(Summary {
            id: record.id.clone(),
            names: vec![format!("/{}", record.name)],
            image: record.image.clone(),
            image_id: record.image_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            command: command_line(&record.words()),
            created: record.created.parse::<Timestamp>().map_or(0, Timestamp::as_second),
            ports: when(has("Ports"), || ports(record)),
            size_rw,
            size_root_fs,
            labels: when(has("Labels"), || record.config.labels.clone()),
            state: record.state.phase.word().into(),
            status: status(&record.state, now),
            health: Some(record.state.health.as_ref().map_or_else(
                || HealthSummary { status: "none".into(), failing_streak: 0 },
                |health| HealthSummary { status: health.status.clone(), failing_streak: health.failing_streak },
            )),
            host_config: SummaryHostConfig { network_mode: mode.clone(), annotations: record.host.annotations.clone() },
            network_settings: SummaryNetworks {
                networks: when(has("NetworkSettings"), || {
                    crate::network::settings(record, &self.context.networks).networks
                }),
            },
            mounts: when(has("Mounts"), || record.mounts.iter().map(|mount| mount.point.clone()).collect()),
            ..Summary::default()
        })
    }

    /// The names of the networks that containers are on or ask for.
    #[must_use]
    pub fn networks_in_use(&self) -> Vec<String> {
        let names =
            |container: &Container| crate::network::asked(&container.record()).into_iter().map(|(name, _)| name);
        self.all().iter().flat_map(names).collect()
    }

    /// Removes those that do not run.
    ///
    /// # Errors
    /// When a filter is unknown or has no meaning.
    pub async fn prune(&self, filters: &Filters, mode: Mode) -> Result<PruneReport> {
        if let Some(unknown) = filters.unknown(&["label", "label!", "until"]) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        let until = filters.get("until").first().map(|text| crate::prune::until(text)).transpose()?;
        let mut report = PruneReport::default();
        for container in self.all() {
            let record = container.record();
            let idle = matches!(record.state.phase, Phase::Created | Phase::Exited);
            let old = until.is_none_or(|until| record.created.parse::<Timestamp>().is_ok_and(|made| made < until));
            if !idle || !old || !filters.match_labels(&record.config.labels) {
                continue;
            }
            let bytes = self.context.store.snapshots().usage(&record.id).map_or(0, |usage| usage.bytes);
            if mode == Mode::Tell || container.remove(RemoveOptions::default()).await.is_ok() {
                report.containers_deleted.push(record.id.clone());
                report.space_reclaimed += bytes;
            }
        }
        if mode != Mode::Tell {
            // Who asked for room has it when the answer comes.
            tokio::task::block_in_place(|| self.context.store.empty_trash())?;
        }
        Ok(report)
    }
}

fn has_port(record: &Record, wanted: &str, public: bool) -> bool {
    let Some((first, last, protocol)) = range(wanted) else { return false };
    ports(record).iter().any(|port| {
        let number = if public { port.public_port.unwrap_or(0) } else { port.private_port };
        port.kind == protocol && (first..=last).contains(&number)
    })
}

fn ports(record: &Record) -> Vec<Port> {
    if record.endpoints.is_empty() {
        return vec![];
    }
    let published = record.ports.iter().map(|port| Port {
        ip: port.host_ip.to_string(),
        private_port: port.container_port,
        public_port: Some(port.host_port).filter(|port| *port > 0),
        kind: port.protocol.clone(),
    });
    let mut all: Vec<Port> = published.collect();
    for key in record.config.exposed_ports.keys() {
        let (number, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        let Ok(number) = number.parse::<u16>() else { continue };
        if !all.iter().any(|port| port.private_port == number && port.kind == protocol) {
            all.push(Port { private_port: number, kind: protocol.into(), ..Port::default() });
        }
    }
    all
}
/// Program and arguments as lists show them: an argument with a space in quotes.
fn command_line(words: &[String]) -> String {
    let shown = |(place, word): (usize, &String)| match place > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    words.iter().enumerate().map(shown).collect::<Vec<_>>().join(" ")
}
