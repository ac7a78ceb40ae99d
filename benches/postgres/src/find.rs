//! A find and a miss of `Cached`, beside a bare prepared query.

use std::time::Duration;

use tokio_postgres::types::Type;
use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{Cached, Change, KeyStore as _},
};

use crate::{Figures, ROWS, Site, Store, ask::ask, connect, figures::compare};

const KEYS: usize = 10_000;
const FINDS: usize = 50;

pub fn run(site: &Site, is_quick: bool, figures: &mut Figures) {
    let url = site.database("find");
    let (store, runtime) = (Store::open(&url).unwrap(), &site.runtime);
    let prepared = Store::options().prepared_statements(true).open(&url).unwrap();
    let digests: Vec<_> = (0..KEYS).map(|n| KeyDigest::of(n.to_string())).collect();
    let records = digests.iter().map(|digest| Record::new(*digest, Client::new("a client")));
    _ = runtime.block_on(Change::insert_if_absent(records).commit(&store)).unwrap();
    site.server.sql("find", "VACUUM ANALYZE api_keys");
    let (client, statement) = runtime.block_on(async {
        let client = connect(&url).await;
        let statement = client.prepare(&format!("{ROWS} WHERE digest = $1")).await.unwrap();
        (client, statement)
    });
    let rounds = if is_quick { 10 } else { 200 };
    let micros = |ns: f64| ns / 1000.0 / FINDS as f64;
    let mut at = (0..KEYS).map(|n| n * 7_919 % KEYS).cycle();
    let mut find = |store: &Store| {
        runtime.block_on(async {
            for digest in at.by_ref().take(FINDS).map(|at| &digests[at]) {
                assert!(store.find(digest).await.unwrap().is_some());
            }
        });
    };
    let mut other = (0..KEYS).map(|n| n * 7_919 % KEYS).cycle();
    let mut query = || {
        runtime.block_on(async {
            for digest in other.by_ref().take(FINDS).map(|at| digests[at].to_bytes()) {
                assert_eq!(client.query(&statement, &[&&digest[..]]).await.unwrap().len(), 1);
            }
        });
    };
    // No answer is fresh, so each request is a miss.
    let options = Cached::options().fresh(Duration::ZERO);
    let cached = runtime.block_on(options.open(prepared.clone())).unwrap();
    let mut asked = (0..KEYS).map(|n| n * 7_919 % KEYS).cycle();
    let miss = || {
        runtime.block_on(async {
            for at in asked.by_ref().take(FINDS) {
                assert!(ask(&cached, &at.to_string()).await);
            }
        });
    };
    let (one, bare, ratio) = compare(rounds, miss, &mut query);
    println!(
        "a miss of `Cached` {:.1} µs, a bare prepared query {:.1} µs",
        micros(one),
        micros(bare)
    );
    figures.add("PostgreSQL: a prepared miss of Cached ÷ a bare prepared query", ratio, 1.15, "");
    let (one, bare, ratio) = compare(rounds, || find(&prepared), &mut query);
    println!("a prepared find {:.1} µs, a bare prepared query {:.1} µs", micros(one), micros(bare));
    figures.add("PostgreSQL: a prepared find ÷ a bare prepared query", ratio, 1.15, "");
    let mut other = (0..KEYS).map(|n| n * 7_919 % KEYS).cycle();
    let sql = format!("{ROWS} WHERE digest = $1");
    let (one, bare, ratio) = compare(
        rounds,
        || find(&store),
        || {
            runtime.block_on(async {
                for digest in other.by_ref().take(FINDS).map(|at| digests[at].to_bytes()) {
                    let found =
                        client.query_typed(&sql, &[(&&digest[..], Type::BYTEA)]).await.unwrap();
                    assert_eq!(found.len(), 1);
                }
            });
        },
    );
    println!("a find {:.1} µs, a bare query without a name {:.1} µs", micros(one), micros(bare));
    figures.add("PostgreSQL: a find ÷ a bare query without a name", ratio, 1.15, "");
}
