use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::{runtime::Handle, time::timeout};
use tower_api_key::{
    limit::{Ask, Taken, Taking},
    store::StoreError,
};

use crate::{
    config::Config,
    counted::{longest_wait, never, with_states},
    error,
    fallback::Fallback,
    link::{Link, Up},
    over::Over,
    owned_ask::OwnedAsk,
    script::{Call, Reply},
    server,
};

/// The most refunds that wait for Redis. A further one is lost, which is stricter.
const MOST_REFUNDS: usize = 1_024;

/// The part of a store that its futures need.
pub(crate) struct Shared {
    pub(crate) link: Arc<Link>,
    fallback: Fallback,
    over: Over,
    refunds: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        let (fallback, over) = (Fallback::new(config.on_failure), Over::new());
        Arc::new(Self { link: Link::new(config), fallback, over, refunds: AtomicUsize::new(0) })
    }

    pub(crate) fn take(self: &Arc<Self>, ask: &Ask<'_>) -> Taking {
        let never = never(ask.limits(), ask.cost());
        if !ask.wants_state() {
            if let Some(taken) = never {
                return Taking::Ready(taken);
            }
            if ask.cost() == 0 {
                return Taking::Ready(Taken::passed());
            }
        }
        if let Some(taken) = self.over.find(ask).filter(|_| never.is_none() && ask.cost() > 0) {
            return Taking::Ready(taken);
        }
        if self.link.is_down() {
            return Taking::Ready(self.fallback.take(ask));
        }
        let cost = if never.is_some() { 0 } else { ask.cost() };
        let call = Call::take(&self.link.config.prefix, ask, cost);
        let (shared, ask) = (Arc::clone(self), OwnedAsk::new(ask));
        Taking::Pending(Box::pin(async move {
            match shared.ask_redis(&call, &ask, cost, never).await {
                Some(taken) => taken,
                None => shared.fallback.take(&ask.borrow()),
            }
        }))
    }

    /// Returns `None` if Redis does not answer within the deadline.
    async fn ask_redis(
        &self,
        call: &Call,
        ask: &OwnedAsk,
        cost: u32,
        never: Option<Taken>,
    ) -> Option<Taken> {
        // A timer needs a runtime.
        Handle::try_current().ok()?;
        let (mut up, at) = (None, Instant::now());
        let running = async {
            let up = up.insert(self.link.up().await?);
            let value = server::run(&mut up.connection, call).await;
            Some(value.map_err(|error| self.failed(&error)))
        };
        let value = match timeout(self.link.config.deadline, running).await {
            Ok(value) => value?,
            Err(_) => Err(error::timed_out(&self.link.config.address.text)),
        };
        let reply = value.and_then(|value| {
            let not_ours = || error::not_ours(&self.link.config.address.text);
            Reply::read(value, &ask.limits).ok_or_else(not_ours)
        });
        match reply {
            Ok(reply) => Some(self.conclude(reply, ask, cost, never, at)),
            Err(error) => {
                self.link.fail(up.as_ref(), &error);
                None
            }
        }
    }

    fn conclude(
        &self,
        reply: Reply,
        ask: &OwnedAsk,
        cost: u32,
        never: Option<Taken>,
        at: Instant,
    ) -> Taken {
        let Reply::Counters(passed, counters) = reply else { return Taken::passed() };
        let limits = &ask.limits;
        if passed {
            return with_states(never.unwrap_or(Taken::passed()), &counters, limits, cost);
        }
        let taken = longest_wait(&counters, limits, cost).unwrap_or(Taken::limited(0, MIN_WAIT));
        let taken = if ask.wants_state { with_states(taken, &counters, limits, 0) } else { taken };
        self.over.insert(ask.subject.clone(), limits.clone(), cost, at, counters);
        taken
    }

    pub(crate) fn refund(self: &Arc<Self>, ask: &Ask<'_>) {
        self.over.forget(ask.subject());
        if ask.cost() == 0 {
            return;
        }
        let (Some(up), Ok(runtime)) = (self.link.up_now(), Handle::try_current()) else {
            return self.fallback.refund(ask);
        };
        // The take was before this connection, so that perhaps this process counted it.
        if ask.age() > up.since.elapsed() {
            return;
        }
        if let Some(place) = Place::take(self) {
            let call = Call::refund(&self.link.config.prefix, ask);
            runtime.spawn(place.refund(up, call));
        }
    }

    fn failed(&self, error: &redis::RedisError) -> StoreError {
        error::failed(&self.link.config.address.text, error)
    }
}

/// One of the refunds that wait.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let place = Self(Arc::clone(shared));
        (shared.refunds.fetch_add(1, Relaxed) < MOST_REFUNDS).then_some(place)
    }

    async fn refund(self, mut up: Up, call: Call) {
        let link = &self.0.link;
        let error =
            match timeout(link.config.deadline, server::run(&mut up.connection, &call)).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => self.0.failed(&error),
                Err(_) => error::timed_out(&link.config.address.text),
            };
        link.fail(Some(&up), &error);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.refunds.fetch_sub(1, Relaxed);
    }
}

/// Only a server that does not follow the script needs it.
const MIN_WAIT: std::time::Duration = std::time::Duration::from_millis(1);
