//! The prune commands: what nobody uses goes away.

use std::io::{self, BufRead, IsTerminal, Write};

use teu_api::{Filters, build, container, image, network, volume};

use super::{filters, rmi};
use crate::Session;
use crate::client::Client;
use crate::failure::{Failure, Naming};
use crate::output::{line, units};
use crate::table::Verb;

/// Removes stopped containers.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerPrune {
    /// Remove only what matches (until=time, label=name)
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Removes unused images.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagePrune {
    /// Remove all unused images, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Remove only what matches (until=time, label=name)
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Removes unused networks.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkPrune {
    /// Remove only what matches (until=time, label=name)
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Removes unused volumes.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumePrune {
    /// Remove all unused volumes, not only anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Remove only what matches (label=name)
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Removes build cache.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildPrune {
    /// Remove all of the build cache, not only what is dangling
    #[arg(short, long)]
    all: bool,
    /// Remove only what matches (until=time)
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Removes everything unused.
#[derive(Debug, clap::Args)]
pub(crate) struct SystemPrune {
    /// Remove all unused images, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Remove only what matches (until=time, label=name)
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes too
    #[arg(long)]
    volumes: bool,
}

/// Asks whether to go on; a script must say `--force`.
fn confirm(force: bool, what: &str) -> Result<bool, Failure> {
    if force {
        return Ok(true);
    }
    eprint!("WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).or_fail("read the answer")?;
    if !io::stdin().is_terminal() {
        eprintln!();
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn list(title: &str, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    line(&format!("{title}:"))?;
    names.iter().try_for_each(|name| line(name))?;
    line("")
}

fn total(bytes: u64) -> Result<u8, Failure> {
    line(&format!("Total reclaimed space: {}", units::long_size(bytes)))?;
    Ok(0)
}

async fn containers(client: &Client<'_>, filters: &Filters) -> Result<u64, Failure> {
    let report: container::PruneReport = client.post("/containers/prune").filters(filters).read().await?;
    list("Deleted Containers", &report.containers_deleted)?;
    Ok(report.space_reclaimed)
}

async fn images(client: &Client<'_>, mut filters: Filters, all: bool) -> Result<u64, Failure> {
    filters.add("dangling", if all { "false" } else { "true" });
    let report: image::PruneReport = client.post("/images/prune").filters(&filters).read().await?;
    if !report.images_deleted.is_empty() {
        line("Deleted Images:")?;
        rmi::show(&report.images_deleted)?;
        line("")?;
    }
    Ok(report.space_reclaimed)
}

async fn networks(client: &Client<'_>, filters: &Filters) -> Result<(), Failure> {
    let report: network::PruneReport = client.post("/networks/prune").filters(filters).read().await?;
    list("Deleted Networks", &report.networks_deleted)
}

async fn volumes(client: &Client<'_>, mut filters: Filters, all: bool) -> Result<u64, Failure> {
    if all {
        filters.add("all", "true");
    }
    let report: volume::PruneReport = client.post("/volumes/prune").filters(&filters).read().await?;
    list("Deleted Volumes", &report.volumes_deleted)?;
    Ok(report.space_reclaimed)
}

async fn cache(client: &Client<'_>, filters: &Filters, all: bool) -> Result<u64, Failure> {
    let report: build::PruneReport = client.post("/build/prune").flag("all", all).filters(filters).read().await?;
    list("Deleted build cache objects", &report.caches_deleted)?;
    Ok(report.space_reclaimed)
}

impl Verb for ContainerPrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove all stopped containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        if !confirm(self.force, "all stopped containers")? {
            return Ok(0);
        }
        total(containers(&session.client(), &filters(&self.filter)?).await?)
    }
}

impl Verb for ImagePrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove unused images";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let what = if self.all { "all images without a container" } else { "all images without a name" };
        if !confirm(self.force, what)? {
            return Ok(0);
        }
        total(images(&session.client(), filters(&self.filter)?, self.all).await?)
    }
}

impl Verb for NetworkPrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove all unused networks";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        if confirm(self.force, "all custom networks without a container")? {
            networks(&session.client(), &filters(&self.filter)?).await?;
        }
        Ok(0)
    }
}

impl Verb for VolumePrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove unused local volumes";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let what = if self.all { "all volumes without a container" } else { "anonymous volumes without a container" };
        if !confirm(self.force, what)? {
            return Ok(0);
        }
        total(volumes(&session.client(), filters(&self.filter)?, self.all).await?)
    }
}

impl Verb for BuildPrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove build cache";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        if !confirm(self.force, if self.all { "all build cache" } else { "all dangling build cache" })? {
            return Ok(0);
        }
        total(cache(&session.client(), &filters(&self.filter)?, self.all).await?)
    }
}

impl Verb for SystemPrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove unused data";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut what = "all stopped containers, unused networks, build cache".to_owned();
        if self.volumes {
            what.push_str(", anonymous volumes");
        }
        what.push_str(if self.all { " and images without a container" } else { " and images without a name" });
        if !confirm(self.force, &what)? {
            return Ok(0);
        }
        let wanted = filters(&self.filter)?;
        let client = session.client();
        let mut bytes = containers(&client, &wanted).await?;
        networks(&client, &wanted).await?;
        if self.volumes {
            bytes += volumes(&client, wanted.clone(), false).await?;
        }
        bytes += images(&client, wanted.clone(), self.all).await?;
        bytes += cache(&client, &wanted, self.all).await?;
        total(bytes)
    }
}
