use super::StoreError;
use crate::{KeyDigest, record::Record};

/// Receives the records and changes of a store. See [`KeyStore::follow`](super::KeyStore::follow).
///
/// A method should return within microseconds, because the store waits for it.
pub trait Listener: Send + Sync {
    /// Every record follows again. If a record does not follow before [`ready`](Self::ready), it is gone.
    ///
    /// The store calls it before it reads. So the records have each change of an earlier commit. After [`Start::Now`] no record follows, and any record may have changed.
    fn restart(&self);

    /// The store is about to deliver so many records of a load. A store that cannot count them cheaply omits
    /// this call.
    ///
    /// The listener makes room for them. By default this has no effect.
    fn expect(&self, records: usize) {
        _ = records;
    }

    /// Receives a new record, a changed record or a part of a load.
    ///
    /// The version is from the last write of this record. See [Versions](super#versions).
    fn record(&self, version: u64, record: Record);

    /// Receives the digest of a removed record.
    fn removed(&self, version: u64, digest: KeyDigest);

    /// Receives the digest of a row, if the row cannot be read as a record.
    ///
    /// Verification of this key fails with 503 until [`record`](Self::record) or
    /// [`removed`](Self::removed) follows. Other keys are not affected.
    fn corrupt(&self, version: u64, digest: KeyDigest, error: StoreError);

    /// The listener has received every change of earlier commits.
    ///
    /// The cursor resumes from here with [`Start::After`]. A store without cursors passes `None`.
    fn ready(&self, cursor: Option<&Cursor>);
}

/// The first change for a listener.
///
/// A store can treat an unknown start as [`Everything`](Self::Everything).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// Begins with every record.
    Everything,
    /// Begins with the changes after a [`ready`](Listener::ready) of this cursor.
    ///
    /// If the store cannot resume exactly there, it begins with every record. An example is a
    /// restored backup.
    After(Cursor),
    /// Begins with the changes from now on, for a cache. The first call is [`ready`](Listener::ready).
    Now,
}

/// A position in the changes of a store. Only the store knows the meaning of its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(Box<str>);

impl Cursor {
    /// Creates a cursor.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_boxed_str())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
