//! The collector: what is alive is computed, never counted.
//!
//! ```text
//! roots = records of every table + leases + parents of active snapshots
//! alive = roots, and for each chain its parents
//! ```
//!
//! Everything that can make a dead thing alive again while this runs (a lease, a record, a new layer on top of it)
//! holds it first, and what was held during a collection is spared by it; the check and the deletion happen under the
//! lock that holding takes. Layers go from the top down, so a layer is never without its parents.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use teu_oci::Digest;

use crate::layout::{Layout, OWN};
use crate::lease::Collection;
use crate::store::Lister;
use crate::{Blobs, Error, Result, Snapshots, names};

/// A partial upload that nobody went on with for so long is given up.
const UPLOAD_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a collection deleted, or would delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Layers.
    pub snapshots: u64,
    /// Bytes, of both.
    pub bytes: u64,
}

pub(crate) fn run(
    layout: &Layout,
    blobs: &Blobs,
    snapshots: &Snapshots,
    tables: &BTreeMap<String, Lister>,
    dry: bool,
) -> Result<Collected> {
    let collection = layout.holds.begin_collection();
    let mut alive = roots(layout, snapshots, tables, &collection)?;
    let parents = parents(snapshots)?;
    let mut below: Vec<_> = alive.iter().filter_map(|chain| parents.get(chain)?.clone()).collect();
    while let Some(chain) = below.pop() {
        if alive.insert(chain.clone()) {
            below.extend(parents.get(&chain).cloned().flatten());
        }
    }
    let mut collected = Collected::default();
    for digest in blobs.list()?.iter().filter(|digest| !alive.contains(*digest)) {
        let size = blobs.stat(digest).unwrap_or(0);
        if delete(&collection, digest, dry, || blobs.remove(digest).map(|()| true))? {
            collected.blobs += 1;
            collected.bytes += size;
        }
    }
    for chain in top_down(&parents).into_iter().filter(|chain| !alive.contains(chain)).collect::<Vec<_>>() {
        let size = snapshots.size(&chain).unwrap_or(0);
        let deleted = !alive.contains(&chain) && delete(&collection, &chain, dry, || snapshots.discard_layer(&chain))?;
        if deleted {
            collected.snapshots += 1;
            collected.bytes += size;
        } else {
            alive.extend(parents.get(&chain).cloned().flatten());
        }
    }
    if !dry {
        blobs.drop_uploads_before(SystemTime::now() - UPLOAD_AGE)?;
    }
    Ok(collected)
}

fn delete(
    collection: &Collection<'_>,
    digest: &Digest,
    dry: bool,
    remove: impl FnOnce() -> Result<bool>,
) -> Result<bool> {
    collection.if_free(digest, || if dry { Ok(true) } else { remove() }).unwrap_or(Ok(false))
}

fn roots(
    layout: &Layout,
    snapshots: &Snapshots,
    tables: &BTreeMap<String, Lister>,
    collection: &Collection<'_>,
) -> Result<HashSet<Digest>> {
    let mut roots: HashSet<_> = collection.held().into_iter().collect();
    for lister in tables.values() {
        roots.extend(lister()?);
    }
    for key in snapshots.active()? {
        match snapshots.active_parent(&key) {
            Ok(parent) => roots.extend(parent),
            // Removed meanwhile.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    for name in names::entries(layout.root())? {
        let dir = layout.root().join(&name);
        if !OWN.contains(&name.as_str()) && !tables.contains_key(&name) && dir.is_dir() {
            scan(&dir, &mut roots)?;
        }
    }
    Ok(roots)
}

/// Takes every digest that occurs in a record of a table whose shape is not known.
fn scan(dir: &Path, roots: &mut HashSet<Digest>) -> Result<()> {
    for (_, path) in names::list(dir, ".json")? {
        let text = fs::read(&path).map_err(|error| Error::io(&path, error))?;
        let text = String::from_utf8_lossy(&text);
        for algorithm in ["sha256:", "sha512:"] {
            for (start, _) in text.match_indices(algorithm) {
                let hex = text[start + algorithm.len()..].bytes().take_while(u8::is_ascii_hexdigit).count();
                roots.extend(text[start..start + algorithm.len() + hex].parse::<Digest>());
            }
        }
    }
    Ok(())
}

fn parents(snapshots: &Snapshots) -> Result<HashMap<Digest, Option<Digest>>> {
    let mut parents = HashMap::new();
    for chain in snapshots.layers()? {
        match snapshots.parent(&chain) {
            Ok(parent) => drop(parents.insert(chain, parent)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(parents)
}

/// The layers, each before those it lies on.
fn top_down(parents: &HashMap<Digest, Option<Digest>>) -> Vec<Digest> {
    let depth = |chain: &Digest| {
        std::iter::successors(Some(chain), |chain| parents.get(*chain).and_then(Option::as_ref))
            .take(parents.len() + 1)
            .count()
    };
    let mut chains: Vec<_> = parents.keys().map(|chain| (depth(chain), chain.clone())).collect();
    chains.sort_unstable_by(|a, b| b.cmp(a));
    chains.into_iter().map(|(_, chain)| chain).collect()
}
