//! Rotation, revocation, pauses and removal.

use std::time::Duration;

use super::stores::{
    behaviours, bounded, days, digest, ensure, ensure_eq, ensure_refused, record, record_of,
    reveal, with_id,
};
use crate::{
    Client, KeyDigest,
    error::KeyringErrorKind,
    key::KeyFormat,
    rejection::Reason,
    store::{Change, Page},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

behaviours! {
    async fn a_rotation_writes_both_records(stores) {
        let format = KeyFormat::new("sk_live").unwrap_or_default();
        let client = Client::new("ci").with_scopes(["a"]);
        let first = record(1)?.with_client(client).with_format(format.clone()).with_note("deploys");
        stores.insert([first]).await?;
        let rotate = Change::rotate("00000001", DAY).with_time(days(0));
        let changed = stores.commit(rotate.with_by("alice").with_reason("yearly")).await?;
        ensure_eq!(changed.count(), 2, "the number of changed records");
        let (id, key) = reveal(changed)?;
        let old = stores.record("00000001").await?;
        ensure_eq!(old.replaced_by(), Some(&*id), "the successor");
        ensure_eq!((old.rotated(), old.retires()), (Some(days(0)), Some(days(1))), "the times");
        ensure_eq!(old.rotated_reason(), Some("yearly"), "the reason");
        let Some(new) = stores.find(&KeyDigest::of(&key)).await? else {
            return Err("the new key is not found".to_owned().into());
        };
        ensure_eq!((new.id(), new.issued_by()), (Some(&*id), Some("alice")), "the new record");
        ensure_eq!((new.note(), new.format()), (Some("deploys"), Some(&format)), "what it inherits");
        ensure!(new.client().has_scope("a") && new.retires().is_none(), "{new:?}");
    }

    async fn a_rotation_without_overlap_rejects_the_old_key_whatever_the_clock_says(stores) {
        stores.insert([record(1)?]).await?;
        let changed = stores.commit(Change::rotate("00000001", Duration::ZERO)).await?;
        drop(changed);
        let old = stores.record("00000001").await?;
        ensure_eq!(old.check(days(-20)), Err(Reason::Expired), "the old key by a slow clock");
    }

    async fn a_rotation_keeps_the_length_of_life(stores) {
        stores.insert([record(1)?.with_created(days(-10)).with_expires(days(10))]).await?;
        let changed = stores.commit(Change::rotate("00000001", DAY).with_time(days(0))).await?;
        let (id, _) = reveal(changed)?;
        ensure_eq!(stores.record(&id).await?.expires(), Some(days(20)), "the expiry");
    }

    async fn a_rotation_of_a_dead_key_is_refused(stores) {
        let dead = [record(1)?.with_revoked(days(-1)), record(2)?.with_expires(days(-1))];
        stores.insert(dead.clone()).await?;
        for id in ["00000001", "00000002"] {
            let result = bounded(Change::rotate(id, DAY).commit(&*stores.one)).await?;
            ensure_refused(result, KeyringErrorKind::DeadKey)?;
        }
        ensure_eq!(stores.all().await?, dead, "the records after the refusal");
    }

    async fn a_rotation_of_an_unknown_id_is_refused(stores) {
        let result = bounded(Change::rotate("00000001", DAY).commit(&*stores.one)).await?;
        ensure_refused(result, KeyringErrorKind::UnknownKeyId)?;
        ensure_eq!(stores.all().await?.len(), 0, "the number of records");
    }

    async fn a_revocation_notes_when_by_whom_and_why(stores) {
        stores.insert([record(1)?]).await?;
        let revoke = Change::revoke_key("00000001").with_by("alice").with_reason("leaked");
        let changed = stores.commit(revoke.with_time(days(-1))).await?;
        ensure_eq!(changed.count(), 1, "the number of revoked keys");
        let record = stores.record("00000001").await?;
        ensure_eq!(record.revoked(), Some(days(-1)), "the time");
        ensure_eq!(record.revoked_by(), Some("alice"), "the name");
        ensure_eq!(record.revoked_reason(), Some("leaked"), "the reason");
    }

    async fn a_second_revocation_changes_nothing(stores) {
        stores.insert([record(1)?]).await?;
        let first = Change::revoke_key("00000001").with_by("alice").with_time(days(-2));
        stores.commit(first).await?;
        let before = stores.all().await?;
        let second = Change::revoke_key("00000001").with_by("bob");
        ensure_eq!(stores.commit(second).await?.count(), 0, "the number of revoked keys");
        ensure_eq!(stores.all().await?, before, "the record");
    }

    async fn a_revocation_of_an_unknown_key_is_no_error(stores) {
        stores.insert([record(1)?]).await?;
        ensure_eq!(stores.commit(Change::revoke_key("00000002")).await?.count(), 0, "by id");
        ensure_eq!(stores.commit(Change::revoke_key("no id")).await?.count(), 0, "by no id");
        ensure_eq!(stores.commit(Change::revoke_client("nobody")).await?.count(), 0, "by client");
        ensure_eq!(stores.all().await?, [record(1)?], "the records");
    }

    async fn all_keys_of_a_client_are_revoked_and_no_others(stores) {
        for (number, client) in (1..).zip(["c_", "c_", "ci", "c%", "C_", "c"]) {
            stores.insert([record_of(number, client)?]).await?;
        }
        ensure_eq!(stores.commit(Change::revoke_client("c_")).await?.count(), 2, "the number of keys");
        let all = stores.all().await?;
        let revoked: Vec<_> = all.iter().filter(|it| it.revoked().is_some()).collect();
        ensure!(revoked.iter().all(|record| record.client().id() == "c_"), "{revoked:?}");
        ensure_eq!(revoked.len(), 2, "the number of revoked records");
    }

    async fn a_revocation_cannot_be_taken_back(stores) {
        stores.insert([record(1)?.with_revoked(days(-1))]).await?;
        let fresh = record(1)?;
        let edit = Change::update("00000001", move |_| fresh.clone());
        let result = bounded(edit.commit(&*stores.one)).await?;
        ensure_refused(result, KeyringErrorKind::RevokedKey)?;
        for change in [Change::pause("00000001"), Change::resume("00000001")] {
            let result = bounded(change.commit(&*stores.two)).await?;
            ensure_refused(result, KeyringErrorKind::RevokedKey)?;
        }
        let later = Change::update("00000001", |record| record.with_note("stays revoked"));
        stores.commit(later).await?;
        let record = stores.record("00000001").await?;
        ensure_eq!(record.revoked(), Some(days(-1)), "the revocation");
        ensure_eq!(record.note(), Some("stays revoked"), "the note");
    }

    async fn a_pause_lasts_until_the_key_is_resumed(stores) {
        stores.insert([record(1)?]).await?;
        stores.commit(Change::pause("00000001").with_time(days(-1))).await?;
        let paused = stores.record("00000001").await?;
        ensure_eq!(paused.paused(), Some(days(-1)), "the pause");
        let again = stores.commit(Change::pause("00000001")).await?;
        ensure_eq!(again.count(), 0, "the number of changes by a second pause");
        stores.commit(Change::resume("00000001")).await?;
        ensure_eq!(stores.record("00000001").await?.paused(), None, "the pause");
    }

    async fn only_keys_that_are_long_dead_are_pruned(stores) {
        stores.insert([
            record(1)?.with_revoked(days(-8)),
            record(2)?.with_expires(days(-8)),
            record(3)?.with_rotated(days(-9)).with_retires(days(-8)),
            record(4)?.with_revoked(days(-6)),
            record(5)?.with_expires(days(-6)),
            record(6)?.with_paused(days(-8)),
            record(7)?,
            record(8)?.with_not_before(days(8)).with_expires(days(9)),
            record(9)?.with_expires(days(-6)).with_revoked(days(-8)),
        ]).await?;
        let changed = stores.commit(Change::prune(days(-7))).await?;
        ensure_eq!(changed.count(), 4, "the number of pruned records");
        let left = ["00000004", "00000005", "00000006", "00000007", "00000008"];
        ensure_eq!(stores.ids(&Page::new()).await?, left, "the records that are left");
        for number in [1, 2, 3, 9] {
            ensure!(stores.find(&digest(number)).await?.is_none(), "a pruned record is found");
        }
    }

    async fn a_pruned_key_and_its_id_are_free(stores) {
        stores.insert([record(1)?.with_expires(days(-8)), record(2)?.with_expires(days(-8))]).await?;
        stores.commit(Change::prune(days(-7))).await?;
        stores.commit(Change::insert(record(1)?.with_note("back"))).await?;
        stores.commit(Change::insert(with_id(record(3)?, "00000002")?)).await?;
        ensure_eq!(stores.record("00000001").await?.note(), Some("back"), "the record");
        ensure!(stores.find(&digest(2)).await?.is_none(), "a pruned record is found");
        ensure_eq!(stores.record("00000002").await?.digest() == digest(3), true, "the id");
    }
}
