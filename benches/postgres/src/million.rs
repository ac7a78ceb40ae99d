//! A million records.

use std::{pin::pin, time::Instant};

use futures_util::TryStreamExt as _;
use tower_api_key::store::Mirrored;

use crate::{
    Figures, ROWS, Site, Store, connect,
    figures::{median, memory, millis},
    records::{list_and_issue, read_records},
};

pub fn run(site: &Site, is_quick: bool, figures: &mut Figures) {
    let count: u32 = if is_quick { 10_000 } else { 1_000_000 };
    let (url, runtime) = (site.database("million"), &site.runtime);
    let start = Instant::now();
    // Keys of 50,000 clients. A part of them expires, is revoked, or has a note or metadata.
    let fill = "INSERT INTO api_keys (digest, key_id, client, scopes, metadata, prefix, note, expires, revoked)
        SELECT sha256(i::text::bytea), lpad(i::text, 8, '0'), 'client-' || i % 50000, '{reports:read,jobs:write}',
        CASE WHEN i % 10 = 0 THEN '{\"plan\":\"pro\"}'::jsonb END, 'sk_live', CASE WHEN i % 10 = 1 THEN 'a note' END,
        CASE WHEN i % 3 = 0 THEN now() + '1 year' END, CASE WHEN i % 20 = 2 THEN now() END FROM generate_series(1, ";
    site.server.sql("million", &format!("{fill}{count}) i"));
    site.server.sql("million", "VACUUM ANALYZE api_keys");
    println!("{count} records inserted by SQL in {:.1?}", start.elapsed());
    let store = Store::open(&url).unwrap();
    let before = memory("VmRSS:");
    let keys = runtime.block_on(Mirrored::open(store.clone())).unwrap();
    println!(
        "{:.0} bytes of memory for each record",
        (memory("VmRSS:") - before) / f64::from(count)
    );
    drop(keys);
    let (mut raw, mut rows, mut loads, mut ratios) = (vec![], vec![], vec![], vec![]);
    let mut mirror = None;
    for _ in 0..3 {
        drop(mirror.take());
        let start = Instant::now();
        assert_eq!(runtime.block_on(read_raw(&url)), count);
        raw.push(millis(start.elapsed()));
        let start = Instant::now();
        assert_eq!(runtime.block_on(read_records(&store)), count);
        let alone = millis(start.elapsed());
        let start = Instant::now();
        mirror = Some(runtime.block_on(Mirrored::open(store.clone())).unwrap());
        let load = millis(start.elapsed());
        rows.push(alone);
        loads.push(load);
        ratios.push(load / alone);
    }
    println!(
        "raw rows {:.0} ms, rows as records {:.0} ms, load {:.0} ms",
        median(raw),
        median(rows),
        median(loads)
    );
    figures.add(
        "PostgreSQL: load of 1,000,000 records ÷ reading the rows",
        median(ratios),
        1.5,
        "",
    );
    let keys = mirror.unwrap();
    let (lists, issues) = list_and_issue(runtime, &store, &keys, count);
    figures.add("PostgreSQL: list of 100 of 1,000,000", median(lists), 5.0, "ms");
    figures.add("PostgreSQL: issue with 1,000,000", median(issues), 10.0, "ms");
}

/// Reads each row of a bare query.
async fn read_raw(url: &str) -> u32 {
    let client = connect(url).await;
    let none: [&str; 0] = [];
    let mut rows = pin!(client.query_raw(ROWS, none).await.unwrap());
    let mut count = 0;
    while let Some(row) = rows.try_next().await.unwrap() {
        assert_eq!(row.get::<_, &[u8]>(1).len(), 32);
        count += 1;
    }
    count
}
