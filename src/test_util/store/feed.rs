//! The records and changes for a listener.

use std::time::Duration;

use super::{
    listening::Follower,
    stores::{
        Stores, Wrong, behaviours, days, digest, ensure, ensure_eq, record, record_of, with_id,
    },
};
use crate::store::{Change, Start};

behaviours! {
    // The first one, because it takes the longest time.
    async fn ready_comes_at_least_every_ten_seconds(stores) {
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        tokio::time::sleep(Duration::from_millis(1000)).await;
        let before = follower.state().readies;
        follower.until("`ready`", |state| state.readies > before).await?;
        ensure_eq!(follower.state().restarts, 1, "the number of restarts");
    }

    async fn following_begins_with_every_record(stores) {
        stores.insert((1..=300).map(record).collect::<Result<Vec<_>, _>>()?).await?;
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        let state = follower.state();
        ensure_eq!(state.first, Some("restart"), "the first call");
        ensure_eq!((state.restarts, state.records.len()), (1, 300), "restarts and records");
        ensure_eq!(state.removed, 0, "the number of removals");
        follower.agrees(&stores).await?;
    }

    async fn following_an_empty_store_is_ready(stores) {
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        ensure_eq!(follower.state().first, Some("restart"), "the first call");
        stores.insert([record(1)?]).await?;
        follower.agrees(&stores).await?;
    }

    async fn records_in_every_state_are_delivered(stores) {
        stores.insert([
            record(1)?.with_revoked(days(-1)),
            record(2)?.with_expires(days(-1)),
            record(3)?.with_not_before(days(1)),
            record(4)?.with_paused(days(-1)),
        ]).await?;
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        ensure_eq!(follower.state().records.len(), 4, "the number of records");
        follower.agrees(&stores).await?;
    }

    async fn a_new_record_is_delivered(stores) {
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        stores.insert([record(1)?.with_note("whole").with_expires(days(1))]).await?;
        follower.agrees(&stores).await?;
    }

    async fn a_changed_record_is_delivered(stores) {
        stores.insert([record(1)?]).await?;
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        for change in [
            Change::update("00000001", |record| record.with_note("changed")),
            Change::pause("00000001"),
            Change::resume("00000001"),
            Change::update("00000001", |record| record.with_client(crate::Client::new("new"))),
            Change::revoke_key("00000001").with_by("alice"),
        ] {
            stores.commit(change).await?;
            follower.agrees(&stores).await?;
        }
    }

    async fn a_change_of_the_same_handle_is_delivered(stores) {
        stores.insert([record(1)?]).await?;
        let follower = Follower::start_on(&stores.one, Start::Everything, Duration::ZERO);
        follower.ready().await?;
        stores.commit(Change::revoke_key("00000001")).await?;
        follower.agrees(&stores).await?;
    }

    async fn a_removal_is_delivered(stores) {
        stores.insert([record(1)?.with_revoked(days(-8)), record(2)?]).await?;
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        stores.commit(Change::prune(days(-7))).await?;
        follower.agrees(&stores).await?;
        let state = follower.state();
        ensure!(state.removed > 0 || state.restarts > 1, "the removal was not delivered");
    }

    async fn both_records_of_a_rotation_are_delivered(stores) {
        stores.insert([record(1)?]).await?;
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        let changed = stores.commit(Change::rotate("00000001", Duration::from_secs(60))).await?;
        drop(changed);
        follower.agrees(&stores).await?;
        ensure_eq!(follower.state().records.len(), 2, "the number of records");
    }

    async fn a_removed_record_that_comes_back_is_delivered(stores) {
        let follower = busy_follower(&stores).await?;
        for round in 0..10 {
            keep_busy(&stores, round).await?;
            stores.commit(Change::prune(days(-7))).await?;
            let back = record(1)?.with_expires(days(-8)).with_note(format!("round {round}"));
            stores.insert([back]).await?;
            follower.agrees(&stores).await?;
        }
    }

    async fn a_removal_is_delivered_before_the_reuse_of_its_id(stores) {
        let follower = busy_follower(&stores).await?;
        for round in 0..10 {
            keep_busy(&stores, round).await?;
            stores.commit(Change::prune(days(-7))).await?;
            let reuse = with_id(record(100 + round)?.with_expires(days(-8)), "00000001")?;
            stores.insert([reuse]).await?;
            follower.agrees(&stores).await?;
        }
    }

    async fn a_change_of_many_records_is_delivered(stores) {
        stores.insert((1..=1500).map(record).collect::<Result<Vec<_>, _>>()?).await?;
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        stores.commit(Change::revoke_client("ci").with_time(days(-8))).await?;
        follower.agrees(&stores).await?;
        stores.commit(Change::prune(days(-7))).await?;
        follower.agrees(&stores).await?;
    }

    async fn versions_grow_with_each_change_of_a_key(stores) {
        let mut last = 0;
        let mut changes = vec![Change::insert(record(1)?.with_expires(days(-8)))];
        for round in 0..5 {
            changes.push(Change::update("00000001", move |record| {
                record.with_note(format!("round {round}"))
            }));
        }
        changes.push(Change::prune(days(-7)));
        changes.push(Change::insert(record(1)?));
        for change in changes {
            let version = stores.commit(change).await?.version();
            ensure!(version > last, "version {version} follows version {last}");
            last = version;
        }
    }

    async fn a_change_has_at_most_the_version_that_is_delivered(stores) {
        stores.insert([record_of(1, "ci")?, record_of(2, "ci")?]).await?;
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        follower.agrees(&stores).await?;
        for round in 0..5 {
            let before = follower.state().versions;
            let edit = Change::update("00000001", move |it| it.with_note(format!("{round}")));
            let version = stores.commit(edit).await?.version();
            follower.agrees(&stores).await?;
            let delivered = follower.state().versions.get(&digest(1)).copied().unwrap_or_default();
            let before = before.get(&digest(1)).copied().unwrap_or_default();
            ensure!(
                before < version && version <= delivered,
                "the change has version {version}, delivered were {before} before and {delivered} after"
            );
        }
    }
}

/// Starts a slow follower of a store with a dead key and another key.
async fn busy_follower(stores: &Stores) -> Result<Follower, Wrong> {
    stores.insert([record(1)?.with_expires(days(-8)), record(9)?]).await?;
    let delay = Duration::from_millis(20);
    let follower = Follower::start_on(&stores.two, Start::Everything, delay);
    follower.agrees(stores).await?;
    Ok(follower)
}

/// Gives the follower something to do, so that it receives the next changes at once.
async fn keep_busy(stores: &Stores, round: u32) -> Result<(), Wrong> {
    let note = format!("round {round}");
    stores.commit(Change::update("00000009", move |record| record.with_note(&*note))).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(())
}
