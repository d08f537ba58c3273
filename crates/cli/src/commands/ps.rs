//! `teu ps`: which containers there are.

use serde_json::Value;
use teu_api::container::{Port, Summary};

use super::filters;
use crate::Session;
use crate::failure::Failure;
use crate::output::listing::{Column, Listing, labels, row};
use crate::output::{line, units};
use crate::table::Verb;

/// Lists containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Show all containers (not only running ones)
    #[arg(short, long)]
    all: bool,
    /// Show only what matches (name=value)
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Show the n containers created last (whatever their state)
    #[arg(short = 'n', long, value_name = "int", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show the container created last (whatever its state)
    #[arg(short, long)]
    latest: bool,
    /// Do not shorten output
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show sizes
    #[arg(short, long)]
    size: bool,
}

const COLUMNS: &[Column] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

const TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

impl Verb for Ps {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "List containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let size = self.size || self.format.as_deref().is_some_and(|format| format.contains(".Size"));
        let limit = if self.latest { Some(1) } else { self.last.filter(|last| *last >= 0) };
        let client = session.client();
        let call = client.get("/containers/json").flag("all", self.all).flag("size", size);
        let call = call.maybe("limit", limit.map(|limit| limit.to_string())).filters(&filters(&self.filter)?);
        let containers: Vec<Summary> = call.read().await?;
        if self.quiet && self.format.is_none() {
            let id = |c: &Summary| if self.no_trunc { c.id.clone() } else { units::short_id(&c.id).to_owned() };
            containers.iter().try_for_each(|container| line(&id(container)))?;
            return Ok(0);
        }
        let rows: Vec<Value> = containers.iter().map(|container| cells(container, self.no_trunc)).collect();
        let sized = format!("{TABLE}\t{{{{.Size}}}}");
        let default = if self.size { sized.as_str() } else { TABLE };
        Listing { columns: COLUMNS, default, format: self.format.as_deref() }.print(&rows)?;
        Ok(0)
    }
}

fn cells(container: &Summary, whole: bool) -> Value {
    let names: Vec<&str> = container.names.iter().map(|name| name.trim_start_matches('/')).collect();
    let command = format!("\"{}\"", container.command);
    let mounts = container.mounts.iter().map(|mount| match mount.name.is_empty() {
        true if whole => mount.source.clone(),
        true => units::ellipsis(&mount.source, 15),
        false if whole => mount.name.clone(),
        false => units::ellipsis(&mount.name, 15),
    });
    let networks: Vec<&str> = container.network_settings.networks.keys().map(String::as_str).collect();
    let written = units::size(container.size_rw.unwrap_or(0));
    let size = match container.size_root_fs {
        Some(all) if all > 0 => format!("{written} (virtual {})", units::size(all)),
        _ => written,
    };
    row([
        ("ID", Value::from(if whole { &container.id } else { units::short_id(&container.id) })),
        ("Image", Value::from(image(&container.image, whole))),
        ("Command", Value::from(if whole { command } else { shorten_command(&container.command) })),
        ("CreatedAt", Value::from(units::date(container.created))),
        ("RunningFor", Value::from(units::ago(container.created))),
        ("Ports", Value::from(ports(&container.ports))),
        ("State", Value::from(container.state.as_str())),
        ("Status", Value::from(container.status.as_str())),
        ("Size", Value::from(size)),
        ("Names", Value::from(names.join(","))),
        ("Labels", Value::from(labels(&container.labels))),
        ("Mounts", Value::from(mounts.collect::<Vec<_>>().join(","))),
        ("LocalVolumes", Value::from(container.mounts.iter().filter(|m| m.kind == "volume").count().to_string())),
        ("Networks", Value::from(networks.join(","))),
        ("Platform", Value::Null),
    ])
}

fn shorten_command(command: &str) -> String {
    format!("\"{}\"", units::ellipsis(command, 18))
}

/// An image known by its id only is shown by the id's short form.
fn image(image: &str, whole: bool) -> &str {
    let is_id = image.starts_with("sha256:") && image.len() == 71;
    if is_id && !whole { units::short_id(image) } else { image }
}

/// Ports as one cell; neighbours are joined: `0.0.0.0:8000-8001->80-81/tcp, 9/udp`.
fn ports(ports: &[Port]) -> String {
    let mut ports: Vec<&Port> = ports.iter().collect();
    ports.sort_by_key(|port| (&port.ip, &port.kind, port.private_port, port.public_port));
    let mut runs: Vec<(&Port, &Port)> = Vec::new();
    for port in ports {
        match runs.last_mut() {
            Some((_, last)) if follows(last, port) => *last = port,
            _ => runs.push((port, port)),
        }
    }
    // Published ports come first.
    runs.sort_by_key(|(first, _)| first.public_port.is_none());
    runs.into_iter().map(|(first, last)| shown(first, last)).collect::<Vec<_>>().join(", ")
}

fn follows(last: &Port, next: &Port) -> bool {
    let step = |a: Option<u16>, b: Option<u16>| match (a, b) {
        (Some(a), Some(b)) => a.checked_add(1) == Some(b),
        (None, None) => true,
        _ => false,
    };
    last.ip == next.ip
        && last.kind == next.kind
        && last.private_port.checked_add(1) == Some(next.private_port)
        && step(last.public_port, next.public_port)
}

fn shown(first: &Port, last: &Port) -> String {
    let range = |a: u16, b: u16| if a == b { a.to_string() } else { format!("{a}-{b}") };
    let inside = format!("{}/{}", range(first.private_port, last.private_port), first.kind);
    match (first.public_port, last.public_port) {
        (Some(a), Some(b)) => {
            let ip = if first.ip.contains(':') { format!("[{}]", first.ip) } else { first.ip.clone() };
            format!("{ip}:{}->{inside}", range(a, b))
        }
        _ => inside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, public: Option<u16>, private: u16, kind: &str) -> Port {
        Port { ip: ip.into(), private_port: private, public_port: public, kind: kind.into() }
    }

    #[test]
    fn neighbouring_ports_are_joined() {
        let list = [
            port("", None, 9, "udp"),
            port("0.0.0.0", Some(8001), 81, "tcp"),
            port("0.0.0.0", Some(8000), 80, "tcp"),
            port("::", Some(8000), 80, "tcp"),
            port("0.0.0.0", Some(9000), 90, "tcp"),
        ];
        assert_eq!(ports(&list), "0.0.0.0:8000-8001->80-81/tcp, 0.0.0.0:9000->90/tcp, [::]:8000->80/tcp, 9/udp");
    }

    #[test]
    fn a_row_shows_a_container() {
        let container = Summary {
            id: "0123456789abcdef".into(),
            names: vec!["/web".into()],
            image: "busybox".into(),
            command: "sh -c 'while true; do :; done'".into(),
            status: "Up 2 minutes".into(),
            ..Summary::default()
        };
        let cells = cells(&container, false);
        assert_eq!(cells["ID"], "0123456789ab");
        assert_eq!(cells["Command"], "\"sh -c 'while true…\"");
        assert_eq!(cells["Names"], "web");
    }
}
