//! Lists: repositories, tags, referrers. All sorted, all bounded, continued by a `Link`.

use axum::body::Body;
use http::StatusCode;
use http::header::{self, HeaderName};
use serde_json::json;
use teu_oci::{Digest, Index, media_type};

use super::error::{Code, Error};
use super::repositories::Page;
use super::{Answer, Parameters, Registry, respond};

/// A page is never longer, whatever was asked for.
const LONGEST_PAGE: usize = 1000;
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// How many entries a page may have.
fn page_size(parameters: &Parameters) -> Result<usize, Error> {
    let Some(text) = parameters.get("n") else { return Ok(LONGEST_PAGE) };
    let wrong = || Error::new(Code::Unsupported, "n is not a number").with_status(StatusCode::BAD_REQUEST);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    // Only digits: what does not fit is larger than anything that we would send.
    Ok(text.parse().unwrap_or(LONGEST_PAGE).min(LONGEST_PAGE))
}

fn list(body: &serde_json::Value, page: &Page, path: &str, size: usize) -> Answer {
    let next = page.entries.last().filter(|_| page.more);
    let link = next.map(|last| format!(r#"<{path}?n={size}&last={last}>; rel="next""#));
    let mut headers = vec![(header::CONTENT_TYPE, "application/json")];
    headers.extend(link.as_deref().map(|link| (header::LINK, link)));
    respond(StatusCode::OK, &headers, Body::from(body.to_string()))
}

impl Registry {
    /// `GET /v2/_catalog`
    pub(super) fn catalog(&self, parameters: &Parameters) -> Answer {
        let size = page_size(parameters)?;
        let page = self.repositories.names(parameters.get("last"), size);
        list(&json!({"repositories": page.entries}), &page, "/v2/_catalog", size)
    }

    /// end-8: `GET /v2/<name>/tags/list`
    pub(super) fn list_tags(&self, name: &str, parameters: &Parameters) -> Answer {
        let size = page_size(parameters)?;
        let page = self.repositories.tags(name, parameters.get("last"), size);
        let page = page.ok_or_else(|| Error::new(Code::NameUnknown, name))?;
        list(&json!({"name": name, "tags": page.entries}), &page, &format!("/v2/{name}/tags/list"), size)
    }

    /// end-12: `GET /v2/<name>/referrers/<digest>`
    pub(super) fn referrers(&self, name: &str, subject: &Digest, parameters: &Parameters) -> Answer {
        let mut manifests = self.repositories.referrers(name, subject);
        let mut headers = vec![(header::CONTENT_TYPE, media_type::OCI_INDEX)];
        if let Some(wanted) = parameters.get("artifactType") {
            manifests.retain(|descriptor| descriptor.artifact_type.as_deref() == Some(wanted));
            headers.push((FILTERS_APPLIED, "artifactType"));
        }
        // By digest, so that the last one of a page says where the next begins.
        if let Some(last) = parameters.get("last") {
            manifests.retain(|descriptor| descriptor.digest.as_str() > last);
        }
        let more = manifests.len() > LONGEST_PAGE;
        manifests.truncate(LONGEST_PAGE);
        let last = manifests.last().filter(|_| more).map(|descriptor| descriptor.digest.to_string());
        let filter = parameters.get("artifactType").map(|kind| format!("artifactType={}&", escape(kind)));
        let link = last.map(|last| {
            format!(r#"</v2/{name}/referrers/{subject}?{}last={last}>; rel="next""#, filter.unwrap_or_default())
        });
        headers.extend(link.as_deref().map(|link| (header::LINK, link)));
        let body = serde_json::to_vec(&Index::new(manifests)).map_err(|error| Error::Internal(error.to_string()))?;
        respond(StatusCode::OK, &headers, Body::from(body))
    }
}

/// Percent-encodes what a query or a `Link` could misread.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
