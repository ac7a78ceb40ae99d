use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use tokio::sync::watch::Receiver;

use super::answers::Answer;
use crate::{KeyDigest, store::StoreError};

/// The answer of the store.
pub(super) type Found = Result<Answer, StoreError>;

/// A key and its stamp. After a change of the key, a new lookup does not join an old one.
pub(super) type FlightKey = (KeyDigest, u64);

pub(super) type Waiting = HashMap<FlightKey, Receiver<Option<Found>>, RandomState>;

/// The lookups under way. Callers with the same key share one.
#[derive(Default)]
pub(super) struct Flights(Mutex<Waiting>);

impl Flights {
    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the keys that are being looked up.
    pub(super) fn keys(&self) -> Vec<KeyDigest> {
        self.lock().keys().map(|(digest, _)| *digest).collect()
    }
}
