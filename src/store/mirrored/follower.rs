use std::{
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use tokio::time;

use super::mirror::Mirror;
use crate::store::{KeyStore, Start, StoreError, StoreErrorKind, StoreFuture};

/// The time without a call by the store after which the mirror connects anew.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// The shortest and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Follows a store for ever. An error before the first load is complete ends it.
pub(super) async fn run(store: Arc<dyn KeyStore>, mirror: Arc<Mirror>) {
    let (shortest, longest) = PAUSES;
    let mut pause = shortest;
    loop {
        let contacts = mirror.contact.count();
        let start = mirror.state().cursor.clone().map_or(Start::Everything, Start::After);
        let error = follow(&*store, start, &mirror).await;
        if mirror.set_broken(error) {
            return;
        }
        if mirror.contact.count() != contacts {
            pause = shortest;
        }
        time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(longest);
    }
}

/// Follows a store until an error, a panic of the store, or a long silence.
async fn follow(store: &dyn KeyStore, start: Start, mirror: &Mirror) -> StoreError {
    let mut future = store.follow(start, mirror);
    loop {
        let activity = mirror.activity.load(Relaxed);
        match time::timeout(MAX_SILENCE, caught(&mut future)).await {
            Ok(error) => return error,
            Err(_) if mirror.activity.load(Relaxed) == activity => {
                let text = "the store was silent for 30 seconds";
                return StoreError::new(StoreErrorKind::Unavailable, text);
            }
            Err(_) => {}
        }
    }
}

/// Turns a panic of the store into an error, because the mirror must not go on with old records unnoticed.
async fn caught(future: &mut StoreFuture<'_, Infallible>) -> StoreError {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Err(error))) => Poll::Ready(error),
        Err(_) => {
            let text = "the store panicked";
            Poll::Ready(StoreError::new(StoreErrorKind::Unavailable, text))
        }
    })
    .await
}

/// Returns a time between half of a pause and all of it, so that processes do not connect all at once.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default();
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}
