//! The conformance suite of all stores.

use tower_api_key::test_util;
use tower_api_key_postgres::Postgres;

use crate::support::Database;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_has_every_behaviour_of_the_conformance_suite() {
    test_util::store_conforms(async || {
        let database = Database::migrated();
        let prepared = Postgres::options().prepared_statements(true);
        (prepared.open(&database.url()).unwrap(), database.open())
    })
    .await;
}
