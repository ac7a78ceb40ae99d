//! The time that a limit of clients adds to an accepted request. The client is in the extensions already.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use tower::{Layer, Service};
use tower_api_key::{
    Client,
    limit::{ClientLimitLayer, Limit, Limiter, Limits, RateLimitHeaders},
};
use tower_governor::{
    GovernorError, GovernorLayer, governor::GovernorConfigBuilder, key_extractor::KeyExtractor,
};

use crate::{
    added::{GOVERNOR_BY_HAND, NO_LIMIT, TOWER_GOVERNOR, WITH_FIELDS},
    harness::Bench,
    row::{
        Asked::{Hot, Random},
        OURS, Row,
    },
};

const STACK: &str = "client limit";
const QUOTA: u32 = 1_000_000_000;

static PLAN: Limits = Limits::new(&[Limit::per_second("second", QUOTA)]);

pub fn cases(bench: &mut Bench) {
    for (clients, asked, threads) in [(1, Hot, 1), (100_000, Random, 1), (1, Hot, 2)] {
        let row = |who| Row::new(STACK, who).keys(clients).asked(asked).threads(threads);
        bench.add(row(NO_LIMIT), || Inner, of_client);
        bench.add(row(OURS), || ours().layer(Inner), of_client);
        let headers = || ours().headers(RateLimitHeaders::Always).layer(Inner);
        bench.add(row(WITH_FIELDS), headers, of_client);
        bench.add(row(GOVERNOR_BY_HAND), governor_by_hand, of_client);
        bench.add(row(TOWER_GOVERNOR), tower_governor, of_client);
    }
}

fn ours() -> ClientLimitLayer<fn(&Client) -> &'static Limits> {
    ClientLimitLayer::new(Limiter::in_process(), |_| &PLAN)
}

fn governor_by_hand() -> ByHand {
    let quota = Quota::per_second(NonZeroU32::new(QUOTA).expect("more than zero"));
    ByHand(Inner, Arc::new(RateLimiter::keyed(quota)))
}

fn tower_governor()
-> impl Service<Request<()>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let config = GovernorConfigBuilder::default()
        .period(Duration::from_nanos(1))
        .burst_size(QUOTA)
        .key_extractor(OfClient)
        .finish()
        .expect("a period and a burst");
    GovernorLayer::new(config).layer(Inner)
}

/// A request of the client whose key this is.
fn of_client(key: &str) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(Client::new(key));
    request
}

#[derive(Clone, Copy, Debug)]
struct OfClient;

impl KeyExtractor for OfClient {
    type Key = String;

    fn extract<T>(&self, request: &Request<T>) -> Result<String, GovernorError> {
        let client = request.extensions().get::<Client>();
        client.map(|client| client.id().to_owned()).ok_or(GovernorError::UnableToExtractKey)
    }
}

/// The middleware that a user would write with governor.
#[derive(Clone)]
struct ByHand(Inner, Arc<DefaultKeyedRateLimiter<String>>);

impl Service<Request<()>> for ByHand {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let client = request.extensions().get::<Client>();
        let passes = client.is_some_and(|it| self.1.check_key(&it.id().to_owned()).is_ok());
        if passes {
            return self.0.call(request);
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        ready(Ok(response))
    }
}

/// Its response has a header, as most responses have. Otherwise `RateLimit` would also pay for the map.
#[derive(Clone, Copy)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        ready(Ok(response))
    }
}
