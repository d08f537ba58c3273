//! Uploads: how a blob comes in, at once or in pieces.
//!
//! An upload is a partial blob of the store under the key `registry/<name>/<id>`. The key is all the state there is: an
//! id that was made for one repository names nothing in another, and an upload survives a restart. Ids are random, so
//! nobody finds those of others.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use http_body_util::BodyExt;
use teu_oci::Digest;
use teu_store::BlobWriter;

use super::error::{Code, Error};
use super::path::{UPLOAD_ID, is_name};
use super::{Answer, DIGEST_HEADER, Parameters, Registry, respond};
use crate::body::Pour;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Registry {
    /// end-4 and end-11: `POST /v2/<name>/blobs/uploads/`
    pub(super) async fn begin_upload(self: Arc<Self>, name: String, request: Request) -> Answer {
        let parameters = Parameters::of(request.uri())?;
        if let Some(algorithm) = parameters.get("digest-algorithm")
            && !matches!(algorithm, "sha256" | "sha512")
        {
            return Err(Error::new(Code::DigestInvalid, "algorithm not supported"));
        }
        if let Some(wanted) = parameters.get("mount") {
            let digest = digest_of(wanted)?;
            let from = parameters.get("from").map(str::to_string);
            if self.mount(&name, digest.clone(), from).await? {
                return created(&name, &digest);
            }
        }
        let id = new_id()?;
        let (key, digest) = (key(&name, &id), parameters.get("digest").map(digest_of).transpose()?);
        let writer = self.blocking(move |registry| Ok(registry.store.blobs().writer(&key)?)).await?;
        match digest {
            Some(digest) => self.take_whole(&name, writer, digest, request).await,
            None => {
                drop(writer);
                under_way(StatusCode::ACCEPTED, &name, &id, 0)
            }
        }
    }

    /// Lets `name` have a blob that another repository has; whether one did.
    async fn mount(self: &Arc<Self>, name: &str, digest: Digest, from: Option<String>) -> Result<bool, Error> {
        let name = name.to_string();
        self.blocking(move |registry| {
            let lease = registry.store.lease("mount a blob");
            lease.hold(&digest);
            let there = match from {
                Some(from) => is_name(&from) && registry.repositories.has_blob(&from, &digest),
                None => registry.repositories.any_with_blob(&digest),
            };
            if !there || registry.store.blobs().stat(&digest).is_none() {
                return Ok(false);
            }
            registry.repositories.link(&name, &digest)?;
            Ok(true)
        })
        .await
    }

    /// end-13: `GET <location>`
    pub(super) async fn upload_status(self: Arc<Self>, name: String, id: String) -> Answer {
        let (writer, name, id) = self.resume(name, id).await?;
        under_way(StatusCode::NO_CONTENT, &name, &id, writer.offset())
    }

    /// end-5: `PATCH <location>`
    pub(super) async fn append(self: Arc<Self>, name: String, id: String, request: Request) -> Answer {
        let (writer, name, id) = self.resume(name, id).await?;
        let wanted = expected_length(request.headers(), writer.offset()).map_err(|error| located(error, &name, &id))?;
        let before = writer.offset();
        let writer = self.receive(writer, request).await?;
        let offset = writer.offset();
        if wanted.is_some_and(|wanted| offset - before != wanted) {
            return Err(Error::new(Code::SizeInvalid, "body is not as long as its range"));
        }
        under_way(StatusCode::ACCEPTED, &name, &id, offset)
    }

    /// end-6: `PUT <location>?digest=`
    pub(super) async fn finish_upload(self: Arc<Self>, name: String, id: String, request: Request) -> Answer {
        let parameters = Parameters::of(request.uri())?;
        let digest = parameters.get("digest").ok_or_else(|| Error::new(Code::DigestInvalid, "digest is missing"))?;
        let digest = digest_of(digest)?;
        let (writer, name, id) = self.resume(name, id).await?;
        expected_length(request.headers(), writer.offset()).map_err(|error| located(error, &name, &id))?;
        self.take_whole(&name, writer, digest, request).await
    }

    /// end-14: `DELETE <location>`
    pub(super) async fn cancel_upload(self: Arc<Self>, name: String, id: String) -> Answer {
        let (writer, _, _) = self.resume(name, id).await?;
        self.blocking(move |_| Ok(writer.abort()?)).await?;
        respond(StatusCode::NO_CONTENT, &[], Body::empty())
    }

    /// Receives what is left of a blob and makes it one of the repository.
    async fn take_whole(self: &Arc<Self>, name: &str, writer: BlobWriter, digest: Digest, request: Request) -> Answer {
        let writer = self.receive(writer, request).await?;
        let (repository, wanted) = (name.to_string(), digest.clone());
        self.blocking(move |registry| {
            let lease = registry.store.lease("take in a blob");
            lease.hold(&wanted);
            match writer.commit_deferred(Some(&wanted)) {
                Err(teu_store::Error::DigestMismatch { actual, .. }) => {
                    Err(Error::new(Code::DigestInvalid, format!("content is {actual}")))
                }
                other => {
                    other?;
                    Ok(registry.repositories.link(&repository, &wanted)?)
                }
            }
        })
        .await?;
        created(name, &digest)
    }

    async fn resume(self: &Arc<Self>, name: String, id: String) -> Result<(BlobWriter, String, String), Error> {
        self.blocking(move |registry| match registry.store.blobs().resume(&key(&name, &id)) {
            Ok(writer) => Ok((writer, name, id)),
            Err(teu_store::Error::NotFound { .. }) => Err(Error::new(Code::BlobUploadUnknown, id)),
            Err(teu_store::Error::InUse { .. }) => {
                Err(Error::new(Code::BlobUploadInvalid, "another request is writing").with_status(StatusCode::CONFLICT))
            }
            Err(error) => Err(error.into()),
        })
        .await
    }

    /// Writes a body to its end. What came of one that broke off stays, for the client to go on from.
    async fn receive(&self, writer: BlobWriter, request: Request) -> Result<BlobWriter, Error> {
        let _turn = self.receiving.try_acquire().map_err(|_| {
            Error::new(Code::TooManyRequests, "too many uploads at once").with_header(header::RETRY_AFTER, "1")
        })?;
        let failed = |error| self.why_not_written(&error);
        let mut pour = Pour::into(writer);
        let mut body = request.into_body();
        let broken = loop {
            match tokio::time::timeout(self.settings.stall, body.frame()).await {
                Ok(None) => break None,
                Ok(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data()
                        && !piece.is_empty()
                    {
                        pour.write(piece).await.map_err(failed)?;
                    }
                }
                Ok(Some(Err(error))) => break Some(error.to_string()),
                Err(_) => break Some("client fell silent".into()),
            }
        };
        let writer = pour.finish().await.map_err(failed)?;
        match broken {
            Some(broken) => Err(Error::new(Code::BlobUploadInvalid, broken)),
            None => Ok(writer),
        }
    }

    pub(super) fn why_not_written(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::Store(teu_store::Error::NoSpace { path: self.store.root().to_path_buf() })
            }
            _ => Error::Internal(format!("write a blob: {error}")),
        }
    }
}

fn key(name: &str, id: &str) -> String {
    format!("registry/{name}/{id}")
}

pub(super) fn new_id() -> Result<String, Error> {
    let mut bytes = [0; UPLOAD_ID / 2];
    getrandom::fill(&mut bytes).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn digest_of(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|error: teu_oci::DigestError| Error::new(Code::DigestInvalid, error.to_string()))
}

/// The length that a `Content-Range` promises, after a check that it begins where the upload is.
fn expected_length(headers: &HeaderMap, offset: u64) -> Result<Option<u64>, Error> {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let read = || {
        let text = range.to_str().ok()?;
        // The specification's form has no unit; RFC 9110's has one, and the size after a slash.
        let text = text.strip_prefix("bytes ").unwrap_or(text).split('/').next()?;
        let (first, last) = text.split_once('-')?;
        Some((first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?))
    };
    let (first, last) = read().ok_or_else(|| Error::new(Code::BlobUploadInvalid, "range cannot be read"))?;
    if first != offset || last < first {
        let refused = Error::new(Code::BlobUploadInvalid, "range does not begin where the upload is");
        return Err(refused.with_status(StatusCode::RANGE_NOT_SATISFIABLE).with_header(header::RANGE, &so_far(offset)));
    }
    let length = (last - first).checked_add(1).ok_or_else(|| Error::new(Code::SizeInvalid, "range is too long"))?;
    let body = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if body.is_some_and(|body| body != length) {
        return Err(Error::new(Code::SizeInvalid, "body is not as long as its range"));
    }
    Ok(Some(length))
}

/// What an upload has, as a `Range`: the last byte counts, and nothing is written like the first byte alone.
fn so_far(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn location(name: &str, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

fn located(error: Error, name: &str, id: &str) -> Error {
    error.with_header(header::LOCATION, &location(name, id))
}

fn under_way(status: StatusCode, name: &str, id: &str, offset: u64) -> Answer {
    let (location, range) = (location(name, id), so_far(offset));
    let mut headers = vec![(header::LOCATION, location.as_str()), (header::RANGE, &range), (UPLOAD_UUID, id)];
    if status != StatusCode::NO_CONTENT {
        headers.push((header::CONTENT_LENGTH, "0"));
    }
    respond(status, &headers, Body::empty())
}

fn created(name: &str, digest: &Digest) -> Answer {
    let location = format!("/v2/{name}/blobs/{digest}");
    let headers =
        [(header::LOCATION, location.as_str()), (DIGEST_HEADER, digest.as_str()), (header::CONTENT_LENGTH, "0")];
    respond(StatusCode::CREATED, &headers, Body::empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn length(range: &str, offset: u64) -> Result<Option<u64>, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_RANGE, HeaderValue::from_str(range).unwrap());
        expected_length(&headers, offset)
    }

    #[test]
    fn a_piece_must_begin_where_the_upload_is() {
        assert_eq!(length("10-19", 10).unwrap(), Some(10));
        assert_eq!(length("bytes 10-19/100", 10).unwrap(), Some(10));
        assert!(length("0-9", 10).is_err());
        assert!(length("20-29", 10).is_err());
        assert!(length("10-9", 10).is_err());
        assert!(length("x", 0).is_err());
        assert!(length("0-18446744073709551615", 0).is_err());
        assert_eq!(expected_length(&HeaderMap::new(), 10).unwrap(), None);
    }
}
