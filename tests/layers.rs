//! The arrows of the house point down: which crate may use which, and who may wait.
//!
//! The manifests are the truth, so that a `use` cannot slip by: a crate that is not named in `Cargo.toml` cannot be used.
//! Tests of a crate may use whatever is below it, but nothing above or beside it either.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every crate under `crates/` and the ones it may use, ground floor first.
const ARROWS: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("oci", &[]),
    ("api", &["oci"]),
    ("store", &["oci", "sys"]),
    ("runtime", &["oci", "sys"]),
    ("network", &[]),
    ("supervisor", &["runtime", "network", "oci", "sys"]),
    ("registry", &["store", "oci"]),
    ("git", &[]),
    ("engine", &["api", "store", "runtime", "supervisor", "network", "registry", "oci", "sys"]),
    ("builder", &["engine", "git", "store", "api", "oci", "sys"]),
    ("buildkit", &["builder", "engine", "store", "api", "oci", "sys"]),
    // The registry is served on a store of its own, so this door names the store as well.
    ("server", &["engine", "builder", "buildkit", "registry", "store", "api", "oci", "sys"]),
    // `cp` packs and unpacks by the same code as layers, and `manifest` speaks to registries itself.
    ("cli", &["registry", "git", "store", "api", "oci", "sys"]),
];

/// What forks, or is linked into what forks, runs on one thread and waits in `poll`.
const SYNCHRONOUS: &[&str] = &["sys", "oci", "api", "store", "runtime", "supervisor", "network"];

/// Crates that wait, and those that speak HTTP.
const ASYNCHRONOUS: &[&str] = &["tokio", "tokio-util", "futures-util", "hyper", "hyper-util", "axum", "tower"];

/// What a manifest names.
struct Uses {
    /// By the crate, or by its build script.
    built: Vec<String>,
    /// By its tests alone.
    tested: Vec<String>,
}

/// What each crate's manifest names, by the crate's folder.
fn manifests() -> BTreeMap<String, Uses> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let folders = fs::read_dir(&crates).expect("read crates/");
    let manifest = |folder: std::io::Result<fs::DirEntry>| {
        let folder = folder.expect("read crates/").path();
        let text = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
        let name = folder.file_name()?.to_str()?.to_owned();
        Some((name, uses(&text)))
    };
    folders.filter_map(manifest).collect()
}

/// The names in every `[…dependencies]` table, and of every `[…dependencies.name]` table.
fn uses(manifest: &str) -> Uses {
    let (mut built, mut tested, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    let mut inside = &mut nothing;
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let list = if header.contains("dev-dependencies") { &mut tested } else { &mut built };
            list.extend(header.rsplit_once("dependencies.").map(|(_, name)| name.trim_matches('"').to_owned()));
            inside = if header.ends_with("dependencies") { list } else { &mut nothing };
        } else if line.contains('=') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            inside.push(name.trim_matches('"').to_owned());
        }
    }
    Uses { built, tested }
}

/// Our own crates among the names.
fn ours(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().filter_map(|name| name.strip_prefix("teu-"))
}

#[test]
fn every_crate_has_its_place_and_uses_only_what_is_below_it() {
    let manifests = manifests();
    let mut wrong = Vec::new();
    for (name, uses) in &manifests {
        let Some(place) = ARROWS.iter().position(|(known, _)| known == name) else {
            wrong.push(format!("crates/{name} has no place in the layers"));
            continue;
        };
        let not_below = |used: &&str| !ARROWS[..place].iter().any(|(lower, _)| lower == used);
        let up = ours(&uses.built).filter(|used| !ARROWS[place].1.contains(used));
        wrong.extend(up.map(|used| format!("crates/{name} uses {used}, against the arrows")));
        let up = ours(&uses.tested).filter(|used| used != name).filter(not_below);
        wrong.extend(up.map(|used| format!("crates/{name} tests with {used}, which is not below it")));
    }
    let gone = ARROWS.iter().filter(|(name, _)| !manifests.contains_key(*name));
    wrong.extend(gone.map(|(name, _)| format!("crates/{name} has a place in the layers but is not there")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_layers_have_no_circle() {
    for (place, (name, allowed)) in ARROWS.iter().enumerate() {
        for below in *allowed {
            assert!(ARROWS[..place].iter().any(|(earlier, _)| earlier == below), "{name} uses {below}, named later");
        }
    }
}

#[test]
fn what_forks_links_nothing_asynchronous() {
    let manifests = manifests();
    let mut wrong = Vec::new();
    for (name, uses) in manifests.iter().filter(|(name, _)| SYNCHRONOUS.contains(&name.as_str())) {
        let found = uses.built.iter().filter(|used| ASYNCHRONOUS.contains(&used.as_str()));
        wrong.extend(found.map(|used| format!("crates/{name} uses {used}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_manifest_reader_sees_every_way_to_name_a_dependency() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nteu-sys.workspace = true\n# no = 1\nserde = \"1\"\n\
                    [target.'cfg(unix)'.dev-dependencies]\n\"teu-oci\" = { path = \"../oci\" }\n\
                    [build-dependencies.teu-api]\npath = \"../api\"\n[lints]\nworkspace = true\n";
    let uses = uses(manifest);
    assert_eq!(uses.built, ["teu-sys", "serde", "teu-api"]);
    assert_eq!(uses.tested, ["teu-oci"]);
}
