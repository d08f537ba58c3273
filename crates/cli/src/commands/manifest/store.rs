//! Lists of manifests in the making: a folder for each list below the one of `config.json`, a file for each manifest, with
//! Docker's names and shapes, so that one command goes on where the other stopped.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use teu_api::Reference;
use teu_oci::{Digest, media_type};

use crate::failure::{Failure, Naming};

/// The lists.
pub(super) struct Lists {
    folder: PathBuf,
}

/// A manifest, and what it is for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ImageManifest {
    /// Where it is, with its registry.
    #[serde(rename = "Ref")]
    pub(super) reference: String,
    pub(super) descriptor: Entry,
    /// Its bytes, in base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    raw: String,
    #[serde(rename = "SchemaV2Manifest", skip_serializing_if = "Option::is_none")]
    docker: Option<Value>,
    #[serde(rename = "OCIManifest", skip_serializing_if = "Option::is_none")]
    oci: Option<Value>,
}

/// What a list says of a manifest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Entry {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Machine>,
}

/// For which machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Machine {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub(super) version: String,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub(super) features: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) variant: String,
}

impl ImageManifest {
    /// A manifest as it came from a registry.
    pub(super) fn new(reference: &Reference, entry: Entry, bytes: &[u8]) -> Result<Self, Failure> {
        let value =
            serde_json::from_slice(bytes).map_err(|error| Failure::new(format!("manifest of {reference}: {error}")))?;
        let is_docker = entry.media_type == media_type::DOCKER_MANIFEST;
        let (docker, oci) = if is_docker { (Some(value), None) } else { (None, Some(value)) };
        Ok(Self { reference: reference.to_string(), descriptor: entry, raw: STANDARD.encode(bytes), docker, oci })
    }

    /// The document.
    pub(super) fn document(&self) -> &Value {
        self.docker.as_ref().or(self.oci.as_ref()).unwrap_or(&Value::Null)
    }

    /// Its bytes, with the digest that the list names.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let bytes = STANDARD.decode(&self.raw).unwrap_or_default();
        let (wanted, found) = (&self.descriptor.digest, Digest::sha256(&bytes));
        if *wanted == found.to_string() {
            return Ok(bytes);
        }
        let reference = &self.reference;
        Err(Failure::new(format!("internal digest mismatch for {reference}: expected {wanted}, got {found}")))
    }

    /// Where it is.
    pub(super) fn place(&self) -> Result<Reference, Failure> {
        super::reference(&self.reference)
    }

    /// The blobs that it lists.
    pub(super) fn blobs(&self) -> Vec<Digest> {
        let document = self.document();
        let layers = document["layers"].as_array().into_iter().flatten();
        let digests = std::iter::once(&document["config"]).chain(layers).map(|one| one["digest"].as_str());
        digests.flatten().filter_map(|digest| digest.parse().ok()).collect()
    }
}

impl Lists {
    /// Those below the folder of `config.json`.
    pub(super) fn new(config: &Path) -> Self {
        Self { folder: config.join("manifests") }
    }

    fn list(&self, name: &Reference) -> PathBuf {
        self.folder.join(file_name(name))
    }

    /// A manifest of a list; none if there is none.
    pub(super) fn get(&self, list: &Reference, manifest: &Reference) -> Result<Option<ImageManifest>, Failure> {
        read(&self.list(list).join(file_name(manifest)))
    }

    /// All manifests of a list, by the names of their files; none if there is no such list.
    pub(super) fn all(&self, list: &Reference) -> Result<Option<Vec<ImageManifest>>, Failure> {
        let folder = self.list(list);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.or_fail(format!("read {}", folder.display()))?,
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let read = paths.iter().filter_map(|path| read(path).transpose());
        read.collect::<Result<_, _>>().map(Some)
    }

    /// Puts a manifest into a list.
    pub(super) fn save(&self, list: &Reference, name: &Reference, manifest: &ImageManifest) -> Result<(), Failure> {
        let folder = self.list(list);
        fs::create_dir_all(&folder).or_fail(format!("make {}", folder.display()))?;
        let path = folder.join(file_name(name));
        let text = serde_json::to_vec(manifest).map_err(|error| Failure::new(error.to_string()))?;
        fs::write(&path, text).or_fail(format!("write {}", path.display()))
    }

    /// Takes a list away.
    pub(super) fn remove(&self, list: &Reference) -> Result<(), Failure> {
        let folder = self.list(list);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(unknown(list)),
            other => other.or_fail(format!("remove {}", folder.display())),
        }
    }
}

/// There is no such manifest or list.
pub(super) fn unknown(name: &Reference) -> Failure {
    Failure::new(format!("No such manifest: {name}"))
}

fn read(path: &Path) -> Result<Option<ImageManifest>, Failure> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.or_fail(format!("read {}", path.display()))?,
    };
    let parsed = serde_json::from_slice(&text);
    parsed.map(Some).map_err(|error| Failure::new(format!("read {}: {error}", path.display())))
}

fn file_name(name: &Reference) -> String {
    name.to_string().replace(':', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_in_dockers_files() {
        let folder = std::env::temp_dir().join(format!("teu-manifests-{}", std::process::id()));
        let lists = Lists::new(&folder);
        let name: Reference = "a.example/list:1".parse().unwrap();
        let image: Reference = "a.example/one:1".parse().unwrap();
        assert!(lists.all(&name).unwrap().is_none() && lists.remove(&name).is_err());
        let bytes =
            br#"{"config":{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}}"#;
        let entry = Entry {
            media_type: media_type::OCI_MANIFEST.into(),
            digest: Digest::sha256(bytes).to_string(),
            ..Entry::default()
        };
        lists.save(&name, &image, &ImageManifest::new(&image, entry, bytes).unwrap()).unwrap();
        assert!(folder.join("manifests/a.example_list-1/a.example_one-1").is_file());
        let kept = lists.get(&name, &image).unwrap().unwrap();
        assert_eq!((kept.bytes().unwrap(), kept.blobs().len()), (bytes.to_vec(), 1));
        lists.remove(&name).unwrap();
        assert!(lists.get(&name, &image).unwrap().is_none());
        fs::remove_dir_all(folder).unwrap();
    }
}
