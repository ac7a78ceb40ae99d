//! The time from the commit of a revocation to its rejection by 1, 5 and 20 replicas.
//!
//! The replicas are in one process, because twenty processes on two cores would measure the scheduler. Each has
//! connections of its own, as a process has.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tower_api_key::{
    Client,
    key::KeyFormat,
    store::{Change, KeyChangeKind, Mirrored, MirroredEvent},
};

use crate::{
    Figures, Site, Store,
    figures::{histogram, millis},
};

pub fn run(site: &Site, is_quick: bool, figures: &mut Figures) {
    for replicas in [1, 5, 20] {
        let url = site.database(&format!("replicas_{replicas}"));
        let rounds = if is_quick { 5 } else { 150 };
        let mut times = site.runtime.block_on(times(&url, replicas, rounds));
        times.sort_by(f64::total_cmp);
        let percentile = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        println!("{replicas} replicas, {} rejections:", times.len());
        histogram(&times);
        println!("median {:.1} ms, longest {:.1} ms", percentile(50), percentile(100));
        let name = format!("PostgreSQL: commit to rejection, {replicas} replicas, p99");
        figures.add(&name, percentile(99), 100.0, "ms");
    }
}

async fn times(url: &str, count: usize, rounds: usize) -> Vec<f64> {
    let store = Store::open(url).unwrap();
    let (sender, mut rejected) = mpsc::unbounded_channel();
    let mut replicas = Vec::new();
    for _ in 0..count {
        let sender = sender.clone();
        // The event comes after the change of memory.
        let observe = move |event: &MirroredEvent| {
            let MirroredEvent::Changed(change) = event else { return };
            if change.kind() == KeyChangeKind::Revoked {
                sender.send(Instant::now()).unwrap();
            }
        };
        let options = Mirrored::options().observe(observe);
        replicas.push(options.open(Store::open(url).unwrap()).await.unwrap());
    }
    let mut times = Vec::new();
    for _ in 0..rounds {
        let issue = Change::issue(&KeyFormat::default(), Client::new("ci"));
        let minted = issue.commit(&store).await.unwrap().into_minted().unwrap();
        while !replicas.iter().all(|keys| keys.record(minted.id()).is_some()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(Change::revoke_key(minted.id()).commit(&store).await.unwrap().count(), 1);
        let committed = Instant::now();
        for _ in 0..count {
            let at = rejected.recv().await.unwrap();
            times.push(millis(at.saturating_duration_since(committed)));
        }
    }
    times
}
