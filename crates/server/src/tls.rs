//! Mutual TLS: who may speak over TCP shows a certificate that our authority has signed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("read {what} {}: {why}", path.display())]
    File { what: &'static str, path: PathBuf, why: String },
    #[error("set up TLS: {0}")]
    Setup(String),
}

/// Takes connections whose clients have a certificate of the authority's.
///
/// # Errors
/// When a file cannot be read or holds something else.
pub(crate) fn acceptor(files: &Tls) -> Result<TlsAcceptor, Error> {
    let setup = |error: &dyn std::fmt::Display| Error::Setup(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the authority's certificate", &files.authority)? {
        roots.add(certificate).map_err(|error| setup(&error))?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let clients = clients.build().map_err(|error| setup(&error))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(&error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates("the certificate", &files.certificate)?, key(&files.key)?)
        .map_err(|error| setup(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |why: String| Error::File { what, path: path.into(), why };
    let text = std::fs::read(path).map_err(|error: io::Error| wrong(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("there is no certificate in it".into())) } else { Ok(found) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| Error::File {
        what: "the key",
        path: path.into(),
        why: error.to_string(),
    })
}
