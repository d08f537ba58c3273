//! References to manifests: what a name means, which manifest of an index is for us, and what a sound manifest is.
//!
//! Nothing is believed before its digest was checked, and a document that could be read as two kinds of thing (an index
//! that also lists layers, a media type that contradicts the header) is refused: who signs it and who runs it must see
//! the same image.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::Value;
use teu_oci::{Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};

use super::auth::Scope;
use super::exchange::{Ask, Exchange, Payload, Url};
use super::{Error, Resolved};

/// A manifest may not be larger (distribution specification, "Pushing Manifests").
pub(super) const LARGEST_MANIFEST: usize = 4 << 20;
const DIGEST_HEADER: &str = "docker-content-digest";

/// Fetches what `reference` names.
pub(super) async fn resolve(exchange: &Exchange, reference: &Reference) -> Result<Resolved, Error> {
    let wanted = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str().to_string(),
        (None, tag) => tag.unwrap_or("latest").to_string(),
    };
    fetch(exchange, reference, &wanted, reference.digest()).await
}

/// Fetches the manifest that an index lists.
pub(super) async fn listed(
    exchange: &Exchange,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Resolved, Error> {
    let resolved = fetch(exchange, reference, descriptor.digest.as_str(), Some(&descriptor.digest)).await?;
    if resolved.bytes.len() as u64 != descriptor.size || resolved.descriptor.media_type != descriptor.media_type {
        return Err(Error::invalid(descriptor.digest.as_str(), "is not what the index says that it is"));
    }
    Ok(resolved)
}

async fn fetch(
    exchange: &Exchange,
    reference: &Reference,
    wanted: &str,
    expected: Option<&Digest>,
) -> Result<Resolved, Error> {
    let what = reference.familiar();
    let origin = exchange.registry(reference.domain()).await?;
    let scope = Scope::pull(reference.domain(), reference.path());
    let mut headers = HeaderMap::new();
    let types = [media_type::OCI_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST];
    for kind in types {
        headers.append(header::ACCEPT, HeaderValue::from_static(kind));
    }
    let ask = Ask {
        what: &what,
        method: Method::GET,
        url: Url { origin, target: format!("/v2/{}/manifests/{wanted}", reference.path()) },
        scope: &scope,
        headers,
        payload: Payload::Nothing,
        accept: &[StatusCode::OK],
    };
    let answer = exchange.ask(ask).await?;
    let kind = answer.header(header::CONTENT_TYPE).map(|text| text.split(';').next().unwrap_or_default().trim().into());
    let named: Option<Digest> = answer.header(DIGEST_HEADER).and_then(|text| text.parse().ok());
    let bytes = exchange.read(&what, answer, LARGEST_MANIFEST).await?;
    identify(&what, bytes, kind, expected.or(named.as_ref()))
}

/// Fetches the config that a manifest names.
pub(super) async fn config(
    exchange: &Exchange,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Bytes, Error> {
    let what = reference.familiar();
    let origin = exchange.registry(reference.domain()).await?;
    let scope = Scope::pull(reference.domain(), reference.path());
    let ask = Ask {
        what: &what,
        method: Method::GET,
        url: Url { origin, target: format!("/v2/{}/blobs/{}", reference.path(), descriptor.digest) },
        scope: &scope,
        headers: HeaderMap::new(),
        payload: Payload::Nothing,
        accept: &[StatusCode::OK],
    };
    let answer = exchange.ask(ask).await?;
    let bytes = exchange.read(&what, answer, LARGEST_MANIFEST).await?;
    if Digest::sha256(&bytes) != descriptor.digest {
        return Err(Error::invalid(&what, "its config is not what its manifest says that it is"));
    }
    Ok(bytes)
}

/// Checks the digest and settles what kind of document it is.
fn identify(what: &str, bytes: Bytes, kind: Option<String>, expected: Option<&Digest>) -> Result<Resolved, Error> {
    let actual = Digest::sha256(&bytes);
    match expected {
        Some(expected) if expected.algorithm() != actual.algorithm() => {
            return Err(Error::invalid(what, format!("{} digests are not supported", expected.algorithm())));
        }
        Some(expected) if *expected != actual => {
            return Err(Error::DigestMismatch { what: what.into(), expected: expected.clone(), actual });
        }
        _ => {}
    }
    let kind = settle_kind(what, &bytes, kind)?;
    Ok(Resolved { descriptor: Descriptor::new(&kind, actual, bytes.len() as u64), bytes: bytes.into() })
}

/// The media type that document and header agree on.
fn settle_kind(what: &str, bytes: &[u8], header: Option<String>) -> Result<String, Error> {
    let wrong = |why: &str| Error::invalid(format!("manifest of {what}"), why);
    let document: Value = serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
    let has = |field: &str| document.get(field).is_some_and(|value| !value.is_null());
    if has("manifests") && (has("layers") || has("config")) || has("fsLayers") {
        return Err(wrong("is neither clearly an index nor clearly a manifest"));
    }
    let own = document.get("mediaType").and_then(Value::as_str).map(str::to_string);
    let known = |kind: &String| media_type::is_manifest(kind) || media_type::is_index(kind);
    let header = header.filter(known);
    let kind = match (own, header) {
        (Some(own), Some(header)) if own != header => return Err(wrong("has another media type than its header says")),
        (Some(own), _) => own,
        (None, Some(header)) => header,
        (None, None) if has("manifests") => media_type::OCI_INDEX.into(),
        (None, None) => media_type::OCI_MANIFEST.into(),
    };
    if !known(&kind) {
        return Err(wrong(&format!("media type {kind} is not supported")));
    }
    if media_type::is_index(&kind) != has("manifests") {
        return Err(wrong("is not what its media type says"));
    }
    Ok(kind)
}

/// Reads an image manifest.
pub(super) fn manifest(what: &str, bytes: &[u8]) -> Result<Manifest, Error> {
    settle_kind(what, bytes, None)?;
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(format!("manifest of {what}"), error.to_string()))
}

/// Reads an index.
pub(super) fn index(what: &str, bytes: &[u8]) -> Result<Index, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(format!("index of {what}"), error.to_string()))
}

/// The manifest for `platform`: the first that names it exactly, else the first that serves it.
pub(super) fn choose<'a>(index: &'a Index, platform: &Platform) -> Result<&'a Descriptor, Error> {
    let usable = || {
        index.manifests.iter().filter(|entry| {
            media_type::is_manifest(&entry.media_type)
                && entry.platform.as_ref().is_none_or(|offered| offered.serves(platform))
        })
    };
    let exact =
        usable().find(|entry| entry.platform.as_ref().is_some_and(|offered| offered.variant == platform.variant));
    let named = || usable().find(|entry| entry.platform.is_some());
    exact.or_else(named).or_else(|| usable().next()).ok_or_else(|| Error::NoPlatform { platform: platform.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str, header: &str) -> Result<Resolved, Error> {
        identify("x", Bytes::copy_from_slice(text.as_bytes()), Some(header.into()), None)
    }

    #[test]
    fn a_document_that_could_be_two_things_is_refused() {
        let both = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(document(both, media_type::OCI_INDEX).is_err());
        assert!(document(r#"{"schemaVersion":2,"manifests":[]}"#, media_type::OCI_MANIFEST).is_err());
        let typed = format!(r#"{{"mediaType":"{}","config":{{}},"layers":[]}}"#, media_type::OCI_MANIFEST);
        assert!(document(&typed, media_type::DOCKER_MANIFEST).is_err());
        assert!(document(&typed, media_type::OCI_MANIFEST).is_ok());
        assert!(document(r#"{"schemaVersion":1,"fsLayers":[]}"#, "application/json").is_err());
    }

    #[test]
    fn a_wrong_digest_is_refused() {
        let other = Digest::sha256(b"other");
        let error = identify("x", Bytes::from_static(b"{}"), None, Some(&other)).unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }));
    }

    #[test]
    fn the_platform_chooses_the_manifest() {
        let entry = |os: &str, architecture: &str, variant: Option<&str>| {
            let digest = Digest::sha256(format!("{os}{architecture}{variant:?}").as_bytes());
            let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, 1);
            descriptor.platform = Some(Platform {
                architecture: architecture.into(),
                os: os.into(),
                variant: variant.map(Into::into),
                os_version: None,
            });
            descriptor
        };
        let index = Index::new(vec![
            entry("windows", "amd64", None),
            entry("linux", "arm", Some("v6")),
            entry("linux", "arm", Some("v7")),
            entry("linux", "amd64", None),
        ]);
        let wanted = |text: &str| choose(&index, &text.parse().unwrap()).map(|found| found.digest.clone());
        assert_eq!(wanted("linux/amd64").unwrap(), index.manifests[3].digest);
        assert_eq!(wanted("linux/arm/v7").unwrap(), index.manifests[2].digest);
        assert_eq!(wanted("linux/arm").unwrap(), index.manifests[1].digest);
        assert!(matches!(wanted("linux/s390x"), Err(Error::NoPlatform { .. })));
    }
}
