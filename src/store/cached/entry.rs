use std::sync::Arc;

use tokio::time::Instant;

use crate::{Client, key::KeyId, record::Record, store::changes::Clock, verify::VerifyError};

/// A record of the store, until it is too old.
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) life: Life,
}

/// The time in which an answer of the store counts.
#[derive(Clone, Copy)]
pub(super) struct Life {
    /// The stamp before the store was asked.
    pub(super) stamp: u64,
    pub(super) until: Instant,
}

impl Life {
    #[inline]
    pub(super) fn contains(self, stamp: u64, now: Instant) -> bool {
        self.stamp == stamp && now < self.until
    }
}

impl Entry {
    pub(super) fn new(mut record: Record, life: Life) -> Arc<Self> {
        record.entry.client.set_key_id(record.id.unwrap_or(KeyId::NONE));
        Arc::new(Self { record, life })
    }
}

/// Returns the client, or the reason why the key is rejected now.
///
/// The reason is computed for each request, because a key can expire while its record is in memory.
#[inline]
pub(super) fn verify(entry: Option<&Entry>, clock: &Clock) -> Result<Client, VerifyError> {
    let Some(Entry { record, .. }) = entry else { return Err(VerifyError::unknown()) };
    match record.entry.validity.rejects(|| clock().into()) {
        None => Ok(record.entry.client.clone()),
        Some(reason) => Err(VerifyError::new(reason, record.id.unwrap_or(KeyId::NONE))),
    }
}
