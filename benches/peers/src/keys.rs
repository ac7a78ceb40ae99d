//! Good keys and bad ones, and the stores that know the good.

use std::{cell::OnceCell, collections::HashMap, sync::Arc};

use sha2::{Digest, Sha256};
use tower_api_key::{Client, Keyring};

use crate::row::{Asked, Row};

pub const SIZES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];

/// Of the shape and length of a minted key.
pub fn key(number: usize) -> String {
    format!("sk_live_{number:07}_4f0pGQ8mLz2RxV7nYbT1dK")
}

/// The same keys and clients, for us and for the one by hand; made where a case wants them.
#[derive(Default)]
pub struct Stores([OnceCell<Store>; SIZES.len()]);

struct Store {
    ring: Keyring,
    known: Known,
}

pub type Known = Arc<HashMap<[u8; 32], Client>>;

impl Stores {
    pub fn ring(&self, keys: usize) -> &Keyring {
        &self.of(keys).ring
    }

    pub fn known(&self, keys: usize) -> Known {
        Arc::clone(&self.of(keys).known)
    }

    fn of(&self, keys: usize) -> &Store {
        let index = SIZES.iter().position(|size| *size == keys).expect("one of the sizes");
        self.0[index].get_or_init(|| Store::new(keys))
    }
}

impl Store {
    fn new(keys: usize) -> Self {
        let clients: Vec<_> = (0..1000).map(|id| Client::new(format!("client-{id}"))).collect();
        let (ring, mut known) = (Keyring::new(), HashMap::new());
        for number in 0..keys {
            let (key, client) = (key(number), &clients[number % clients.len()]);
            ring.insert(&key, client.clone()).expect("a new key");
            known.insert(Sha256::digest(&key).into(), client.clone());
        }
        Self { ring, known: Arc::new(known) }
    }
}

/// The keys of one thread's requests, one after another.
pub struct Draw {
    keys: usize,
    asked: Asked,
    random: Random,
}

impl Draw {
    /// Threads draw different keys, or one would warm the other's.
    pub fn new(row: &Row, thread: usize) -> Self {
        Self { keys: row.keys, asked: row.asked, random: Random::new(thread as u64 + 1) }
    }

    /// The number of a key that is known, or of a client.
    pub fn number(&mut self) -> usize {
        match self.asked {
            Asked::Random => self.random.below(self.keys),
            _ => 0,
        }
    }

    pub fn next(&mut self) -> String {
        match self.asked {
            Asked::Hot | Asked::Random => key(self.number()),
            Asked::Wrong | Asked::Missing => "sk_live_nobodys_4f0pGQ8mLz2RxV7nYbT1dK".to_owned(),
        }
    }
}

/// The id of a client, for the limiters.
pub fn id(number: usize) -> String {
    format!("client-{number}")
}

/// A linear congruential generator, whose high bits are random enough for an order.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}
