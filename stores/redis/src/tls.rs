use base64::{Engine as _, prelude::BASE64_STANDARD};
use redis::{Client, RedisResult, TlsCertificates};
use rustls::{RootCertStore, crypto::ring};

/// Creates a client that trusts the certificates of the operating system.
///
/// The driver trusts none of them if both of its TLS features are on, and another crate can turn the second one on.
pub(crate) fn client(url: &str) -> RedisResult<Client> {
    // If the program installed a provider, that one stays.
    _ = ring::default_provider().install_default();
    let root_cert = Some(system_certificates().into_bytes());
    Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert })
}

/// Returns the certificates in PEM, which is the only form that the driver takes.
fn system_certificates() -> String {
    let mut text = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // The driver accepts all or none.
        if RootCertStore::empty().add(certificate.clone()).is_ok() {
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            BASE64_STANDARD.encode_string(&certificate, &mut text);
            text.push_str("\n-----END CERTIFICATE-----\n");
        }
    }
    text
}
