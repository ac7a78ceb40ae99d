use super::Keyring;
use crate::{client::Identity, key::KeyDigest};

/// Loads of many keys. To index all clients at once takes a fraction of the time.
impl<C: Identity + Clone + Send + Sync + 'static> Keyring<C> {
    /// Makes room for keys that are inserted one after another, until [`end_load`](Self::end_load).
    pub(crate) fn begin_load(&self, keys: usize) {
        self.index().without_clients(keys);
        self.shared.keys.pin().reserve(keys);
    }

    /// Returns the digests that a closure wants.
    pub(crate) fn digests_where(&self, wanted: impl Fn(&KeyDigest) -> bool) -> Vec<KeyDigest> {
        self.shared.keys.pin().keys().filter(|digest| wanted(digest)).copied().collect()
    }

    /// Indexes the clients of all keys.
    pub(crate) fn end_load(&self) {
        drop(self.index_by_client());
    }
}
