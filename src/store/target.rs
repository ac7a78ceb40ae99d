use std::{fmt, sync::Arc, time::SystemTime};

use crate::{KeyDigest, Keyring, record::Record};

/// The records for a [`Change`](super::Change) to read.
///
/// A store can read more records than the target has, because [`Change::apply`](super::Change::apply)
/// ignores the others.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// The records with these digests, if they exist. The list can be empty.
    ///
    /// The digests are in the order of their bytes, and each comes once.
    Digests(Arc<[KeyDigest]>),
    /// The record with this public id.
    KeyId(String),
    /// All records of the client with this id.
    Client(String),
    /// All records that are dead since before this time. See [`Target::contains`].
    DeadBefore(SystemTime),
}

impl Target {
    pub(super) fn digests(digests: impl Iterator<Item = KeyDigest>) -> Self {
        let mut digests: Vec<_> = digests.collect();
        digests.sort_unstable_by_key(KeyDigest::to_bytes);
        digests.dedup();
        Self::Digests(digests.into())
    }

    /// Returns the records of a keyring that are part of the target.
    pub(crate) fn select(&self, keys: &Keyring) -> Vec<Record> {
        match self {
            Self::Digests(digests) => {
                digests.iter().filter_map(|digest| keys.record_by_digest(digest)).collect()
            }
            Self::KeyId(id) => keys.record(id).into_iter().collect(),
            Self::Client(_) | Self::DeadBefore(_) => {
                keys.records().filter(|record| self.contains(record)).collect()
            }
        }
    }

    /// Returns whether a record is part of the target.
    ///
    /// A record is dead from the earliest of its [`revoked`](Record::revoked), [`expires`](Record::expires)
    /// and [`retires`](Record::retires).
    #[must_use]
    pub fn contains(&self, record: &Record) -> bool {
        match self {
            Self::Digests(digests) => {
                let digest = record.digest().to_bytes();
                digests.binary_search_by_key(&digest, KeyDigest::to_bytes).is_ok()
            }
            Self::KeyId(id) => record.id() == Some(id),
            Self::Client(client) => record.client().id() == client,
            Self::DeadBefore(time) => {
                let ends = [record.revoked(), record.expires(), record.retires()];
                ends.into_iter().flatten().any(|end| end < *time)
            }
        }
    }
}

/// Shows the number of digests alone.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digests(digests) => f.debug_tuple("Digests").field(&digests.len()).finish(),
            Self::KeyId(id) => f.debug_tuple("KeyId").field(id).finish(),
            Self::Client(client) => f.debug_tuple("Client").field(client).finish(),
            Self::DeadBefore(time) => f.debug_tuple("DeadBefore").field(time).finish(),
        }
    }
}
