//! `/system/df`: what takes how much room, as lists (the old way) and as sums (since 1.52).

use axum::extract::State;
use serde_json::Value;
use teu_api::build::BuildCache;
use teu_api::container::Summary;
use teu_api::system::{BuildCacheUsage, ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};
use teu_api::{image, volume};
use teu_engine::Engine;

use super::build::cache_rows;
use super::{ok, to_value};
use crate::compat::{self, Version};
use crate::failure::{Answer, Failure};
use crate::query::Query;

/// The kinds of objects, with the members of the answer that are about each: its list and its sums.
const KINDS: [(&str, &str, &str); 4] = [
    ("container", "Containers", "ContainerUsage"),
    ("image", "Images", "ImageUsage"),
    ("volume", "Volumes", "VolumeUsage"),
    ("build-cache", "BuildCache", "BuildCacheUsage"),
];

pub(super) async fn disk_usage(State(engine): State<Engine>, query: Query, version: Version) -> Answer {
    let wanted = query.all("type");
    if let Some(unknown) = wanted.iter().find(|name| KINDS.iter().all(|(kind, ..)| kind != name)) {
        return Err(Failure::bad(format!("unknown object type: {unknown}")));
    }
    let unwanted = |kind: &str| !wanted.is_empty() && !wanted.iter().any(|name| name == kind);
    let mut usage = engine.disk_usage().await?;
    if unwanted("image") {
        usage.layers_size = 0;
    }
    if !unwanted("build-cache") {
        usage.build_cache = cache_rows(&engine)?;
        usage.builder_size = Some(usage.build_cache.iter().map(|record| record.size).sum());
    }
    let sums = !compat::has_legacy_fields(version);
    let verbose = sums && query.flag("verbose");
    if sums {
        usage.image_usage = Some(images(&usage, verbose));
        usage.container_usage = Some(containers(&usage.containers, verbose));
        usage.volume_usage = Some(volumes(&usage.volumes, verbose));
        usage.build_cache_usage = Some(build_cache(&usage.build_cache, verbose));
    } else {
        usage.containers.iter_mut().for_each(|row| row.health = None);
    }
    let mut usage = to_value(usage);
    for (kind, list, sum) in KINDS {
        if unwanted(kind) {
            // Nothing of that sort is an empty list; what was not asked for is none.
            usage[list] = Value::Null;
            remove(&mut usage, sum);
        }
        if verbose {
            remove(&mut usage, list);
        }
    }
    if verbose {
        remove(&mut usage, "LayersSize");
        remove(&mut usage, "BuilderSize");
    }
    ok(usage)
}

fn remove(usage: &mut Value, name: &str) {
    if let Some(members) = usage.as_object_mut() {
        members.remove(name);
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The items, if they are asked for.
fn items<T: Clone>(all: &[T], verbose: bool) -> Vec<T> {
    if verbose { all.to_vec() } else { vec![] }
}

fn images(usage: &DiskUsage, verbose: bool) -> ImageUsage {
    let all: &[image::Summary] = &usage.images;
    let used = all.iter().filter(|image| image.containers > 0);
    let needed: i64 = used.clone().map(|image| image.size - image.shared_size.max(0)).sum();
    ImageUsage {
        active_count: count(used.count()),
        total_count: count(all.len()),
        reclaimable: (usage.layers_size - needed).max(0),
        total_size: usage.layers_size,
        items: items(all, verbose),
    }
}

fn containers(all: &[Summary], verbose: bool) -> ContainerUsage {
    let is_active = |row: &&Summary| matches!(row.state.as_str(), "running" | "paused" | "restarting");
    let written = |row: &Summary| row.size_rw.unwrap_or(0);
    ContainerUsage {
        active_count: count(all.iter().filter(is_active).count()),
        total_count: count(all.len()),
        reclaimable: all.iter().filter(|row| !is_active(row)).map(written).sum(),
        total_size: all.iter().map(written).sum(),
        items: items(all, verbose),
    }
}

fn volumes(all: &[volume::Volume], verbose: bool) -> VolumeUsage {
    let size = |volume: &volume::Volume| volume.usage_data.as_ref().map_or(0, |usage| usage.size.max(0));
    let is_used = |volume: &&volume::Volume| volume.usage_data.as_ref().is_some_and(|usage| usage.ref_count > 0);
    VolumeUsage {
        active_count: count(all.iter().filter(is_used).count()),
        total_count: count(all.len()),
        reclaimable: all.iter().filter(|volume| !is_used(volume)).map(size).sum(),
        total_size: all.iter().map(size).sum(),
        items: items(all, verbose),
    }
}

fn build_cache(all: &[BuildCache], verbose: bool) -> BuildCacheUsage {
    let own = || all.iter().filter(|record| !record.shared);
    BuildCacheUsage {
        active_count: count(all.iter().filter(|record| record.in_use).count()),
        total_count: count(all.len()),
        reclaimable: own().filter(|record| !record.in_use).map(|record| record.size).sum(),
        total_size: own().map(|record| record.size).sum(),
        items: items(all, verbose),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_can_be_reclaimed() {
        let image =
            |size, shared_size, containers| image::Summary { size, shared_size, containers, ..Default::default() };
        let all =
            DiskUsage { layers_size: 400, images: vec![image(200, 100, 0), image(300, 100, 2)], ..Default::default() };
        let sums = images(&all, false);
        assert_eq!((sums.active_count, sums.total_count, sums.reclaimable), (1, 2, 200));
        assert!(sums.items.is_empty() && images(&all, true).items.len() == 2);
        let row = |state: &str, size| Summary { state: state.into(), size_rw: Some(size), ..Default::default() };
        let sums = containers(&[row("running", 5), row("exited", 7)], false);
        assert_eq!((sums.active_count, sums.reclaimable, sums.total_size), (1, 7, 12));
    }
}
