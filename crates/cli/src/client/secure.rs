//! TLS to a daemon: both ends know each other by certificates.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::tls::Tls;
use crate::failure::Failure;

/// Shakes hands over a connection to `host`.
pub(super) async fn connect(stream: TcpStream, host: &str, tls: &Tls) -> Result<TlsStream<TcpStream>, Failure> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::new(format!("\"{host}\" is no name that a certificate can have")))?;
    let connector = TlsConnector::from(Arc::new(configure(tls)?));
    connector.connect(name, stream).await.map_err(|error| {
        Failure::new(format!("open an encrypted connection to the daemon: {error}"))
            .hint("compare --tlscacert, --tlscert and --tlskey with what the daemon was started with")
    })
}

fn configure(tls: &Tls) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(format!("set up TLS: {error}")))?;
    let builder = match tls.verify {
        true => builder.with_root_certificates(roots(tls)?),
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unseen(provider))),
    };
    let Some((cert, key)) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(cert, "client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| Failure::new(format!("read the client's private key: {error}")))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| Failure::new(format!("use the client's certificate: {error}")))
}

/// Who may sign the daemon's certificate.
fn roots(tls: &Tls) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(pem) => {
            for certificate in certificates(pem, "authority's certificate")? {
                let added = roots.add(certificate);
                added.map_err(|error| Failure::new(format!("use the authority's certificate: {error}")))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| Failure::new(format!("read the {what}: {error}")))?;
    if all.is_empty() { Err(Failure::new(format!("read the {what}: there is none in the file"))) } else { Ok(all) }
}

/// Takes any certificate, for `--tls` without `--tlsverify`; whoever holds it must still have its key.
#[derive(Debug)]
struct Unseen(Arc<CryptoProvider>);

impl ServerCertVerifier for Unseen {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
