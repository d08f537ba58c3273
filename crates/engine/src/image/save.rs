//! `save`: images as one archive that is an OCI image layout and Docker's format at once. Layers made here are written
//! as plain tars, straight from their trees.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::json;
use teu_oci::{Descriptor, Digest, Index, Reference};
use teu_store::Store;
use teu_store::tar::{ArchiveOptions, archive};
use teu_sys::fs::Root;

use super::{Image, Images, NewImage};
use crate::error::{Error, Result};
use crate::pipe::{Stream, stream};

const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

impl Images {
    /// The named images as a tar stream. An image named by its id is saved without a name, a repository with all its tags.
    ///
    /// # Errors
    /// When one of them does not exist; what goes wrong later ends the stream with an error.
    pub fn save(&self, names: &[String]) -> Result<Stream> {
        if names.is_empty() {
            return Err(Error::bad("\"save\" needs at least one image"));
        }
        let mut images: Vec<(Image, Vec<Reference>)> = vec![];
        let mut wanted = vec![];
        for name in names {
            let tags = self.tags_of(name)?;
            if tags.is_empty() { wanted.push(name.clone()) } else { wanted.extend(tags) }
        }
        for name in &wanted {
            let image = self.resolve(name)?;
            let tagged = name.parse::<Reference>().ok();
            let own = self.names(&image.id)?;
            let tags: Vec<Reference> = tagged.into_iter().filter(|tag| own.contains(tag)).collect();
            match images.iter_mut().find(|(known, _)| known.id == image.id) {
                Some((_, known)) => known.extend(tags),
                None => images.push((image, tags)),
            }
        }
        let store = self.inner.store.clone();
        let lease = store.lease("save");
        images
            .iter()
            .for_each(|(image, _)| teu_store::Record::refers_to(&image.record).iter().for_each(|one| lease.hold(one)));
        for (image, _) in &images {
            self.emit("save", &image.id, image.id.as_str());
        }
        Ok(stream(move |out| {
            let _lease = lease;
            write(&store, &images, out)
        }))
    }
}

impl Images {
    /// A new image as a tar stream, without its being one of this engine's.
    ///
    /// # Errors
    /// When its parts cannot be written; what goes wrong later ends the stream with an error.
    pub fn archive(&self, new: NewImage) -> Result<Stream> {
        let store = self.inner.store.clone();
        let lease = store.lease("save");
        let (config, names) = (new.config.clone(), new.names.clone());
        let record = self.describe(new, &lease)?;
        teu_store::Record::refers_to(&record).iter().for_each(|one| lease.hold(one));
        let images = [(Image { id: record.config.clone(), record, config }, names)];
        Ok(stream(move |out| {
            let _lease = lease;
            write(&store, &images, out)
        }))
    }

    /// The files that layers come to, as a tar stream.
    ///
    /// # Errors
    /// When a layer is missing; what goes wrong later ends the stream with an error.
    pub fn tree(&self, chain: Option<&Digest>) -> Result<Stream> {
        let lease = self.inner.store.lease("save");
        chain.iter().for_each(|chain| lease.hold(chain));
        let overlay = self.inner.store.snapshots().view(chain)?;
        Ok(stream(move |out| {
            let _lease = lease;
            let root = Root::from_fd(overlay.mount_detached()?);
            archive(&root, Path::new("/"), out, &ArchiveOptions::default()).map_err(io::Error::other)
        }))
    }

    /// The names in a repository; none when `name` is not one, but an id or the name of one image.
    fn tags_of(&self, name: &str) -> Result<Vec<String>> {
        let last = name.rsplit('/').next().unwrap_or(name);
        let Some(repository) = name.parse::<Reference>().ok().filter(|_| !last.contains([':', '@'])) else {
            return Ok(vec![]);
        };
        let repository = repository.familiar_repository();
        let all = self.inner.tags.list()?.into_iter().map(|(tag, _)| tag);
        let within = |tag: &String| tag.parse::<Reference>().is_ok_and(|tag| tag.familiar_repository() == repository);
        Ok(all.filter(within).collect())
    }
}

fn write(store: &Store, images: &[(Image, Vec<Reference>)], out: &mut dyn Write) -> io::Result<()> {
    let mut written = BTreeSet::new();
    for (image, _) in images {
        for (layer, chain) in image.record.layers.iter().zip(&image.record.chains) {
            if written.insert(layer.digest.clone()) {
                blob(store, layer, Some(chain), 0, out)?;
            }
        }
        let config = Descriptor::new("", image.id.clone(), store.blobs().stat(&image.id).unwrap_or(0));
        let made = image.config.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        // Docker's archives have an image's age as that of its config.
        let made = made.and_then(|made| u64::try_from(made.as_second()).ok()).unwrap_or(0);
        for (descriptor, time) in [(&config, made), (&image.record.manifest, 0)] {
            if written.insert(descriptor.digest.clone()) {
                blob(store, descriptor, None, time, out)?;
            }
        }
    }
    let listed = images.iter().map(|(image, tags)| {
        let tags: Vec<String> = tags.iter().map(Reference::familiar).collect();
        let layers: Vec<String> = image.record.layers.iter().map(|layer| path_of(&layer.digest)).collect();
        json!({"Config": path_of(&image.id), "RepoTags": tags, "Layers": layers})
    });
    let listed = serde_json::to_vec(&listed.collect::<Vec<_>>())?;
    file("index.json", &serde_json::to_vec(&index(images))?, out)?;
    file("manifest.json", &listed, out)?;
    file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, out)?;
    // Two blocks of zeros end a tar.
    out.write_all(&[0; 1024])
}

fn index(images: &[(Image, Vec<Reference>)]) -> Index {
    let mut manifests = vec![];
    for (image, tags) in images {
        let plain = image.record.manifest.clone();
        if tags.is_empty() {
            manifests.push(plain.clone());
        }
        for tag in tags {
            let annotations = BTreeMap::from([
                (CONTAINERD_NAME.to_string(), tag.to_string()),
                (REFERENCE_NAME.to_string(), tag.tag().unwrap_or_default().to_string()),
            ]);
            manifests.push(Descriptor { annotations, ..plain.clone() });
        }
    }
    Index::new(manifests)
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn header(path: &str, size: u64, time: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(time);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// Fills the last block of 512 bytes.
fn pad(size: u64, out: &mut dyn Write) -> io::Result<()> {
    let rest = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
    out.write_all(&[0; 512][..rest])
}

fn file(path: &str, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    header(path, size, 0, out)?;
    out.write_all(bytes)?;
    pad(size, out)
}

fn blob(
    store: &Store,
    descriptor: &Descriptor,
    chain: Option<&Digest>,
    time: u64,
    out: &mut dyn Write,
) -> io::Result<()> {
    header(&path_of(&descriptor.digest), descriptor.size, time, out)?;
    match (store.blobs().open(&descriptor.digest), chain) {
        (Ok(mut bytes), _) => {
            let mut buffer = vec![0; 256 << 10];
            loop {
                let length = bytes.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                out.write_all(&buffer[..length])?;
            }
        }
        (Err(_), Some(chain)) => {
            let digest = store.snapshots().write_diff(chain, out).map_err(io::Error::other)?;
            if digest != descriptor.digest {
                return Err(io::Error::other(format!("layer {} has changed on disk", descriptor.digest)));
            }
        }
        (Err(error), None) => return Err(io::Error::other(error)),
    }
    pad(descriptor.size, out)
}
