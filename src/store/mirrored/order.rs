use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::KeyDigest;

/// Decides whether the state of a key is newer than the applied state.
///
/// The store delivers the states of one key in order. A change of this process arrives by a second way, so
/// that it can overtake a delivery or come after it. Only such keys take memory.
#[derive(Default)]
pub(super) struct Order {
    /// The number of changes by this process whose result is not applied yet.
    in_flight: usize,
    known: HashMap<KeyDigest, Known, RandomState>,
}

struct Known {
    version: u64,
    /// Whether this process made the write, and the store has not delivered it yet.
    is_own: bool,
}

impl Order {
    /// Returns the number of keys whose version is known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Begins a change of this process.
    pub(super) fn begin(&mut self) {
        self.in_flight += 1;
    }

    /// Ends a change of this process, once its result is applied.
    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.known.retain(|_, known| known.is_own);
        }
    }

    /// Forgets all versions, because the store begins again and may have been restored from a backup.
    pub(super) fn restart(&mut self) {
        self.known.clear();
    }

    /// Returns whether a delivered state is to be applied.
    pub(super) fn accepts_delivery(&mut self, digest: KeyDigest, version: u64) -> bool {
        if self.known.get(&digest).is_some_and(|known| version < known.version) {
            return false;
        }
        if self.in_flight > 0 {
            self.known.insert(digest, Known { version, is_own: false });
        } else {
            self.known.remove(&digest);
        }
        true
    }

    /// Returns whether a write by this process is to be applied.
    pub(super) fn accepts_write(&mut self, digest: KeyDigest, version: u64) -> bool {
        if self.known.get(&digest).is_some_and(|known| version <= known.version) {
            return false;
        }
        self.known.insert(digest, Known { version, is_own: true });
        true
    }

    /// Returns whether a state from a transaction of this process is to be applied.
    pub(super) fn accepts_read(&self, digest: KeyDigest, version: u64) -> bool {
        self.known.get(&digest).is_none_or(|known| known.version <= version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> KeyDigest {
        KeyDigest::of("a")
    }

    #[test]
    fn a_delivery_from_before_an_own_write_is_ignored_until_the_store_has_delivered_the_write() {
        let mut order = Order::default();
        order.begin();
        assert!(order.accepts_write(digest(), 5));
        order.end();
        assert!(!order.accepts_delivery(digest(), 4), "an older state would undo the write");
        assert!(order.accepts_delivery(KeyDigest::of("b"), 4), "another key");
        assert!(order.accepts_delivery(digest(), 5));
        assert!(order.len() == 0);
    }

    #[test]
    fn an_own_write_that_a_newer_delivery_has_overtaken_is_ignored() {
        let mut order = Order::default();
        order.begin();
        assert!(order.accepts_delivery(digest(), 6));
        assert!(!order.accepts_write(digest(), 5) && !order.accepts_read(digest(), 5));
        assert!(!order.accepts_write(digest(), 6), "this write itself was delivered");
        assert!(order.accepts_read(digest(), 6));
        order.end();
        assert!(order.len() == 0);
    }

    #[test]
    fn of_two_own_writes_the_later_one_counts() {
        let mut order = Order::default();
        order.begin();
        order.begin();
        assert!(order.accepts_write(digest(), 8));
        assert!(!order.accepts_write(digest(), 7));
        order.end();
        order.end();
        assert!(!order.accepts_delivery(digest(), 7));
        order.restart();
        assert!(order.accepts_delivery(digest(), 1), "a restored backup has lower versions");
    }
}
