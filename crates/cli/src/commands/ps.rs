//! `teu ps`: which containers there are.

use serde_json::Value;
use teu_api::Reference;
use teu_api::container::{Port, Summary};

use super::filters;
use crate::Session;
use crate::failure::Failure;
use crate::grammar::environment;
use crate::output::list::{Column, List, Row, Wanted, labels};
use crate::output::{print, units};
use crate::table::Verb;

/// Lists containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Show all containers (not only running ones)
    #[arg(short, long)]
    all: bool,
    /// Show only what matches (name=value)
    #[arg(short, long, value_name = "filter", value_parser = environment::filter)]
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

pub(super) const COLUMNS: &[Column] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("HealthStatus", "HEALTH STATUS"),
    ("Size", "SIZE"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

/// What of a container each column is made from.
const MEMBERS: &[(&str, &str)] = &[
    ("ID", "Id"),
    ("Image", "Image,ImageID"),
    ("Command", "Command"),
    ("CreatedAt", "Created"),
    ("RunningFor", "Created"),
    ("Ports", "Ports"),
    ("State", "State"),
    ("Status", "Status"),
    ("HealthStatus", "Status"),
    ("Size", "SizeRw,SizeRootFs"),
    ("Names", "Names"),
    ("Labels", "Labels"),
    ("Label", "Labels"),
    ("Mounts", "Mounts"),
    ("LocalVolumes", "Mounts"),
    ("Networks", "NetworkSettings"),
    ("Platform", "ImageManifestDescriptor"),
];

const TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
                   state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n\
                   labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

impl Verb for Ps {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "List containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let own = if self.quiet { None } else { session.file.format("psFormat") };
        let format = self.format.as_deref().filter(|format| !format.is_empty()).or(own);
        let size = self.size || format.is_some_and(shows_sizes);
        let limit = if self.latest { Some(1) } else { self.last.filter(|last| *last >= 0) };
        let client = session.client();
        let (table, raw) = match self.size {
            true => (format!("{TABLE}\t{{{{.Size}}}}"), format!("{RAW}size: {{{{.Size}}}}\n")),
            false => (TABLE.to_owned(), RAW.to_owned()),
        };
        // `--quiet` wins over a template of the user's own.
        let format = format.filter(|format| !self.quiet || *format == "raw");
        let (quiet, raw) = match self.quiet {
            true => (Some("{{.ID}}"), "container_id: {{.ID}}".to_owned()),
            false => (None, raw),
        };
        let list = List { columns: COLUMNS, default: &table, quiet, raw: &raw, format };
        let wanted = list.wanted();
        let call = client.get("/containers/json").flag("all", self.all || limit.is_some()).flag("size", size);
        let call = call.maybe("limit", limit.map(|limit| limit.to_string())).maybe("fields", fields(&wanted));
        let call = call.filters(&filters(&self.filter)?);
        let mut lines = list.begin()?;
        call.each(|container: Summary| lines.add(cells(&container, self.no_trunc, &wanted))).await?;
        print(&lines.end())?;
        Ok(0)
    }
}

/// Whether a format shows how large containers are: by name, or with everything.
fn shows_sizes(format: &str) -> bool {
    format.contains(".Size") || format.contains("json .}}") || format.contains("json . ")
}

/// What of a container the daemon has to say for what is shown; nothing for everything. Most of a long list's time would
/// go to what nobody looks at. An engine that does not know the parameter says everything.
fn fields(wanted: &Wanted<'_>) -> Option<String> {
    let fields = MEMBERS.iter().filter(|(name, _)| wanted.has(name)).map(|(_, members)| *members);
    (!wanted.is_all()).then(|| fields.collect::<Vec<_>>().join(","))
}

/// One row of the list.
pub(super) fn cells(container: &Summary, whole: bool, wanted: &Wanted<'_>) -> Row {
    let row = wanted.row([
        ("ID", &|| Value::from(if whole { &container.id } else { units::short_id(&container.id) })),
        ("Image", &|| Value::from(image(container, whole))),
        ("Command", &|| Value::from(command(container, whole))),
        ("CreatedAt", &|| Value::from(units::date(container.created))),
        ("RunningFor", &|| Value::from(units::ago(container.created))),
        ("Ports", &|| Value::from(ports(&container.ports))),
        ("State", &|| Value::from(container.state.as_str())),
        ("Status", &|| Value::from(container.status.as_str())),
        ("HealthStatus", &|| Value::from(health(&container.status))),
        ("Size", &|| Value::from(size(container))),
        ("Names", &|| Value::from(names(container, whole))),
        ("Labels", &|| Value::from(labels(&container.labels))),
        ("Mounts", &|| Value::from(mounts(container, whole))),
        ("LocalVolumes", &|| Value::from(container.mounts.iter().filter(|m| m.driver == "local").count().to_string())),
        ("Networks", &|| Value::from(networks(container))),
        ("Platform", &|| platform(container)),
    ]);
    row.labelled(&container.labels)
}

/// Its names, without those that links gave unless all are shown.
fn names(container: &Summary, whole: bool) -> String {
    let names: Vec<&str> = container.names.iter().map(|name| name.trim_start_matches('/')).collect();
    let own = names.iter().find(|name| !name.contains('/')).filter(|_| !whole);
    own.map_or_else(|| names.join(","), |name| (*name).to_owned())
}

fn command(container: &Summary, whole: bool) -> String {
    match whole {
        true => units::quote(&container.command),
        false => units::quote(&units::ellipsis(&container.command, 20)),
    }
}

fn size(container: &Summary) -> String {
    let written = units::size(container.size_rw.unwrap_or(0));
    match container.size_root_fs {
        Some(all) if all > 0 => format!("{written} (virtual {})", units::size(all)),
        _ => written,
    }
}

fn mounts(container: &Summary, whole: bool) -> String {
    let mounts = container.mounts.iter().map(|mount| {
        let shown = if mount.name.is_empty() { &mount.source } else { &mount.name };
        if whole { shown.clone() } else { units::ellipsis(shown, 15) }
    });
    mounts.collect::<Vec<_>>().join(",")
}

fn networks(container: &Summary) -> String {
    container.network_settings.networks.keys().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// The health that a status ends with, `Up 2 minutes (health: starting)`.
fn health(status: &str) -> &str {
    let word = status.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default();
    let word = word.strip_prefix("health: ").unwrap_or(word);
    if matches!(word, "healthy" | "unhealthy" | "starting") { word } else { "" }
}

/// The image without its digest; one known by its id only is shown by the id's short form.
fn image(container: &Summary, whole: bool) -> String {
    let image = &container.image;
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if whole {
        return image.clone();
    }
    let short = units::short_id(image);
    if short == units::short_id(&container.image_id) {
        return short.to_owned();
    }
    match image.parse::<Reference>() {
        Ok(reference) if image.contains('@') => match reference.tag() {
            Some(tag) => format!("{}:{tag}", reference.familiar_repository()),
            None => reference.familiar_repository(),
        },
        Ok(reference) if reference.tag() == Some("latest") && !image.ends_with(":latest") => {
            reference.familiar_repository()
        }
        Ok(reference) => reference.familiar(),
        Err(_) => image.clone(),
    }
}

/// `linux/amd64`, when the daemon says it.
fn platform(container: &Summary) -> Value {
    let descriptor = container.image_manifest_descriptor.as_ref();
    match descriptor.and_then(|descriptor| descriptor.platform.as_ref()) {
        Some(platform) => Value::from(platform.to_string()),
        None => Value::Null,
    }
}

/// Ports as one cell, in Docker's order: runs of ports that are the same on both sides, then those that are not.
pub(super) fn ports(ports: &[Port]) -> String {
    let mut ports: Vec<&Port> = ports.iter().collect();
    ports.sort_by_key(|port| (port.private_port, &port.ip, port.public_port, &port.kind));
    let mut runs: Vec<(&Port, u16)> = Vec::new();
    let (mut done, mut mapped) = (Vec::new(), Vec::new());
    for port in ports {
        if !port.ip.is_empty() && port.public_port != Some(port.private_port) {
            let public = port.public_port.unwrap_or(0);
            mapped.push(format!("{}:{public}->{}/{}", bracketed(&port.ip), port.private_port, port.kind));
            continue;
        }
        match runs.iter_mut().find(|(first, _)| first.ip == port.ip && first.kind == port.kind) {
            Some((_, last)) if last.checked_add(1) == Some(port.private_port) => *last = port.private_port,
            Some(run) => {
                done.push(run_of_ports(run.0, run.1));
                *run = (port, port.private_port);
            }
            None => runs.push((port, port.private_port)),
        }
    }
    done.extend(runs.into_iter().map(|(first, last)| run_of_ports(first, last)));
    done.extend(mapped);
    done.join(", ")
}

fn run_of_ports(first: &Port, last: u16) -> String {
    let range = match first.private_port == last {
        true => last.to_string(),
        false => format!("{}-{last}", first.private_port),
    };
    match first.ip.is_empty() {
        true => format!("{range}/{}", first.kind),
        false => format!("{}:{range}->{range}/{}", bracketed(&first.ip), first.kind),
    }
}

fn bracketed(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
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
            port("0.0.0.0", Some(443), 443, "tcp"),
            port("0.0.0.0", Some(444), 444, "tcp"),
            port("0.0.0.0", Some(8000), 80, "tcp"),
            port("::", Some(8000), 80, "tcp"),
            port("0.0.0.0", Some(9000), 90, "tcp"),
        ];
        assert_eq!(
            ports(&list),
            "9/udp, 0.0.0.0:443-444->443-444/tcp, 0.0.0.0:8000->80/tcp, [::]:8000->80/tcp, 0.0.0.0:9000->90/tcp"
        );
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
        let Row { cells, .. } = cells(&container, false, &Wanted::ALL);
        assert_eq!(cells["ID"], "0123456789ab");
        assert_eq!(cells["Command"], "\"sh -c 'while true; …\"");
        assert_eq!(cells["Names"], "web");
    }
}
