//! Keys of a mirror, and waiting. The tests of all databases use it.

use std::{
    panic::Location,
    time::{Duration, Instant},
};

use tower_api_key::{
    Client,
    key::{KeyFormat, MintedKey},
    store::Mirrored,
};

/// Returns the id and the text of a minted key.
pub(crate) fn reveal(minted: MintedKey) -> (String, String) {
    (minted.id().to_owned(), minted.reveal(str::to_owned))
}

/// Issues a key and returns its id and its text.
pub(crate) async fn issue(keys: &Mirrored, client: &str) -> (String, String) {
    reveal(keys.issue(&KeyFormat::default(), Client::new(client)).await.unwrap())
}

/// Waits until a condition holds, for a time of the caller's choice.
#[track_caller]
pub(crate) fn wait_at_most(
    time: Duration,
    condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    wait(time, condition, Location::caller())
}

async fn wait(time: Duration, mut condition: impl AsyncFnMut() -> bool, caller: &Location<'_>) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < time, "the condition of {caller} did not hold in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
