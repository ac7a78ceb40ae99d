mod calendar;
mod counted;
mod shard;

use std::{
    array,
    cell::LazyCell,
    hash::{BuildHasher, Hasher},
    sync::{
        MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;

use self::{
    counted::{Counted, NEW},
    shard::Shard,
};
use super::{
    Ask, Limit, Limits, Subject,
    calendar::Used,
    clock::{Clock, WallClock},
    gcra::{self, UNITS_PER_SECOND},
    subject::{Kind, OwnedSubject},
    table::{Counter, Table},
};

/// The number of shards, as a power of two. All shards together take 16 KiB.
const SHARD_BITS: u32 = 7;

/// The number of counters that an insertion inspects in its shard.
const SWEPT_BY_INSERT: usize = 4;

/// The most counters of peers in a shard. All shards together have at most 65,536.
const MAX_PEERS_OF_SHARD: usize = 65_536 >> SHARD_BITS;

/// The number of counters that a request inspects in another shard, about a tenth of a millisecond of work.
const SWEPT_BY_REQUEST: usize = 512;

/// The shortest time between two such requests.
const SWEEP_INTERVAL: u64 = UNITS_PER_SECOND / 500;

/// The counters of one process.
///
/// All counters of a subject are in one shard, so that a request takes all its limits under one lock. No lock is
/// held while a task waits. A thread reads the coarse clock before it takes the lock. If another thread is ahead, the
/// earlier time makes the first thread stricter.
pub(super) struct InProcess {
    clock: Clock,
    wall: WallClock,
    seed: RandomState,
    shards: Box<[Shard; 1 << SHARD_BITS]>,
    last_sweep: AtomicU64,
    next_shard: AtomicUsize,
    /// The log line about calendar windows.
    #[cfg(feature = "tracing")]
    warned: std::sync::Once,
}

/// The longest wait, and the limit that demands it. If the request passes, the wait is zero.
///
/// Two words are returned in registers, and a larger result in memory.
#[derive(Clone, Copy)]
pub(super) struct Verdict {
    pub(super) wait: u64,
    pub(super) limit: usize,
}

/// The wait for the only limit, and its debt before.
#[derive(Clone, Copy)]
pub(super) struct One {
    pub(super) wait: u64,
    pub(super) debt: u64,
}

impl InProcess {
    pub(super) fn new(clock: Clock, wall: WallClock) -> Self {
        let last_sweep = AtomicU64::new(clock.recent());
        let shards = Box::new(array::from_fn(|_| Shard::new()));
        let seed = RandomState::default();
        Self {
            clock,
            wall,
            seed,
            shards,
            last_sweep,
            next_shard: AtomicUsize::new(0),
            #[cfg(feature = "tracing")]
            warned: std::sync::Once::new(),
        }
    }

    pub(super) fn recent(&self) -> u64 {
        self.clock.recent()
    }

    /// Takes the cost of an ask that has one limit, if it passes.
    ///
    /// Most asks have one limit, and the loops of [`take_all`](Self::take_all) take longer.
    pub(super) fn take_one(&self, ask: &Ask<'_>, limit: &Limit) -> One {
        let hash = self.hash(ask.subject());
        let recent = self.clock.recent();
        let mut table = self.lock(hash);

        let mut now = recent;
        let mut found = Counted::find(&table, hash, ask.subject(), limit, now);
        let mut wait = gcra::wait(found.debt, ask.cost(), limit);
        if wait > 0 {
            // The recent time would reject some requests that pass.
            now = self.clock.exact(recent);
            found = Counted::find(&table, hash, ask.subject(), limit, now);
            wait = gcra::wait(found.debt, ask.cost(), limit);
        }
        if wait > 0 {
            self.cap(&mut table, ask, &[found]);
        } else if ask.cost() > 0 && !found.add(&mut table, ask.cost(), limit, now) {
            self.insert(&mut table, hash, ask, &[found]);
        }
        drop(table);
        self.sweep(recent);
        One { wait, debt: found.debt }
    }

    /// Takes the cost from all limits if all of them pass, and sets the debt of each limit before.
    pub(super) fn take_all(&self, ask: &Ask<'_>, debts: &mut [u64; Limits::MAX]) -> Verdict {
        let (limits, cost) = (ask.limits(), ask.cost());
        let hash = self.hash(ask.subject());
        let recent = self.clock.recent();
        let mut table = self.lock(hash);

        let mut counters = [Counted::NEW; Limits::MAX];
        let mut find = |now| {
            let mut verdict = Verdict { wait: 0, limit: 0 };
            let of_each = limits.iter().zip(&mut counters).zip(&mut *debts);
            for (i, ((limit, found), debt)) in of_each.enumerate() {
                *found = Counted::find(&table, hash, ask.subject(), limit, now);
                *debt = found.debt;
                let wait = gcra::wait(found.debt, cost, limit);
                if wait > verdict.wait {
                    verdict = Verdict { wait, limit: i };
                }
            }
            verdict
        };
        let mut now = recent;
        let mut verdict = find(now);
        if verdict.wait > 0 {
            now = self.clock.exact(recent);
            verdict = find(now);
        }
        if verdict.wait > 0 {
            self.cap(&mut table, ask, &counters);
        } else if cost > 0 {
            let mut are_known = true;
            for (limit, found) in limits.iter().zip(counters) {
                are_known &= found.add(&mut table, cost, limit, now);
            }
            if !are_known {
                self.insert(&mut table, hash, ask, &counters);
            }
        }
        drop(table);
        self.sweep(recent);
        verdict
    }

    /// Inserts the counters that are not in the table, and evicts some others.
    #[cold]
    fn insert(&self, table: &mut Table, hash: u64, ask: &Ask<'_>, counters: &[Counted]) {
        // Another thread with a later time may have evicted one of them. So the time is read under the lock. It is the
        // recent time, because a later request of the same tick would find more debt than there is.
        let now = self.clock.recent();
        for (limit, found) in ask.limits().iter().zip(counters) {
            if found.at == NEW {
                let full_at = now.saturating_add(gcra::of_cost(ask.cost(), limit));
                self.insert_one(table, hash, ask.subject(), limit, full_at);
                table.sweep(self.is_full(now), SWEPT_BY_INSERT, self.hasher());
            }
        }
    }

    fn insert_one(
        &self,
        table: &mut Table,
        hash: u64,
        subject: Subject<'_>,
        limit: &Limit,
        full_at: u64,
    ) {
        let (subject, name) = (OwnedSubject::new(subject), limit.name_hash());
        if subject.kind() == Kind::Peer {
            table.make_room_for_peer(MAX_PEERS_OF_SHARD, self.hasher());
        }
        table.insert(hash_of_counter(hash, name), Counter { subject, name, full_at });
    }

    /// Lowers each counter to the full refill of its limit.
    ///
    /// If the limit was larger before, or if the clock stepped back, a counter is above.
    #[cold]
    fn cap(&self, table: &mut Table, ask: &Ask<'_>, counters: &[Counted]) {
        // If another thread took a request in the meantime, the time of before is too early.
        let now = self.clock.now();
        for (limit, found) in ask.limits().iter().zip(counters) {
            table.cap(found.at, now.saturating_add(gcra::refill(limit)));
        }
    }

    /// Gives the cost back to each limit.
    pub(super) fn refund(&self, ask: &Ask<'_>) {
        let subject = ask.subject();
        let hash = self.hash(subject);
        let mut table = self.lock(hash);
        // The time of takes, so that a refund in the same tick leaves no debt.
        let now = self.clock.recent();
        for (index, limit) in ask.limits().iter().enumerate() {
            if let Some(window) = limit.calendar() {
                self.refund_window(&mut table, hash, ask, limit, window);
                continue;
            }
            let found = Counted::find(&table, hash, subject, limit, now);
            let debt = found.debt.saturating_sub(ask.refund_units(index));
            table.set(found.at, now.saturating_add(debt));
        }
    }

    /// Evicts counters of another shard, if the last time was long ago.
    #[inline]
    fn sweep(&self, now: u64) {
        let last = self.last_sweep.load(Relaxed);
        // If the clock stepped back, the difference wraps around and is large.
        if now.wrapping_sub(last) >= SWEEP_INTERVAL {
            self.sweep_next(now, last);
        }
    }

    #[cold]
    fn sweep_next(&self, now: u64, last: u64) {
        if self.last_sweep.compare_exchange(last, now, Relaxed, Relaxed).is_err() {
            return;
        }
        let next = self.next_shard.fetch_add(1, Relaxed) % self.shards.len();
        if let Some(mut table) = self.shards.get(next).and_then(Shard::try_lock) {
            table.sweep(self.is_full(now), SWEPT_BY_REQUEST, self.hasher());
        }
    }

    /// Reads the wall clock only if a counter is that of a calendar window.
    fn is_full(&self, now: u64) -> impl Fn(&Counter) -> bool {
        let wall = LazyCell::new(|| self.wall.now());
        move |counter| match counter.is_calendar() {
            true => Used::from_bits(counter.full_at).is_over(*wall),
            false => counter.full_at <= now,
        }
    }

    #[inline]
    fn hash(&self, subject: Subject<'_>) -> u64 {
        self.hash_of(Kind::of(subject), subject.id().as_bytes())
    }

    #[inline]
    fn hash_of(&self, kind: Kind, id: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        hasher.write(id);
        hasher.finish().wrapping_add(kind as u64)
    }

    fn hasher(&self) -> impl Fn(&Counter) -> u32 {
        |counter| {
            let subject = self.hash_of(counter.subject.kind(), counter.subject.bytes());
            hash_of_counter(subject, counter.name)
        }
    }

    #[inline]
    fn lock(&self, hash: u64) -> MutexGuard<'_, Table> {
        let [first, ..] = &*self.shards;
        let shard = self.shards.get((hash >> (64 - SHARD_BITS)) as usize).unwrap_or(first);
        shard.lock()
    }
}

/// Mixes the hashes of a subject and of a name.
#[inline]
fn hash_of_counter(subject: u64, name: u64) -> u32 {
    let product = u128::from(subject ^ name) * 0x9E37_79B9_7F4A_7C15_u128;
    (((product >> 64) as u64 ^ product as u64) >> 32) as u32
}
