//! TLS from a certificate and a key in PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// What completes a handshake with this certificate; TLS 1.3 only.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let failed = |what: &str, path: &Path, error: &dyn std::fmt::Display| {
        format!("the {what} '{}': {error}", path.display())
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed("certificate", certificate, &error))?;
    if chain.is_empty() {
        return Err(failed("certificate", certificate, &"it has no certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed("key", key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| failed("certificate with its key", certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_pem_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let missing = Path::new("/nowhere/cert.pem");
        for path in [file.path(), missing] {
            let Err(refusal) = acceptor(path, path) else { panic!("{} was taken", path.display()) };
            assert!(refusal.contains(path.to_str().unwrap()), "{refusal}");
        }
    }
}
