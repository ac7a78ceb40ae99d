//! The counters of all keys.

use std::{
    hash::BuildHasher as _,
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use foldhash::fast::RandomState;
use papaya::LocalGuard;

use super::{
    clock::{Hour, Minute},
    counts::Event,
    entry::Entry,
    owner::{Asked, ClientHash, KeyOfOther, Owner},
    past::Retention,
    row::Subject,
};

/// The counters of all keys, up to a maximum number.
pub(super) struct Table {
    /// A request reads this without a lock.
    entries: papaya::HashMap<Owner, Entry, RandomState>,
    clients: RandomState,
    /// Counted before an entry is added, so that threads that add at the same time never exceed the maximum.
    len: AtomicUsize,
    max: usize,
    unknown: Entry,
    overflow: Entry,
    /// Whether two clients have had a key of the same id.
    has_shared_ids: AtomicBool,
    /// The hour in which a full table last looked for room.
    full_in: AtomicU32,
    /// The latest minute in which a key was used whose last use is not known any more.
    forgotten: AtomicU32,
}

impl Table {
    pub(super) fn new(max: usize, now: Hour) -> Self {
        Self {
            entries: papaya::HashMap::builder().hasher(RandomState::default()).build(),
            clients: RandomState::default(),
            len: AtomicUsize::new(0),
            max,
            unknown: Entry::new(now),
            overflow: Entry::new(now),
            has_shared_ids: AtomicBool::new(false),
            full_in: AtomicU32::new(u32::MAX),
            forgotten: AtomicU32::new(Minute::NEVER.0),
        }
    }

    /// Counts an event of a client. Without the id of a key, the client counts.
    #[inline]
    pub(super) fn count_client(
        &self,
        key_id: Option<&str>,
        client: &str,
        event: Event,
        now: Minute,
        retention: Retention,
    ) {
        let hash = ClientHash::new(self.clients.hash_one(client));
        let asked = match key_id {
            Some(id) if !id.is_empty() => Asked::Key { id, client, hash },
            _ => Asked::Client { id: client, hash },
        };
        self.count(asked, event, now, retention);
    }

    /// Counts an event of a key whose client is unknown. Without the id of a key, it counts in a total.
    pub(super) fn count_key(
        &self,
        key_id: Option<&str>,
        event: Event,
        now: Minute,
        retention: Retention,
    ) {
        match key_id {
            Some(id) if !id.is_empty() => {
                self.count(Asked::KeyOfAny { id }, event, now, retention);
            }
            _ => count_in(&self.unknown, event, now, retention),
        }
    }

    #[inline]
    fn count(&self, asked: Asked<'_>, event: Event, now: Minute, retention: Retention) {
        let guard = self.entries.guard();
        let entry = self.entries.get(&asked, &guard);
        if !entry.is_some_and(|entry| entry.count(event, now)) {
            self.count_slowly(asked, event, now, retention);
        }
    }

    /// Counts an event of a new key, or of another hour.
    #[cold]
    fn count_slowly(&self, asked: Asked<'_>, event: Event, now: Minute, retention: Retention) {
        let guard = self.entries.guard();
        loop {
            let known = self.entries.get(&asked, &guard);
            let Some(entry) = known.or_else(|| self.add(asked, now.hour(), &guard)) else {
                // Room comes only when an hour is over, so more than one look in each hour is in vain.
                if self.full_in.swap(now.hour().0, Ordering::Relaxed) != now.hour().0 {
                    self.make_room(now.hour(), retention);
                    continue;
                }
                return count_in(&self.overflow, event, now, retention);
            };
            if entry.count_in_any_hour(event, now, retention) {
                return;
            }
            // The entry is about to leave the table.
            std::hint::spin_loop();
        }
    }

    /// Adds an entry, unless the table is full.
    fn add<'g>(
        &self,
        asked: Asked<'_>,
        hour: Hour,
        guard: &'g LocalGuard<'_>,
    ) -> Option<&'g Entry> {
        let one_more = |len| (len < self.max).then_some(len + 1);
        self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        match self.entries.try_insert(Owner::new(asked), Entry::new(hour), guard) {
            Ok(added) => {
                if let Asked::Key { id, client, .. } = asked {
                    let other = KeyOfOther { id, client: Some(client) };
                    if self.entries.contains_key(&other, guard) {
                        self.has_shared_ids.store(true, Ordering::Relaxed);
                    }
                }
                Some(added)
            }
            Err(known) => {
                self.len.fetch_sub(1, Ordering::Relaxed);
                Some(known.current)
            }
        }
    }

    /// Passes each entry with its subject to a closure.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&dyn Fn() -> Subject, &Entry)) {
        let guard = self.entries.guard();
        for (owner, entry) in self.entries.iter(&guard) {
            visit(&|| owner.subject(), entry);
        }
        visit(&|| Subject::Unknown, &self.unknown);
        visit(&|| Subject::Overflow, &self.overflow);
    }

    /// Returns the id of the client of a key, unless two clients have had a key of the same id.
    pub(super) fn client_of(&self, key_id: &str) -> Option<Box<str>> {
        if self.has_shared_ids.load(Ordering::Relaxed) {
            return None;
        }
        let guard = self.entries.guard();
        let key = KeyOfOther { id: key_id, client: None };
        let (owner, _) = self.entries.get_key_value(&key, &guard)?;
        owner.client().map(Into::into)
    }

    /// Returns the minute in which a key was last used.
    pub(super) fn last_used(&self, key_id: &str) -> Minute {
        let guard = self.entries.guard();
        if self.has_shared_ids.load(Ordering::Relaxed) {
            let entries = self.entries.iter(&guard);
            let of_key = entries.filter(|(owner, _)| owner.is_used_key(key_id));
            return of_key.map(|(_, entry)| entry.last_used()).max().unwrap_or(Minute::NEVER);
        }
        let key = KeyOfOther { id: key_id, client: None };
        self.entries.get(&key, &guard).map_or(Minute::NEVER, Entry::last_used)
    }

    /// Removes keys without hours, if the table is nearly full.
    ///
    /// Other keys stay without hours, because their last use is of interest.
    pub(super) fn make_room(&self, now: Hour, retention: Retention) {
        let is_nearly_full = self.len.load(Ordering::Relaxed) >= self.max - self.max / 8;
        if !is_nearly_full {
            return;
        }
        let guard = self.entries.guard();
        for (owner, entry) in self.entries.iter(&guard) {
            if entry.remove_if_over(now, retention) && self.entries.remove(owner, &guard).is_some()
            {
                self.len.fetch_sub(1, Ordering::Relaxed);
                self.forgotten.fetch_max(entry.last_used().0, Ordering::Relaxed);
            }
        }
    }

    /// Returns the latest minute in which a key was used whose last use is not known.
    pub(super) fn forgotten(&self) -> Minute {
        Minute(self.forgotten.load(Ordering::Relaxed)).max(self.overflow.last_used())
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

fn count_in(entry: &Entry, event: Event, now: Minute, retention: Retention) {
    if !entry.count(event, now) {
        entry.count_in_any_hour(event, now, retention);
    }
}
