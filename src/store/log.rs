//! Log lines that a mirror and a cache share.

use super::{LOG_TARGET as TARGET, StoreError};

pub(super) fn stays_revoked(store: &str, key_id: &str, client: &str) {
    tracing::error!(
        target: TARGET, store, api_key.id = key_id, api_key.client = ?client,
        "a revoked key came back in the store, this process still rejects it"
    );
}

pub(super) fn corrupt(store: &str, error: &StoreError) {
    tracing::error!(target: TARGET, store, %error, "a record of the store is corrupt");
}
