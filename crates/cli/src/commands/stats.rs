//! `teu stats`: what containers use, as a screen that changes in place.
//!
//! Each container's samples are a stream of their own; without names, events tell which containers come and go.

use std::io::IsTerminal;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{LocalBoxStream, SelectAll};
use serde_json::Value;
use teu_api::Filters;
use teu_api::container::{Stats as Sample, Summary};
use teu_api::event::Message;

use super::container_path;
use crate::client::{Client, JsonLines};
use crate::failure::Failure;
use crate::output::list::{Column, List, Row, row};
use crate::output::{print, units};
use crate::table::Verb;
use crate::{Session, terminal};

/// How often the screen is drawn.
const STEP: Duration = Duration::from_millis(500);
/// How long the first screen waits for every container's first sample.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows what containers use.
#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    /// Show all containers (not only running ones)
    #[arg(short, long)]
    all: bool,
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Show one sample and end
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten output
    #[arg(long)]
    no_trunc: bool,
    /// Containers to show; all that run, without any
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const COLUMNS: &[Column] = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const TABLE: &str =
    "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// A container on the screen, as the user or an event names it.
struct Shown {
    name: String,
    sample: Option<Sample>,
}

/// Samples of one container, as they come.
type Samples<'c> = LocalBoxStream<'c, (String, Result<Sample, Failure>)>;

impl Verb for Stats {
    const USAGE: &'static str = "[CONTAINER...]";
    const ABOUT: &'static str = "Display a live stream of container(s) resource usage statistics";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let format = session.format(self.format.as_deref(), "statsFormat").map(str::to_owned);
        let screen = Screen { format, whole: self.no_trunc, live: !self.no_stream && std::io::stdout().is_terminal() };
        let events = match self.containers.is_empty() && !self.no_stream {
            true => Some(watch_events(&client).await?),
            false => None,
        };
        let names = match self.containers.is_empty() {
            true => list(&client, self.all).await?,
            false => self.containers.clone(),
        };
        if self.no_stream {
            return self.once(&client, &names, &screen).await;
        }
        self.live(&client, names, events, &screen).await
    }
}

impl Stats {
    /// Shows one sample of each.
    async fn once(&self, client: &Client<'_>, names: &[String], screen: &Screen) -> Result<u8, Failure> {
        let ask = |name: &String| {
            let call = client.get(format!("{}/stats", container_path(name))).query("stream", "0");
            async move { call.read::<Sample>().await }
        };
        let answers = futures_util::future::join_all(names.iter().map(ask)).await;
        let mut shown = Vec::new();
        let mut code = 0;
        for (name, answer) in names.iter().zip(answers) {
            match answer {
                Ok(sample) => shown.push(Shown { name: name.clone(), sample: Some(sample) }),
                // Without names, one that has gone meanwhile is no mistake.
                Err(failure) if failure.is_not_found() && self.containers.is_empty() => {}
                Err(failure) => {
                    failure.report();
                    code = failure.code;
                }
            }
        }
        if code == 0 {
            screen.draw(&shown, true)?;
        }
        Ok(code)
    }

    /// Draws until the user has seen enough.
    async fn live(
        &self,
        client: &Client<'_>,
        names: Vec<String>,
        mut events: Option<JsonLines<Message>>,
        screen: &Screen,
    ) -> Result<u8, Failure> {
        let mut streams: SelectAll<Samples<'_>> = SelectAll::new();
        let mut shown = Vec::new();
        for name in names {
            streams.push(samples(client, name.clone()));
            shown.push(Shown { name, sample: None });
        }
        let mut steps = tokio::time::interval_at(tokio::time::Instant::now() + STEP, STEP);
        let begun = tokio::time::Instant::now();
        let mut drawn = false;
        loop {
            tokio::select! {
                Some((name, answer)) = streams.next(), if !streams.is_empty() => match answer {
                    Ok(sample) => {
                        if let Some(one) = shown.iter_mut().find(|one| one.name == name) {
                            one.sample = Some(sample);
                        }
                    }
                    Err(failure) if failure.status.is_some() && !self.containers.is_empty() => return Err(failure),
                    Err(_) => {}
                },
                event = next_event(&mut events) => match event? {
                    Some(event) => self.heed(&event, client, &mut shown, &mut streams),
                    // The daemon has ended.
                    None => return Ok(0),
                },
                _ = steps.tick() => {
                    let complete = shown.iter().all(|one| one.sample.is_some());
                    if drawn || complete || begun.elapsed() > PATIENCE {
                        screen.draw(&shown, !drawn)?;
                        drawn = true;
                    }
                    if streams.is_empty() && events.is_none() {
                        return Ok(0);
                    }
                }
            }
        }
    }

    /// A container comes or goes.
    fn heed<'c>(
        &self,
        event: &Message,
        client: &'c Client<'_>,
        shown: &mut Vec<Shown>,
        streams: &mut SelectAll<Samples<'c>>,
    ) {
        let id = &event.actor.id;
        match event.action.as_str() {
            "die" | "destroy" if !self.all || event.action == "destroy" => shown.retain(|one| one.name != *id),
            "start" | "create" if event.action == "start" || self.all => {
                if !shown.iter().any(|one| one.name == *id) {
                    shown.push(Shown { name: id.clone(), sample: None });
                }
                if event.action == "start" {
                    streams.push(samples(client, id.clone()));
                }
            }
            _ => {}
        }
    }
}

async fn list(client: &Client<'_>, all: bool) -> Result<Vec<String>, Failure> {
    let containers: Vec<Summary> = client.get("/containers/json").flag("all", all).read().await?;
    Ok(containers.into_iter().map(|container| container.id).collect())
}

async fn watch_events(client: &Client<'_>) -> Result<JsonLines<Message>, Failure> {
    let mut filters = Filters::default();
    filters.add("type", "container");
    client.get("/events").filters(&filters).lines().await
}

async fn next_event(events: &mut Option<JsonLines<Message>>) -> Result<Option<Message>, Failure> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// A container's samples until it is gone.
fn samples<'c>(client: &'c Client<'_>, name: String) -> Samples<'c> {
    let opening = async move {
        let call = client.get(format!("{}/stats", container_path(&name))).query("stream", "1");
        (name, call.lines::<Sample>().await)
    };
    let lines = futures_util::stream::once(opening).flat_map(|(name, opened)| match opened {
        Err(failure) => futures_util::stream::iter([(name, Err(failure))]).boxed_local(),
        Ok(lines) => futures_util::stream::unfold((name, lines), async |(name, mut lines)| {
            let sample = lines.next().await.ok().flatten()?;
            Some(((name.clone(), Ok(sample)), (name, lines)))
        })
        .boxed_local(),
    });
    lines.boxed_local()
}

/// Where and how samples are drawn.
struct Screen {
    format: Option<String>,
    whole: bool,
    live: bool,
}

impl Screen {
    fn draw(&self, shown: &[Shown], first: bool) -> Result<(), Failure> {
        let rows: Vec<Row> = shown.iter().map(|one| cells(one, self.whole)).collect();
        let list = List { columns: COLUMNS, default: TABLE, quiet: None, raw: "", format: self.format.as_deref() };
        let text = list.text(rows)?;
        if !self.live {
            return print(&text);
        }
        let height = terminal::size().map_or(usize::MAX, |(rows, _)| usize::from(rows).saturating_sub(1));
        let mut frame = String::from(if first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
        for line in text.lines().take(height) {
            frame.push_str(line);
            frame.push_str("\x1b[K\n");
        }
        frame.push_str("\x1b[J");
        print(&frame)
    }
}

fn cells(shown: &Shown, whole: bool) -> Row {
    let sample = shown.sample.as_ref().filter(|sample| !sample.id.is_empty());
    let value = |text: fn(&Sample) -> String| Value::from(sample.map_or("--".to_owned(), text));
    let id = sample.map_or(shown.name.as_str(), |sample| sample.id.as_str());
    // One that nobody has named goes by its id.
    let called = if shown.name.len() == 64 { units::short_id(&shown.name) } else { &shown.name };
    let name = sample.map_or("--", |sample| sample.name.trim_start_matches('/'));
    let usage = value(|s| format!("{} / {}", binary(memory(s)), binary(s.memory_stats.limit)));
    row([
        ("Container", Value::from(called)),
        ("Name", Value::from(name)),
        ("ID", Value::from(if whole { id } else { units::short_id(id) })),
        ("CPUPerc", value(|sample| format!("{:.2}%", processor(sample)))),
        ("MemUsage", if sample.is_some() { usage } else { Value::from("-- / --") }),
        ("MemPerc", value(|sample| format!("{:.2}%", share(memory(sample), sample.memory_stats.limit)))),
        (
            "NetIO",
            value(|sample| pair(sample.networks.values().fold((0, 0), |(r, t), n| (r + n.rx_bytes, t + n.tx_bytes)))),
        ),
        ("BlockIO", value(|sample| pair(blocks(sample)))),
        ("PIDs", value(|sample| sample.pids_stats.current.to_string())),
    ])
}

fn binary(bytes: u64) -> String {
    units::binary_size(i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn pair((a, b): (u64, u64)) -> String {
    let size = |bytes: u64| units::size(i64::try_from(bytes).unwrap_or(i64::MAX));
    format!("{} / {}", size(a), size(b))
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// Percent of one processor between the two readings of a sample.
fn processor(sample: &Sample) -> f64 {
    let (now, before) = (&sample.cpu_stats, &sample.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let passed = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let processors = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        count => f64::from(count),
    };
    if used > 0.0 && passed > 0.0 { used / passed * processors * 100.0 } else { 0.0 }
}

/// Memory in use without the page cache that can be dropped (by its name in cgroup v1, then in v2).
fn memory(sample: &Sample) -> u64 {
    let memory = &sample.memory_stats;
    let cache = ["total_inactive_file", "inactive_file"].into_iter().find_map(|name| memory.stats.get(name));
    cache.filter(|cache| **cache < memory.usage).map_or(memory.usage, |cache| memory.usage - cache)
}

/// Bytes read from and written to block devices.
fn blocks(sample: &Sample) -> (u64, u64) {
    let of = |sign: char| {
        let entries = sample.blkio_stats.io_service_bytes_recursive.iter();
        entries.filter(|entry| entry.op.to_ascii_lowercase().starts_with(sign)).map(|entry| entry.value).sum()
    };
    (of('r'), of('w'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_told_in_dockers_units() {
        let text = r#"{"id":"0123456789abcdef","name":"/web","pids_stats":{"current":3},
            "cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":3145728,"stats":{"inactive_file":1048576},"limit":67108864},
            "networks":{"eth0":{"rx_bytes":1500,"tx_bytes":20}},
            "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":4096},{"op":"write","value":1}]}}"#;
        let shown = Shown { name: "web".into(), sample: Some(serde_json::from_str(text).unwrap()) };
        let row = cells(&shown, false).cells;
        assert_eq!((&row["ID"], &row["Name"]), (&Value::from("0123456789ab"), &Value::from("web")));
        assert_eq!((&row["CPUPerc"], &row["MemUsage"]), (&Value::from("40.00%"), &Value::from("2MiB / 64MiB")));
        assert_eq!((&row["MemPerc"], &row["NetIO"]), (&Value::from("3.12%"), &Value::from("1.5kB / 20B")));
        assert_eq!((&row["BlockIO"], &row["PIDs"]), (&Value::from("4.1kB / 1B"), &Value::from("3")));
        let empty = cells(&Shown { name: "web".into(), sample: None }, false).cells;
        assert_eq!((&empty["CPUPerc"], &empty["MemUsage"]), (&Value::from("--"), &Value::from("-- / --")));
    }
}
