//! The conformance suite of all stores.

use tower_api_key::test_util;

use crate::support::Folder;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_has_every_behaviour_of_the_conformance_suite() {
    let mut folders = Vec::new();
    test_util::store_conforms(async || {
        let folder = Folder::migrated();
        let stores = (folder.open(), folder.open());
        folders.push(folder);
        stores
    })
    .await;
}
