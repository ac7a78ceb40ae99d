use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::time;

use super::{KeyStore, Listener, Start, StoreError, StoreErrorKind, StoreFuture, caught::caught};

/// The memory of a process that follows a store.
pub(super) trait Follow: Listener {
    /// Begins to follow, and returns the first change that memory does not have.
    fn begin(&self) -> Start;

    /// Returns a number. It grows with each contact, when memory has every change of the store.
    fn contacts(&self) -> u64;

    /// Returns a number. It grows with each call by the store.
    fn calls(&self) -> u64;

    /// Notes that the store cannot be followed. Returns whether it never was.
    fn set_broken(&self, error: StoreError) -> bool;
}

/// The time without a call by the store after which the follower connects anew.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// The shortest and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Follows a store for ever. An error before the first contact ends it.
pub(super) async fn run(store: Arc<dyn KeyStore>, memory: Arc<impl Follow>) {
    let (shortest, longest) = PAUSES;
    let mut pause = shortest;
    loop {
        let contacts = memory.contacts();
        let error = follow(&*store, memory.begin(), &*memory).await;
        if memory.set_broken(error) {
            return;
        }
        if memory.contacts() != contacts {
            pause = shortest;
        }
        time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(longest);
    }
}

/// Follows a store until an error, a panic of the store, or a long silence.
async fn follow(store: &dyn KeyStore, start: Start, memory: &impl Follow) -> StoreError {
    let mut future = store.follow(start, memory);
    loop {
        let calls = memory.calls();
        match time::timeout(MAX_SILENCE, until_error(&mut future)).await {
            Ok(error) => return error,
            Err(_) if memory.calls() == calls => {
                let text = "the store was silent for 30 seconds";
                return StoreError::new(StoreErrorKind::Unavailable, text);
            }
            Err(_) => {}
        }
    }
}

async fn until_error(future: &mut StoreFuture<'_, Infallible>) -> StoreError {
    let Err(error) = caught(future, StoreErrorKind::Unavailable, "the store panicked").await;
    error
}

/// Returns a time between half of a pause and all of it, so that processes do not connect all at once.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default();
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_of_two_processes_differ_and_are_at_least_half_as_long() {
        let pause = Duration::from_secs(10);
        let pauses: Vec<_> = (0..20).map(|_| jittered(pause)).collect();
        assert!(pauses.iter().all(|it| (pause / 2..=pause).contains(it)), "{pauses:?}");
        assert!(pauses.iter().any(|it| *it != pauses[0]), "{pauses:?}");
    }
}
