//! `rmi` and `image prune`: names go, and with the last of them the image. Bytes that nothing else refers to are
//! collected at once.

use teu_api::Filters;
use teu_api::image::{DeleteItem, PruneReport};
use teu_oci::{Digest, Reference};

use super::{Image, Images};
use crate::container::{Containers, Phase};
use crate::error::{Error, Result};
use crate::prune::Mode;

impl Images {
    /// Takes away a name; the image too if it was the last one, or if it is named by its id.
    ///
    /// # Errors
    /// When there is no such image, or it is in use and that is not to be overruled.
    pub fn remove(&self, wanted: &str, force: bool, containers: &Containers) -> Result<Vec<DeleteItem>> {
        let image = self.resolve(wanted)?;
        let names = self.names(&image.id)?;
        let by_name = wanted.parse::<Reference>().ok().filter(|name| names.contains(name));
        let mut items = vec![];
        if let Some(name) = by_name.filter(|_| names.len() > 1) {
            self.untag(&image.id, &name, &mut items)?;
            self.forget_digests(&image, &name, &names, &mut items)?;
            return Ok(items);
        }
        let id_of_many = wanted.parse::<Reference>().map_or(true, |name| !names.contains(&name)) && names.len() > 1;
        if id_of_many && !force {
            let id = image.id.short();
            return Err(Error::conflict(format!(
                "conflict: unable to delete {id} (must be forced) - image is referenced in multiple repositories"
            )));
        }
        self.check_users(&image, wanted, force, containers)?;
        for name in &names {
            self.untag(&image.id, name, &mut items)?;
        }
        self.delete(&image, &mut items)?;
        self.inner.store.collect()?;
        Ok(items)
    }

    fn check_users(&self, image: &Image, wanted: &str, force: bool, containers: &Containers) -> Result<()> {
        for container in containers.all() {
            let record = container.record();
            let id = &record.id[..12];
            let mut mounted = record.mounts.iter().filter_map(|mount| mount.image.as_ref());
            if mounted.any(|mount| mount.id == image.id) && !force {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {wanted} (must be forced) - container {id} is using its referenced image {}",
                    image.id.short()
                )));
            }
            if record.image_id.as_ref() != Some(&image.id) {
                continue;
            }
            let running = matches!(record.state.phase, Phase::Running | Phase::Paused | Phase::Restarting);
            if running {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {wanted} (cannot be forced) - image is being used by running container {id}"
                )));
            }
            if !force {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {wanted} (must be forced) - image is being used by stopped container {id}"
                )));
            }
        }
        Ok(())
    }

    fn untag(&self, id: &Digest, name: &Reference, items: &mut Vec<DeleteItem>) -> Result<()> {
        let _naming = self.inner.naming.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.inner.tags.remove(&name.to_string())? {
            self.emit("untag", id, &name.familiar());
            items.push(DeleteItem { untagged: Some(name.familiar()), deleted: None });
        }
        Ok(())
    }

    /// With the last tag in a repository go the digests that the image has there.
    fn forget_digests(
        &self,
        image: &Image,
        gone: &Reference,
        names: &[Reference],
        items: &mut Vec<DeleteItem>,
    ) -> Result<()> {
        let repository = gone.familiar_repository();
        if names.iter().any(|name| name != gone && name.familiar_repository() == repository) {
            return Ok(());
        }
        let within = |digest: &String| digest.split_once('@').is_some_and(|(other, _)| other == repository);
        let mut record = image.record.clone();
        let (gone, kept) = record.repo_digests.into_iter().partition::<Vec<_>, _>(within);
        record.repo_digests = kept;
        if !gone.is_empty() {
            self.inner.records.put(image.id.hex(), &record)?;
            items.extend(gone.into_iter().map(|digest| DeleteItem { untagged: Some(digest), deleted: None }));
        }
        Ok(())
    }

    fn delete(&self, image: &Image, items: &mut Vec<DeleteItem>) -> Result<()> {
        for digest in &image.record.repo_digests {
            items.push(DeleteItem { untagged: Some(digest.clone()), deleted: None });
        }
        self.inner.records.remove(image.id.hex())?;
        self.emit("delete", &image.id, image.id.as_str());
        items.push(DeleteItem { untagged: None, deleted: Some(image.id.to_string()) });
        Ok(())
    }

    /// Removes images that no container uses: those without a name, or with `dangling=false` all. Of an image in use
    /// such a prune leaves one name.
    ///
    /// # Errors
    /// When a filter is unknown or has no meaning.
    pub fn prune(&self, filters: &Filters, containers: &Containers, mode: Mode) -> Result<PruneReport> {
        if let Some(unknown) = filters.unknown(&["dangling", "label", "label!", "until"]) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        let dangling =
            filters.flag("dangling").map_err(|value| Error::bad(format!("invalid filter 'dangling={value}'")))?;
        let until = filters.get("until").first().map(|text| crate::prune::until(text)).transpose()?;
        let used: Vec<Option<Digest>> =
            containers.all().iter().map(|container| container.record().image_id.clone()).collect();
        let mut report = PruneReport::default();
        for image in self.all()? {
            let mut names = self.names(&image.id)?;
            let created = image.config.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let old = until.is_none_or(|until| created.is_some_and(|created| created < until));
            let chosen = (names.is_empty() || dangling == Some(false)) && old;
            if !chosen || !filters.match_labels(&image.config.config.labels) {
                continue;
            }
            let in_use = used.contains(&Some(image.id.clone()));
            if in_use {
                names.pop();
            }
            if mode == Mode::Tell {
                let told = |untagged, deleted| DeleteItem { untagged, deleted };
                report.images_deleted.extend(names.iter().map(|name| told(Some(name.familiar()), None)));
                report.images_deleted.extend((!in_use).then(|| told(None, Some(image.id.to_string()))));
                continue;
            }
            for name in &names {
                self.untag(&image.id, name, &mut report.images_deleted)?;
            }
            if !in_use {
                self.delete(&image, &mut report.images_deleted)?;
            }
        }
        if mode == Mode::Tell {
            return Ok(report);
        }
        report.space_reclaimed = self.inner.store.collect()?.bytes;
        self.inner.store.empty_trash()?;
        Ok(report)
    }
}
