use std::{
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use foldhash::fast::RandomState;

use super::pending::PendingCounts;
use crate::limit::{Limit, Peer, clock::Clock, gcra};

/// The most peers that are remembered at once.
#[cfg(test)]
const MAX_PEERS: usize = SETS * WAYS;
/// The number of verifications of a peer without failures that can wait, if the burst is not larger.
const MAX_PENDING: u32 = 128;
const SETS: usize = 8_192;
const WAYS: usize = 8;

/// The failures of peers, in memory that never grows.
///
/// A peer belongs to one set of eight entries. If the set is full, a new peer replaces the entry that is full
/// again first. So an attacker with many addresses evicts peers with few or old failures. The seed of the
/// process decides about sets, so that an attacker cannot choose one.
pub(super) struct Table {
    limit: Limit,
    clock: Clock,
    seed: RandomState,
    sets: Box<[Set]>,
    pending: PendingCounts,
}

/// The peers stand together, so that a look-up of a peer without failures reads little memory.
#[derive(Default)]
struct Set {
    /// `EMPTY`, or the bits of a peer, negated.
    peers: [AtomicU64; WAYS],
    /// The time at which the limit of each peer is full again.
    full_at: [AtomicU64; WAYS],
    /// For changes. Readers do not wait for it.
    changing: Mutex<()>,
}

const EMPTY: u64 = 0;

impl Table {
    pub(super) fn new(limit: Limit, clock: Clock) -> Self {
        let sets = (0..SETS).map(|_| Set::default()).collect();
        Self { limit, clock, seed: RandomState::default(), sets, pending: PendingCounts::new() }
    }

    pub(super) fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(super) fn pending(&self) -> &PendingCounts {
        &self.pending
    }

    /// Begins a request, and returns the hash of its peer, or the time to wait.
    ///
    /// A request counts as a failure until it ends. A peer without failures has a higher bound.
    pub(super) fn begin(&self, peer: Peer) -> Result<u64, Duration> {
        let hash = self.hash(peer);
        // The order matters. A failure is counted before its request ends.
        let pending = self.pending.begin(hash);
        let debt = self.debt_of(hash, peer);
        let is_allowed = match debt {
            0 => pending < self.limit.capacity().max(MAX_PENDING),
            _ => self.wait_after(debt, pending).is_none(),
        };
        if is_allowed {
            return Ok(hash);
        }
        self.pending.end(hash);
        // If only other requests are in the way, the wait is short.
        Err(self.wait_after(debt, 0).unwrap_or_default())
    }

    /// Returns the time until one more failure is allowed, if the peer is over the limit.
    pub(super) fn wait(&self, peer: Peer) -> Option<Duration> {
        self.wait_after(self.debt_of(self.hash(peer), peer), 0)
    }

    /// Returns the time to wait for one more failure after so many others.
    fn wait_after(&self, debt: u64, pending: u32) -> Option<Duration> {
        let pending = self.limit.interval().saturating_mul(u64::from(pending));
        let after = debt.saturating_add(pending).saturating_add(self.limit.interval());
        let wait = after.checked_sub(gcra::refill(&self.limit)).filter(|wait| *wait > 0)?;
        Some(gcra::duration(wait))
    }

    fn debt_of(&self, hash: u64, peer: Peer) -> u64 {
        let full_at = self.set(hash).and_then(|set| set.full_at(key(peer)));
        full_at.map_or(0, |full_at| self.debt(full_at, self.clock.now()))
    }

    /// Counts a failure, also above the limit, because the first wave of a peer can exceed it.
    pub(super) fn count(&self, peer: Peer) {
        let Some(set) = self.set(self.hash(peer)) else { return };
        let _changing = set.lock();
        let now = self.clock.now();
        let debt = set.full_at(key(peer)).map_or(0, |full_at| self.debt(full_at, now));
        let after = debt.saturating_add(self.limit.interval()).min(self.max_debt());
        set.insert(key(peer), now.saturating_add(after));
    }

    /// Forgets the failures of a peer, and returns whether there were any.
    pub(super) fn remove(&self, peer: Peer) -> bool {
        self.set(self.hash(peer)).is_some_and(|set| {
            let _changing = set.lock();
            set.find(key(peer)).map(|(peer, _)| peer.store(EMPTY, Release)).is_some()
        })
    }

    fn debt(&self, full_at: u64, now: u64) -> u64 {
        full_at.saturating_sub(now).min(self.max_debt())
    }

    /// A peer waits at most for one refill.
    fn max_debt(&self) -> u64 {
        let refill = gcra::refill(&self.limit);
        refill.saturating_add(refill.saturating_sub(self.limit.interval()))
    }

    fn hash(&self, peer: Peer) -> u64 {
        self.seed.hash_one(peer.to_bits())
    }

    #[allow(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
    fn set(&self, hash: u64) -> Option<&Set> {
        self.sets.get(hash as usize % SETS)
    }
}

/// Never `EMPTY`, because the bits of a peer are never all set.
fn key(peer: Peer) -> u64 {
    !peer.to_bits()
}

impl Set {
    /// A panic while the lock is held is impossible, and would leave the entries valid.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> impl Iterator<Item = (&AtomicU64, &AtomicU64)> {
        self.peers.iter().zip(&self.full_at)
    }

    fn find(&self, key: u64) -> Option<(&AtomicU64, &AtomicU64)> {
        self.entries().find(|(peer, _)| peer.load(Acquire) == key)
    }

    /// Reads an entry without the lock. If another peer replaces the entry meanwhile, there is none.
    fn full_at(&self, key: u64) -> Option<u64> {
        let (peer, full_at) = self.find(key)?;
        let full_at = full_at.load(Acquire);
        (peer.load(Acquire) == key).then_some(full_at)
    }

    /// Writes an entry under the lock, in the place of its peer, or of the peer that is full again first.
    fn insert(&self, key: u64, at: u64) {
        let full_again = |(peer, full_at): &(&AtomicU64, &AtomicU64)| match peer.load(Relaxed) {
            EMPTY => 0,
            _ => full_at.load(Relaxed),
        };
        let entry = self.find(key).or_else(|| self.entries().min_by_key(full_again));
        let Some((peer, full_at)) = entry else { return };
        if peer.load(Relaxed) != key {
            // A reader then never takes the time of one peer for that of another.
            peer.store(EMPTY, Release);
        }
        full_at.store(at, Release);
        peer.store(key, Release);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, Ipv6Addr},
        sync::Arc,
        thread,
    };

    use super::*;

    /// A table with a clock that stands, in milliseconds.
    fn table(limit: Limit) -> (Table, Arc<AtomicU64>) {
        let millis = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&millis);
        let clock = Clock::custom(move || Duration::from_millis(clock.load(Relaxed)));
        (Table::new(limit, clock), millis)
    }

    const TEN: Limit = Limit::per_minute("failures", 10);

    fn peer(number: u32) -> Peer {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_peer_is_over_the_limit_after_the_burst_and_then_has_one_failure_in_each_interval() {
        let (table, millis) = table(TEN);
        for _ in 0..10 {
            assert_eq!(table.wait(peer(1)), None);
            table.count(peer(1));
        }
        assert_eq!(table.wait(peer(1)), Some(Duration::from_secs(6)));
        assert_eq!(table.wait(peer(2)), None);
        millis.store(5_999, Relaxed);
        assert_eq!(table.wait(peer(1)), Some(Duration::from_millis(1)));
        millis.store(6_000, Relaxed);
        assert_eq!(table.wait(peer(1)), None);
        table.count(peer(1));
        assert_eq!(table.wait(peer(1)), Some(Duration::from_secs(6)));
        // A minute later the limit is full again.
        millis.store(66_000, Relaxed);
        for _ in 0..10 {
            assert_eq!(table.wait(peer(1)), None);
            table.count(peer(1));
        }
        assert!(table.wait(peer(1)).is_some());
    }

    #[test]
    fn failures_in_flight_count_above_the_limit_and_a_peer_waits_at_most_for_one_refill() {
        let (table, millis) = table(TEN);
        (0..15).for_each(|_| table.count(peer(1)));
        assert_eq!(table.wait(peer(1)), Some(Duration::from_secs(36)));
        (0..100_000).for_each(|_| table.count(peer(1)));
        assert_eq!(table.wait(peer(1)), Some(Duration::from_secs(60)));
        millis.store(60_000, Relaxed);
        assert_eq!(table.wait(peer(1)), None);
    }

    #[test]
    fn a_clock_that_steps_back_or_jumps_a_year_blocks_for_one_refill_at_most() {
        let (table, millis) = table(TEN);
        let year = 366 * 86_400_000;
        millis.store(year, Relaxed);
        (0..10).for_each(|_| table.count(peer(1)));
        millis.store(0, Relaxed);
        assert_eq!(table.wait(peer(1)), Some(Duration::from_secs(60)));
        table.count(peer(1));
        assert_eq!(table.wait(peer(1)), Some(Duration::from_secs(60)));
        millis.store(year, Relaxed);
        assert_eq!(table.wait(peer(1)), None);
    }

    #[test]
    fn a_removed_peer_starts_anew_and_every_other_peer_stays() {
        let (table, _) = table(TEN);
        for peer in [peer(1), peer(2)] {
            (0..10).for_each(|_| table.count(peer));
        }
        assert_eq!([table.remove(peer(1)), table.remove(peer(1))], [true, false]);
        assert_eq!(table.wait(peer(1)), None);
        assert!(table.wait(peer(2)).is_some());
    }

    #[test]
    fn many_addresses_evict_peers_with_few_failures_and_not_a_blocked_one() {
        let (table, _) = table(TEN);
        (0..10).for_each(|_| table.count(peer(1)));
        for number in 2..1_000_000 {
            table.count(peer(number));
        }
        assert!(table.wait(peer(1)).is_some());
        let known = |peer: Peer| table.set(table.hash(peer)).unwrap().full_at(key(peer)).is_some();
        let remembered = (1..1_000_000).filter(|number| known(peer(*number))).count();
        // With some seeds of the hash, consecutive addresses miss a few sets.
        assert_eq!(MAX_PEERS, 65_536);
        assert!((60_000..=MAX_PEERS).contains(&remembered), "{remembered}");
        // A newcomer is counted even if a set holds only peers with more failures.
        let newcomer = Peer::from(Ipv6Addr::LOCALHOST);
        for number in (1_000_000..2_000_000).filter(|number| {
            std::ptr::eq(
                table.set(table.hash(peer(*number))).unwrap(),
                table.set(table.hash(newcomer)).unwrap(),
            )
        }) {
            (0..20).for_each(|_| table.count(peer(number)));
        }
        (0..10).for_each(|_| table.count(newcomer));
        assert!(table.wait(newcomer).is_some());
    }

    #[test]
    fn an_entry_that_is_full_again_is_evicted_first() {
        let (table, millis) = table(TEN);
        let set = table.set(table.hash(peer(0))).unwrap();
        let mut neighbours =
            (1..).map(peer).filter(|peer| std::ptr::eq(table.set(table.hash(*peer)).unwrap(), set));
        let eight: Vec<_> = neighbours.by_ref().take(8).collect();
        for (at, peer) in eight.iter().enumerate() {
            millis.store(at as u64, Relaxed);
            table.count(*peer);
        }
        // The third peer has more failures than all others.
        table.count(eight[2]);
        table.count(eight[0]);
        table.count(neighbours.next().unwrap());
        let known = |peer: &Peer| set.full_at(key(*peer)).is_some();
        let known: Vec<_> = eight.iter().map(known).collect();
        assert_eq!(known, [true, false, true, true, true, true, true, true]);
    }

    #[test]
    fn threads_that_count_one_peer_lose_no_failure() {
        let (table, _) = table(Limit::per_hour("failures", 6_401));
        thread::scope(|scope| {
            for thread in 0..64 {
                let table = &table;
                scope.spawn(move || {
                    for number in 0..100 {
                        table.count(peer(0));
                        table.count(peer(1 + thread * 100 + number));
                        assert_eq!(table.wait(peer(0)), None);
                    }
                });
            }
        });
        assert_eq!(table.wait(peer(0)), None);
        table.count(peer(0));
        assert!(table.wait(peer(0)).is_some());
    }

    #[test]
    fn a_reader_never_sees_the_time_of_another_peer() {
        let (table, _) = table(Limit::per_minute("failures", 2));
        let set = table.set(table.hash(peer(0))).unwrap();
        let mut neighbours =
            (1..).map(peer).filter(|peer| std::ptr::eq(table.set(table.hash(*peer)).unwrap(), set));
        let innocent = neighbours.next().unwrap();
        let blocked: Vec<_> = neighbours.take(16).collect();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..2_000 {
                    for peer in &blocked {
                        (0..3).for_each(|_| table.count(*peer));
                        table.remove(innocent);
                        table.count(innocent);
                    }
                }
            });
            while !writer.is_finished() {
                assert_eq!(table.wait(innocent), None);
            }
        });
    }

    #[test]
    fn a_poisoned_lock_changes_nothing() {
        let (table, _) = table(TEN);
        let set = table.set(table.hash(peer(1))).unwrap();
        thread::scope(|scope| {
            let held = scope.spawn(|| {
                let _held = set.changing.lock().unwrap();
                panic!("on purpose");
            });
            assert!(held.join().is_err());
        });
        assert!(set.changing.is_poisoned());
        (0..10).for_each(|_| table.count(peer(1)));
        assert!(table.wait(peer(1)).is_some());
        assert!(table.remove(peer(1)));
    }
}
