//! Columns that other programs add or rename. The tests of all databases use it.

use tower_api_key::store::{Cached, KeyStore, Mirrored};

use crate::{
    server::{Caller, serve},
    support::{eventually, issue},
};

/// Checks that an added or a renamed column makes no good key a 401, in memory or not.
///
/// The statements add a column, rename `scopes`, and rename it back.
pub(crate) async fn make_no_good_key_a_401<S: KeyStore>(
    mirrored: Mirrored,
    open: impl Fn() -> S,
    run: impl Fn(&str),
    [add, rename, rename_back]: [&str; 3],
) {
    let (_, key) = issue(&mirrored, "good").await;
    let serve_cached = async || Caller::new(serve(Cached::open(open()).await.unwrap()).await);
    let mirrored = Caller::new(serve(mirrored).await);
    run(add);
    let cached = serve_cached().await;
    assert_eq!((cached.status(&key).await, mirrored.status(&key).await), (200, 200));

    let cold = serve_cached().await;
    run(rename);
    assert_eq!((cold.status(&key).await, mirrored.status(&key).await), (503, 200));
    run(rename_back);
    eventually(async || cold.status(&key).await == 200).await;
    assert_eq!(mirrored.status(&key).await, 200);
}
