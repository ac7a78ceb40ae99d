//! The time from a commit to the rejection by each of twenty replicas.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tower_api_key::{
    Client,
    key::KeyFormat,
    store::{Change, Mirrored, MirroredEvent},
};

use crate::support::Database;

const REPLICAS: usize = 20;
const ROUNDS: usize = 60;

/// It is 100 ms on an idle machine. Without notifications, it would be five seconds.
const BOUND: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_replicas_reject_a_revoked_key_soon() {
    let database = Database::migrated();
    let store = database.open();
    let (sender, mut revoked) = mpsc::unbounded_channel();
    let started = Arc::new(Mutex::new(Instant::now()));
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        let (sender, started) = (sender.clone(), Arc::clone(&started));
        // The event comes after the change of memory.
        let observe = move |event: &MirroredEvent| {
            if let MirroredEvent::Changed(change) = event {
                if change.kind() == tower_api_key::store::KeyChangeKind::Revoked {
                    sender.send(started.lock().unwrap().elapsed()).unwrap();
                }
            }
        };
        let options = Mirrored::options().observe(observe);
        replicas.push(options.open(database.open()).await.unwrap());
    }
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let client = format!("client {round}");
        let issue = Change::issue(&KeyFormat::default(), Client::new(&client));
        drop(issue.commit(&store).await.unwrap());
        while !replicas.iter().all(|keys| keys.status().keys() == 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // From the start of the change, which includes its commit.
        *started.lock().unwrap() = Instant::now();
        assert_eq!(Change::revoke_client(&client).commit(&store).await.unwrap().count(), 1);
        for _ in 0..REPLICAS {
            times.push(revoked.recv().await.unwrap());
        }
    }
    times.sort();
    for percent in [0, 10, 25, 50, 75, 90, 99, 100] {
        println!("p{percent}: {:?}", times[(times.len() - 1) * percent / 100]);
    }
    assert!(times[times.len() * 99 / 100] < BOUND);
}
