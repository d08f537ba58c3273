//! The build cache as people see it: what is in it, and what may go.

use teu_api::Filters;
use teu_api::build::BuildCache;
use teu_store::Store;

use crate::Error;
use crate::solve::cache::Record;
use crate::solve::{Cache, mount};

/// How much room the build cache may take, in bytes; 0 where nothing was said.
#[derive(Clone, Copy, Default)]
pub struct Room {
    /// So much of it stays in any case.
    pub reserved: i64,
    /// More than that goes.
    pub most: i64,
    /// So much of the disk is to be free.
    pub least_free: i64,
}

impl Room {
    /// How much of a cache of `total` bytes stays; 0 is none of it. As BuildKit counts, but that a disk with room enough is
    /// no reason to remove anything; `free` bytes of it are.
    fn kept(self, total: i64, free: i64) -> i64 {
        let missing = self.least_free.saturating_sub(free).max(0);
        let kept = match (self.most, self.least_free) {
            (most, 0) => most,
            (0, _) => total.saturating_sub(missing),
            (most, _) => most.min(total.saturating_sub(missing)),
        };
        kept.max(self.reserved).max(0)
    }
}

/// Of the records that the filters let through the oldest, until no more than `kept` bytes are left of all.
fn unneeded(mut rows: Vec<BuildCache>, filters: &Filters, kept: i64) -> Result<Vec<BuildCache>, Error> {
    let before = ["until", "unused-for"].iter().flat_map(|name| filters.get(name)).map(|text| teu_engine::until(text));
    let before: Vec<_> = before.collect::<Result<_, _>>()?;
    let wrong = |name: &str, value: String| Error::Filter(format!("invalid filter '{name}={value}'"));
    let flag = |name: &str| filters.flag(name).map_err(|value| wrong(name, value));
    let (in_use, shared, private) = (flag("inuse")?, flag("shared")?, flag("private")?);
    let wanted = |row: &BuildCache| {
        let is = |name: &str, value: &str| !filters.contains(name) || filters.get(name).iter().any(|one| one == value);
        let made = teu_engine::until(&row.created_at).ok();
        !filters.contains("label")
            && is("id", &row.id)
            && is("description", &row.description)
            && is("type", &row.kind)
            && in_use.is_none_or(|flag| flag == row.in_use)
            && shared.is_none_or(|flag| flag == row.shared)
            && private.is_none_or(|flag| flag != row.shared)
            && before.iter().all(|time| made.is_some_and(|made| made < *time))
    };
    let mut total: i64 = rows.iter().map(|row| row.size).sum();
    rows.sort_by(|one, other| one.created_at.cmp(&other.created_at));
    rows.retain(|row| {
        let goes = wanted(row) && (kept == 0 || total > kept);
        total -= if goes { row.size } else { 0 };
        goes
    });
    Ok(rows)
}

/// Removes of the cache what the filters let through and `room` has no place for, or only says what that would be, and how many
/// bytes are free again.
///
/// # Errors
/// When a filter means nothing, or something cannot be removed.
pub fn prune(store: &Store, filters: &Filters, room: Room, remove: bool) -> Result<(Vec<BuildCache>, u64), Error> {
    let free = rustix::fs::statvfs(store.root())
        .map_or(i64::MAX, |disk| i64::try_from(disk.f_bavail.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX));
    let rows = rows(store)?;
    let kept = room.kept(rows.iter().map(|row| row.size).sum(), free);
    let chosen = unneeded(rows, filters, kept)?;
    if !remove {
        return Ok((chosen, 0));
    }
    let keys: Vec<String> = chosen.iter().map(|row| row.id.clone()).collect();
    let mounts = mount::remove(store, &keys)?;
    Cache::open(store)?.forget(&keys)?;
    let collected = store.collect()?;
    Ok((chosen, collected.bytes + mounts))
}

/// The build cache as `system df` shows it.
///
/// # Errors
/// When it cannot be read.
pub fn rows(store: &Store) -> Result<Vec<BuildCache>, Error> {
    let records = Cache::open(store)?.list()?;
    let row = |(id, record): (String, Record)| BuildCache {
        id,
        kind: "regular".into(),
        description: record.created_by,
        size: record.layer.and_then(|layer| i64::try_from(layer.content_size).ok()).unwrap_or(0),
        created_at: record.created,
        usage_count: 1,
        ..BuildCache::default()
    };
    let mounts = mount::list(store)?.into_iter().map(|kept| BuildCache {
        description: format!("cached mount {}", kept.key.trim_start_matches(teu_store::CACHE_MOUNT)),
        id: kept.key,
        kind: "exec.cachemount".into(),
        size: i64::try_from(kept.size).unwrap_or(i64::MAX),
        created_at: kept.changed,
        usage_count: 1,
        ..BuildCache::default()
    });
    Ok(records.into_iter().map(row).chain(mounts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_what_the_disk_has_room_for() {
        let room = |reserved, most, least_free| Room { reserved, most, least_free }.kept(100, 30);
        assert_eq!([room(0, 0, 0), room(40, 0, 0), room(0, 60, 0), room(40, 20, 0)], [0, 40, 60, 40]);
        assert_eq!([room(0, 0, 20), room(0, 0, 50), room(0, 60, 50), room(90, 60, 50)], [100, 80, 60, 90]);
        assert_eq!(room(0, 0, 1000), 0);
    }

    #[test]
    fn the_oldest_of_the_cache_goes_first() {
        let row = |id: &str, day, size| BuildCache {
            id: id.into(),
            kind: "regular".into(),
            created_at: format!("2024-01-{day:02}T00:00:00Z"),
            size,
            ..BuildCache::default()
        };
        let rows = || vec![row("b", 2, 10), row("a", 1, 10), row("c", 3, 10)];
        let gone = |filters: &str, kept| {
            let filters = Filters::parse(filters).expect("filters");
            unneeded(rows(), &filters, kept).map(|rows| rows.into_iter().map(|row| row.id).collect::<String>())
        };
        assert_eq!(gone("{}", 0).expect("rows"), "abc");
        assert_eq!(gone("{}", 15).expect("rows"), "ab");
        assert_eq!(gone(r#"{"until":["2024-01-02T12:00:00Z"]}"#, 0).expect("rows"), "ab");
        assert_eq!(gone(r#"{"id":["c","b"],"type":["regular"],"inuse":["false"]}"#, 0).expect("rows"), "bc");
        assert!(gone(r#"{"until":["never"]}"#, 0).is_err());
    }
}
