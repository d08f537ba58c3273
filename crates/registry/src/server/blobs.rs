//! Blobs: reading them whole or in part, unlinking them.

use std::fs::File;
use std::sync::Arc;

use axum::body::Body;
use http::StatusCode;
use http::header::{self, HeaderValue};
use teu_oci::Digest;

use super::error::{Code, Error};
use super::{Answer, DIGEST_HEADER, Registry, respond};
use crate::body;

/// What a `Range` asks for, against a size.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// First and last byte.
    Bytes(u64, u64),
    Unsatisfiable,
}

impl Part {
    /// RFC 9110, "Range". Several ranges at once, and what cannot be read, are as good as none.
    fn of(range: Option<&HeaderValue>, size: u64) -> Self {
        let asked = range.and_then(|value| value.to_str().ok());
        let Some((first, last)) = asked.and_then(|text| text.strip_prefix("bytes=")).and_then(|t| t.split_once('-'))
        else {
            return Self::Whole;
        };
        let number = |text: &str| if text.is_empty() { Ok(None) } else { text.trim().parse::<u64>().map(Some) };
        match (number(first), number(last)) {
            (Ok(Some(first)), Ok(last)) => {
                let last = last.unwrap_or(u64::MAX);
                if last < first {
                    return Self::Whole;
                }
                if first >= size { Self::Unsatisfiable } else { Self::Bytes(first, last.min(size - 1)) }
            }
            (Ok(None), Ok(Some(length))) if length == 0 || size == 0 => Self::Unsatisfiable,
            (Ok(None), Ok(Some(length))) => Self::Bytes(size.saturating_sub(length), size - 1),
            _ => Self::Whole,
        }
    }
}

impl Registry {
    /// end-2: `GET` and `HEAD /v2/<name>/blobs/<digest>`
    pub(super) async fn get_blob(
        self: Arc<Self>,
        name: &str,
        digest: Digest,
        range: Option<&HeaderValue>,
        head: bool,
    ) -> Answer {
        let unknown = |digest: &Digest| Error::new(Code::BlobUnknown, digest.as_str());
        if !self.repositories.has_blob(name, &digest) {
            return Err(unknown(&digest));
        }
        let (file, size) = self.blocking(move |registry| registry.open_blob(&digest)).await?;
        let digest = file.digest;
        let part = Part::of(range, size);
        let (status, start, length) = match part {
            Part::Whole => (StatusCode::OK, 0, size),
            Part::Bytes(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Part::Unsatisfiable => {
                let refused = Error::new(Code::SizeInvalid, "range not satisfiable");
                let refused = refused.with_status(StatusCode::RANGE_NOT_SATISFIABLE);
                return Err(refused.with_header(header::CONTENT_RANGE, &format!("bytes */{size}")));
            }
        };
        let range = format!("bytes {start}-{}/{size}", (start + length).saturating_sub(1));
        let mut headers = vec![
            (header::CONTENT_TYPE, "application/octet-stream"),
            (header::ACCEPT_RANGES, "bytes"),
            (DIGEST_HEADER, digest.as_str()),
        ];
        let (tag, length_text) = (format!("\"{digest}\""), length.to_string());
        headers.extend([(header::ETAG, tag.as_str()), (header::CONTENT_LENGTH, length_text.as_str())]);
        if status == StatusCode::PARTIAL_CONTENT {
            headers.push((header::CONTENT_RANGE, &range));
        }
        let body =
            if head { Body::empty() } else { Body::new(body::of_file(Arc::new(file.file), start, length, |_| ())) };
        respond(status, &headers, body)
    }

    fn open_blob(&self, digest: &Digest) -> Result<(OpenBlob, u64), Error> {
        let file = match self.store.blobs().open(digest) {
            Err(error) if error.is_not_found() => return Err(Error::new(Code::BlobUnknown, digest.as_str())),
            other => other?,
        };
        let size = file.metadata().map_err(|error| Error::Internal(format!("size of {digest}: {error}")))?.len();
        Ok((OpenBlob { file, digest: digest.clone() }, size))
    }

    /// end-10: `DELETE /v2/<name>/blobs/<digest>`
    pub(super) async fn delete_blob(self: Arc<Self>, name: String, digest: Digest) -> Answer {
        let unlinked = self.blocking(move |registry| Ok(registry.repositories.unlink(&name, &digest)?)).await?;
        if !unlinked {
            return Err(Error::new(Code::BlobUnknown, "not in this repository"));
        }
        respond(StatusCode::ACCEPTED, &[(header::CONTENT_LENGTH, "0")], Body::empty())
    }
}

struct OpenBlob {
    file: File,
    digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let part = |text: &str, size| Part::of(Some(&HeaderValue::from_str(text).unwrap()), size);
        assert_eq!(part("bytes=0-9", 100), Part::Bytes(0, 9));
        assert_eq!(part("bytes=90-", 100), Part::Bytes(90, 99));
        assert_eq!(part("bytes=90-200", 100), Part::Bytes(90, 99));
        assert_eq!(part("bytes=-10", 100), Part::Bytes(90, 99));
        assert_eq!(part("bytes=-200", 100), Part::Bytes(0, 99));
        assert_eq!(part("bytes=100-", 100), Part::Unsatisfiable);
        assert_eq!(part("bytes=0-", 0), Part::Unsatisfiable);
        assert_eq!(part("bytes=-0", 100), Part::Unsatisfiable);
        assert_eq!(part("bytes=-5", 0), Part::Unsatisfiable);
        for odd in ["bytes=0-1,5-6", "bytes=5-1", "lines=0-1", "bytes=", "bytes=x-1", "bytes=99999999999999999999-"] {
            assert_eq!(part(odd, 100), Part::Whole, "{odd}");
        }
        assert_eq!(Part::of(None, 100), Part::Whole);
    }
}
