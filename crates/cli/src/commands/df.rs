//! `teu system df`: what takes how much space.

use serde_json::Value;
use teu_api::system::DiskUsage;

use crate::Session;
use crate::failure::Failure;
use crate::output::listing::{Column, Listing, row};
use crate::output::units;
use crate::table::Verb;

/// Shows disk usage.
#[derive(Debug, clap::Args)]
pub(crate) struct Df {
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
}

const COLUMNS: &[Column] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

impl Verb for Df {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Show disk usage";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let usage: DiskUsage = client.get("/system/df").read().await?;
        Listing { columns: COLUMNS, default: TABLE, format: self.format.as_deref() }.print(&rows(&usage))?;
        Ok(0)
    }
}

fn rows(usage: &DiskUsage) -> Vec<Value> {
    let images = &usage.images;
    let unused: i64 =
        images.iter().filter(|image| image.containers == 0).map(|image| image.size - image.shared_size.max(0)).sum();
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
    let free: i64 = volumes.iter().filter(|(_, users)| *users <= 0).map(|(size, _)| size).sum();
    let cache = &usage.build_cache;
    let cached: i64 = cache.iter().filter(|record| !record.shared).map(|record| record.size).sum();
    let idle: i64 = cache.iter().filter(|record| !record.shared && !record.in_use).map(|record| record.size).sum();
    vec![
        cells("Images", images.len(), images.iter().filter(|i| i.containers > 0).count(), usage.layers_size, unused),
        cells(
            "Containers",
            containers.len(),
            containers.iter().filter(|c| is_active(&c.state)).count(),
            written(None),
            written(Some(false)),
        ),
        cells(
            "Local Volumes",
            usage.volumes.len(),
            volumes.iter().filter(|(_, users)| *users > 0).count(),
            volumes.iter().map(|(size, _)| size).sum(),
            free,
        ),
        cells("Build Cache", cache.len(), cache.iter().filter(|record| record.in_use).count(), cached, idle),
    ]
}

fn cells(kind: &str, total: usize, active: usize, size: i64, reclaimable: i64) -> Value {
    let reclaimable = reclaimable.clamp(0, size.max(0));
    let percent = if size > 0 { format!(" ({}%)", reclaimable * 100 / size) } else { String::new() };
    row([
        ("Type", Value::from(kind)),
        ("TotalCount", Value::from(total.to_string())),
        ("Active", Value::from(active.to_string())),
        ("Size", Value::from(units::size(size))),
        ("Reclaimable", Value::from(format!("{}{percent}", units::size(reclaimable)))),
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
        assert_eq!(rows[0]["Reclaimable"], "100B (25%)");
        assert_eq!((&rows[0]["Active"], &rows[3]["Size"]), (&Value::from("1"), &Value::from("0B")));
    }
}
