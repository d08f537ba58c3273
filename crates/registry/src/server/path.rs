//! Paths: which endpoint a request means. What does not have the form of a name, tag, digest or upload id goes no
//! further than this file, so nothing a client wrote ever becomes part of a file name unchecked.

use http::Uri;
use teu_oci::Digest;

use super::error::{Code, Error};

/// The longest name of a repository (reference grammar of the distribution specification).
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;
/// An upload id: this many hexadecimal digits, all of them random.
pub(super) const UPLOAD_ID: usize = 32;

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags { name: String },
    /// `/v2/<name>/manifests/<reference>`
    Manifest { name: String, reference: ManifestName },
    /// `/v2/<name>/blobs/<digest>`
    Blob { name: String, digest: Digest },
    /// `/v2/<name>/blobs/uploads/`
    Uploads { name: String },
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload { name: String, id: String },
    /// `/v2/<name>/referrers/<digest>`
    Referrers { name: String, digest: Digest },
}

/// How a manifest is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ManifestName {
    Tag(String),
    Digest(Digest),
}

impl Endpoint {
    pub(super) fn of(uri: &Uri) -> Result<Self, Error> {
        let unknown = || Error::new(Code::NameUnknown, "no such endpoint").with_status(http::StatusCode::NOT_FOUND);
        let segments: Vec<&str> = uri.path().split('/').collect();
        let Some(("", rest)) = segments.split_first().map(|(first, rest)| (*first, rest)) else {
            return Err(unknown());
        };
        let Some(("v2", rest)) = rest.split_first().map(|(first, rest)| (*first, rest)) else { return Err(unknown()) };
        match rest {
            [] | [""] => Ok(Self::Base),
            ["_catalog"] => Ok(Self::Catalog),
            [name @ .., "tags", "list"] => Ok(Self::Tags { name: checked_name(name)? }),
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads { name: checked_name(name)? })
            }
            [name @ .., "blobs", "uploads", id] => {
                let name = checked_name(name)?;
                let sound = id.len() == UPLOAD_ID && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if !sound {
                    return Err(Error::new(Code::BlobUploadUnknown, "no such upload"));
                }
                Ok(Self::Upload { name, id: (*id).into() })
            }
            [name @ .., "blobs", digest] => {
                Ok(Self::Blob { name: checked_name(name)?, digest: checked_digest(digest)? })
            }
            [name @ .., "manifests", reference] => {
                Ok(Self::Manifest { name: checked_name(name)?, reference: ManifestName::of(reference)? })
            }
            [name @ .., "referrers", digest] => {
                Ok(Self::Referrers { name: checked_name(name)?, digest: checked_digest(digest)? })
            }
            _ => Err(unknown()),
        }
    }
}

impl ManifestName {
    fn of(text: &str) -> Result<Self, Error> {
        if text.contains([':', '%']) {
            return checked_digest(text).map(Self::Digest);
        }
        if is_tag(text) { Ok(Self::Tag(text.into())) } else { Err(Error::new(Code::ManifestUnknown, "not a tag")) }
    }
}

fn checked_name(segments: &[&str]) -> Result<String, Error> {
    let name = segments.join("/");
    if is_name(&name) { Ok(name) } else { Err(Error::new(Code::NameInvalid, "not the name of a repository")) }
}

fn checked_digest(text: &str) -> Result<Digest, Error> {
    // Some clients escape the colon; nothing else in a digest could be.
    let text = text.replacen("%3A", ":", 1).replacen("%3a", ":", 1);
    text.parse().map_err(|error: teu_oci::DigestError| Error::new(Code::DigestInvalid, error.to_string()))
}

/// Whether a text is the name of a repository.
pub(super) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.split('/').all(is_component)
}

/// Lower-case words joined by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_in_words = bytes.first().is_some_and(word) && bytes.last().is_some_and(word);
    let mut gaps = bytes.split(word);
    ends_in_words && gaps.all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

/// Whether a text is a tag.
pub(super) fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= LONGEST_TAG && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(path: &str) -> Result<Endpoint, Error> {
        Endpoint::of(&path.parse().unwrap())
    }

    #[test]
    fn every_endpoint_is_found() {
        let digest = Digest::sha256(b"");
        let name = || "a/b-c".to_string();
        let escaped = digest.as_str().replace(':', "%3A");
        let id = "0".repeat(UPLOAD_ID);
        for (path, wanted) in [
            ("/v2".to_string(), Endpoint::Base),
            ("/v2/".into(), Endpoint::Base),
            ("/v2/_catalog?n=1".into(), Endpoint::Catalog),
            ("/v2/a/b-c/tags/list".into(), Endpoint::Tags { name: name() }),
            (
                "/v2/a/b-c/manifests/v1.0".into(),
                Endpoint::Manifest { name: name(), reference: ManifestName::Tag("v1.0".into()) },
            ),
            (
                format!("/v2/a/b-c/manifests/{digest}"),
                Endpoint::Manifest { name: name(), reference: ManifestName::Digest(digest.clone()) },
            ),
            (format!("/v2/a/b-c/blobs/{escaped}"), Endpoint::Blob { name: name(), digest: digest.clone() }),
            ("/v2/a/b-c/blobs/uploads/".into(), Endpoint::Uploads { name: name() }),
            (format!("/v2/a/b-c/blobs/uploads/{id}"), Endpoint::Upload { name: name(), id }),
            (format!("/v2/a/b-c/referrers/{digest}"), Endpoint::Referrers { name: name(), digest: digest.clone() }),
            ("/v2/blobs/uploads/tags/list".into(), Endpoint::Tags { name: "blobs/uploads".into() }),
        ] {
            assert_eq!(endpoint(&path).unwrap(), wanted, "{path}");
        }
    }

    #[test]
    fn hostile_paths_mean_nothing() {
        let digest = Digest::sha256(b"");
        for path in [
            "/",
            "/v1/",
            "/v2//tags/list",
            "/v2/../tags/list",
            "/v2/a/../b/tags/list",
            "/v2/a%2f..%2fb/tags/list",
            "/v2/a%00/tags/list",
            "/v2/A/tags/list",
            "/v2/a./tags/list",
            "/v2/a..b/tags/list",
            "/v2/a___b/tags/list",
            "/v2/-a/tags/list",
            "/v2/a/manifests/.hidden",
            "/v2/a/manifests/..",
            "/v2/a/manifests/",
            "/v2/a/manifests/x%2fy",
            "/v2/a/blobs/sha256:../../x",
            "/v2/a/blobs/sha256:ABC",
            "/v2/a/blobs/uploads/..",
            "/v2/a/blobs/uploads/0000",
            "/v2/a/blobs/uploads/0000000000000000000000000000000G",
            &format!("/v2/a/manifests/{digest}%00"),
            &format!("/v2/{}/tags/list", "a".repeat(256)),
            &format!("/v2/a/manifests/{}", "a".repeat(129)),
        ] {
            assert!(endpoint(path).is_err(), "{path}");
        }
    }
}
