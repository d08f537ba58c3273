//! The image as it grows: config, layers and history, and what its ID is after each step.

use std::collections::BTreeMap;

use teu_engine::{Image, NewImage};
use teu_oci::{Descriptor, Digest, History, ImageConfig, Platform, Reference, media_type};

use super::cache::Record;
use crate::plan::PlanError;
use crate::plan::step::DEFAULT_PATH;

/// What tools look for to know how to read `created_by`.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// An image, as far as its stage has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<Descriptor>,
    pub(super) chain: Option<Digest>,
    /// What it was made from.
    pub(super) base: Base,
}

/// The part of an image that this build did not make.
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    pub(super) id: Option<Digest>,
    pub(super) chain: Option<Digest>,
    layers: usize,
    history: usize,
}

impl Draft {
    /// An image that is there.
    pub(super) fn of(image: Image) -> Self {
        let base = Base {
            id: Some(image.id.clone()),
            chain: image.chain().cloned(),
            layers: image.record.layers.len(),
            history: image.config.history.len(),
        };
        Self { config: image.config, layers: image.record.layers, chain: base.chain.clone(), base }
    }

    /// The image to make of it.
    pub(super) fn into_image(self, names: Vec<Reference>) -> NewImage {
        NewImage { config: self.config, layers: self.layers, names, parent: None }
    }

    /// An image with nothing in it.
    pub(super) fn scratch(platform: &Platform) -> Self {
        let config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        Self { config, ..Self::default() }
    }

    /// Programs are found even where the base says nothing about it.
    pub(super) fn ensure_path(&mut self) {
        let env = &mut self.config.config.env;
        if !env.iter().any(|entry| entry.starts_with("PATH=")) {
            env.insert(0, format!("PATH={DEFAULT_PATH}"));
        }
    }

    /// Adds a step that only described. Its time is that of the layer below, so that a build from the cache gives the
    /// same image.
    pub(super) fn describe(&mut self, created_by: String) {
        let created = self.config.created.clone();
        self.entry(created, created_by, true);
    }

    /// Adds the result of a step that may have made a layer.
    pub(super) fn add(&mut self, record: &Record, created_by: String) {
        self.config.created = Some(record.created.clone());
        if let Some(layer) = &record.layer {
            self.layers.push(Descriptor::new(media_type::OCI_LAYER, layer.diff_id.clone(), layer.size));
            self.config.rootfs.diff_ids.push(layer.diff_id.clone());
            self.chain = Some(layer.chain.clone());
        }
        self.entry(Some(record.created.clone()), created_by, record.layer.is_none());
    }

    /// Whether the build has made a layer.
    pub(super) fn has_layers(&self) -> bool {
        self.layers.len() > self.base.layers
    }

    /// Has one layer in the place of all that the build made; the history says so in the words of Docker's.
    pub(super) fn squash(&mut self, record: &Record) {
        let comment = match &self.base.id {
            Some(base) => format!("merge {} to {base}", self.id()),
            None => format!("create new from {}", self.id()),
        };
        self.config.history.iter_mut().skip(self.base.history).for_each(|entry| entry.empty_layer = true);
        self.layers.truncate(self.base.layers);
        self.config.rootfs.diff_ids.truncate(self.base.layers);
        self.add(record, String::new());
        if let Some(entry) = self.config.history.last_mut() {
            entry.comment = comment;
            entry.author.clear();
        }
    }

    /// `SOURCE_DATE_EPOCH`, as seconds since 1970: the image is of that time, and nothing in it is told to be younger.
    pub(super) fn date(&mut self, seconds: &str) -> Result<(), PlanError> {
        let time = seconds.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        let time = time.ok_or_else(|| PlanError::new(format!("invalid SOURCE_DATE_EPOCH: {seconds}")))?;
        let text = time.to_string();
        for entry in &mut self.config.history {
            let created = entry.created.as_deref().and_then(|created| created.parse::<jiff::Timestamp>().ok());
            if created.is_none_or(|created| created > time) {
                entry.created = Some(text.clone());
            }
        }
        self.config.created = Some(text);
        Ok(())
    }

    /// `--label`.
    pub(super) fn label(&mut self, labels: &BTreeMap<String, String>) {
        if labels.is_empty() {
            return;
        }
        let shown: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.config.config.labels.extend(labels.clone());
        self.describe(format!("LABEL {}", shown.join(" ")));
    }

    /// The ID that the image would have now.
    pub(super) fn id(&self) -> Digest {
        Digest::sha256(&serde_json::to_vec(&self.config).unwrap_or_default())
    }

    fn entry(&mut self, created: Option<String>, created_by: String, empty_layer: bool) {
        let author = self.config.author.clone();
        self.config.history.push(History { created, created_by, author, comment: COMMENT.into(), empty_layer });
    }
}

/// Now, as image configs write it, always with nine digits, so that texts sort as times do.
pub(super) fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::super::cache::Layer;
    use super::*;

    fn record(text: &str) -> Record {
        let layer = Layer {
            chain: Digest::sha256(format!("chain {text}").as_bytes()),
            diff_id: Digest::sha256(text.as_bytes()),
            size: 1024,
            content_size: 0,
        };
        Record { layer: Some(layer), created: format!("2026-01-01T00:00:0{text}Z"), created_by: text.into() }
    }

    #[test]
    fn an_image_grows_by_layers_and_by_words() {
        let mut draft = Draft::scratch(&Platform::host());
        draft.ensure_path();
        draft.ensure_path();
        assert_eq!(draft.config.config.env.len(), 1);
        draft.add(&record("1"), "RUN a".into());
        draft.describe("ENV A=1".into());
        draft.add(&Record { layer: None, ..record("2") }, "WORKDIR /".into());
        draft.label(&[("k".to_string(), "v".to_string())].into());
        let history: Vec<_> =
            draft.config.history.iter().map(|entry| (entry.created_by.as_str(), entry.empty_layer)).collect();
        assert_eq!(history, [("RUN a", false), ("ENV A=1", true), ("WORKDIR /", true), ("LABEL k=v", true)]);
        assert_eq!((draft.layers.len(), draft.config.rootfs.diff_ids.len()), (1, 1));
        assert_eq!(draft.config.config.labels["k"], "v");
        assert_eq!(draft.chain, record("1").layer.map(|layer| layer.chain));
    }

    #[test]
    fn a_squashed_image_has_one_layer_and_tells_of_all_steps() {
        let mut draft = Draft::scratch(&Platform::host());
        draft.add(&record("1"), "FROM x".into());
        draft.base = Base { id: Some(draft.id()), chain: draft.chain.clone(), layers: 1, history: 1 };
        assert!(!draft.has_layers());
        draft.add(&record("2"), "RUN a".into());
        draft.add(&record("3"), "RUN b".into());
        let before = draft.id();
        assert!(draft.has_layers());
        draft.squash(&record("4"));
        let diffs: Vec<_> = ["1", "4"].iter().map(|text| Digest::sha256(text.as_bytes())).collect();
        assert_eq!(draft.config.rootfs.diff_ids, diffs);
        assert_eq!(draft.layers.iter().map(|layer| layer.digest.clone()).collect::<Vec<_>>(), diffs);
        let empty: Vec<_> = draft.config.history.iter().map(|entry| entry.empty_layer).collect();
        assert_eq!(empty, [false, true, true, false]);
        let base = draft.base.id.clone().expect("a base");
        assert_eq!(draft.config.history[3].comment, format!("merge {before} to {base}"));
        assert_eq!(draft.chain, record("4").layer.map(|layer| layer.chain));
    }

    #[test]
    fn an_image_may_be_of_a_time_that_is_given() {
        let mut draft = Draft::scratch(&Platform::host());
        draft.add(&Record { created: "2001-01-01T00:00:00Z".into(), ..record("1") }, "FROM x".into());
        draft.add(&record("2"), "RUN a".into());
        draft.date("1000000000").expect("a time");
        let times: Vec<_> = draft.config.history.iter().filter_map(|entry| entry.created.as_deref()).collect();
        assert_eq!(times, ["2001-01-01T00:00:00Z", "2001-09-09T01:46:40Z"]);
        assert_eq!(draft.config.created.as_deref(), Some("2001-09-09T01:46:40Z"));
        assert!(draft.date("yesterday").is_err());
    }

    #[test]
    fn the_same_steps_from_the_cache_give_the_same_id() {
        let build = || {
            let mut draft = Draft::scratch(&Platform::host());
            draft.add(&record("1"), "RUN a".into());
            draft.describe("CMD [\"a\"]".into());
            draft.id()
        };
        assert_eq!(build(), build());
    }

    #[test]
    fn times_sort_as_texts() {
        let times: Vec<_> = (0..50).map(|_| now()).collect();
        assert!(times.is_sorted() && times.iter().all(|time| time.len() == "2026-01-01T00:00:00.123456789Z".len()));
    }
}
