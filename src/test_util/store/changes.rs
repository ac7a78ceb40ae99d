//! Transactions, insertions and updates.

use super::stores::{
    behaviours, bounded, days, digest, ensure, ensure_eq, ensure_refused, record, record_of,
    reveal, with_id,
};
use crate::{
    Client, KeyDigest, Keyring,
    error::KeyringErrorKind,
    key::KeyFormat,
    record::Record,
    store::{Change, StoreErrorKind, Write},
};

behaviours! {
    async fn an_issued_key_is_found_by_its_text(stores) {
        let format = KeyFormat::new("sk_live").unwrap_or_default();
        let expires = days(90);
        let issue = Change::issue_with(&format, Client::new("ci").with_scopes(["a"]), move |record| {
            record.with_expires(expires).with_note("deploys")
        });
        let changed = stores.commit(issue.with_by("alice").with_time(days(-1))).await?;
        ensure_eq!(changed.count(), 1, "the number of changed records");
        let (id, key) = reveal(changed)?;
        let Some(record) = stores.find(&KeyDigest::of(&key)).await? else {
            return Err("the issued key is not found".to_owned().into());
        };
        ensure_eq!(record.id(), Some(&*id), "the id");
        ensure_eq!(record.created(), Some(days(-1)), "the time of creation");
        ensure_eq!((record.note(), record.issued_by()), (Some("deploys"), Some("alice")), "the texts");
        ensure_eq!(record.expires(), Some(expires), "the expiry");
        ensure_eq!(record.format(), Some(&format), "the format");
        ensure!(record.client().has_scope("a"), "the scope is lost");
    }

    async fn a_change_returns_its_writes(stores) {
        let changed = stores.commit(Change::insert(record(1)?)).await?;
        ensure_eq!(changed.writes(), [Write::Insert(record(1)?)], "the writes of an insertion");
        let changed = stores.commit(Change::update("00000001", |it| it.with_note("a"))).await?;
        ensure_eq!(changed.writes(), [Write::Update(record(1)?.with_note("a"))], "of an update");
        let changed = stores.commit(Change::revoke_key("00000001").with_time(days(-1))).await?;
        ensure_eq!(changed.count(), 1, "the number of revoked records");
        let changed = stores.commit(Change::prune(days(0))).await?;
        ensure_eq!(changed.writes(), [Write::Remove(digest(1))], "of a removal");
        ensure_eq!(stores.commit(Change::prune(days(0))).await?.count(), 0, "of no removal");
        stores.insert([record(1)?, record(2)?]).await?;
        let changed = stores.commit(Change::remove("00000001")).await?;
        ensure_eq!(changed.writes(), [Write::Remove(digest(1))], "of a removal by id");
        ensure_eq!(stores.commit(Change::remove("00000001")).await?.count(), 0, "of a second one");
        ensure_eq!(stores.all().await?, [record(2)?], "the records after a removal");
    }

    async fn a_known_digest_is_refused(stores) {
        stores.insert([record(1)?]).await?;
        let again = with_id(record(1)?, "another1")?.with_note("again");
        let result = bounded(Change::insert(again).commit(&*stores.one)).await?;
        ensure_refused(result, KeyringErrorKind::DuplicateKey)?;
        let all = Change::insert_all([record(2)?, record(1)?]);
        ensure_refused(bounded(all.commit(&*stores.one)).await?, KeyringErrorKind::DuplicateKey)?;
        ensure_eq!(stores.all().await?, [record(1)?], "the records after the refusal");
    }

    async fn a_revoked_digest_is_refused(stores) {
        let revoked = record(1)?.with_revoked(days(-1));
        stores.insert([revoked.clone()]).await?;
        let again = with_id(record(1)?, "another1")?;
        let result = bounded(Change::insert(again).commit(&*stores.one)).await?;
        ensure_refused(result, KeyringErrorKind::RevokedKey)?;
        ensure_eq!(stores.all().await?, [revoked], "the records after the refusal");
    }

    async fn a_taken_id_is_a_conflict(stores) {
        stores.insert([record(1)?]).await?;
        let clash = with_id(record(2)?, "00000001")?;
        match bounded(stores.one.change(Change::insert(clash))).await? {
            Err(error) => ensure_eq!(error.kind(), StoreErrorKind::Conflict, "the kind of error"),
            Ok(_) => return Err("two records have one id".to_owned().into()),
        }
        ensure_eq!(stores.all().await?, [record(1)?], "the records after the conflict");
    }

    async fn an_id_in_another_case_is_free(stores) {
        stores.insert([with_id(record(1)?, "abcdefgh")?]).await?;
        stores.insert([with_id(record(2)?, "ABCDEFGH")?]).await?;
        ensure_eq!(stores.all().await?.len(), 2, "the number of records");
    }

    async fn a_change_is_made_whole_or_not_at_all(stores) {
        stores.insert([record(9)?]).await?;
        let clash = with_id(record(2)?, "00000009")?;
        let change = Change::insert_if_absent([record(1)?, clash, record(3)?]);
        let result = bounded(stores.one.change(change)).await?;
        ensure!(result.is_err(), "two records have one id");
        ensure_eq!(stores.all().await?, [record(9)?], "the records after the failure");
    }

    async fn a_derived_id_that_is_taken_is_replaced(stores) {
        let other = Record::new(digest(1), Client::new("ci"));
        let keys = Keyring::new();
        let derived = keys.insert_record(other.clone()).ok().and_then(|()| keys.records().next());
        let derived = derived.as_ref().and_then(Record::id).unwrap_or_default();
        stores.insert([with_id(record(2)?, derived)?]).await?;
        stores.commit(Change::insert(other)).await?;
        let Some(found) = stores.find(&digest(1)).await? else {
            return Err("the record is lost".to_owned().into());
        };
        ensure!(found.id().is_some_and(|id| id.len() == 8 && id != derived), "{:?}", found.id());
        ensure_eq!(stores.all().await?.len(), 2, "the number of records");
    }

    async fn a_record_gets_an_id_and_a_time_of_creation(stores) {
        stores.commit(Change::insert(Record::new(digest(1), Client::new("ci")))).await?;
        let Some(found) = stores.find(&digest(1)).await? else {
            return Err("the record is lost".to_owned().into());
        };
        ensure!(found.id().is_some() && found.created().is_some(), "one is missing: {found:?}");
    }

    async fn records_that_are_there_stay_as_they_are(stores) {
        let revoked = record(1)?.with_revoked(days(-1)).with_note("old");
        stores.insert([revoked.clone()]).await?;
        let import = || -> Result<_, super::stores::Wrong> {
            Ok(Change::insert_if_absent([record(1)?.with_note("new"), record(2)?]))
        };
        ensure_eq!(stores.commit(import()?).await?.count(), 1, "the number of new records");
        let again = stores.commit(import()?).await?;
        ensure_eq!(again.count(), 0, "the number of new records in the second run");
        ensure_eq!(again.unchanged().len(), 2, "the number of known records");
        ensure_eq!(stores.all().await?, [revoked, record(2)?], "the records");
    }

    async fn a_client_that_is_not_valid_is_refused(stores) {
        let issue = Change::issue(&KeyFormat::default(), Client::new("two\nlines"));
        let result = bounded(issue.commit(&*stores.one)).await?;
        ensure_refused(result, KeyringErrorKind::ClientId)?;
        ensure_eq!(stores.all().await?.len(), 0, "the number of records");
    }

    async fn an_update_changes_all_fields_but_id_and_digest(stores) {
        stores.insert([record(1)?.with_note("before")]).await?;
        let expires = days(5);
        let edit = Change::update("00000001", move |record| {
            let client = Client::new("ci").with_name("CI").with_scopes(["b"]);
            let record = record.with_client(client.with_metadata("plan", "pro"));
            record.with_note("").with_expires(expires).with_issued_by("bob")
        });
        ensure_eq!(stores.commit(edit).await?.count(), 1, "the number of changed records");
        let found = stores.record("00000001").await?;
        ensure_eq!((found.note(), found.issued_by()), (None, Some("bob")), "the texts");
        ensure_eq!(found.expires(), Some(expires), "the expiry");
        ensure_eq!(found.client().metadata("plan"), Some("pro"), "the metadata");
        ensure!(found.client().has_scope("b") && found.client().name() == Some("CI"), "{found:?}");
        stores.commit(Change::update("00000001", |it| it.with_expires(None))).await?;
        ensure_eq!(stores.record("00000001").await?.expires(), None, "the expiry");
    }

    async fn an_update_of_the_digest_is_refused(stores) {
        stores.insert([record(1)?]).await?;
        let other = record(2)?;
        let edit = Change::update("00000001", move |_| other.clone());
        let result = bounded(edit.commit(&*stores.one)).await?;
        ensure_refused(result, KeyringErrorKind::ImmutableId)?;
        ensure_eq!(stores.all().await?, [record(1)?], "the records after the refusal");
    }

    async fn an_update_of_an_unknown_id_is_refused(stores) {
        stores.insert([record(1)?]).await?;
        let edit = Change::update("00000002", |record| record.with_note("a"));
        let result = bounded(edit.commit(&*stores.one)).await?;
        ensure_refused(result, KeyringErrorKind::UnknownKeyId)?;
        ensure_eq!(stores.all().await?, [record(1)?], "the records after the refusal");
    }

    async fn an_update_receives_the_newest_record(stores) {
        stores.insert([record(1)?.with_note("a")]).await?;
        for _ in 0..10 {
            for store in [&stores.one, &stores.two] {
                let edit = Change::update("00000001", |record| {
                    let note = format!("{}b", record.note().unwrap_or_default());
                    record.with_note(note)
                });
                bounded(edit.commit(&**store)).await??;
            }
        }
        let note = stores.record("00000001").await?;
        ensure_eq!(note.note(), Some(&*format!("a{}", "b".repeat(20))), "the note");
    }

    async fn an_update_without_a_difference_writes_nothing(stores) {
        stores.insert([record(1)?]).await?;
        let changed = stores.commit(Change::update("00000001", |record| record)).await?;
        ensure_eq!(changed.count(), 0, "the number of changed records");
        ensure_eq!(changed.unchanged(), [record(1)?], "the record that was read");
    }

    async fn a_key_can_go_to_another_client(stores) {
        stores.insert([record_of(1, "old")?, record_of(2, "old")?]).await?;
        let moved = Change::update("00000001", |record| record.with_client(Client::new("new")));
        stores.commit(moved).await?;
        ensure_eq!(stores.commit(Change::revoke_client("old")).await?.count(), 1, "of the old client");
        ensure!(stores.record("00000001").await?.revoked().is_none(), "the wrong key was revoked");
        ensure_eq!(stores.commit(Change::revoke_client("new")).await?.count(), 1, "of the new client");
    }

    async fn many_records_are_inserted_in_one_change(stores) {
        let records = (1..=2000).map(record).collect::<Result<Vec<_>, _>>()?;
        let changed = stores.commit(Change::insert_if_absent(records.clone())).await?;
        ensure_eq!(changed.count(), 2000, "the number of new records");
        ensure!(stores.all().await? == records, "some records are not as they were inserted");
    }

    async fn errors_do_not_show_a_digest(stores) {
        stores.insert([record(1)?]).await?;
        let clash = with_id(record(2)?, "00000001")?;
        let results = [
            bounded(stores.one.change(Change::insert(clash))).await?,
            bounded(stores.one.change(Change::insert(record(1)?))).await?,
        ];
        for error in results.into_iter().filter_map(Result::err) {
            let text = format!("{error} {error:?}").to_lowercase();
            for digest in [digest(1), digest(2)] {
                let encoded = digest.encode();
                let hex = encoded.split_at("sha256:".len()).1.split_at(12).0.to_owned();
                ensure!(!text.contains(&hex), "an error shows a digest");
            }
        }
    }
}
