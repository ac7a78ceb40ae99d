//! A key file as a store.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    key_file::KeyFile,
    store::{Change, KeyStore, Mirrored, Page, Start, StoreErrorKind},
};

use crate::{
    http::Server,
    mirrored::{eventually, reveal},
};

/// A path in a new folder, which is deleted in the end.
pub(crate) struct TempFile {
    pub(crate) path: PathBuf,
}

impl TempFile {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let name = format!("tower-api-key-stores-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self { path: folder.join("keys.jsonl") }
    }

    pub(crate) fn open(&self) -> KeyFile {
        KeyFile::options().create(true).open(&self.path).unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(self.path.parent().unwrap());
    }
}

#[cfg(feature = "test-util")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_key_file_conforms() {
    let mut files = Vec::new();
    tower_api_key::test_util::store_conforms(async || {
        let file = TempFile::new();
        let handles = (file.open(), file.open());
        files.push(file);
        handles
    })
    .await;
}

#[tokio::test]
async fn a_mirror_of_a_key_file_follows_the_command_and_other_handles() {
    let file = TempFile::new();
    let keys = Mirrored::open(file.open()).await.unwrap();
    let server = Server::start(keys.clone()).await;
    let minted = keys.issue(&KeyFormat::default(), Client::new("ci")).await.unwrap();
    let (key_id, key) = reveal(minted);
    assert_eq!(server.status(&key).await, 200);
    let line = std::fs::read_to_string(&file.path).unwrap();
    assert!(line.contains(&key_id) && !line.contains(&key), "{line}");

    // A handle that knows nothing of stores.
    let other = file.open();
    assert!(other.revoke_key(&key_id).unwrap());
    eventually(async || server.status(&key).await == 401).await;
    let (_, second) = reveal(other.issue(&KeyFormat::default(), Client::new("ci")).unwrap());
    eventually(async || server.status(&second).await == 200).await;
}

#[tokio::test]
async fn a_broken_file_is_a_problem_of_the_mirror_and_leaves_its_keys() {
    let file = TempFile::new();
    let handle = file.open();
    let (_, key) = reveal(handle.issue(&KeyFormat::default(), Client::new("ci")).unwrap());
    let keys = Mirrored::open(handle.clone()).await.unwrap();
    let server = Server::start(keys.clone()).await;
    let good = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, format!("{good}no line of a key file\n")).unwrap();
    eventually(async || keys.status().problem().is_some()).await;
    let problem = keys.status().problem().unwrap().error().clone();
    assert_eq!(problem.kind(), StoreErrorKind::Corrupt);
    assert!(problem.to_string().contains("line 3"), "{problem}");
    assert_eq!(server.status(&key).await, 200);
    let error = keys.revoke_client("ci").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    for result in [
        handle.find(&KeyDigest::of(&key)).await.map(drop),
        handle.list(&Page::new()).await.map(drop),
        Mirrored::open(handle.clone()).await.map(drop),
    ] {
        assert_eq!(result.unwrap_err().kind(), StoreErrorKind::Corrupt);
    }
    std::fs::write(&file.path, &good).unwrap();
    eventually(async || keys.status().problem().is_none()).await;
    assert_eq!(keys.revoke_client("ci").await.unwrap(), 1);
    assert_eq!(server.status(&key).await, 401);

    std::fs::write(&file.path, good.replace("{\"v\":1}", "{\"v\":9}")).unwrap();
    eventually(async || keys.status().problem().is_some()).await;
    let problem = keys.status().problem().unwrap().error().clone();
    assert_eq!(problem.kind(), StoreErrorKind::UnsupportedVersion, "{problem}");
}

#[tokio::test]
async fn a_file_that_is_not_followed_cannot_be_mirrored() {
    let file = TempFile::new();
    let handle = KeyFile::options().create(true).follow(false).open(&file.path).unwrap();
    let error = Mirrored::open(handle.clone()).await.unwrap_err();
    assert!(error.to_string().contains("without `follow`"), "{error}");
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci"));
    let (_, key) = reveal(issue.commit(&handle).await.unwrap().into_minted().unwrap());
    assert!(handle.find(&KeyDigest::of(key)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_cursor_of_another_handle_begins_with_everything() {
    let file = TempFile::new();
    let (one, two) = (file.open(), file.open());
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci"));
    drop(issue.commit(&one).await.unwrap());
    let seen = crate::faulty::Seen::default();
    let follow = one.follow(Start::Everything, &seen);
    assert!(tokio::time::timeout(Duration::from_millis(300), follow).await.is_err());
    let cursor = seen.cursor().unwrap();
    for (store, restarts) in [(&one, 0), (&two, 1)] {
        let seen = crate::faulty::Seen::default();
        let follow = store.follow(Start::After(cursor.clone()), &seen);
        assert!(tokio::time::timeout(Duration::from_millis(300), follow).await.is_err());
        assert_eq!(seen.restarts(), restarts);
    }
}

#[tokio::test]
async fn errors_of_the_file_keep_their_meaning() {
    let file = TempFile::new();
    let handle = file.open();
    let folder = file.path.parent().unwrap().to_owned();
    std::fs::remove_dir_all(&folder).unwrap();
    let insert = Change::issue(&KeyFormat::default(), Client::new("ci"));
    let error = insert.commit(&handle).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(handle.name().ends_with("keys.jsonl"), "{}", handle.name());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(&file.path).unwrap();
    let error = handle.list(&Page::new()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
}
