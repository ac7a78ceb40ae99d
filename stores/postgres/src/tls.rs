//! Encrypted connections. A certificate is always verified, with the name of the server.

use tokio_postgres::config::SslMode;
// With both features, rustls is used.
#[cfg(all(feature = "rustls", feature = "native-tls"))]
use {native_tls as _, postgres_native_tls as _};

/// How connections are encrypted.
pub(crate) enum Tls {
    None,
    #[cfg(feature = "rustls")]
    Rustls(Box<tokio_postgres_rustls::MakeRustlsConnect>),
    #[cfg(all(feature = "native-tls", not(feature = "rustls")))]
    Native(postgres_native_tls::MakeTlsConnector),
}

impl Tls {
    /// Trusts the certificates of a file, or else those of the operating system. An error is a text.
    pub(crate) fn new(mode: SslMode, root: Option<&str>) -> Result<Self, String> {
        if mode == SslMode::Disable {
            return Ok(Self::None);
        }
        implementation(mode, root)
    }
}

#[cfg(feature = "rustls")]
fn implementation(_: SslMode, root: Option<&str>) -> Result<Tls, String> {
    use std::sync::Arc;

    use rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject as _},
    };

    let mut roots = RootCertStore::empty();
    match root {
        Some(path) if path != "system" => {
            let invalid = || invalid_root(path);
            for certificate in CertificateDer::pem_file_iter(path).map_err(|_| invalid())? {
                roots.add(certificate.map_err(|_| invalid())?).map_err(|_| invalid())?;
            }
            if roots.is_empty() {
                return Err(invalid());
            }
        }
        _ => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Tls::Rustls(Box::new(tokio_postgres_rustls::MakeRustlsConnect::new(config))))
}

#[cfg(all(feature = "native-tls", not(feature = "rustls")))]
fn implementation(_: SslMode, root: Option<&str>) -> Result<Tls, String> {
    use native_tls::{Certificate, TlsConnector};

    let mut builder = TlsConnector::builder();
    if let Some(path) = root.filter(|path| *path != "system") {
        let invalid = || invalid_root(path);
        let pem = std::fs::read(path).map_err(|_| invalid())?;
        for certificate in Certificate::stack_from_pem(&pem).map_err(|_| invalid())? {
            builder.add_root_certificate(certificate);
        }
        builder.disable_built_in_roots(true);
    }
    let connector = builder.build().map_err(|error| error.to_string())?;
    Ok(Tls::Native(postgres_native_tls::MakeTlsConnector::new(connector)))
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
fn invalid_root(path: &str) -> String {
    format!("{} of `sslrootcert` is no file of certificates", path.escape_debug())
}

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
fn implementation(mode: SslMode, root: Option<&str>) -> Result<Tls, String> {
    if mode == SslMode::Require || root.is_some() {
        return Err(
            "the URL requires TLS. Enable the feature `rustls` or `native-tls` of tower-api-key-postgres"
                .to_owned(),
        );
    }
    Ok(Tls::None)
}
