//! Changes that are made at once.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::{self, JoinSet},
    time,
};

use super::stores::{
    Stores, Wrong, behaviours, bounded, days, digest, ensure, ensure_eq, record, record_of,
};
use crate::{
    Client,
    error::KeyringErrorKind,
    key::KeyFormat,
    store::{Change, Changed, Page, StoreError},
};

behaviours! {
    async fn concurrent_updates_lose_nothing(stores) {
        stores.insert([record(1)?.with_note("0")]).await?;
        let add = |_| Change::update("00000001", |record| {
            let number: u32 = record.note().and_then(|note| note.parse().ok()).unwrap_or_default();
            record.with_note((number + 1).to_string())
        });
        let done = at_once(&stores, 10, 4, add).await?;
        ensure_eq!(done.iter().filter(|it| it.is_ok()).count(), done.len(), "the successful updates");
        let note = stores.record("00000001").await?;
        ensure_eq!(note.note(), Some("40"), "the number of updates that had an effect");
    }

    async fn concurrent_issues_all_take_effect(stores) {
        let issue = |_| Change::issue(&KeyFormat::default(), Client::new("ci"));
        let done = at_once(&stores, 10, 3, issue).await?;
        let ids: HashSet<_> = done.into_iter().filter_map(|changed| {
            changed.ok()?.into_minted().map(|minted| minted.id().to_owned())
        }).collect();
        ensure_eq!(ids.len(), 30, "the number of issued keys");
        let all = stores.all().await?;
        let in_store: HashSet<_> = all.iter().filter_map(|it| it.id()).map(str::to_owned).collect();
        ensure_eq!(in_store, ids, "the ids");
    }

    async fn of_concurrent_insertions_of_one_key_one_succeeds(stores) {
        let inserted = record(1)?;
        let done = at_once(&stores, 8, 1, |_| Change::insert(inserted.clone())).await?;
        let succeeded = done.iter().filter(|result| result.is_ok()).count();
        ensure_eq!(succeeded, 1, "the number of insertions that succeeded");
        for error in done.into_iter().filter_map(Result::err) {
            let reason = error.refused().map(|error| error.kind());
            ensure_eq!(reason, Some(KeyringErrorKind::DuplicateKey), "the error {error}");
        }
        ensure_eq!(stores.all().await?, [record(1)?], "the records");
    }

    async fn of_concurrent_imports_of_one_key_one_inserts(stores) {
        let imported = record(1)?;
        let import = |_| Change::insert_if_absent([imported.clone()]);
        let done = at_once(&stores, 8, 1, import).await?;
        let counts: Vec<_> = done.iter().flatten().map(Changed::count).collect();
        ensure_eq!((counts.len(), counts.iter().sum::<usize>()), (8, 1), "successes and insertions");
    }

    async fn of_concurrent_revocations_one_takes_effect(stores) {
        stores.insert([record(1)?]).await?;
        let revoke = |by: usize| Change::revoke_key("00000001").with_by(format!("worker {by}"));
        let done = at_once(&stores, 8, 1, revoke).await?;
        let counts: Vec<_> = done.iter().flatten().map(Changed::count).collect();
        ensure_eq!((counts.len(), counts.iter().sum::<usize>()), (8, 1), "successes and effects");
        let first = counts.iter().position(|count| *count == 1).unwrap_or_default();
        let record = stores.record("00000001").await?;
        ensure_eq!(record.revoked_by(), Some(&*format!("worker {first}")), "the name");
    }

    async fn concurrent_rotations_of_one_key_leave_a_successor(stores) {
        stores.insert([record(1)?]).await?;
        let rotate = |_| Change::rotate("00000001", Duration::from_secs(60));
        let done = at_once(&stores, 4, 1, rotate).await?;
        let ids: Vec<_> = done.into_iter().flatten().filter_map(|changed| {
            changed.into_minted().map(|minted| minted.id().to_owned())
        }).collect();
        ensure_eq!(ids.len(), 4, "the number of minted keys");
        for id in &ids {
            drop(stores.record(id).await?);
        }
        let old = stores.record("00000001").await?;
        ensure!(ids.iter().any(|id| old.replaced_by() == Some(id)), "the successor is lost");
        ensure_eq!(stores.all().await?.len(), 5, "the number of records");
    }

    async fn a_revocation_wins_over_concurrent_changes(stores) {
        for key in 1..=10 {
            stores.insert([record(key)?]).await?;
            let id = format!("{key:08}");
            let change = |number: usize| match number {
                0 => Change::revoke_key(&id),
                1 | 2 => Change::pause(&id),
                3 | 4 => Change::resume(&id),
                _ => Change::update(&id, |record| record.with_note("changed")),
            };
            at_once(&stores, 8, 1, change).await?;
            ensure!(stores.record(&id).await?.revoked().is_some(), "a revocation is lost");
        }
    }

    async fn concurrent_changes_of_several_keys_end(stores) {
        // Two changes that lock the same rows in opposite orders would wait for each other.
        stores.insert([record(1)?, record(2)?, record(3)?, record(4)?]).await?;
        let change = |number: usize| if number % 2 == 0 {
            Change::revoke_client("ci")
        } else {
            let records = [4, 3, 2, 1].into_iter().flat_map(record);
            Change::insert_if_absent(records)
        };
        let done = at_once(&stores, 8, 2, change).await?;
        let wrong = done.iter().find_map(|result| result.as_ref().err());
        ensure!(wrong.is_none(), "a change failed: {wrong:?}");
    }

    async fn readers_see_a_change_whole(stores) {
        stores.insert([record_of(1, "pair")?, record_of(2, "pair")?]).await?;
        let (reader, is_done) = (Arc::clone(&stores.two), Arc::new(AtomicBool::new(false)));
        let is_ended = Arc::clone(&is_done);
        let reading = tokio::spawn(async move {
            let page = Page::new().with_client("pair");
            while !is_ended.load(Relaxed) {
                let records = reader.list(&page).await?;
                let revoked = records.iter().filter(|it| it.revoked().is_some()).count();
                if records.len() == 1 || revoked == 1 {
                    return Ok::<_, StoreError>(false);
                }
                task::yield_now().await;
            }
            Ok(true)
        });
        for _ in 0..20 {
            stores.commit(Change::revoke_client("pair").with_time(days(-1))).await?;
            stores.commit(Change::prune(days(0))).await?;
            stores.insert([record_of(1, "pair")?, record_of(2, "pair")?]).await?;
            task::yield_now().await;
        }
        is_done.store(true, Relaxed);
        let is_whole = reading.await.map_err(|error| error.to_string())??;
        ensure!(is_whole, "a reader saw a half of a change");
    }

    async fn a_change_that_is_dropped_leaves_the_store_usable(stores) {
        stores.insert([record(1)?, record(2)?]).await?;
        for delay in 0..20 {
            let note = format!("round {delay}");
            let edit = Change::update("00000001", move |record| record.with_note(&*note));
            let pause = Duration::from_micros(delay * 50);
            drop(time::timeout(pause, edit.commit(&*stores.one)).await);
        }
        stores.commit(Change::update("00000002", |it| it.with_note("usable"))).await?;
        // A change that had begun can still take effect.
        time::sleep(Duration::from_millis(500)).await;
        for round in 0..20 {
            let note = format!("last {round}");
            let expected = note.clone();
            stores.commit(Change::update("00000001", move |it| it.with_note(&*note))).await?;
            let found = stores.record("00000001").await?;
            ensure_eq!(found.note(), Some(&*expected), "the note");
            time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn a_panic_in_a_change_leaves_the_store_usable(stores) {
        stores.insert([record(1)?]).await?;
        let store = Arc::clone(&stores.one);
        let task = tokio::spawn(async move {
            let edit = Change::update("00000001", |_| std::panic::resume_unwind(Box::new("a test")));
            edit.commit(&*store).await
        });
        let ended = bounded(task).await?;
        ensure!(!matches!(ended, Ok(Ok(_))), "the change was made");
        ensure_eq!(stores.all().await?, [record(1)?], "the records after the panic");
        stores.commit(Change::update("00000001", |it| it.with_note("usable"))).await?;
        ensure_eq!(stores.find(&digest(1)).await?.as_ref().and_then(|it| it.note()), Some("usable"), "the note");
    }
}

/// Runs changes in several tasks, by both handles. Returns the results, ordered by worker.
async fn at_once(
    stores: &Stores,
    workers: usize,
    rounds: usize,
    change: impl Fn(usize) -> Change,
) -> Result<Vec<Result<Changed, StoreError>>, Wrong> {
    let mut tasks = JoinSet::new();
    for worker in 0..workers {
        let store = if worker % 2 == 0 { &stores.one } else { &stores.two };
        let (store, change) = (Arc::clone(store), change(worker));
        tasks.spawn(async move {
            let mut results = Vec::new();
            for _ in 0..rounds {
                results.push(change.clone().commit(&*store).await);
            }
            (worker, results)
        });
    }
    let mut done = Vec::new();
    while let Some(task) = bounded(tasks.join_next()).await? {
        done.push(task.map_err(|error| error.to_string())?);
    }
    done.sort_by_key(|(worker, _)| *worker);
    Ok(done.into_iter().flat_map(|(_, results)| results).collect())
}
