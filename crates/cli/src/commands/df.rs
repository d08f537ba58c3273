//! `teu system df`: what takes how much space.

use serde_json::Value;
use teu_api::build::BuildCache;
use teu_api::shape::Shape;
use teu_api::system::DiskUsage;
use teu_api::volume::Volume;

use super::{images, ps};
use crate::Session;
use crate::failure::Failure;
use crate::output::list::{Column, List, Row, Wanted, labels, row};
use crate::output::{line, print, units};
use crate::table::Verb;

/// Shows disk usage.
#[derive(Debug, clap::Args)]
pub(crate) struct Df {
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Show every object
    #[arg(short, long)]
    verbose: bool,
}

const COLUMNS: &[Column] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

const VOLUMES: &[Column] = &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];

const CACHE: &[Column] = &[
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const RAW: &str = "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\n\
                   reclaimable: {{.Reclaimable}}\n";

impl Verb for Df {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Show disk usage";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let usage: DiskUsage = client.get("/system/df").read().await?;
        let format = self.format.as_deref().filter(|format| !format.is_empty());
        match (self.verbose, format) {
            (true, None | Some("table")) => print(&verbose(&usage)?)?,
            (true, Some("json")) => line(&units::html_safe(&everything(&usage).to_string()))?,
            (true, Some(format)) => super::one(format, &everything(&usage), Shape::Any)?,
            (false, _) => {
                List { columns: COLUMNS, default: TABLE, quiet: None, raw: RAW, format }.print(rows(&usage))?;
            }
        }
        Ok(0)
    }
}

/// A table for each kind of object.
fn verbose(usage: &DiskUsage) -> Result<String, Failure> {
    let table = |columns: &[Column], default: &str, rows: Vec<Row>| {
        List { columns, default, quiet: None, raw: "", format: None }.text(rows)
    };
    let images = table(
        images::COLUMNS,
        "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
        usage.images.iter().map(|image| images::first_row(image, false)).collect(),
    )?;
    let containers = table(
        ps::COLUMNS,
        "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
        usage.containers.iter().map(|container| ps::cells(&without_image(container), false, &Wanted::ALL)).collect(),
    )?;
    let volumes =
        table(VOLUMES, "table {{.Name}}\t{{.Links}}\t{{.Size}}", usage.volumes.iter().map(volume_cells).collect())?;
    let cache = table(
        CACHE,
        "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
        usage.build_cache.iter().map(|record| cache_cells(record, false)).collect(),
    )?;
    Ok(format!(
        "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\nLocal Volumes space usage:\n\n{volumes}\n\
         Build cache usage: {}\n\n{cache}",
        units::long_size(cached(usage).unsigned_abs())
    ))
}

/// Every object by its kind, for templates.
fn everything(usage: &DiskUsage) -> Value {
    let list = |rows: Vec<Row>| Value::Array(rows.into_iter().map(Row::sorted).collect());
    serde_json::json!({
        "Images": list(usage.images.iter().map(|image| images::first_row(image, true)).collect()),
        "Containers": list(usage.containers.iter().map(|c| ps::cells(&without_image(c), true, &Wanted::ALL)).collect()),
        "Volumes": list(usage.volumes.iter().map(volume_cells).collect()),
        "BuildCache": list(usage.build_cache.iter().map(|record| cache_cells(record, true)).collect()),
    })
}

/// A container whose size is what it has written.
fn without_image(container: &teu_api::container::Summary) -> teu_api::container::Summary {
    teu_api::container::Summary { size_root_fs: None, ..container.clone() }
}

fn volume_cells(volume: &Volume) -> Row {
    let usage = volume.usage_data.as_ref();
    let size = usage.map(|usage| usage.size).filter(|size| *size >= 0);
    row([
        ("Availability", Value::from("N/A")),
        ("Driver", Value::from(volume.driver.as_str())),
        ("Group", Value::from("N/A")),
        ("Labels", Value::from(labels(volume.labels.iter().flatten()))),
        ("Links", Value::from(usage.map_or("N/A".into(), |usage| usage.ref_count.to_string()))),
        ("Mountpoint", Value::from(volume.mountpoint.as_str())),
        ("Name", Value::from(volume.name.as_str())),
        ("Scope", Value::from(volume.scope.as_str())),
        ("Size", Value::from(size.map_or("N/A".into(), |size| units::long_size(size.unsigned_abs())))),
        ("Status", Value::from("N/A")),
    ])
}

fn cache_cells(record: &BuildCache, whole: bool) -> Row {
    let ago = |time: &str| time.parse::<jiff::Timestamp>().map(|time| units::ago(time.as_second())).unwrap_or_default();
    let used = record.last_used_at.clone().unwrap_or_default();
    let id = if whole { record.id.as_str() } else { units::short_id(&record.id) };
    let parents = record.parents.join(", ");
    row([
        ("CacheType", Value::from(record.kind.as_str())),
        ("CreatedAt", Value::from(record.created_at.as_str())),
        ("CreatedSince", Value::from(ago(&record.created_at))),
        ("Description", Value::from(record.description.as_str())),
        ("ID", Value::from(format!("{id}{}", if record.in_use { "*" } else { "" }))),
        ("InUse", Value::from(record.in_use.to_string())),
        ("LastUsedAt", Value::from(used.as_str())),
        ("LastUsedSince", Value::from(ago(&used))),
        ("Parent", Value::from(if whole { parents.as_str() } else { units::short_id(&parents) })),
        ("Shared", Value::from(record.shared.to_string())),
        ("Size", Value::from(units::size(record.size))),
        ("UsageCount", Value::from(record.usage_count.to_string())),
    ])
}

/// What the build cache takes that nothing else has.
fn cached(usage: &DiskUsage) -> i64 {
    usage.build_cache.iter().filter(|record| !record.shared).map(|record| record.size).sum()
}

fn rows(usage: &DiskUsage) -> Vec<Row> {
    let images = &usage.images;
    let needed: i64 = images
        .iter()
        .filter(|image| image.containers != 0 && image.size >= 0 && image.shared_size >= 0)
        .map(|image| image.size - image.shared_size)
        .sum();
    let containers = &usage.containers;
    let is_active = |state: &str| matches!(state, "running" | "paused" | "restarting");
    let written = |active: Option<bool>| -> i64 {
        let wanted = containers.iter().filter(|c| active.is_none_or(|active| is_active(&c.state) == active));
        wanted.map(|container| container.size_rw.unwrap_or(0)).sum()
    };
    let volumes: Vec<(i64, i64)> = usage
        .volumes
        .iter()
        .filter_map(|volume| volume.usage_data.as_ref())
        .map(|usage| (usage.size.max(0), usage.ref_count))
        .collect();
    let free: i64 = volumes.iter().filter(|(_, users)| *users == 0).map(|(size, _)| size).sum();
    let cache = &usage.build_cache;
    let busy: i64 = cache.iter().filter(|record| !record.shared && record.in_use).map(|record| record.size).sum();
    let all = usage.layers_size;
    vec![
        cells("Images", images.len(), images.iter().filter(|i| i.containers > 0).count(), all, all - needed, true),
        cells(
            "Containers",
            containers.len(),
            containers.iter().filter(|c| is_active(&c.state)).count(),
            written(None),
            written(Some(false)),
            true,
        ),
        cells(
            "Local Volumes",
            usage.volumes.len(),
            volumes.iter().filter(|(_, users)| *users > 0).count(),
            volumes.iter().map(|(size, _)| size).sum(),
            free,
            true,
        ),
        cells(
            "Build Cache",
            cache.len(),
            cache.iter().filter(|record| record.in_use).count(),
            cached(usage),
            cached(usage) - busy,
            false,
        ),
    ]
}

fn cells(kind: &str, total: usize, active: usize, size: i64, reclaimable: i64, percent: bool) -> Row {
    let percent = match size > 0 && percent {
        true => format!(" ({}%)", reclaimable * 100 / size),
        false => String::new(),
    };
    let shown = |size: i64| units::long_size(size.max(0).unsigned_abs());
    row([
        ("Type", Value::from(kind)),
        ("TotalCount", Value::from(total.to_string())),
        ("Active", Value::from(active.to_string())),
        ("Size", Value::from(shown(size))),
        ("Reclaimable", Value::from(format!("{}{percent}", shown(reclaimable)))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use teu_api::image::Summary;

    #[test]
    fn what_nobody_uses_can_be_reclaimed() {
        let image = |size, containers| Summary { size, containers, ..Summary::default() };
        let usage = DiskUsage { layers_size: 400, images: vec![image(100, 0), image(300, 2)], ..DiskUsage::default() };
        let rows = rows(&usage);
        assert_eq!(rows[0].cells["Reclaimable"], "100B (25%)");
        assert_eq!((&rows[0].cells["Active"], &rows[3].cells["Size"]), (&Value::from("1"), &Value::from("0B")));
    }
}
