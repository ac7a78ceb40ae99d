mod changes;
mod concurrency;
mod feed;
mod fields;
mod following;
mod life;
mod listening;
mod lists;
mod stores;

use std::{fmt, sync::Arc};

use tokio::task::JoinSet;

use self::stores::{Check, Stores};
use crate::store::KeyStore;

/// One behaviour of every store. [`store_behaviours`] returns all of them.
///
/// # Example: each behaviour is a test case of its own
///
/// ```
/// use tower_api_key::{store::MemoryStore, test_util};
///
/// # #[tokio::main]
/// # async fn main() {
/// let behaviours = test_util::store_behaviours();
/// let rotation = behaviours.iter().find(|it| it.name() == "a_rotation_writes_both_records");
/// if let Some(behaviour) = rotation {
///     let store = MemoryStore::new();
///     assert_eq!(behaviour.check(store.clone(), store).await, Ok(()));
/// }
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct StoreBehaviour {
    name: &'static str,
    run: fn(Stores) -> Check,
}

impl StoreBehaviour {
    /// Returns the behaviour as a name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Checks the behaviour with two handles on one empty store.
    ///
    /// A handle is like a process. Open a database twice if your store has connections.
    ///
    /// # Errors
    ///
    /// Returns a text about the difference.
    pub async fn check(&self, one: impl KeyStore, two: impl KeyStore) -> Result<(), String> {
        self.check_dyn(Arc::new(one), Arc::new(two)).await
    }

    async fn check_dyn(
        &self,
        one: Arc<dyn KeyStore>,
        two: Arc<dyn KeyStore>,
    ) -> Result<(), String> {
        // In a task of its own, because a store may panic.
        let task = tokio::spawn((self.run)(Stores { one, two }));
        match task.await {
            Ok(result) => result.map_err(|wrong| wrong.text),
            Err(error) => Err(format!("the check did not end: {error}")),
        }
    }
}

/// Shows the name.
impl fmt::Debug for StoreBehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreBehaviour").field(&self.name).finish()
    }
}

/// Returns every behaviour that [`store_conforms`] checks.
#[must_use]
pub fn store_behaviours() -> Vec<StoreBehaviour> {
    [
        feed::BEHAVIOURS,
        fields::BEHAVIOURS,
        lists::BEHAVIOURS,
        changes::BEHAVIOURS,
        life::BEHAVIOURS,
        concurrency::BEHAVIOURS,
        following::BEHAVIOURS,
    ]
    .concat()
}

/// Checks that a store behaves as [`KeyStore`] says. Requires the feature `store`.
///
/// The closure returns two handles on a new, empty store. It runs once for each behaviour. Up to eight
/// behaviours are checked at a time, and one of them takes six to eleven seconds. Call this in a runtime of
/// tokio with timers, best with several threads.
///
/// ```no_run
/// use tower_api_key::{store::MemoryStore, test_util};
///
/// # #[tokio::main]
/// # async fn main() {
/// test_util::store_conforms(async || {
///     let store = MemoryStore::new();
///     (store.clone(), store)
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
///
/// If the store differs. The text names each missing behaviour.
#[allow(clippy::panic, reason = "a test that fails")]
pub async fn store_conforms<S: KeyStore>(mut open: impl AsyncFnMut() -> (S, S)) {
    const AT_A_TIME: usize = 8;
    let (mut running, mut wrong) = (JoinSet::new(), Vec::new());
    let behaviours = store_behaviours();
    for behaviour in behaviours.iter().copied() {
        if running.len() == AT_A_TIME {
            wrong.extend(running.join_next().await.and_then(deviation));
        }
        let (one, two) = open().await;
        running.spawn(async move { (behaviour.name, behaviour.check(one, two).await) });
    }
    while let Some(done) = running.join_next().await {
        wrong.extend(deviation(done));
    }
    if !wrong.is_empty() {
        let (differ, all) = (wrong.len(), behaviours.len());
        panic!("the store lacks {differ} of {all} behaviours:\n{}", wrong.join("\n"));
    }
}

type Done = Result<(&'static str, Result<(), String>), tokio::task::JoinError>;

fn deviation(done: Done) -> Option<String> {
    match done {
        Ok((_, Ok(()))) => None,
        Ok((name, Err(text))) => Some(format!("- {name}: {text}")),
        Err(error) => Some(format!("- {error}")),
    }
}
