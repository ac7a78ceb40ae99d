use std::time::{Duration, SystemTime};

use tokio_postgres::types::Type;
use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{Page, Write},
};

use super::{SERVER, database};
use crate::{
    change,
    connection::{Connection, Parameter},
    query, write,
};

/// Returns the steps that the server takes for a statement.
async fn plan(connection: &Connection, sql: &str, parameters: &[Parameter<'_>]) -> String {
    let rows = connection.query("explain", &format!("EXPLAIN {sql}"), parameters).await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

/// Checks that a statement uses an index and reads no table as a whole.
#[track_caller]
fn uses(plan: &str, index: &str, sql: &str) {
    let is_whole = plan.contains("Seq Scan on api_key");
    assert!(plan.contains(index) && !is_whole, "{sql}\nreads without {index}:\n{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_statement_uses_an_index_among_200_000_keys() {
    let endpoint = database("plans");
    for part in 0..10 {
        SERVER.sql(
            "plans",
            &format!(
                "INSERT INTO api_keys (digest, key_id, client, expires) SELECT sha256(n::text::bytea), lpad(n::text, 8, '0'), \
                 'client ' || n % 50000, CASE n % 10 WHEN 0 THEN '2040-01-01'::timestamptz + n * interval '1 min' END \
                 FROM generate_series({part} * 20000 + 1, {part} * 20000 + 20000) n"
            ),
        );
    }
    SERVER.sql("plans", "DELETE FROM api_keys WHERE key_id < '00002000'");
    SERVER.sql("plans", "VACUUM ANALYZE");
    let connection = Connection::open(&endpoint).await.unwrap();
    let snapshot = "SELECT pg_current_snapshot()::text";
    let snapshot: String =
        connection.query("read", snapshot, &[]).await.unwrap().first().unwrap().get(0);
    SERVER.sql("plans", "UPDATE api_keys SET note = 'changed' WHERE key_id < '00002010'");

    let digest = KeyDigest::of("a").to_bytes().to_vec();
    let digests = vec![digest.clone()];
    let (id, client, snapshot) = ("00003000", "client 7", snapshot.as_str());
    let time = SystemTime::now();
    let in_60_years = time + Duration::from_secs(60 * 365 * 24 * 60 * 60);
    let (id, client): (Parameter<'_>, Parameter<'_>) = ((&id, Type::TEXT), (&client, Type::TEXT));
    for (sql, parameter, index) in [
        (query::BY_DIGEST, (&digest as _, Type::BYTEA), "api_keys_pkey"),
        (query::LOCK_DIGESTS, (&digests as _, Type::BYTEA_ARRAY), "api_keys_pkey"),
        (query::LOCK_ID, id, "api_keys_key_id_key"),
        (query::LOCK_CLIENT, client, "api_keys_client"),
        (query::LOCK_DEAD, (&time as _, Type::TIMESTAMPTZ), "api_keys_dead"),
        (query::CHANGED, (&snapshot as _, Type::TEXT), "api_keys_w"),
        (query::REMOVED, (&snapshot as _, Type::TEXT), "api_keys_gone_w"),
        (write::REMOVE, (&digests as _, Type::BYTEA_ARRAY), "api_keys_pkey"),
    ] {
        uses(&plan(&connection, sql, &[parameter]).await, index, sql);
    }
    uses(&plan(&connection, change::VERSION, &[]).await, "api_keys_w", change::VERSION);

    let record = Record::new(KeyDigest::of("a"), Client::new("ci")).with_id("00003000").unwrap();
    let (sql, values) = write::statement(&endpoint, &[Write::Update(record)]).unwrap();
    uses(&plan(&connection, sql, &query::parameters(&values)).await, "api_keys_key_id_key", sql);

    for (page, index) in [
        (Page::new(), "api_keys_key_id_key"),
        (Page::new().with_after("00100000"), "api_keys_key_id_key"),
        (Page::new().with_key_id("00100000"), "api_keys_key_id_key"),
        (Page::new().with_client("client 7").with_after("00100000"), "api_keys_client"),
        (Page::new().with_client("client 7").with_ends_before(in_60_years), "api_keys_client"),
        (Page::new().with_ends_before(time), "api_keys_ends"),
    ] {
        let (sql, values) = query::list(&page);
        uses(&plan(&connection, &sql, &query::parameters(&values)).await, index, &sql);
    }
    // The statements of the triggers.
    for (sql, index) in [
        ("SELECT FROM api_keys_gone WHERE digest = '\\x00'", "api_keys_gone_pkey"),
        (
            "SELECT digest FROM api_keys_gone WHERE at < now() - interval '30 days' ORDER BY at LIMIT 10000",
            "api_keys_gone_at",
        ),
    ] {
        uses(&plan(&connection, sql, &[]).await, index, sql);
    }
}

#[cfg(feature = "usage")]
#[tokio::test]
async fn each_statement_of_usage_uses_an_index() {
    use crate::usage::statements;

    let endpoint = database("usage_plans");
    SERVER.sql(
        "usage_plans",
        "INSERT INTO api_key_usage SELECT date_trunc('hour', now()) - interval '1 hour' * (n % 1000), lpad(n::text, 8, '0'), \
         'ci', 'key', 1, 1, 1, 1, now() FROM generate_series(1, 200000) n; \
         INSERT INTO api_key_flush SELECT n::text, 1, now() FROM generate_series(1, 1000) n",
    );
    SERVER.sql("usage_plans", "VACUUM ANALYZE");
    let connection = Connection::open(&endpoint).await.unwrap();
    let now = SystemTime::now();
    for sql in [statements::ROWS, statements::REMOVE] {
        let plan = plan(&connection, sql, &[(&now, Type::TIMESTAMPTZ)]).await;
        uses(&plan, "api_key_usage_pkey", sql);
    }
    let oldest = plan(&connection, statements::OLDEST_HOUR, &[]).await;
    uses(&oldest, "api_key_usage_pkey", statements::OLDEST_HOUR);
    let parameters: &[Parameter<'_>] = &[(&"one", Type::TEXT), (&1_i64, Type::INT8)];
    let flushed = plan(&connection, statements::SET_FLUSHED, parameters).await;
    assert!(flushed.contains("api_key_flush_pkey"), "{flushed}");
}
