//! A million records.

use std::time::Instant;

use rusqlite::{Connection, types::ValueRef};
use tower_api_key::store::Mirrored;
use tower_api_key_sqlite::Sqlite;

use crate::{
    Folder,
    figures::{Figures, median, memory, millis, processor_time},
    records::{list_and_issue, read_records},
};

/// Keys of 50,000 clients. A part of them expires, is rotated or revoked, or has a note or metadata.
const FILL: &str = "INSERT INTO api_key (digest, key_id, client, scopes, metadata, prefix, note, created, expires, revoked)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
    SELECT randomblob(32), printf('%08d', i), printf('client-%d', i % 50000), 'reports:read jobs:write',
        iif(i % 10 = 0, '{\"plan\":\"pro\"}', NULL), 'sk_live', iif(i % 10 = 1, 'a note', NULL), 1700000000000000 + i,
        iif(i % 3 = 0, 1900000000000000 + i, NULL), iif(i % 20 = 2, 1750000000000000 + i, NULL) FROM n";

pub fn run(folder: &Folder, is_quick: bool, figures: &mut Figures) {
    let count: u32 = if is_quick { 10_000 } else { 1_000_000 };
    let file = folder.database("million.db");
    let start = Instant::now();
    let connection = Connection::open(&file).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    connection.execute(FILL, [count]).unwrap();
    connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(connection);
    let bytes = std::fs::metadata(&file).unwrap().len();
    println!(
        "{count} records inserted by SQL in {:.1?}, {} bytes each",
        start.elapsed(),
        bytes / u64::from(count)
    );

    let runtime = crate::runtime();
    let (mut raw, mut rows, mut loads, mut ratios) = (vec![], vec![], vec![], vec![]);
    let mut processor_times = vec![];
    let mut mirror = None;
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(read_raw(&file), count);
        raw.push(millis(start.elapsed()));
        drop(mirror.take());
        let (start, used) = (Instant::now(), processor_time());
        assert_eq!(runtime.block_on(read_records(&Sqlite::open(&file).unwrap())), count);
        let (alone, used_alone) = (millis(start.elapsed()), processor_time() - used);
        let (start, used) = (Instant::now(), processor_time());
        mirror = Some(runtime.block_on(Mirrored::open(Sqlite::open(&file).unwrap())).unwrap());
        let load = millis(start.elapsed());
        processor_times.push((processor_time() - used) / used_alone);
        rows.push(alone);
        loads.push(load);
        ratios.push(load / alone);
    }
    println!(
        "raw columns {:.0} ms, rows as records {:.0} ms, load {:.0} ms, processor time of a load ÷ of the rows {:.2}",
        median(raw),
        median(rows),
        median(loads),
        median(processor_times)
    );
    figures.add("SQLite: load of 1,000,000 records ÷ reading the rows", median(ratios), 1.5, "");

    let store = Sqlite::open(&file).unwrap();
    let keys = mirror.unwrap();
    let (lists, issues) = list_and_issue(&runtime, &store, &keys, count);
    figures.add("SQLite: list of 100 of 1,000,000", median(lists), 2.0, "ms");
    figures.add("SQLite: issue with 1,000,000", median(issues), 2.0, "ms");
    drop((keys, store));

    // A process of its own, because freed memory would be used again.
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--memory".as_ref(), file.as_os_str()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [before, after, peak] = numbers.try_into().unwrap();
    let each = |bytes: f64| (bytes - before) / f64::from(count);
    println!("{:.0} bytes each at the peak of the load", each(peak));
    figures.add("memory of a record in Mirrored", each(after), 250.0, "bytes");
}

/// Reads each column of each row.
fn read_raw(file: &std::path::Path) -> u32 {
    let connection = Connection::open(file).unwrap();
    let sql = "SELECT version, digest, key_id, client, name, scopes, metadata, prefix, note, created, issued_by,
        not_before, expires, rotated, retires, replaced_by, rotated_reason, paused, revoked, revoked_by, revoked_reason
        FROM api_key";
    let mut statement = connection.prepare(sql).unwrap();
    let (mut rows, mut count, mut set) = (statement.query(()).unwrap(), 0, 0_usize);
    while let Some(row) = rows.next().unwrap() {
        set += (0..21).filter(|at| row.get_ref(*at).unwrap() != ValueRef::Null).count();
        count += 1;
    }
    assert!(set > 0);
    count
}

/// Prints the memory of this process before and after a load, and at its peak.
pub fn print_memory(file: &std::path::Path) {
    let runtime = crate::runtime();
    let before = memory("VmRSS:");
    let _keys = runtime.block_on(Mirrored::open(Sqlite::open(file).unwrap())).unwrap();
    println!("{before} {} {}", memory("VmRSS:"), memory("VmHWM:"));
}
