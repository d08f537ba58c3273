//! How a connection over TCP is encrypted: what the flags and variables say, as bytes of PEM files.

use std::fs;
use std::path::Path;

use crate::failure::{Failure, Naming};

/// What the two ends know of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The authority that signs the daemon's certificate; the system's when there is none.
    pub(crate) ca: Option<Vec<u8>>,
    /// The client's certificate and its key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether the daemon's certificate is looked at.
    pub(crate) verify: bool,
}

/// The flags about encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFlags {
    /// `--tls`.
    pub(crate) on: bool,
    /// `--tlsverify`; `None` leaves it to the variable.
    pub(crate) verify: Option<bool>,
    /// `--tlscacert`.
    pub(crate) ca: Option<String>,
    /// `--tlscert`.
    pub(crate) cert: Option<String>,
    /// `--tlskey`.
    pub(crate) key: Option<String>,
}

impl TlsFlags {
    /// The files they name; `None` without encryption.
    pub(super) fn read(
        &self,
        config: &Path,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Tls>, Failure> {
        let verify = self.verify.unwrap_or_else(|| variable("DOCKER_TLS_VERIFY").is_some());
        if !verify && !self.on && variable("DOCKER_TLS").is_none() {
            return Ok(None);
        }
        let folder = variable("DOCKER_CERT_PATH").map_or_else(|| config.to_owned(), Into::into);
        let get = |path: &Path| fs::read(path).or_fail(format!("read {}", path.display()));
        // A file that nobody named may be missing; the authority's may not when it is to be asked.
        let pem = |named: &Option<String>, usual: &str| match named {
            Some(path) => get(Path::new(path)).map(Some),
            None => {
                let path = folder.join(usual);
                if path.exists() { get(&path).map(Some) } else { Ok(None) }
            }
        };
        let ca = match (&self.ca, verify) {
            (_, false) => None,
            (Some(path), true) => Some(get(Path::new(path))?),
            (None, true) => Some(get(&folder.join("ca.pem"))?),
        };
        Ok(Some(Tls { ca, identity: pem(&self.cert, "cert.pem")?.zip(pem(&self.key, "key.pem")?), verify }))
    }
}
