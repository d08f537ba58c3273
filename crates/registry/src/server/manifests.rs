//! Manifests: reading, taking in and removing them.
//!
//! A manifest is kept byte for byte as it came; it is read only to know that it is one, what it refers to and what it is
//! about. A document that could be taken for two kinds of thing is refused, as is one whose blobs are not here.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::Value;
use teu_oci::{Descriptor, Digest, media_type};

use super::error::{Code, Error};
use super::path::{ManifestName, is_tag};
use super::repositories::ManifestRecord;
use super::uploads::new_id;
use super::{Answer, DIGEST_HEADER, Parameters, Registry, respond};

/// The specification lets a registry refuse anything larger.
const LARGEST_MANIFEST: usize = 4 << 20;
/// Tags that one request may set.
const MOST_TAGS: usize = 64;
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// The parts of a manifest or index that a registry has to know.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Reads a document that is announced as `kind`, or says itself what it is; also the media type.
    fn read(bytes: &[u8], kind: Option<&str>) -> Result<(Self, String), Error> {
        let wrong = |why: String| Error::new(Code::ManifestInvalid, why);
        let value: Value = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if value.get("fsLayers").is_some() {
            return Err(wrong("schema 1 is not supported".into()));
        }
        let document: Self = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        let kind = match (kind, document.media_type.as_deref()) {
            (Some(kind), Some(own)) if kind != own => return Err(wrong(format!("is {own}, announced as {kind}"))),
            (Some(kind), _) | (None, Some(kind)) => kind.to_string(),
            (None, None) => return Err(wrong("media type is missing".into())),
        };
        let is_index = media_type::is_index(&kind);
        if !is_index && !media_type::is_manifest(&kind) {
            return Err(wrong(format!("media type {kind} is not supported")));
        }
        let (has_image, has_index) = (document.config.is_some(), document.manifests.is_some());
        if is_index != has_index || is_index == has_image || is_index && document.layers.is_some() {
            return Err(wrong("is not what its media type says".into()));
        }
        if document.schema_version != 2 {
            return Err(wrong("schema version is not 2".into()));
        }
        Ok((document, kind))
    }

    /// What a list of referrers says about it.
    fn descriptor(&self, kind: &str, digest: &Digest, size: u64) -> Descriptor {
        let config = self.config.as_ref().map(|config| config.media_type.clone());
        let mut descriptor = Descriptor::new(kind, digest.clone(), size);
        descriptor.artifact_type = self.artifact_type.clone().filter(|kind| !kind.is_empty()).or(config);
        if self.subject.is_some() {
            descriptor.annotations = self.annotations.clone().unwrap_or_default();
        }
        descriptor
    }
}

impl Registry {
    fn find_manifest(&self, name: &str, reference: &ManifestName) -> Result<ManifestRecord, Error> {
        let (found, detail) = match reference {
            ManifestName::Tag(tag) => (self.repositories.tagged(name, tag), tag.as_str()),
            ManifestName::Digest(digest) => (self.repositories.manifest(name, digest), digest.as_str()),
        };
        let code = if self.repositories.exists(name) { Code::ManifestUnknown } else { Code::NameUnknown };
        found.ok_or_else(|| Error::new(code, detail))
    }

    /// end-3: `GET` and `HEAD /v2/<name>/manifests/<reference>`
    pub(super) async fn get_manifest(self: Arc<Self>, name: String, reference: ManifestName, head: bool) -> Answer {
        let record = self.find_manifest(&name, &reference)?;
        let Descriptor { media_type, digest, size, .. } = record.descriptor;
        let body = if head {
            Body::empty()
        } else {
            let wanted = digest.clone();
            Body::from(self.blocking(move |registry| Ok(registry.store.blobs().read(&wanted)?)).await?)
        };
        let (tag, length) = (format!("\"{digest}\""), size.to_string());
        let headers = [
            (header::CONTENT_TYPE, media_type.as_str()),
            (header::CONTENT_LENGTH, length.as_str()),
            (header::ETAG, tag.as_str()),
            (DIGEST_HEADER, digest.as_str()),
        ];
        respond(StatusCode::OK, &headers, body)
    }

    /// end-7: `PUT /v2/<name>/manifests/<reference>`
    pub(super) async fn put_manifest(
        self: Arc<Self>,
        name: String,
        reference: ManifestName,
        request: Request,
    ) -> Answer {
        let tags = tags_of(&reference, &Parameters::of(request.uri())?)?;
        let kind = announced(request.headers());
        let bytes = self.read_manifest(request).await?;
        let (document, kind) = Document::read(&bytes, kind.as_deref())?;
        let subject = document.subject.as_ref().map(|subject| subject.digest.to_string());
        let expected = match reference {
            ManifestName::Digest(digest) => Some(digest),
            ManifestName::Tag(_) => None,
        };
        let (repository, by) = (name.clone(), tags.clone());
        let digest = self
            .blocking(move |registry| {
                registry.take_manifest(repository, &document, &kind, &bytes, expected.as_ref(), &by)
            })
            .await?;
        let location = format!("/v2/{name}/manifests/{digest}");
        let mut headers = vec![
            (header::LOCATION, location.as_str()),
            (DIGEST_HEADER, digest.as_str()),
            (header::CONTENT_LENGTH, "0"),
        ];
        headers.extend(subject.as_deref().map(|subject| (SUBJECT, subject)));
        headers.extend(tags.iter().map(|tag| (TAG, tag.as_str())));
        respond(StatusCode::CREATED, &headers, Body::empty())
    }

    /// The body, unless it says or turns out to be too large.
    async fn read_manifest(&self, request: Request) -> Result<Vec<u8>, Error> {
        let too_large = || {
            let refused = Error::new(Code::SizeInvalid, format!("manifest is larger than {LARGEST_MANIFEST} bytes"));
            refused.with_status(StatusCode::PAYLOAD_TOO_LARGE)
        };
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > LARGEST_MANIFEST as u64) {
            return Err(too_large());
        }
        let reading = Limited::new(request.into_body(), LARGEST_MANIFEST).collect();
        match tokio::time::timeout(self.settings.stall, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes().into()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(Error::new(Code::ManifestInvalid, error.to_string())),
            Err(_) => Err(Error::new(Code::ManifestInvalid, "client fell silent")),
        }
    }

    /// Keeps a manifest and makes it, and all that it refers to, durable.
    fn take_manifest(
        &self,
        name: String,
        document: &Document,
        kind: &str,
        bytes: &[u8],
        expected: Option<&Digest>,
        tags: &[String],
    ) -> Result<Digest, Error> {
        let lease = self.store.lease("take in a manifest");
        let refers = self.check_references(&name, document, &lease)?;
        let mut writer = self.store.blobs().writer(&format!("registry-manifest/{}", new_id()?))?;
        if let Err(error) = writer.write_all(bytes) {
            writer.abort()?;
            return Err(self.why_not_written(&error));
        }
        expected.iter().for_each(|digest| lease.hold(digest));
        lease.hold(&Digest::sha256(bytes));
        let digest = match writer.commit_deferred(expected) {
            Err(teu_store::Error::DigestMismatch { actual, .. }) => {
                return Err(Error::new(Code::DigestInvalid, format!("manifest is {actual}")));
            }
            other => other?.0,
        };
        self.store.sync()?;
        let record = ManifestRecord {
            repository: name,
            descriptor: document.descriptor(kind, &digest, bytes.len() as u64),
            refers,
            subject: document.subject.as_ref().map(|subject| subject.digest.clone()),
        };
        self.repositories.put(&record, tags)?;
        Ok(digest)
    }

    /// All that a manifest needs must be in its repository. A subject need not.
    fn check_references(
        &self,
        name: &str,
        document: &Document,
        lease: &teu_store::Lease,
    ) -> Result<Vec<Digest>, Error> {
        let mut refers = Vec::new();
        for blob in document.config.iter().chain(document.layers.iter().flatten()) {
            lease.hold(&blob.digest);
            let here = self.repositories.has_blob(name, &blob.digest);
            if here && self.store.blobs().stat(&blob.digest).is_some() {
                refers.push(blob.digest.clone());
            } else if blob.urls.is_empty() {
                return Err(Error::new(Code::ManifestBlobUnknown, blob.digest.as_str()));
            }
        }
        for manifest in document.manifests.iter().flatten() {
            lease.hold(&manifest.digest);
            if self.repositories.manifest(name, &manifest.digest).is_none() {
                return Err(Error::new(Code::ManifestBlobUnknown, manifest.digest.as_str()));
            }
            refers.push(manifest.digest.clone());
        }
        Ok(refers)
    }

    /// end-9: `DELETE /v2/<name>/manifests/<reference>`; a tag alone, or a manifest with all its tags
    pub(super) async fn delete_manifest(self: Arc<Self>, name: String, reference: ManifestName) -> Answer {
        self.find_manifest(&name, &reference)?;
        let removed = self
            .blocking(move |registry| match reference {
                ManifestName::Tag(tag) => Ok(registry.repositories.untag(&name, &tag)?),
                ManifestName::Digest(digest) => Ok(registry.repositories.remove(&name, &digest)?),
            })
            .await?;
        if !removed {
            return Err(Error::new(Code::ManifestUnknown, "not in this repository"));
        }
        respond(StatusCode::ACCEPTED, &[(header::CONTENT_LENGTH, "0")], Body::empty())
    }
}

/// The media type in the header, without its parameters.
fn announced(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = text.split(';').next().unwrap_or_default().trim();
    (!kind.is_empty() && kind != "application/json").then(|| kind.to_string())
}

/// The tags that a request sets.
fn tags_of(reference: &ManifestName, parameters: &Parameters) -> Result<Vec<String>, Error> {
    let mut tags: Vec<String> = parameters.all("tag").map(str::to_string).collect();
    match reference {
        ManifestName::Tag(tag) if tags.is_empty() => tags.push(tag.clone()),
        ManifestName::Tag(_) => return Err(Error::new(Code::ManifestInvalid, "tags need a digest in the path")),
        ManifestName::Digest(_) => {}
    }
    if tags.len() > MOST_TAGS || !tags.iter().all(|tag| is_tag(tag)) {
        return Err(Error::new(Code::ManifestInvalid, "tags are not sound"));
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, kind: Option<&str>) -> Result<String, Error> {
        Document::read(text.as_bytes(), kind).map(|(_, kind)| kind)
    }

    #[test]
    fn only_what_is_clearly_one_thing_is_taken() {
        let config = format!(
            r#""config":{{"mediaType":"{}","digest":"{}","size":2}}"#,
            media_type::OCI_CONFIG,
            Digest::sha256(b"{}")
        );
        let image = format!(r#"{{"schemaVersion":2,{config},"layers":[]}}"#);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(read(&image, Some(media_type::OCI_MANIFEST)).unwrap(), media_type::OCI_MANIFEST);
        assert_eq!(read(&image, Some(media_type::DOCKER_MANIFEST)).unwrap(), media_type::DOCKER_MANIFEST);
        assert_eq!(read(index, Some(media_type::OCI_INDEX)).unwrap(), media_type::OCI_INDEX);
        let both = format!(r#"{{"schemaVersion":2,{config},"layers":[],"manifests":[]}}"#);
        for (text, kind) in [
            (both.as_str(), Some(media_type::OCI_MANIFEST)),
            (&both, Some(media_type::OCI_INDEX)),
            (&image, Some(media_type::OCI_INDEX)),
            (index, Some(media_type::OCI_MANIFEST)),
            (&image, None),
            (&image, Some("text/plain")),
            (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#, Some(media_type::OCI_INDEX)),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, Some(media_type::OCI_MANIFEST)),
            ("[]", Some(media_type::OCI_MANIFEST)),
            ("", Some(media_type::OCI_MANIFEST)),
        ] {
            assert!(read(text, kind).is_err(), "{text} as {kind:?}");
        }
    }
}
