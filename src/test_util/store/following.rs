//! Followers that begin, end, are slow, or run beside writers.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time};

use super::{
    listening::{Follower, State},
    stores::{Stores, Wrong, behaviours, bounded, days, ensure, ensure_eq, record},
};
use crate::{
    Client,
    key::KeyFormat,
    store::{Change, Cursor, Start},
};

behaviours! {
    async fn no_change_falls_between_reading_and_following(stores) {
        stores.insert((1..=200).map(record).collect::<Result<Vec<_>, _>>()?).await?;
        let writers = write(&stores, 4, 30);
        let mut followers = Vec::new();
        for _ in 0..5 {
            followers.push(Follower::start(&stores, Start::Everything));
            time::sleep(Duration::from_millis(10)).await;
        }
        finish(writers).await?;
        for follower in &followers {
            follower.agrees(&stores).await?;
        }
    }

    async fn changes_of_concurrent_writers_arrive(stores) {
        stores.insert((1..=20).map(record).collect::<Result<Vec<_>, _>>()?).await?;
        let follower = Follower::start(&stores, Start::Everything);
        follower.ready().await?;
        finish(write(&stores, 6, 40)).await?;
        follower.agrees(&stores).await?;
        // A late delivery must not undo the last state.
        time::sleep(Duration::from_millis(300)).await;
        follower.agrees(&stores).await?;
    }

    async fn a_slow_listener_misses_nothing(stores) {
        stores.insert((1..=20).map(record).collect::<Result<Vec<_>, _>>()?).await?;
        let delay = Duration::from_millis(3);
        let follower = Follower::start_on(&stores.two, Start::Everything, delay);
        finish(write(&stores, 4, 20)).await?;
        follower.agrees(&stores).await?;
    }

    async fn a_slow_listener_does_not_hold_up_changes(stores) {
        stores.insert([record(1)?, record(2)?]).await?;
        let delay = Duration::from_secs(1);
        let follower = Follower::start_on(&stores.two, Start::Everything, delay);
        time::sleep(Duration::from_millis(100)).await;
        let started = time::Instant::now();
        for round in 0..3 {
            let note = format!("round {round}");
            let edit = Change::update("00000001", move |record| record.with_note(&*note));
            stores.commit(edit).await?;
        }
        let took = started.elapsed();
        follower.agrees(&stores).await?;
        ensure!(took < Duration::from_secs(2), "three changes took {took:?}");
    }

    async fn several_followers_receive_every_change(stores) {
        let followers = [
            Follower::start_on(&stores.one, Start::Everything, Duration::ZERO),
            Follower::start_on(&stores.one, Start::Everything, Duration::ZERO),
            Follower::start_on(&stores.two, Start::Everything, Duration::ZERO),
        ];
        for follower in &followers {
            follower.ready().await?;
        }
        for number in 1..=5 {
            stores.insert([record(number)?]).await?;
        }
        for follower in &followers {
            follower.agrees(&stores).await?;
        }
    }

    async fn a_follower_that_ends_does_not_disturb_the_others(stores) {
        let lasting = Follower::start(&stores, Start::Everything);
        lasting.ready().await?;
        for number in 1..=5 {
            let short = Follower::start(&stores, Start::Everything);
            if number % 2 == 0 {
                short.ready().await?;
            }
            drop(short);
            stores.insert([record(number)?]).await?;
        }
        lasting.agrees(&stores).await?;
        ensure_eq!(lasting.state().restarts, 1, "the number of restarts");
        Follower::start(&stores, Start::Everything).agrees(&stores).await?;
    }

    async fn a_cache_begins_without_records(stores) {
        stores.insert([record(1)?]).await?;
        let follower = Follower::start(&stores, Start::Now);
        follower.ready().await?;
        let state = follower.state();
        ensure_eq!(state.first, Some("ready"), "the first call");
        ensure_eq!((state.records.len(), state.restarts), (0, 0), "records and restarts");
    }

    async fn a_cache_receives_changes(stores) {
        stores.insert([record(1)?, record(2)?.with_revoked(days(-8)), record(3)?]).await?;
        let follower = Follower::start(&stores, Start::Now);
        follower.ready().await?;
        stores.commit(Change::pause("00000001")).await?;
        stores.commit(Change::prune(days(-7))).await?;
        follower.until("the change and the removal", |state| {
            let paused = state.records.get("00000001").is_some_and(|it| it.paused().is_some());
            paused && state.removed == 1
        }).await?;
        ensure!(!follower.state().records.contains_key("00000003"), "an unchanged record came");
    }

    async fn a_follower_resumes_after_its_cursor(stores) {
        stores.insert((1..=5).map(record).collect::<Result<Vec<_>, _>>()?).await?;
        stores.insert([record(6)?.with_expires(days(-8))]).await?;
        let follower = Follower::start(&stores, Start::Everything);
        follower.agrees(&stores).await?;
        let state = follower.state();
        drop(follower);
        let Some(cursor) = state.cursor.clone() else { return Ok(()) };
        stores.commit(Change::update("00000001", |record| record.with_note("missed"))).await?;
        stores.commit(Change::prune(days(-7))).await?;
        stores.insert([record(7)?]).await?;
        let state = State { first: None, readies: 0, ..state };
        let after = Start::After(cursor);
        let resumed = Follower::resume(&stores.two, after, Duration::ZERO, state);
        resumed.agrees(&stores).await?;
        stores.commit(Change::pause("00000002")).await?;
        resumed.agrees(&stores).await?;
    }

    async fn an_unknown_cursor_begins_with_everything(stores) {
        stores.insert([record(1)?]).await?;
        for text in ["", "no cursor of this store", "18446744073709551615", "-1"] {
            let follower = Follower::start(&stores, Start::After(Cursor::new(text)));
            follower.ready().await?;
            follower.agrees(&stores).await?;
            ensure_eq!(follower.state().first, Some("restart"), "the first call after {text:?}");
        }
    }

    async fn a_store_can_be_used_while_a_load_is_slow(stores) {
        stores.insert((1..=400).map(record).collect::<Result<Vec<_>, _>>()?).await?;
        let delay = Duration::from_millis(8);
        let follower = Follower::start_on(&stores.two, Start::Everything, delay);
        time::sleep(Duration::from_millis(100)).await;
        for round in 0..5 {
            let edit = Change::update("00000001", move |it| it.with_note(format!("{round}")));
            bounded(edit.commit(&*stores.two)).await??;
        }
        ensure_eq!(follower.state().readies, 0, "the changes waited for the load, which");
        follower.agrees(&stores).await?;
    }
}

/// Starts writers of both handles, which change, issue and prune keys.
fn write(stores: &Stores, workers: u32, rounds: u32) -> JoinSet<Result<(), Wrong>> {
    let mut writers = JoinSet::new();
    for worker in 0..workers {
        let store = if worker % 2 == 0 { &stores.one } else { &stores.two };
        let store = Arc::clone(store);
        writers.spawn(async move {
            for round in 0..rounds {
                let id = format!("{:08}", (worker * 7 + round) % 20 + 1);
                let change = match round % 5 {
                    0 => Change::pause(id),
                    1 => Change::resume(id),
                    2 => Change::issue(&KeyFormat::default(), Client::new("new")),
                    3 => Change::insert_if_absent([
                        record(1000 + worker * 1000 + round)?.with_expires(days(-8))
                    ]),
                    _ if round % 10 == 9 => Change::prune(days(-7)),
                    _ => Change::update(id, move |it| it.with_note(format!("{worker} {round}"))),
                };
                bounded(change.commit(&*store)).await??;
            }
            Ok(())
        });
    }
    writers
}

async fn finish(mut writers: JoinSet<Result<(), Wrong>>) -> Result<(), Wrong> {
    while let Some(done) = writers.join_next().await {
        done.map_err(|error| error.to_string())??;
    }
    Ok(())
}
