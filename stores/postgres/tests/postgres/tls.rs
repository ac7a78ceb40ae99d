//! Encrypted connections.

use tower_api_key::store::{KeyStore as _, Page, StoreErrorKind as Kind};
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers::{self as servers, run_as_server_user};

use crate::support::add_template;

/// A server with a certificate for `localhost`, which signs itself. Returns the path of the certificate.
fn with_certificate(server: &servers::Postgres) -> String {
    let data = server.folder().join("data");
    let mut openssl = run_as_server_user("openssl");
    openssl.current_dir(&data).args(["req", "-new", "-x509", "-days", "2", "-nodes"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let made = openssl.args(["-out", "server.crt", "-keyout", "server.key"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    server.sql("postgres", "ALTER SYSTEM SET ssl = on");
    server.sql("postgres", "SELECT pg_reload_conf(), pg_sleep(0.5)");
    let copy = std::env::temp_dir().join(format!("certificate-{}", server.address().port()));
    std::fs::copy(data.join("server.crt"), &copy).unwrap();
    copy.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_encrypted_and_the_certificate_is_verified_with_its_name() {
    let server = servers::Postgres::start();
    add_template(&server);
    let name = server.create_database("tables");
    let root = with_certificate(&server);
    let port = server.address().port();
    let list = async |host: &str, options: &str| {
        let url = format!("postgres://postgres@{host}:{port}/{name}?{options}");
        let store = Postgres::open(&url)?;
        let listed = store.list(&Page::new()).await;
        let is_encrypted = "SELECT bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
            WHERE application_name = 'tower-api-key'";
        listed.map(|_| server.sql("postgres", is_encrypted) == "t")
    };
    let trusted = format!("sslrootcert={root}");
    for options in [
        format!("sslmode=require&{trusted}"),
        format!("{trusted}&sslmode=verify-full"),
        trusted.clone(),
    ] {
        assert!(list("localhost", &options).await.unwrap(), "{options}");
    }
    assert!(!list("localhost", "sslmode=disable").await.unwrap());
    for (host, options) in [
        ("127.0.0.1", &*trusted),
        ("localhost", "sslmode=require"),
        ("localhost", "sslmode=prefer"),
        ("localhost", "sslrootcert=system"),
        ("localhost", "sslrootcert=/nonexistent"),
    ] {
        let error = list(host, options).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        println!("{options}: {error}");
        assert!(error.to_string().contains("sslrootcert"), "{error}");
    }
    std::fs::remove_file(root).unwrap();
}
