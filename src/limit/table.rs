//! A dense list of the counters of one shard, and an index of the list.
//!
//! A sweep inspects a few counters of the list at a time. The hash map of the standard library cannot continue
//! an earlier search. The list grows by an eighth, so that little memory is unused, and both parts shrink.

use super::{
    Subject, name,
    subject::{Kind, OwnedSubject},
};

pub(super) struct Table {
    /// Open addressing with linear probing. At least a quarter of the links is free.
    index: Vec<Link>,
    counters: Vec<Counter>,
    /// The next counter that a sweep inspects.
    cursor: usize,
    /// The number of counters of peers.
    peers: usize,
}

/// The number of peers that are compared for an eviction.
const COMPARED: usize = 8;

/// A hash, and the position of its counter in the list.
#[derive(Clone, Copy)]
struct Link {
    hash: u32,
    at: u32,
}

/// One limit of one subject.
pub(super) struct Counter {
    pub(super) subject: OwnedSubject,
    /// The hash of the limit's name and kind.
    pub(super) name: u64,
    /// The time at which the limit is full again. In a calendar window it is a [`Used`](super::calendar::Used).
    pub(super) full_at: u64,
}

impl Counter {
    #[inline]
    pub(super) fn is_calendar(&self) -> bool {
        name::is_calendar(self.name)
    }
}

impl Link {
    const FREE: Self = Self { hash: 0, at: u32::MAX };

    fn is_free(self) -> bool {
        self.at == u32::MAX
    }
}

impl Table {
    pub(super) const fn new() -> Self {
        Self { index: Vec::new(), counters: Vec::new(), cursor: 0, peers: 0 }
    }

    /// Returns the position of a counter, which is valid until the table changes, and its time.
    #[inline]
    pub(super) fn find(&self, hash: u32, subject: Subject<'_>, name: u64) -> Option<(u32, u64)> {
        let mut at = self.home(hash);
        loop {
            let link = *self.index.get(at)?;
            if link.is_free() {
                return None;
            }
            if link.hash == hash {
                let counter = self.counters.get(link.at as usize)?;
                if counter.name == name && counter.subject.is(subject) {
                    return Some((link.at, counter.full_at));
                }
            }
            at = self.next(at);
        }
    }

    /// Sets the time of a counter, and returns whether there is one.
    #[inline]
    pub(super) fn set(&mut self, at: u32, full_at: u64) -> bool {
        let counter = self.counters.get_mut(at as usize);
        counter.map(|counter| counter.full_at = full_at).is_some()
    }

    pub(super) fn cap(&mut self, at: u32, latest: u64) {
        if let Some(counter) = self.counters.get_mut(at as usize) {
            counter.full_at = counter.full_at.min(latest);
        }
    }

    /// Adds a counter that [`find`](Self::find) did not find.
    pub(super) fn insert(&mut self, hash: u32, counter: Counter) {
        let len = self.counters.len();
        let Ok(at) = u32::try_from(len) else { return };
        if at == u32::MAX {
            return;
        }
        // At most three quarters are taken.
        if (len + 1) * 4 > self.index.len() * 3 {
            self.rebuild((len + 1) * 2);
        }
        if len == self.counters.capacity() {
            self.counters.reserve_exact(len / 8 + 4);
        }
        self.peers += usize::from(counter.subject.kind() == Kind::Peer);
        self.counters.push(counter);
        self.link(Link { hash, at });
    }

    /// Removes a peer if there are too many. Of the next few peers it is the one that is full again first, and a
    /// calendar window comes last.
    pub(super) fn make_room_for_peer(&mut self, max: usize, hash: impl Fn(&Counter) -> u32) {
        if self.peers < max {
            return;
        }
        let len = self.counters.len();
        let mut evicted: Option<(bool, u64, usize)> = None;
        let mut compared = 0;
        // A sweep continues behind the compared peers.
        for _ in 0..len {
            self.cursor = if self.cursor + 1 < len { self.cursor + 1 } else { 0 };
            let Some(counter) = self.counters.get(self.cursor) else { break };
            if counter.subject.kind() == Kind::Peer {
                let candidate = (counter.is_calendar(), counter.full_at, self.cursor);
                evicted = Some(evicted.map_or(candidate, |it| it.min(candidate)));
                compared += 1;
                if compared == COMPARED {
                    break;
                }
            }
        }
        if let Some((_, _, at)) = evicted {
            self.remove(at, hash);
        }
    }

    /// Inspects so many counters, and removes those whose limit is full.
    pub(super) fn sweep(
        &mut self,
        is_full: impl Fn(&Counter) -> bool,
        count: usize,
        hash: impl Fn(&Counter) -> u32,
    ) {
        for _ in 0..count.min(self.counters.len()) {
            if self.cursor >= self.counters.len() {
                self.cursor = 0;
            }
            match self.counters.get(self.cursor).map(&is_full) {
                Some(true) => self.remove(self.cursor, &hash),
                Some(false) => self.cursor += 1,
                None => break,
            }
        }
        self.shrink();
    }

    fn remove(&mut self, at: usize, hash: impl Fn(&Counter) -> u32) {
        let Some(removed) = self.counters.get(at) else { return };
        if let Some(link) = self.link_of(hash(removed), at) {
            self.unlink(link);
        }
        // The last counter takes the position of the removed one.
        let last = self.counters.len() - 1;
        if let (true, Some(moved)) = (last != at, self.counters.get(last)) {
            if let Some(link) = self.link_of(hash(moved), last) {
                if let (Some(link), Ok(at)) = (self.index.get_mut(link), u32::try_from(at)) {
                    link.at = at;
                }
            }
        }
        let removed = self.counters.swap_remove(at);
        self.peers -= usize::from(removed.subject.kind() == Kind::Peer);
    }

    fn shrink(&mut self) {
        let len = self.counters.len();
        if len * 2 + 8 < self.counters.capacity() {
            self.counters.shrink_to(len + len / 8);
        }
        if len * 4 + 16 < self.index.len() {
            self.rebuild(len * 2);
        }
    }

    /// Makes a new index of this size.
    fn rebuild(&mut self, size: usize) {
        let size = if size == 0 { 0 } else { size.max(8) };
        let old = std::mem::replace(&mut self.index, vec![Link::FREE; size]);
        for link in old {
            if !link.is_free() {
                self.link(link);
            }
        }
    }

    fn link(&mut self, link: Link) {
        let mut at = self.home(link.hash);
        while let Some(other) = self.index.get_mut(at) {
            if other.is_free() {
                *other = link;
                return;
            }
            at = self.next(at);
        }
    }

    /// Returns the position of the link to a counter.
    fn link_of(&self, hash: u32, counter: usize) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let link = self.index.get(at)?;
            if link.is_free() {
                return None;
            }
            if link.at as usize == counter {
                return Some(at);
            }
            at = self.next(at);
        }
    }

    /// Frees a link, and moves links behind it back, so that no search ends too early.
    fn unlink(&mut self, mut free: usize) {
        let mut at = self.next(free);
        while let Some(link) = self.index.get(at).copied() {
            if link.is_free() {
                break;
            }
            let home = self.home(link.hash);
            // Whether the home lies behind the free link, on the way to this link.
            let is_behind =
                if free <= at { free < home && home <= at } else { free < home || home <= at };
            if !is_behind {
                if let Some(target) = self.index.get_mut(free) {
                    *target = link;
                }
                free = at;
            }
            at = self.next(at);
        }
        if let Some(target) = self.index.get_mut(free) {
            *target = Link::FREE;
        }
    }

    /// Returns where the search for a hash begins. Sizes need not be powers of two.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.index.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 < self.index.len() { at + 1 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Few values, so that most counters share their home with others, and some wrap around the end.
    fn hash_of(id: &str, name: u64) -> u32 {
        let sum = id.bytes().map(u64::from).sum::<u64>() + name;
        ((sum % 7 + 1) << 29).wrapping_sub(1) as u32
    }

    fn is_full(now: u64) -> impl Fn(&Counter) -> bool {
        move |counter| counter.full_at <= now
    }

    fn hash(counter: &Counter) -> u32 {
        let id = std::str::from_utf8(counter.subject.bytes()).unwrap();
        hash_of(id, counter.name)
    }

    /// Every counter is found, the index has one link for each, and no more memory than promised is held.
    fn check(table: &Table, model: &BTreeMap<(String, u64), u64>) {
        for ((id, name), full_at) in model {
            let found = table.find(hash_of(id, *name), Subject::Client(id), *name);
            assert_eq!(found.map(|(_, full_at)| full_at), Some(*full_at), "{id} {name}");
        }
        let links = table.index.iter().filter(|link| !link.is_free()).count();
        assert_eq!((table.counters.len(), links), (model.len(), model.len()));
        assert!(links * 4 <= table.index.len() * 3, "{links} of {}", table.index.len());
    }

    #[test]
    fn a_table_agrees_with_a_map_while_counters_come_and_go() {
        let (mut table, mut model) = (Table::new(), BTreeMap::new());
        let mut random = 1_u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
            (random >> 33) % below
        };
        let mut largest = 0;
        for now in 0..6_000_u64 {
            // Waves: some last long, so that the table grows, and then almost all end.
            let lasts = if now / 1_000 % 2 == 0 { 900 } else { 20 };
            let (id, name) = (format!("client-{}", draw(2_000)), draw(3));
            let full_at = now + 1 + draw(lasts);
            let subject = Subject::Client(&id);
            match table.find(hash_of(&id, name), subject, name) {
                Some((at, _)) => assert!(table.set(at, full_at)),
                None => table.insert(
                    hash_of(&id, name),
                    Counter { subject: OwnedSubject::new(subject), name, full_at },
                ),
            }
            model.insert((id, name), full_at);
            largest = largest.max(model.len());
            if now % 3 == 0 {
                // From the start, so that it inspects every counter.
                table.cursor = 0;
                table.sweep(is_full(now), usize::MAX, hash);
                model.retain(|_, full_at| *full_at > now);
                check(&table, &model);
            }
        }
        assert!(largest > 300, "{largest}");
        table.sweep(is_full(u64::MAX), usize::MAX, hash);
        model.clear();
        check(&table, &model);
    }

    #[test]
    fn too_many_peers_replace_peers_that_are_full_again_soon_and_no_client() {
        let mut table = Table::new();
        let insert = |table: &mut Table, subject: Subject<'_>, full_at| {
            if subject.kind() == "peer" {
                table.make_room_for_peer(16, hash);
            }
            let hash = hash_of(subject.id(), 1);
            table.insert(hash, Counter { subject: OwnedSubject::new(subject), name: 1, full_at });
        };
        for number in 0..100 {
            insert(&mut table, Subject::Client(&format!("client-{number}")), 5);
        }
        // A peer that is full again late, and a crowd of strangers.
        insert(&mut table, Subject::Peer("late"), 1_000_000);
        for number in 0..1_000 {
            insert(&mut table, Subject::Peer(&format!("stranger-{number}")), 10 + number);
            let peers = table.counters.iter().filter(|it| it.subject.kind() == Kind::Peer).count();
            assert_eq!((peers, peers <= 16), (table.peers, true));
        }
        let known =
            |subject: Subject<'_>| table.find(hash_of(subject.id(), 1), subject, 1).is_some();
        assert!(known(Subject::Peer("late")) && known(Subject::Peer("stranger-999")));
        assert_eq!((table.peers, table.counters.len()), (16, 116));
        assert!((0..100).all(|number| known(Subject::Client(&format!("client-{number}")))));
        table.sweep(is_full(u64::MAX), usize::MAX, hash);
        assert_eq!((table.peers, table.counters.len()), (0, 0));
    }

    #[test]
    fn memory_follows_the_number_of_counters_up_and_down() {
        let mut table = Table::new();
        let name = 0;
        let spread = |counter: &Counter| hash_of_number(counter.full_at);
        fn hash_of_number(number: u64) -> u32 {
            (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
        }
        let bytes = |table: &Table| {
            size_of::<Counter>() * table.counters.capacity()
                + size_of::<Link>() * table.index.capacity()
        };
        for number in 0..10_000 {
            let subject = OwnedSubject::new(Subject::Peer("10.0.0.1"));
            table.insert(hash_of_number(number), Counter { subject, name, full_at: number });
            let len = table.counters.len();
            assert!(bytes(&table) <= len * 62 + 512, "{len}: {}", bytes(&table));
        }
        for now in 0..10_000 {
            let before = table.counters.len();
            table.sweep(is_full(now), 64, spread);
            assert!(before - table.counters.len() <= 64);
            let len = table.counters.len();
            assert!(bytes(&table) <= len * 112 + 1_024, "{len}: {}", bytes(&table));
        }
        table.sweep(is_full(10_000), usize::MAX, spread);
        assert!(table.counters.is_empty() && bytes(&table) <= 512, "{}", bytes(&table));
    }

    #[test]
    fn a_counter_belongs_to_the_kind_the_id_and_the_name() {
        let mut table = Table::new();
        let long = "a".repeat(22);
        let subjects = [Subject::Client("ci"), Subject::Peer("ci"), Subject::Client(&long)];
        for (full_at, subject) in (0..).zip(subjects) {
            table.insert(5, Counter { subject: OwnedSubject::new(subject), name: 1, full_at });
        }
        for (full_at, subject) in (0..).zip(subjects) {
            assert_eq!(table.find(5, subject, 1).map(|(_, it)| it), Some(full_at));
            assert_eq!(table.find(5, subject, 2), None);
        }
        assert_eq!(table.find(5, Subject::Key("ci"), 1), None);
        assert_eq!(table.find(5, Subject::Client(&long[1..]), 1), None);
        assert_eq!(size_of::<Counter>(), 40);
    }
}
