use std::{collections::HashMap, fmt};

use crate::{KeyDigest, Keyring, key::MintedKey, record::Record};

/// The writes of a change, before they are committed. [`Change::apply`](super::Change::apply) returns it.
#[derive(Debug)]
#[must_use = "a draft takes effect when a store commits it"]
pub struct Draft {
    writes: Vec<Write>,
    unchanged: Vec<Record>,
    minted: Option<MintedKey>,
}

/// One write of a [`Draft`].
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Inserts a record. If its digest or id is there already, it is a
    /// [`Conflict`](super::StoreErrorKind::Conflict).
    Insert(Record),
    /// Overwrites all fields of the record with this digest.
    Update(Record),
    /// Removes the record with this digest.
    Remove(KeyDigest),
}

impl Draft {
    /// Compares the records before a change with the records after it.
    pub(super) fn compare(before: Vec<Record>, after: &Keyring, minted: Option<MintedKey>) -> Self {
        let mut left: HashMap<_, _> =
            after.records().map(|record| (record.digest(), record)).collect();
        let (mut updates, mut unchanged, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        for old in before {
            match left.remove(&old.digest()) {
                None => writes.push(Write::Remove(old.digest())),
                Some(new) if new == old => unchanged.push(new),
                Some(new) => updates.push(Write::Update(in_microseconds(new))),
            }
        }
        let mut new: Vec<_> = left.into_values().map(in_microseconds).collect();
        new.sort_by(|one, two| one.id().cmp(&two.id()));
        writes.append(&mut updates);
        writes.extend(new.into_iter().map(Write::Insert));
        Self { writes, unchanged, minted }
    }

    /// Returns the writes. A store makes them in this order.
    ///
    /// Removals come first, then updates, then insertions. Each digest comes once. If the change has no
    /// effect, there are none.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Creates the result of the change, once its writes are committed.
    ///
    /// The version is greater than that of each earlier write of these records, and not greater than the
    /// one that [`follow`](super::KeyStore::follow) delivers for these writes. If there are no writes, it is
    /// the version of the last write that this transaction could see.
    #[must_use]
    pub fn committed(self, version: u64) -> Changed {
        Changed { draft: self, version }
    }
}

/// The result of a committed change.
pub struct Changed {
    draft: Draft,
    version: u64,
}

impl Changed {
    /// Returns the number of inserted, changed and removed records.
    #[must_use]
    pub fn count(&self) -> usize {
        self.draft.writes.len()
    }

    /// Returns the writes. Each is committed.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.draft.writes
    }

    /// Returns the records of the target without a difference.
    #[must_use = "this returns records and changes none"]
    pub fn unchanged(&self) -> &[Record] {
        &self.draft.unchanged
    }

    /// Returns the [version](super#versions) of the change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the minted key, to be revealed once.
    #[must_use = "a key that is not revealed is lost"]
    pub fn into_minted(self) -> Option<MintedKey> {
        self.draft.minted
    }
}

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changed")
            .field("writes", &self.draft.writes)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The digests are left out.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insert(record) => f.debug_tuple("Insert").field(record).finish(),
            Self::Update(record) => f.debug_tuple("Update").field(record).finish(),
            Self::Remove(_) => f.write_str("Remove(..)"),
        }
    }
}

/// Cuts off nanoseconds, because engines keep microseconds.
fn in_microseconds(record: Record) -> Record {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};
    let cut = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        UNIX_EPOCH
            + since.saturating_sub(Duration::from_nanos((since.subsec_nanos() % 1000).into()))
    };
    let revoked = record.revoked().map(cut);
    let (created, not_before) = (record.created().map(cut), record.not_before().map(cut));
    let (expires, retires) = (record.expires().map(cut), record.retires().map(cut));
    let (rotated, paused) = (record.rotated().map(cut), record.paused().map(cut));
    let record = record
        .with_created(created)
        .with_not_before(not_before)
        .with_expires(expires)
        .with_retires(retires)
        .with_rotated(rotated)
        .with_paused(paused);
    match revoked {
        Some(revoked) => record.with_revoked(revoked),
        None => record,
    }
}
