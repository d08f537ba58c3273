//! The build cache as clients of the protocol see it.

use futures_util::Stream;
use futures_util::stream::iter;
use teu_api::Filters;
use teu_api::build::BuildCache;
use teu_builder::usage::{self, Room};
use tonic::Status;

use crate::Buildkit;
use crate::solve::{blocking, failure};
use crate::wire::Timestamp;
use crate::wire::control::{DiskUsageRequest, DiskUsageResponse, PruneRequest, UsageRecord};

/// What is in the cache.
pub(crate) async fn usage(front: Buildkit, request: DiskUsageRequest) -> Result<DiskUsageResponse, Status> {
    let filters = filters(&request.filter, 0)?;
    let store = front.0.engine.store().clone();
    let room = Room::default();
    let (rows, _) = blocking(move || usage::prune(&store, &filters, room, false).map_err(failure)).await?;
    Ok(DiskUsageResponse { record: rows.into_iter().map(record).collect() })
}

/// Removes of it what is not wanted, and tells what that was.
pub(crate) async fn prune(
    front: Buildkit,
    request: PruneRequest,
) -> Result<impl Stream<Item = Result<UsageRecord, Status>> + Send, Status> {
    let filters = filters(&request.filter, request.keep_duration)?;
    let room =
        Room { reserved: request.reserved_space, most: request.max_used_space, least_free: request.min_free_space };
    front.forget().await;
    let store = front.0.engine.store().clone();
    let (rows, _) = blocking(move || usage::prune(&store, &filters, room, true).map_err(failure)).await?;
    Ok(iter(rows.into_iter().map(|row| Ok(record(row)))))
}

/// Filters as clients write them: alternatives between commas, `name==value` or the bare name.
fn filters(given: &[String], keep: i64) -> Result<Filters, Status> {
    let mut all = std::collections::BTreeMap::<String, Vec<String>>::new();
    for text in given.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()) {
        let (name, value) = match text.split_once("==").or_else(|| text.split_once('=')) {
            Some((name, value)) => (name, value),
            None => (text, "true"),
        };
        if !["id", "type", "description", "inuse", "shared", "private"].contains(&name) {
            return Err(Status::invalid_argument(format!("invalid filter {text}")));
        }
        all.entry(name.into()).or_default().push(value.into());
    }
    if keep > 0 {
        all.entry("until".into()).or_default().push(format!("{}s", keep / 1_000_000_000));
    }
    let text = serde_json::to_string(&all).map_err(|error| Status::internal(error.to_string()))?;
    Filters::parse(&text).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn record(row: BuildCache) -> UsageRecord {
    let created = row.created_at.parse::<jiff::Timestamp>().ok();
    let created = created.map(|time| Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() });
    UsageRecord {
        id: row.id,
        mutable: row.kind == "exec.cachemount",
        in_use: row.in_use,
        size: row.size,
        created,
        last_used: created,
        usage_count: row.usage_count,
        description: row.description,
        kind: row.kind,
        shared: row.shared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_clients_write_them() {
        let all = filters(&["type==regular,inuse".into(), "id==a".into()], 90_000_000_000).expect("filters");
        assert_eq!((all.get("type"), all.get("inuse")), (&["regular".to_owned()][..], &["true".to_owned()][..]));
        assert_eq!((all.get("id"), all.get("until")), (&["a".to_owned()][..], &["90s".to_owned()][..]));
        assert!(filters(&["nonsense".into()], 0).is_err());
    }
}
