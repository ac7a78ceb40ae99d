//! Random changes, lookups and deliveries, compared with an oracle that knows which answers are right.

use std::{collections::VecDeque, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower_api_key::{
    Client,
    record::Record,
    rejection::Reason,
    store::{Cached, Change, KeyStore as _},
};

use crate::{
    cached::{ask_later, settle},
    faulty::Scripted,
    gate::{Find, Gate},
    mirrored_load::record,
};

const FRESH: Duration = Duration::from_secs(20);

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

type Answer = Result<String, Reason>;

/// A key with all its states in the store.
struct Key {
    text: String,
    id: String,
    states: Vec<(Instant, Answer)>,
    /// The oldest state that this process may still use.
    floor: usize,
}

impl Key {
    fn new(number: usize) -> Self {
        let text = format!("key-of-the-client-{number}-0123456789");
        let states = vec![(Instant::now(), Err(Reason::Unknown))];
        Self { text, id: format!("{number:08}"), states, floor: 0 }
    }

    fn last(&self) -> usize {
        self.states.len() - 1
    }

    /// Returns the oldest state that a request may use which begins now.
    fn oldest(&self) -> usize {
        let limit = Instant::now() - FRESH;
        let current = self.states.iter().rposition(|(since, _)| *since <= limit);
        self.floor.max(current.unwrap_or(0))
    }

    /// Returns a change and the answer after it.
    fn change(&self, random: &mut Random, step: usize) -> Option<(Change, Answer)> {
        let value = step.to_string();
        let set = |record: Record, value: &str| {
            let client = record.client().clone().with_metadata("step", value);
            record.with_client(client)
        };
        let (_, now) = self.states.last().unwrap();
        match now {
            Err(Reason::Unknown) => {
                let record = set(record(&self.text, &self.id), &value);
                Some((Change::insert(record), Ok(value)))
            }
            Err(Reason::Revoked) => None,
            Err(_) => {
                let value = self.states.iter().rev().find_map(|(_, answer)| answer.clone().ok());
                Some((Change::resume(&self.id), Ok(value.unwrap())))
            }
            Ok(_) => Some(match random.below(8) {
                0 => (Change::revoke_key(&self.id), Err(Reason::Revoked)),
                1 | 2 => (Change::pause(&self.id), Err(Reason::Paused)),
                _ => {
                    let text = value.clone();
                    (Change::update(&self.id, move |record| set(record, &text)), Ok(value))
                }
            }),
        }
    }
}

struct Request {
    key: usize,
    oldest: usize,
    answer: JoinHandle<Result<Client, Reason>>,
}

async fn run(seed: u64) {
    let mut random = Random(seed);
    let store = Scripted::new(vec![]);
    let gate = Gate::new(store.clone());
    let options = Cached::options().fresh(FRESH).capacity(64).max_lookups(10_000);
    let cached = options.open(gate.clone()).await.unwrap();
    let mut keys: Vec<_> = (0..40).map(Key::new).collect();
    let mut requests: Vec<Request> = Vec::new();
    // The states that the store has not delivered yet. While it restarts, it delivers none.
    let mut undelivered: VecDeque<(usize, usize, Record)> = VecDeque::new();
    let mut is_behind = false;
    let (mut checked, mut accepted) = (0, 0);
    for step in 0..10_000 {
        let at = random.below(keys.len());
        match random.below(100) {
            0..50 => {
                let slow = Duration::from_millis(random.below(1_500) as u64);
                gate.set(if random.below(3) == 0 { Find::Slow(slow) } else { Find::Honest });
                let key = &keys[at];
                let answer = ask_later(&cached, &key.text);
                requests.push(Request { key: at, oldest: key.oldest(), answer });
            }
            50..75 => {
                let Some((change, answer)) = keys[at].change(&mut random, step) else {
                    keys.push(Key::new(keys.len()));
                    continue;
                };
                let is_own = random.below(3) == 0;
                if is_own {
                    assert_eq!(cached.change(change).await.unwrap().count(), 1);
                } else {
                    assert_eq!(change.commit(&store.store).await.unwrap().count(), 1);
                }
                let key = &mut keys[at];
                key.states.push((Instant::now(), answer));
                let digest = tower_api_key::KeyDigest::of(&key.text);
                let record = store.store.find(&digest).await.unwrap().unwrap();
                if is_own {
                    key.floor = key.last();
                }
                if !is_behind {
                    undelivered.push_back((at, key.last(), record));
                }
            }
            75..90 => {
                if let Some((at, state, record)) = undelivered.pop_front() {
                    store.deliver(move |listener| listener.record(1, record)).await;
                    keys[at].floor = keys[at].floor.max(state);
                }
            }
            90..92 => {
                match is_behind {
                    true => store.deliver(|listener| listener.ready(None)).await,
                    false => store.deliver(|listener| listener.restart()).await,
                }
                is_behind = !is_behind;
                undelivered.clear();
                keys.iter_mut().for_each(|key| key.floor = key.last());
            }
            _ => sleep(Duration::from_millis(random.below(3_000) as u64)).await,
        }
        if random.below(4) == 0 {
            settle().await;
        }
        let (done, pending): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| request.answer.is_finished());
        requests = pending;
        for Request { key, oldest, answer } in done {
            let answer = answer.await.unwrap();
            accepted += usize::from(answer.is_ok());
            checked += 1;
            let answer = answer.map(|client| client.metadata("step").unwrap().to_owned());
            let right: Vec<_> = keys[key].states[oldest..].iter().map(|(_, it)| it).collect();
            assert!(right.contains(&&answer), "seed {seed}, step {step}: {answer:?}, {right:?}");
        }
    }
    assert!(checked > 4_000 && accepted > 1_000, "{checked} answers, {accepted} accepted");
    assert!(gate.finds() < checked, "{} queries for {checked} answers", gate.finds());
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_random_steps_give_no_wrong_answer() {
    for seed in [1, 0x9E37_79B9_7F4A_7C15] {
        run(seed).await;
    }
}
