//! Random changes, half of them by a program beside the service and half by a route of a replica.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::http::Method;
use tokio::time::sleep;
use tower_api_key_postgres::Postgres;

use crate::{
    callers::{Caller, probe},
    oracle::{Expect, Ground, Key, REPLICAS},
    replica::{OVERLAP, SMALL, change_of, minted},
};

pub struct Changer {
    pub ground: Arc<Ground>,
    pub store: Postgres,
    pub caller: Caller,
    pub ends: Arc<AtomicBool>,
    pub random: fastrand::Rng,
}

/// The replica that made a change, if one did, and the id and the text of a new key.
type Done = (Option<usize>, Option<(String, String)>);

impl Changer {
    pub async fn run(mut self) {
        while !self.ends.load(SeqCst) {
            self.step().await;
            sleep(Duration::from_millis(self.random.u64(20..300))).await;
        }
    }

    async fn step(&mut self) {
        let (key, count) = {
            let keys = self.ground.keys.read().unwrap();
            (Arc::clone(&keys[self.random.usize(..keys.len())]), keys.len())
        };
        match (key.state().expect, self.random.u8(..10)) {
            (_, 0..=2) if count < 500 => self.issue("ci").await,
            (_, _) if key.is_small => {}
            (Expect::Accept, 0..=5) => self.revoke(&key).await,
            (Expect::Accept, 6..=7) => self.rotate(&key).await,
            (Expect::Accept, _) => self.pause(key).await,
            // A key that was revoked long ago.
            (Expect::Reject, _) if count > 300 => {
                self.ground.keys.write().unwrap().retain(|it| !Arc::ptr_eq(it, &key));
            }
            _ => {}
        }
    }

    pub async fn issue(&mut self, client: &str) {
        if let Some((by, Some((id, text)))) = self.change("issue", client).await {
            let mut key = Key::new(id, text, Expect::Accept, by);
            key.is_small = client == SMALL;
            self.ground.keys.write().unwrap().push(Arc::new(key));
        }
    }

    async fn revoke(&mut self, key: &Arc<Key>) {
        key.set(Expect::Either, None);
        match self.change("revoke", &key.id).await {
            Some((by, _)) => self.rejected(key, by),
            None => self.end_doubt(Arc::clone(key)),
        }
    }

    async fn rotate(&mut self, key: &Arc<Key>) {
        key.set(Expect::Either, None);
        // The overlap begins within the change, which can take seconds during a fault.
        let start = tokio::time::Instant::now();
        let Some((by, new)) = self.change("rotate", &key.id).await else {
            return self.end_doubt(Arc::clone(key));
        };
        let acknowledged = tokio::time::Instant::now();
        let early = OVERLAP - Duration::from_millis(1500);
        if start.elapsed() < early {
            key.set(Expect::Accept, by);
        }
        if let Some((id, text)) = new {
            self.ground.keys.write().unwrap().push(Arc::new(Key::new(
                id,
                text,
                Expect::Accept,
                by,
            )));
        }
        // Nothing else may change the key meanwhile, because the next step could take it.
        let ground = Arc::clone(&self.ground);
        ground.keys.write().unwrap().retain(|it| !Arc::ptr_eq(it, key));
        let (key, ends) = (Arc::clone(key), Arc::clone(&self.ends));
        tokio::spawn(async move {
            let caller = Caller::new();
            while start.elapsed() < early {
                for replica in &ground.replicas {
                    _ = caller.ask(&ground, &key, replica).await;
                }
                sleep(Duration::from_millis(100)).await;
            }
            key.set(Expect::Either, None);
            sleep((OVERLAP + Duration::from_millis(100)).saturating_sub(acknowledged.elapsed()))
                .await;
            key.set(Expect::Reject, None);
            for number in 0..REPLICAS {
                _ = caller.ask(&ground, &key, &ground.replicas[number]).await;
            }
            if !ends.load(SeqCst) {
                ground.keys.write().unwrap().push(key);
            }
        });
    }

    async fn pause(&mut self, key: Arc<Key>) {
        key.set(Expect::Either, None);
        let Some((by, _)) = self.change("pause", &key.id).await else { return self.end_doubt(key) };
        self.rejected(&key, by);
        sleep(Duration::from_millis(self.random.u64(..500))).await;
        key.set(Expect::Either, None);
        match self.change("resume", &key.id).await {
            Some((by, _)) => key.set(Expect::Accept, by),
            None => self.end_doubt(key),
        }
    }

    /// All replicas must reject the key soon.
    fn rejected(&self, key: &Arc<Key>, by: Option<usize>) {
        key.set(Expect::Reject, by);
        for number in (0..REPLICAS).filter(|number| by != Some(*number)) {
            tokio::spawn(probe(
                Arc::clone(&self.ground),
                Arc::clone(key),
                number,
                Arc::clone(&self.ends),
            ));
        }
    }

    /// Revokes a key until this is acknowledged. Meanwhile both answers are right.
    fn end_doubt(&self, key: Arc<Key>) {
        let (store, ground, ends) =
            (self.store.clone(), Arc::clone(&self.ground), Arc::clone(&self.ends));
        tokio::spawn(async move {
            while !ends.load(SeqCst) {
                if change_of("revoke", key.id.clone()).commit(&store).await.is_ok() {
                    ground.tally.changed("revoked after a lost answer");
                    return key.set(Expect::Reject, None);
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
    }

    /// Makes a change, and returns `None` if it failed or its answer was lost.
    async fn change(&mut self, what: &str, id: &str) -> Option<Done> {
        let number = self.random.usize(..2 * REPLICAS);
        let result = if let Some(replica) = self.ground.replicas.get(number) {
            let path = format!("/change/{what}/{id}");
            match self.caller.send(replica.port, Method::POST, &path, "").await {
                Some((200, body)) => {
                    let new = body.split_once(' ').map(|(id, key)| (id.to_owned(), key.to_owned()));
                    Ok((Some(number), new))
                }
                Some((_, error)) => Err(error),
                None => Err("no answer".to_owned()),
            }
        } else {
            let changed = change_of(what, id.to_owned()).commit(&self.store).await;
            changed
                .map(|changed| (None, minted(changed)))
                .map_err(|error| format!("{:?}", error.kind()))
        };
        let way = if number < REPLICAS { "by a replica" } else { "by another program" };
        match &result {
            Ok(_) => self.ground.tally.changed(format!("{what} {way}")),
            Err(error) => self.ground.tally.changed(format!("failed: {error}")),
        }
        result.ok()
    }
}
