//! The triggers of the tables, for other programs.

use std::{thread, time::Duration};

use crate::support::{Database, SERVER};

const INSERT: &str =
    "INSERT INTO api_keys (digest, key_id, client) VALUES (sha256('a'), '0000000a', 'ci')";

#[track_caller]
fn refused(database: &Database, sql: &str, text: &str) {
    let error = SERVER.try_sql(&database.name, sql).unwrap_err();
    assert!(error.contains(text), "{sql}: {error}");
}

#[test]
fn a_revoked_key_stays_revoked_and_a_key_keeps_its_digest_and_id() {
    let database = Database::migrated();
    database.sql(INSERT);
    database.sql("UPDATE api_keys SET revoked = '2026-01-01'");
    for sql in ["UPDATE api_keys SET revoked = NULL", "UPDATE api_keys SET revoked = now()"] {
        for role in ["origin", "replica"] {
            let sql = format!("SET session_replication_role = {role}; {sql}");
            refused(&database, &sql, "a revoked key stays revoked");
        }
    }
    let upsert = format!("{INSERT} ON CONFLICT (digest) DO UPDATE SET revoked = NULL");
    refused(&database, &upsert, "a revoked key stays revoked");
    refused(&database, "UPDATE api_keys SET digest = sha256('b')", "cannot change");
    refused(&database, "UPDATE api_keys SET key_id = '0000000b'", "cannot change");
    database.sql("UPDATE api_keys SET note = 'still works', revoked = '2026-01-01'");
}

#[test]
fn rows_that_are_no_records_are_refused() {
    let database = Database::migrated();
    for (column, value) in [
        ("digest", "'\\x00'"),
        ("digest", "NULL"),
        ("key_id", "'0000-000'"),
        ("key_id", "'0000000'"),
        ("client", "''"),
        ("metadata", "'[]'"),
        ("expires", "'1969-12-31'"),
        ("not_before", "'-infinity'"),
    ] {
        let row = [("digest", "sha256('a')"), ("key_id", "'0000000a'"), ("client", "'ci'")];
        let mut row: Vec<_> = row.into_iter().filter(|(name, _)| *name != column).collect();
        row.push((column, value));
        let (names, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
        let (names, values) = (names.join(", "), values.join(", "));
        let sql = format!("INSERT INTO api_keys ({names}) VALUES ({values})");
        assert!(SERVER.try_sql(&database.name, &sql).is_err(), "{column} {value}");
    }
    database.sql(INSERT);
    for (digest, id) in [("b", "0000000a"), ("a", "0000000b")] {
        let sql = INSERT.replace("'a'", &format!("'{digest}'")).replace("0000000a", id);
        refused(&database, &sql, "duplicate key");
    }
}

#[test]
fn each_write_gets_its_transaction_and_a_greater_version_whatever_the_writer_says() {
    let database = Database::migrated();
    database.sql(INSERT);
    let mut last = 0_i64;
    for sql in [
        "UPDATE api_keys SET note = 'a', w = '3', version = -5",
        "SET session_replication_role = replica; UPDATE api_keys SET note = 'b', w = '3', version = -5",
        "SELECT setval('api_keys_version', 1); UPDATE api_keys SET note = 'c'",
        "BEGIN; SAVEPOINT a; UPDATE api_keys SET note = 'd'; RELEASE a; COMMIT",
    ] {
        let sql = format!("{sql}; SELECT version FROM api_keys WHERE w <> '3'");
        let version = database.sql(&sql).lines().last().unwrap().parse().unwrap();
        assert!(version > last, "{sql}: {version} follows {last}");
        last = version;
    }
    let own = "BEGIN; UPDATE api_keys SET note = 'e'; SELECT w = pg_current_xact_id() FROM api_keys; COMMIT";
    assert_eq!(database.sql(own), "t");
    let removal = "SET session_replication_role = replica; BEGIN; DELETE FROM api_keys; \
        SELECT w = pg_current_xact_id(), version FROM api_keys_gone; COMMIT";
    let (is_own, version) = {
        let row = database.sql(removal);
        let (is_own, version) = row.split_once('|').unwrap();
        (is_own.to_owned(), version.parse::<i64>().unwrap())
    };
    assert!(is_own == "t" && version > last, "{is_own} {version}");
}

#[test]
fn an_insertion_that_waits_for_a_removal_has_the_greater_version() {
    let database = Database::migrated();
    database.sql(INSERT);
    for (isolation, is_refused) in [("READ COMMITTED", false), ("REPEATABLE READ", true)] {
        let remover = database.clone();
        // The removal takes its number at the end of its statement, while the insertion waits for it.
        let removing =
            thread::spawn(move || remover.sql("DELETE FROM api_keys RETURNING pg_sleep(1.5)"));
        thread::sleep(Duration::from_millis(500));
        let sql = format!("BEGIN ISOLATION LEVEL {isolation}; SELECT 1; {INSERT}; COMMIT");
        let inserted = SERVER.try_sql(&database.name, &sql);
        removing.join().unwrap();
        if is_refused {
            assert!(inserted.unwrap_err().contains("could not serialize"));
        } else {
            inserted.unwrap();
            let sql = "SELECT k.version > g.version, k.w <> g.w FROM api_keys k JOIN api_keys_gone g USING (digest)";
            assert_eq!(database.sql(sql), "t|t");
        }
    }
}

#[test]
fn a_change_is_durable_even_if_the_writer_wants_no_wait() {
    let database = Database::migrated();
    for (wanted, used) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        for sql in [
            "INSERT INTO api_keys (digest, key_id, client) VALUES (sha256('a'), '0000000a', 'ci')",
            "UPDATE api_keys SET note = 'a'",
            "DELETE FROM api_keys",
        ] {
            let sql = format!(
                "SET synchronous_commit = {wanted}; BEGIN; SHOW synchronous_commit; {sql}; SHOW synchronous_commit; \
                 COMMIT; SHOW synchronous_commit"
            );
            assert_eq!(database.sql(&sql), format!("{wanted}\n{used}\n{wanted}"), "{sql}");
        }
    }
}

#[test]
fn truncate_is_refused() {
    let database = Database::migrated();
    for table in ["api_keys", "api_keys_gone"] {
        for role in ["origin", "replica"] {
            let sql = format!("SET session_replication_role = {role}; TRUNCATE {table}");
            refused(&database, &sql, "use DELETE");
        }
    }
}

#[test]
fn a_change_of_many_keys_sends_one_message_without_any_part_of_a_digest() {
    let database = Database::migrated();
    let keys = "SELECT sha256(n::text::bytea), lpad(n::text, 8, '0'), 'ci' FROM generate_series(1, 20000) n";
    for sql in [
        format!("INSERT INTO api_keys (digest, key_id, client) {keys}"),
        "UPDATE api_keys SET revoked = now()".to_owned(),
        "DELETE FROM api_keys".to_owned(),
    ] {
        let mut psql = SERVER.command("psql");
        let output = psql
            .args(["-XAtq", "-d", &database.url(), "-c", "LISTEN api_keys", "-c", &sql])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.matches("Asynchronous notification").count(), 1, "{sql}: {text}");
        assert!(!text.contains("payload"), "{text}");
    }
    assert_eq!(database.sql("SELECT count(*) FROM api_keys_gone"), "20000");
}

#[test]
fn removals_are_forgotten_after_30_days() {
    let database = Database::migrated();
    let insert = |digest, id| {
        let sql = INSERT.replace("'a'", &format!("'{digest}'"));
        database.sql(&sql.replace("0000000a", id));
    };
    for (digest, id) in [("a", "0000000a"), ("b", "0000000b"), ("c", "0000000c")] {
        insert(digest, id);
    }
    database.sql("DELETE FROM api_keys WHERE key_id < '0000000c'");
    database
        .sql("UPDATE api_keys_gone SET at = now() - interval '31 days' WHERE key_id = '0000000a'");
    database.sql("DELETE FROM api_keys");
    let left = database.sql("SELECT string_agg(key_id, ' ' ORDER BY key_id) FROM api_keys_gone");
    assert_eq!(left, "0000000b 0000000c");
}
