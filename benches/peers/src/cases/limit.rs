//! The limiter alone, without a request around it. The limits are so high that every request passes.

use std::{num::NonZeroU32, sync::Arc};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Subject, Taking};

use crate::{
    harness::Bench,
    row::{
        Asked::{Hot, Random},
        GOVERNOR, OURS, Row,
    },
};

/// The names in the column `stack`.
pub const ONE_LIMIT: &str = "limit";
pub const TWO_LIMITS: &str = "two limits";
pub const WITH_STATE: &str = "ours, with the state";

const SECOND: u32 = 1_000_000_000;
const HOUR: u32 = 4_000_000_000;

static ONE: Limits = Limits::new(&[Limit::per_second("second", SECOND)]);
static TWO: Limits =
    Limits::new(&[Limit::per_second("second", SECOND), Limit::per_hour("hour", HOUR)]);

pub fn cases(bench: &mut Bench) {
    for threads in [1, 2] {
        for (clients, asked) in [(1, Hot), (100_000, Random)] {
            let row = |stack, who| Row::new(stack, who).keys(clients).asked(asked).threads(threads);
            let (second, hour) = (Quota::per_second(some(SECOND)), Quota::per_hour(some(HOUR)));
            bench.add_limiter(row(ONE_LIMIT, GOVERNOR), || {
                let limiter: Arc<DefaultKeyedRateLimiter<String>> =
                    Arc::new(RateLimiter::keyed(second));
                move |id: &String| limiter.check_key(id).is_ok()
            });
            bench.add_limiter(row(ONE_LIMIT, OURS), || ours(&ONE, false));
            bench.add_limiter(row(ONE_LIMIT, WITH_STATE), || ours(&ONE, true));
            bench.add_limiter(row(TWO_LIMITS, GOVERNOR), || {
                let limiters: Arc<[DefaultKeyedRateLimiter<String>; 2]> =
                    Arc::new([second, hour].map(RateLimiter::keyed));
                move |id: &String| limiters.iter().all(|limiter| limiter.check_key(id).is_ok())
            });
            bench.add_limiter(row(TWO_LIMITS, OURS), || ours(&TWO, false));
            bench.add_limiter(row(TWO_LIMITS, WITH_STATE), || ours(&TWO, true));
        }
    }
}

fn ours(limits: &'static Limits, with_state: bool) -> impl Fn(&String) -> bool + Clone + Send {
    let limiter = Limiter::in_process();
    move |id| {
        let ask = Ask::new(Subject::Client(id), limits);
        let ask = if with_state { ask.with_state() } else { ask };
        match limiter.take(&ask) {
            Taking::Ready(taken) => taken.is_passed(),
            Taking::Pending(_) => unreachable!("the limiter is in the process"),
        }
    }
}

fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("more than zero")
}
