//! The store satisfies the contract of all stores. The test needs Debian's package `postgresql-15`.

use sqlx::postgres::PgPoolOptions;
use sqlx_store::{SqlxStore, TABLES};
use tower_api_key::test_util::store_conforms;
use tower_api_key_test_servers::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn the_store_conforms() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE tables");
    server.sql("tables", TABLES);
    store_conforms(async || {
        let url = server.url(&server.create_database("tables"));
        let open =
            || SqlxStore::new(PgPoolOptions::new().max_connections(4).connect_lazy(&url).unwrap());
        (open(), open())
    })
    .await;
}
