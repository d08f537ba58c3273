//! The prune commands: what nobody uses goes away.
//!
//! With `--dry-run` the daemon is asked the same question by `GET`, which changes nothing and which an engine that
//! does not know it refuses; so a dry run can never remove anything.

use serde::de::DeserializeOwned;
use teu_api::image::DeleteItem;
use teu_api::{Filters, build, container, image, network, volume};

use super::confirm::confirm;
use super::filters;
use crate::Session;
use crate::client::{Call, Client};
use crate::failure::Failure;
use crate::grammar::{environment, size};
use crate::output::{line, units};
use crate::table::Verb;

/// What all these commands can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove only what matches (until=time, label=name)
    #[arg(long, value_name = "filter", value_parser = environment::filter)]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Removes stopped containers.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerPrune {
    #[command(flatten)]
    common: Common,
}

/// Removes unused images.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagePrune {
    /// Remove all unused images, not only those without a name
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

/// Removes unused networks.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkPrune {
    #[command(flatten)]
    common: Common,
}

/// Removes unused volumes.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumePrune {
    /// Remove all unused volumes, not only anonymous ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

/// Removes build cache.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildPrune {
    /// Remove all of the build cache, not only what is dangling
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    room: Room,
    #[command(flatten)]
    common: Common,
}

/// How much of the build cache stays.
#[derive(Debug, Default, clap::Args)]
struct Room {
    /// Keep so much of it
    #[arg(long, alias = "reserved-space", value_name = "bytes", value_parser = size::bytes)]
    keep_storage: Option<i64>,
    /// Keep no more of it than that
    #[arg(long, value_name = "bytes", value_parser = size::bytes)]
    max_used_space: Option<i64>,
    /// Have so much of the disk free
    #[arg(long, value_name = "bytes", value_parser = size::bytes)]
    min_free_space: Option<i64>,
}

/// Removes everything unused.
#[derive(Debug, clap::Args)]
pub(crate) struct SystemPrune {
    /// Remove all unused images, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Remove anonymous volumes too
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    common: Common,
}

const STOPPED: &str = "all stopped containers";
const DANGLING: &str = "all dangling images";
const UNUSED_IMAGES: &str = "all images without at least one container associated to them";
const ANONYMOUS: &str = "anonymous local volumes not used by at least one container";
const UNUSED_VOLUMES: &str = "all local volumes not used by at least one container";

impl Common {
    /// The filters of the flags, and those of `config.json` that do not contradict them.
    fn filters(&self, session: &Session) -> Result<Filters, Failure> {
        let mut all = self.filter.clone();
        for own in session.file.prune_filters() {
            let opposite = match own.split_once('=') {
                Some(("label", value)) => format!("label!={value}"),
                Some(("label!", value)) => format!("label={value}"),
                _ => String::new(),
            };
            if !self.filter.contains(&opposite) {
                all.push(own);
            }
        }
        filters(&all)
    }

    /// Whether to go on.
    fn agreed(&self, what: &str) -> Result<bool, Failure> {
        if self.force || self.dry_run { Ok(true) } else { confirm(&format!("WARNING! This will remove {what}.")) }
    }
}

/// One run over the daemon's objects.
struct Pruning<'c> {
    client: &'c Client<'c>,
    dry: bool,
    reclaimed: u64,
}

impl<'c> Pruning<'c> {
    fn new(client: &'c Client<'c>, common: &Common) -> Self {
        Self { client, dry: common.dry_run, reclaimed: 0 }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        filters: &Filters,
        add: impl FnOnce(Call<'c>) -> Call<'c>,
    ) -> Result<T, Failure> {
        let call = if self.dry { self.client.get(path) } else { self.client.post(path) };
        add(call.filters(filters)).read().await.map_err(|failure| match failure.status {
            Some(404 | 405) if self.dry => Failure::new("this engine cannot say what it would prune: no --dry-run"),
            _ => failure,
        })
    }

    fn list(&self, what: &str, names: &[String]) -> Result<(), Failure> {
        if names.is_empty() {
            return Ok(());
        }
        line(&format!("{} {what}:", if self.dry { "Would delete" } else { "Deleted" }))?;
        names.iter().try_for_each(|name| line(name))?;
        line("")
    }

    async fn containers(&mut self, filters: &Filters) -> Result<(), Failure> {
        let report: container::PruneReport = self.ask("/containers/prune", filters, |call| call).await?;
        self.list("Containers", &report.containers_deleted)?;
        self.reclaimed += report.space_reclaimed;
        Ok(())
    }

    async fn images(&mut self, filters: &Filters, all: bool) -> Result<(), Failure> {
        let mut filters = filters.clone();
        filters.add("dangling", if all { "false" } else { "true" });
        let report: image::PruneReport = self.ask("/images/prune", &filters, |call| call).await?;
        let told = |item: &DeleteItem| match (&item.untagged, &item.deleted) {
            (Some(name), _) => format!("untagged: {name}"),
            (None, deleted) => format!("deleted: {}", deleted.as_deref().unwrap_or_default()),
        };
        self.list("Images", &report.images_deleted.iter().map(told).collect::<Vec<_>>())?;
        self.reclaimed += report.space_reclaimed;
        Ok(())
    }

    async fn networks(&mut self, filters: &Filters) -> Result<(), Failure> {
        let report: network::PruneReport = self.ask("/networks/prune", filters, |call| call).await?;
        self.list("Networks", &report.networks_deleted)
    }

    async fn volumes(&mut self, filters: &Filters, all: bool) -> Result<(), Failure> {
        let mut filters = filters.clone();
        if all {
            filters.add("all", "true");
        }
        let report: volume::PruneReport = self.ask("/volumes/prune", &filters, |call| call).await?;
        self.list("Volumes", &report.volumes_deleted)?;
        self.reclaimed += report.space_reclaimed;
        Ok(())
    }

    async fn cache(&mut self, filters: &Filters, all: bool, room: Room) -> Result<(), Failure> {
        let text = |bytes: Option<i64>| bytes.map(|bytes| bytes.to_string());
        let keep = text(room.keep_storage);
        let add = |call: Call<'c>| {
            let call = call.flag("all", all).maybe("keep-storage", keep.as_deref());
            let call = call.maybe("reserved-space", keep.as_deref()).maybe("max-used-space", text(room.max_used_space));
            call.maybe("min-free-space", text(room.min_free_space))
        };
        let report: build::PruneReport = self.ask("/build/prune", filters, add).await?;
        self.list("build cache objects", &report.caches_deleted)?;
        self.reclaimed += report.space_reclaimed;
        Ok(())
    }

    /// What came free; how much that would be is not known beforehand, where objects share layers.
    fn total(&self) -> Result<u8, Failure> {
        if !self.dry {
            line(&format!("Total reclaimed space: {}", units::long_size(self.reclaimed)))?;
        }
        Ok(0)
    }
}

impl Verb for ContainerPrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove all stopped containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        if !self.common.agreed(STOPPED)? {
            return Ok(0);
        }
        let client = session.client();
        let mut pruning = Pruning::new(&client, &self.common);
        pruning.containers(&self.common.filters(session)?).await?;
        pruning.total()
    }
}

impl Verb for ImagePrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove unused images";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        if !self.common.agreed(if self.all { UNUSED_IMAGES } else { DANGLING })? {
            return Ok(0);
        }
        let client = session.client();
        let mut pruning = Pruning::new(&client, &self.common);
        pruning.images(&self.common.filters(session)?, self.all).await?;
        pruning.total()
    }
}

impl Verb for NetworkPrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove all unused networks";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        if self.common.agreed("all custom networks not used by at least one container")? {
            let client = session.client();
            Pruning::new(&client, &self.common).networks(&self.common.filters(session)?).await?;
        }
        Ok(0)
    }
}

impl Verb for VolumePrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove unused local volumes";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let filters = self.common.filters(session)?;
        let all = self.all || filters.flag("all").ok().flatten() == Some(true);
        if self.all && !filters.get("all").is_empty() {
            return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
        }
        if !self.common.agreed(if all { UNUSED_VOLUMES } else { ANONYMOUS })? {
            return Ok(0);
        }
        let client = session.client();
        let mut pruning = Pruning::new(&client, &self.common);
        pruning.volumes(&filters, self.all).await?;
        pruning.total()
    }
}

impl Verb for BuildPrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove build cache";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        if !self.common.agreed(if self.all { "all build cache" } else { "all dangling build cache" })? {
            return Ok(0);
        }
        let client = session.client();
        let mut pruning = Pruning::new(&client, &self.common);
        pruning.cache(&self.common.filters(session)?, self.all, self.room).await?;
        pruning.total()
    }
}

impl Verb for SystemPrune {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Remove unused data";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let wanted = self.common.filters(session)?;
        if self.volumes && !wanted.get("until").is_empty() {
            return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
        }
        if !self.common.force && !self.common.dry_run && !confirm(&self.warning())? {
            return Ok(0);
        }
        let client = session.client();
        let mut pruning = Pruning::new(&client, &self.common);
        pruning.containers(&wanted).await?;
        pruning.networks(&wanted).await?;
        if self.volumes {
            pruning.volumes(&wanted, false).await?;
        }
        pruning.images(&wanted, self.all).await?;
        // The build cache has no labels.
        let mut of_cache = Filters::default();
        wanted.get("until").iter().for_each(|until| of_cache.add("until", until));
        pruning.cache(&of_cache, self.all, Room::default()).await?;
        pruning.total()
    }
}

impl SystemPrune {
    fn warning(&self) -> String {
        let mut what = vec![STOPPED, "all networks not used by at least one container"];
        if self.volumes {
            what.push("all anonymous volumes not used by at least one container");
        }
        what.push(if self.all { UNUSED_IMAGES } else { DANGLING });
        what.push(if self.all { "all build cache" } else { "unused build cache" });
        let items = |items: &[&str]| items.iter().map(|item| format!("  - {item}\n")).collect::<String>();
        let mut text = format!("WARNING! This will remove:\n{}", items(&what));
        if !self.common.filter.is_empty() {
            let filters: Vec<&str> = self.common.filter.iter().map(String::as_str).collect();
            text.push_str(&format!("\n  Items to be pruned will be filtered with:\n{}", items(&filters)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_lists_what_goes() {
        let common = Common { dry_run: false, filter: vec!["label=a".into()], force: false };
        let prune = SystemPrune { all: false, volumes: true, common };
        let text = prune.warning();
        assert!(text.starts_with("WARNING! This will remove:\n  - all stopped containers\n  - all networks"), "{text}");
        assert!(text.contains("  - all anonymous volumes") && text.contains("  - all dangling images\n"), "{text}");
        assert!(text.ends_with("\n\n  Items to be pruned will be filtered with:\n  - label=a\n"), "{text}");
    }
}
