//! Every field of a record survives.

use std::time::{Duration, SystemTime};

use super::stores::{
    Stores, Wrong, behaviours, bounded, days, digest, ensure, ensure_eq, record, record_of, with_id,
};
use crate::{Client, KeyDigest, key::KeyFormat, record::Record, store::Change};

behaviours! {
    async fn an_empty_store_finds_nothing(stores) {
        ensure!(stores.find(&digest(1)).await?.is_none(), "a record was found");
        ensure_eq!(stores.all().await?, vec![], "the list of an empty store");
    }

    async fn a_record_is_found_by_its_digest(stores) {
        stores.insert([record(1)?, record(2)?]).await?;
        ensure_eq!(stores.find(&digest(2)).await?, Some(record(2)?), "the record");
    }

    async fn another_digest_is_not_found(stores) {
        stores.insert([record(1)?]).await?;
        for at in [0, 7, 8, 31] {
            let mut bytes = digest(1).to_bytes();
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
            let other = KeyDigest::from_bytes(bytes);
            ensure!(stores.find(&other).await?.is_none(), "byte {at} of the digest was not compared");
        }
    }

    async fn another_handle_finds_a_record_at_once(stores) {
        for number in 1..=20 {
            stores.insert([record(number)?]).await?;
            let found = bounded(stores.two.find(&digest(number))).await??;
            ensure_eq!(found, Some(record(number)?), "the record in the second handle");
        }
    }

    async fn every_field_survives(stores) {
        survives(&stores, full()?).await?;
    }

    async fn an_absent_field_stays_absent(stores) {
        let survivor = survivor(&stores, record(1)?).await?;
        let texts = [
            survivor.note(), survivor.issued_by(), survivor.replaced_by(), survivor.rotated_reason(),
            survivor.revoked_by(), survivor.revoked_reason(), survivor.client().name(),
        ];
        let times = [
            survivor.not_before(), survivor.expires(), survivor.rotated(), survivor.retires(),
            survivor.paused(), survivor.revoked(),
        ];
        ensure!(texts.iter().all(Option::is_none), "a text was made up: {texts:?}");
        ensure!(times.iter().all(Option::is_none), "a time was made up: {times:?}");
        ensure!(survivor.format().is_none(), "a format was made up");
    }

    async fn texts_of_any_script_survive(stores) {
        for (number, text) in (1..).zip([
            "'; DROP TABLE api_key; --", "\"quoted\" \\ and $1 %s {}", "日本語 ключ 🔑",
            "a line\nand another\ttab", "NULL", "é and e\u{301}", "{\"v\":1}", "# no comment",
        ]) {
            let client = Client::new(format!("client {number}")).with_name("Ünïcode");
            let client = client.with_metadata("text", text);
            let record = record(number)?.with_client(client).with_note(text).with_issued_by(text);
            survives(&stores, record).await?;
        }
    }

    async fn long_texts_survive(stores) {
        let client = Client::new("c".repeat(128)).with_name("ñ".repeat(256));
        let client = client.with_scopes((0..50).map(|number| format!("scope:{number}")));
        let record = record(1)?.with_client(client).with_note("a long note. ".repeat(300));
        survives(&stores, record).await?;
    }

    async fn scopes_keep_their_order(stores) {
        let scopes = ["z:last", "a:first", "m,comma", "b;semicolon", "a:first"];
        let client = Client::new("ci").with_scopes(scopes);
        let survivor = survivor(&stores, record(1)?.with_client(client)).await?;
        let survivors: Vec<_> = survivor.client().scopes().collect();
        ensure_eq!(survivors, scopes, "the scopes");
    }

    async fn metadata_survives(stores) {
        let client = (0..14).fold(Client::new("ci"), |client, number| {
            client.with_metadata(format!("key {number}"), format!("value={number};"))
        });
        let client = client.with_metadata("empty", "").with_metadata("Plan", "pro");
        let survivor = survivor(&stores, record(1)?.with_client(client)).await?;
        ensure_eq!(survivor.client().metadata("empty"), Some(""), "an empty value");
        ensure_eq!(survivor.client().metadata("plan"), None, "a key in another case");
    }

    async fn times_survive_to_the_microsecond(stores) {
        let time = days(1) + Duration::from_micros(123_457);
        let record = record(1)?.with_created(days(-1) + Duration::from_micros(1));
        let record = record.with_not_before(time).with_expires(time + Duration::from_micros(1));
        survives(&stores, record).await?;
    }

    async fn times_from_1970_to_2554_survive(stores) {
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(18_446_744_073);
        let first = SystemTime::UNIX_EPOCH;
        survives(&stores, record(1)?.with_created(first).with_expires(last)).await?;
        survives(&stores, record(2)?.with_created(first).with_expires(first)).await?;
        survives(&stores, record(3)?.with_paused(first).with_revoked(first)).await?;
    }

    async fn a_rotation_without_overlap_survives(stores) {
        let now = days(0);
        let survivor = survivor(&stores, record(1)?.with_rotated(now).with_retires(now)).await?;
        ensure!(survivor.check(days(-20)).is_err(), "a slow clock would accept the old key");
    }

    async fn revoked_and_expired_records_are_found(stores) {
        survives(&stores, record(1)?.with_revoked(days(-1))).await?;
        survives(&stores, record(2)?.with_expires(days(-1))).await?;
        survives(&stores, record(3)?.with_not_before(days(1))).await?;
    }

    async fn ids_and_clients_keep_their_case(stores) {
        let lower = with_id(record_of(1, "client")?, "abcdefgh")?;
        let upper = with_id(record_of(2, "CLIENT")?, "ABCDEFGH")?;
        survives(&stores, lower).await?;
        survives(&stores, upper).await?;
    }

    async fn a_name_for_logs_is_one_line(stores) {
        let name = stores.one.name();
        ensure!(!name.is_empty() && !name.contains(char::is_control), "the name is {name:?}");
    }
}

/// A record with every field.
fn full() -> Result<Record, Wrong> {
    let client = Client::new("mobile-app")
        .with_name("Mobile app")
        .with_scopes(["reports:read", "jobs:write"])
        .with_metadata("plan", "pro")
        .with_metadata("region", "eu");
    let error = |error: &dyn std::error::Error| Wrong { text: error.to_string() };
    let format = KeyFormat::new("sk_live").map_err(|it| error(&it))?;
    let record = record(1)?
        .with_client(client)
        .with_format(format)
        .with_note("deploys")
        .with_issued_by("alice")
        .with_not_before(days(-20))
        .with_expires(days(20))
        .with_rotated(days(-3))
        .with_retires(days(10))
        .with_rotated_reason("yearly")
        .with_paused(days(-2))
        .with_revoked(days(-1))
        .with_revoked_by("bob")
        .with_revoked_reason("in a public log");
    record.with_replaced_by("0a1B2c3D").map_err(|it| error(&it))
}

async fn survives(stores: &Stores, record: Record) -> Result<(), Wrong> {
    survivor(stores, record).await.map(drop)
}

/// Inserts a record, and checks that both ways of reading return it unchanged.
async fn survivor(stores: &Stores, record: Record) -> Result<Record, Wrong> {
    let inserted = stores.commit(Change::insert(record.clone())).await?;
    ensure_eq!(inserted.count(), 1, "the number of changed records");
    let found = stores.find(&record.digest()).await?.ok_or_else(|| "it is lost".to_owned())?;
    ensure_same(&found, &record)?;
    let listed = stores.record(record.id().unwrap_or_default()).await?;
    ensure_same(&listed, &record)?;
    Ok(found)
}

/// `Debug` leaves the format and the metadata out.
fn ensure_same(found: &Record, record: &Record) -> Result<(), Wrong> {
    let prefix = |record: &Record| record.format().map(|format| format.prefix().to_owned());
    ensure_eq!(prefix(found), prefix(record), "the prefix");
    let metadata = |record: &Record| {
        let entries = record.client().metadata_entries();
        entries.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    ensure_eq!(metadata(found), metadata(record), "the metadata");
    ensure_eq!(found, record, "the record");
    Ok(())
}
