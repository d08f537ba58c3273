//! `--cache-from`: the images here whose steps count as results, when any are named.
//!
//! A step that makes a layer counts when the layer is one of theirs; one that only describes counts when everything up to
//! it is how one of them begins. Images that are not here contribute nothing.

use std::collections::HashSet;

use teu_engine::Image;
use teu_oci::{Digest, ImageConfig, chain_ids};

use super::export::Draft;

/// Images that results are taken from.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    images: Vec<ImageConfig>,
}

impl Sources {
    /// Results are taken from these.
    pub(super) fn new(images: impl IntoIterator<Item = Image>) -> Self {
        Self { images: images.into_iter().map(|image| image.config).collect() }
    }

    /// The layers of the images, each with all that is below it.
    pub(super) fn chains(&self) -> HashSet<Digest> {
        self.images.iter().flat_map(|image| chain_ids(&image.rootfs.diff_ids)).collect()
    }

    /// Whether an image begins as `draft` does: the same layers, the same words.
    pub(super) fn begin_as(&self, draft: &Draft) -> bool {
        let (history, layers) = (&draft.config.history, &draft.config.rootfs.diff_ids);
        self.images.iter().any(|image| {
            let words = history.iter().zip(&image.history);
            image.history.len() >= history.len()
                && image.rootfs.diff_ids.starts_with(layers)
                && words
                    .into_iter()
                    .all(|(one, other)| (&one.created_by, one.empty_layer) == (&other.created_by, other.empty_layer))
        })
    }
}

#[cfg(test)]
mod tests {
    use teu_oci::{Platform, chain_id};

    use super::*;

    fn draft(words: &[&str], layers: &[&str]) -> Draft {
        let mut draft = Draft::scratch(&Platform::host());
        words.iter().for_each(|word| draft.describe((*word).into()));
        draft.config.rootfs.diff_ids = layers.iter().map(|layer| Digest::sha256(layer.as_bytes())).collect();
        draft
    }

    #[test]
    fn an_image_begins_with_the_same_words_and_layers() {
        let sources = Sources { images: vec![draft(&["ENV A=1", "CMD x"], &["a", "b"]).config] };
        assert!(sources.begin_as(&draft(&["ENV A=1"], &["a"])));
        assert!(sources.begin_as(&draft(&["ENV A=1", "CMD x"], &["a", "b"])));
        for (words, layers) in
            [(&["ENV A=2"][..], &["a"][..]), (&["ENV A=1"], &["b"]), (&["ENV A=1", "CMD x", "USER y"], &["a"])]
        {
            assert!(!sources.begin_as(&draft(words, layers)), "{words:?} {layers:?}");
        }
        assert!(!Sources::default().begin_as(&draft(&[], &[])));
        let below = Digest::sha256(b"a");
        assert_eq!(sources.chains(), [below.clone(), chain_id(Some(&below), &Digest::sha256(b"b"))].into());
    }
}
