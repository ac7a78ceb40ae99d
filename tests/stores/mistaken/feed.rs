use std::{
    convert::Infallible,
    future::pending,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use tokio::time;
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{Cursor, Listener, Start, StoreError},
};

use super::{Mistake, Mistaken, rows::Rows};

enum Delivery {
    Record(u64, Record),
    Removed(u64, KeyDigest),
}

impl Mistaken {
    pub(super) async fn follow_rows(
        &self,
        from: Start,
        listener: &dyn Listener,
    ) -> Result<Infallible, StoreError> {
        let follower = self.shared.followers.fetch_add(1, Relaxed) + 1;
        let mut changed = self.shared.changed.subscribe();
        let last = self.rows().version;
        let now = (!self.has(Mistake::NowIsEverything)).then_some(last);
        let is_cache = from == Start::Now;
        let mut seen = match from {
            Start::Everything => None,
            Start::After(_) if self.has(Mistake::ResumesAtNow) => Some(last),
            Start::After(cursor) => cursor.as_str().parse().ok().filter(|seen| *seen <= last),
            _ => now,
        };
        loop {
            changed.mark_unchanged();
            if self.has(Mistake::OneFollower)
                && self.shared.followers.load(Relaxed) != follower
                && seen.is_some()
            {
                return pending().await;
            }
            if self.has(Mistake::SharedPosition) && seen.is_some() {
                let mut position = self.shared.position.lock().unwrap();
                seen = (*position).max(seen);
                *position = Some(self.rows().version);
            }
            let lock = match self.mistake {
                Mistake::LocksWhileDelivering => Some(self.shared.lock.lock().await),
                _ => None,
            };
            let rows = self.rows().clone();
            if seen.is_none() {
                listener.restart();
            }
            let deliveries = self.deliveries(&rows, seen);
            for (number, delivery) in deliveries.iter().enumerate() {
                match delivery {
                    Delivery::Record(version, record) => {
                        listener.record(*version, record.clone());
                    }
                    Delivery::Removed(version, digest) => listener.removed(*version, *digest),
                }
                if number % 10 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            drop(lock);
            if self.has(Mistake::GapAfterReading) {
                time::sleep(Duration::from_millis(20)).await;
            }
            let is_load = seen.is_none();
            seen = Some(match self.mistake {
                Mistake::GapAfterReading if is_load => self.rows().version,
                Mistake::LosesWhileDelivering => self.rows().version,
                _ => rows.version,
            });
            if !(self.has(Mistake::NoReadyIfEmpty) && rows.rows.is_empty()) {
                listener.ready(Some(&Cursor::new(rows.version.to_string())));
            }
            if self.has(Mistake::NowIsNever) && is_cache {
                return pending().await;
            }
            let heartbeat = match self.mistake {
                Mistake::NoHeartbeat => Duration::from_secs(3600),
                _ => Duration::from_secs(5),
            };
            _ = time::timeout(heartbeat, changed.changed()).await;
        }
    }

    fn deliveries(&self, rows: &Rows, seen: Option<u64>) -> Vec<Delivery> {
        let after = seen.unwrap_or_default();
        let is_load = seen.is_none();
        if self.has(Mistake::SkipsOwnChanges)
            && !is_load
            && self.shared.last_by.load(Relaxed) == self.handle
        {
            return Vec::new();
        }
        let changed = rows.rows.iter().filter(|row| row.version > after);
        let mut records: Vec<_> = changed
            .filter(|row| match self.mistake {
                Mistake::DeliversNoInsertion => is_load || !row.is_new,
                Mistake::DeliversNoUpdate => is_load || row.is_new,
                Mistake::HidesDead => row.record.check(SystemTime::now()).is_ok(),
                _ => true,
            })
            .collect();
        records.sort_by_key(|row| row.version);
        match self.mistake {
            Mistake::DeliversAHundred => records.truncate(100),
            Mistake::OneRecordOfAChange if !is_load => records.truncate(1),
            _ => {}
        }
        let records = records.iter().map(|row| Delivery::Record(row.version, row.record.clone()));
        let mut removed = rows.removed.clone();
        removed.retain(|(version, digest)| {
            let is_back = rows.get(digest).is_some();
            let is_wanted = !is_back || self.has(Mistake::RemovalOfAReturnedKey);
            !is_load && *version > after && is_wanted && !self.has(Mistake::DeliversNoRemoval)
        });
        let removed =
            removed.into_iter().map(|(version, digest)| Delivery::Removed(version, digest));
        match self.mistake {
            Mistake::RemovalsLast | Mistake::RemovalOfAReturnedKey => {
                records.chain(removed).collect()
            }
            _ => removed.chain(records).collect(),
        }
    }
}
