//! The keys, and the expected state of each.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;
use tower_api_key::{Client, KeyDigest, Keyring, key::KeyFormat};

/// A part of every key. The inner service must never receive it.
pub const CANARY: &[u8] = b"soak";

const STANDING: usize = 3_000;
const REVOKED: usize = 500;
const CHANGING: usize = 256;

pub struct Keys {
    pub ring: Keyring,
    pub changes: AtomicU64,
    changing: Vec<Mutex<Changing>>,
    /// The client whose key changed last.
    latest: AtomicUsize,
}

/// A client whose key changes. Each of its keys is used once, and a dead key stays dead.
#[derive(Clone)]
pub struct Changing {
    /// Counts started and finished changes.
    pub version: u64,
    pub key: Arc<str>,
    pub life: Life,
    /// The dead key from before a rotation.
    pub former: Option<Arc<str>>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Life {
    /// An insertion has started.
    Coming,
    /// An insertion has returned, and no later change has started.
    Live,
    /// A revocation has started.
    Going,
    /// A revocation has returned.
    Dead,
}

pub fn standing(number: usize) -> String {
    format!("soak-standing-{number:05}-0123456789")
}

pub fn revoked(number: usize) -> String {
    format!("soak-revoked-{number:05}-0123456789")
}

pub fn changing_client(number: usize) -> String {
    format!("changing-{number}")
}

/// Returns a permanent key and its client.
pub fn any_standing() -> (String, String) {
    let number = fastrand::usize(..STANDING);
    (standing(number), format!("standing-{number}"))
}

pub fn any_revoked() -> String {
    revoked(fastrand::usize(..REVOKED))
}

impl Keys {
    pub fn new() -> Self {
        let ring = Keyring::new();
        for number in 0..STANDING {
            ring.insert(standing(number), Client::new(format!("standing-{number}"))).unwrap();
        }
        for number in 0..REVOKED {
            ring.insert(revoked(number), Client::new("former")).unwrap();
        }
        assert_eq!(ring.revoke_client("former"), REVOKED);
        let none_yet = Changing {
            version: 0,
            key: "soak-none-yet-0123456789".into(),
            life: Life::Dead,
            former: None,
        };
        let changing = (0..CHANGING).map(|_| Mutex::new(none_yet.clone())).collect();
        Self { ring, changes: AtomicU64::new(0), changing, latest: AtomicUsize::new(0) }
    }

    /// Returns a changing client, often one that has just changed.
    pub fn any_changing(&self) -> (usize, Changing) {
        let number = match fastrand::bool() {
            true => self.latest.load(Ordering::Relaxed),
            false => fastrand::usize(..CHANGING),
        };
        (number, self.changing[number].lock().unwrap().clone())
    }

    pub fn version(&self, number: usize) -> u64 {
        self.changing[number].lock().unwrap().version
    }

    /// Returns whether the keyring has only its first keys again.
    pub fn are_as_before(&self) -> bool {
        self.ring.prune();
        self.ring.len() == STANDING
    }

    /// Changes keys until it is stopped, with one task for each client.
    pub fn keep_changing(
        self: &Arc<Self>,
        stop: &Arc<AtomicBool>,
    ) -> Vec<tokio::task::JoinHandle<()>> {
        let prune = {
            let (keys, stop) = (Arc::clone(self), Arc::clone(stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(500)).await;
                    keys.ring.prune();
                }
            })
        };
        let change = (0..CHANGING).map(|number| {
            let (keys, stop) = (Arc::clone(self), Arc::clone(stop));
            tokio::spawn(async move {
                let mut generation = 0;
                while !stop.load(Ordering::Relaxed) {
                    generation += 1;
                    keys.live_once(number, generation).await;
                }
            })
        });
        [prune].into_iter().chain(change).collect()
    }

    /// Inserts, rotates and removes one key.
    async fn live_once(&self, number: usize, generation: u64) {
        let client = || Client::new(changing_client(number));
        let format = KeyFormat::new("soak").unwrap();
        match fastrand::u8(..3) {
            0 => {
                let minted = self.ring.issue(&format, client()).unwrap();
                minted.reveal(|key| self.set(number, key, Life::Live));
            }
            how => {
                let key = format!("soak-changing-{number}-{generation:012}");
                self.set(number, &key, Life::Coming);
                if how == 1 {
                    self.ring.insert(&key, client()).unwrap();
                } else {
                    self.ring.insert_digest(KeyDigest::of(&key), client()).unwrap();
                }
                self.set(number, &key, Life::Live);
            }
        }
        a_while().await;
        if fastrand::bool() {
            self.rotate(number).await;
            a_while().await;
        }
        self.end(number);
        a_while().await;
    }

    async fn rotate(&self, number: usize) {
        let old = self.now_going(number);
        let overlap = Duration::from_millis(fastrand::u64(..2) * 20);
        let id = self.id(&old);
        let minted = self.ring.rotate(&id, overlap).unwrap();
        minted.reveal(|key| self.set(number, key, Life::Live));
        if !overlap.is_zero() {
            sleep(overlap + Duration::from_millis(5)).await;
        }
        self.changing[number].lock().unwrap().former = Some(old);
    }

    fn end(&self, number: usize) {
        let key = self.now_going(number);
        match fastrand::u8(..3) {
            0 => assert!(self.ring.revoke_key(&self.id(&key))),
            1 => assert!(self.ring.remove(&KeyDigest::of(&*key)).is_some()),
            _ => assert!(self.ring.revoke_client(&changing_client(number)) > 0),
        }
        self.set(number, &key, Life::Dead);
    }

    fn id(&self, key: &str) -> String {
        let record = self.ring.record_by_digest(&KeyDigest::of(key)).unwrap();
        record.id().unwrap().to_owned()
    }

    fn now_going(&self, number: usize) -> Arc<str> {
        let mut changing = self.changing[number].lock().unwrap();
        changing.version += 1;
        changing.life = Life::Going;
        Arc::clone(&changing.key)
    }

    fn set(&self, number: usize, key: &str, life: Life) {
        self.changes.fetch_add(u64::from(life != Life::Coming), Ordering::Relaxed);
        let mut changing = self.changing[number].lock().unwrap();
        *changing = Changing { version: changing.version + 1, key: key.into(), life, former: None };
        self.latest.store(number, Ordering::Relaxed);
    }
}

async fn a_while() {
    sleep(Duration::from_millis(fastrand::u64(50..1500))).await;
}
