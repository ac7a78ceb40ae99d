use std::{collections::hash_map::Entry as Place, sync::Arc};

use tokio::sync::watch::{self, Receiver, Sender};

use super::{
    answers::{Answer, Missing},
    flights::{FlightKey, Found},
    memory::Memory,
};
use crate::KeyDigest;

/// The largest number of lookups that wait, for keys that are not in memory.
const MAX_WAITING: usize = 8_192;

/// The answer for a caller.
pub(super) enum Joined {
    Answer(Answer),
    Flight(Receiver<Option<Found>>),
    Full,
}

impl Memory {
    /// Joins the lookup of a key, or begins one in a task of its own, so that its caller may hang up.
    pub(super) fn join(self: &Arc<Self>, digest: KeyDigest) -> Joined {
        let mut waiting = self.flights.lock();
        // A lookup can have ended meanwhile.
        let Missing { stamp, is_known } = match self.answers.get(&digest) {
            Ok(answer) => return Joined::Answer(answer),
            Err(missing) => missing,
        };
        let is_full = !is_known && waiting.len() >= MAX_WAITING;
        let (found, receiver) = match waiting.entry((digest, stamp)) {
            Place::Occupied(flight) => return Joined::Flight(flight.get().clone()),
            Place::Vacant(_) if is_full => return Joined::Full,
            Place::Vacant(place) => {
                let (found, receiver) = watch::channel(None);
                place.insert(receiver.clone());
                (found, receiver)
            }
        };
        drop(waiting);
        let flight = Flight { memory: Arc::clone(self), key: (digest, stamp), found };
        self.runtime.spawn(flight.run(is_known));
        Joined::Flight(receiver)
    }
}

/// A lookup under way. On drop others cannot join it any more, even after a panic.
struct Flight {
    memory: Arc<Memory>,
    key: FlightKey,
    found: Sender<Option<Found>>,
}

impl Flight {
    async fn run(self, is_known: bool) {
        let (digest, stamp) = &self.key;
        let found = self.memory.look_up(digest, *stamp, is_known).await;
        let sender = self.found.clone();
        // If the store has failed, the next caller asks it again.
        drop(self);
        sender.send_replace(Some(found));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.memory.flights.lock().remove(&self.key);
    }
}
