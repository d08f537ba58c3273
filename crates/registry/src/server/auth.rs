//! Who may use the registry: everybody, or one account by Basic authentication.
//!
//! All or nothing: who is let in may read and write every repository. Passwords travel in clear, so this is for
//! loopback, or behind something that speaks TLS.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use teu_oci::Digest;

use super::error::{Code, Error};

/// The account that is let in. Only a hash of its credentials is kept.
#[derive(Clone)]
pub struct Account {
    credentials: Digest,
}

impl Account {
    /// An account.
    #[must_use]
    pub fn new(username: &str, password: &str) -> Self {
        Self { credentials: Digest::sha256(format!("{username}:{password}").as_bytes()) }
    }

    /// Refuses who is not this account.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let encoded = sent.and_then(|text| text.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("basic"));
        let decoded = encoded.and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
        // Digests are compared, not the credentials: how long that takes says nothing about them.
        if decoded.is_some_and(|bytes| Digest::sha256(&bytes) == self.credentials) {
            return Ok(());
        }
        let challenge = r#"Basic realm="teu registry""#;
        Err(Error::new(Code::Unauthorized, "credentials wanted").with_header(WWW_AUTHENTICATE, challenge))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}
