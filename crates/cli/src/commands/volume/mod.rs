//! `teu volume`: data that outlives containers.

pub(crate) mod copies;

use std::collections::BTreeMap;

use serde_json::Value;
use teu_api::Filters;
use teu_api::container::Summary;
use teu_api::volume::{CreateRequest, ListResponse, Volume};

use super::inspect::{Kind, inspect};
use super::{each, filters};
use crate::Session;
use crate::client::{Client, escape};
use crate::failure::Failure;
use crate::grammar::environment;
use crate::output::line;
use crate::output::list::{self, Column, Row, labels, row};
use crate::table::Verb;

/// Creates a volume.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Driver of the volume
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Set labels on the volume
    #[arg(long, value_parser = environment::label)]
    label: Vec<String>,
    /// Options of the driver
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// Name of the volume
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

/// Lists volumes.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Show only what matches (name=value)
    #[arg(short, long, value_name = "filter", value_parser = environment::filter)]
    filter: Vec<String>,
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Show names only
    #[arg(short, long)]
    quiet: bool,
}

/// Inspects volumes.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumeInspect {
    /// Format with a Go template, or 'json'
    #[arg(short, long)]
    format: Option<String>,
    /// Volumes to inspect
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

/// Removes volumes.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// A missing volume is no error
    #[arg(short, long)]
    force: bool,
    /// Volumes to remove
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

const COLUMNS: &[Column] = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Size", "SIZE"),
    ("Links", "LINKS"),
    ("Availability", "AVAILABILITY"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

impl Verb for Create {
    const USAGE: &'static str = "[VOLUME]";
    const ABOUT: &'static str = "Create a volume";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let request = CreateRequest {
            name: self.name.unwrap_or_default(),
            driver: self.driver,
            driver_opts: Some(environment::pairs(&self.opt)).filter(|options| !options.is_empty()),
            labels: Some(environment::pairs(&self.label)).filter(|labels| !labels.is_empty()),
            ..CreateRequest::default()
        };
        let client = session.client();
        let volume: Volume = client.post("/volumes/create").json(&request)?.read().await?;
        line(&volume.name)?;
        Ok(0)
    }
}

impl Verb for List {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "List volumes";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let mut list: ListResponse = client.get("/volumes").filters(&filters(&self.filter)?).read().await?;
        for warning in list.warnings.iter().flatten() {
            eprintln!("WARNING: {warning}");
        }
        list.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        let quiet = self.quiet.then_some("{{.Name}}");
        let own = if self.quiet { None } else { session.file.format("volumesFormat") };
        let format = self.format.as_deref().filter(|format| !format.is_empty()).or(own);
        let default = "table {{.Driver}}\t{{.Name}}";
        let raw = if self.quiet { "name: {{.Name}}" } else { "name: {{.Name}}\ndriver: {{.Driver}}\n" };
        list::List { columns: COLUMNS, default, quiet, raw, format }.print(list.volumes.iter().map(cells))?;
        Ok(0)
    }
}

fn cells(volume: &Volume) -> Row {
    row([
        ("Name", Value::from(volume.name.as_str())),
        ("Driver", Value::from(volume.driver.as_str())),
        ("Scope", Value::from(volume.scope.as_str())),
        ("Mountpoint", Value::from(volume.mountpoint.as_str())),
        ("Labels", Value::from(labels(volume.labels.iter().flatten()))),
        ("Size", Value::from("N/A")),
        ("Links", Value::from("N/A")),
        // Of volumes in a swarm.
        ("Availability", Value::from("N/A")),
        ("Group", Value::from("N/A")),
        ("Status", Value::from("N/A")),
    ])
    .labelled(volume.labels.as_ref().unwrap_or(&BTreeMap::new()))
}

impl Verb for VolumeInspect {
    const USAGE: &'static str = "VOLUME [VOLUME...]";
    const ABOUT: &'static str = "Display detailed information on one or more volumes";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        inspect(session, &[Kind::Volume], &self.names, self.format.as_deref()).await
    }
}

impl Verb for Remove {
    const USAGE: &'static str = "VOLUME [VOLUME...]";
    const ABOUT: &'static str = "Remove one or more volumes";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = &session.client();
        let force = self.force;
        each(&self.names, async |name| {
            if self.dry_run {
                return if may_go(client, name, force).await? { line(name) } else { Ok(()) };
            }
            client.delete(format!("/volumes/{}", escape(name))).flag("force", force).done().await?;
            line(name)
        })
        .await
    }
}

/// Whether the daemon would remove it; why not is said in its words.
async fn may_go(client: &Client<'_>, name: &str, force: bool) -> Result<bool, Failure> {
    match client.get(format!("/volumes/{}", escape(name))).done().await {
        Err(failure) if force && failure.is_not_found() => return Ok(false),
        other => other?,
    }
    let mut filters = Filters::default();
    filters.add("volume", name);
    let users: Vec<Summary> = client.get("/containers/json").flag("all", true).filters(&filters).read().await?;
    if users.is_empty() {
        return Ok(true);
    }
    let ids: Vec<&str> = users.iter().map(|user| user.id.as_str()).collect();
    Err(Failure::new(format!("remove {name}: volume is in use - [{}]", ids.join(", "))))
}
