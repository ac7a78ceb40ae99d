//! Behind pgbouncer in transaction mode.

use std::time::Duration;

use tower_api_key::{store::Mirrored, test_util};
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers::PgBouncer;

use crate::support::{Database, SERVER, eventually, issue, wait_at_most};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_work_through_a_pooler_that_gives_each_transaction_another_connection() {
    let pooler = PgBouncer::start(&SERVER, 3);
    let behaviours = test_util::store_behaviours();
    let chosen = |name: &str| {
        [
            "concurrent_",
            "a_rotation_",
            "every_field",
            "many_records",
            "a_change_that_is_dropped",
            "changes_of_concurrent",
        ]
        .iter()
        .any(|begin| name.starts_with(begin))
    };
    let mut count = 0;
    for behaviour in behaviours.iter().filter(|it| chosen(it.name())) {
        let database = Database::migrated();
        let options = Postgres::options().feed_url(database.url());
        let open = || options.open(&pooler.url(&database.name)).unwrap();
        assert_eq!(behaviour.check(open(), open()).await, Ok(()), "{}", behaviour.name());
        count += 1;
    }
    assert!(count >= 9, "{count} behaviours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_feed_url_a_change_behind_a_pooler_takes_effect_by_the_next_heartbeat() {
    let pooler = PgBouncer::start(&SERVER, 3);
    let database = Database::migrated();
    let keys = Mirrored::open(Postgres::open(&pooler.url(&database.name)).unwrap()).await.unwrap();
    issue(&keys, "ci").await;
    // Several connections, so that the one that listened is probably another.
    eventually(async || keys.status().keys() == 1).await;
    database.sql("UPDATE api_keys SET revoked = now()");
    wait_at_most(Duration::from_secs(12), async || keys.status().keys() == 0).await;
}
