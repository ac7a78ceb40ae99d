//! The server: every kind of route behind the layer. The inner service checks that its call was allowed.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{
    Router, body::Body, error_handling::HandleErrorLayer, extract::Request, response::Response,
    routing::any_service,
};
use http::{HeaderName, StatusCode, header::AUTHORIZATION};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time::sleep};
use tower::{ServiceBuilder, buffer::BufferLayer, limit::GlobalConcurrencyLimitLayer, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    extract::{Extract, bearer, cookie, header, query},
    verify::{self, Verify, VerifyError},
};

use crate::{keys::CANARY, tally::Tally};

pub const GUARDED: &str = "/guarded";
pub const OPTIONAL: &str = "/optional";
/// The route with the slow verifier.
pub const SLOW: &str = "/slow";
/// The route in which one service handles all requests, as behind a tower `Buffer`.
pub const BUFFERED: &str = "/buffered";
pub const EXEMPT: &str = "/exempt";

/// A key for which the verifier of [`SLOW`] fails.
pub const FAILING: &str = "soak-the-store-is-down-0123456789";

pub const NOBODY: &str = "nobody";
/// The header with the expected client, which the inner service compares.
pub const WANTED: &str = "x-wanted";
pub const REFUSED: &str = "refused";

const PERMITS: usize = 24;

/// The permits of the inner services, by route.
#[derive(Default)]
pub struct Permits(Vec<(&'static str, Arc<Semaphore>)>);

impl Permits {
    fn of(&mut self, route: &'static str) -> GlobalConcurrencyLimitLayer {
        let permits = Arc::new(Semaphore::new(PERMITS));
        self.0.push((route, Arc::clone(&permits)));
        GlobalConcurrencyLimitLayer::with_semaphore(permits)
    }

    pub fn missing(&self) -> Vec<String> {
        let missing = |permits: &Semaphore| PERMITS - permits.available_permits();
        let routes = self.0.iter().filter(|(_, permits)| missing(permits) > 0);
        routes.map(|(route, permits)| format!("{route}: {}", missing(permits))).collect()
    }
}

pub fn site(keys: &Keyring, tally: &Arc<Tally>) -> (Router, Permits) {
    let mut permits = Permits::default();
    let tally = Arc::clone(tally);
    let inner = service_fn(move |request: Request| {
        let tally = Arc::clone(&tally);
        async move {
            let owner = owner(&tally, &request);
            if fastrand::u8(..8) == 0 {
                sleep(Duration::from_millis(fastrand::u64(..5))).await;
            }
            // The body of the request was not read.
            drop(request);
            Ok::<_, Infallible>(Response::new(Body::from(owner)))
        }
    });
    let layer = ApiKeyLayer::new(locations(), keys.clone()).exempt_path(EXEMPT);
    let slow = ApiKeyLayer::new(locations(), thoughtful(keys.clone()));

    let guarded = ServiceBuilder::new().layer(layer.clone()).layer(permits.of(GUARDED));
    let exempt = ServiceBuilder::new().layer(layer.clone()).layer(permits.of(EXEMPT));
    let optional =
        ServiceBuilder::new().layer(layer.clone().optional()).layer(permits.of(OPTIONAL));
    let slow = ServiceBuilder::new().layer(slow).layer(permits.of(SLOW));
    let buffered = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(|_| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .layer(BufferLayer::<Request>::new(1024))
        .layer(layer)
        .layer(permits.of(BUFFERED));

    let router = Router::new()
        .route(GUARDED, any_service(guarded.service(inner.clone())))
        .route(EXEMPT, any_service(exempt.service(inner.clone())))
        .route(OPTIONAL, any_service(optional.service(inner.clone())))
        .route(SLOW, any_service(slow.service(inner.clone())))
        .route(BUFFERED, any_service(buffered.service(inner)));
    (router, permits)
}

fn locations() -> impl Extract + Clone + Send + Sync + 'static {
    (header("x-api-key"), bearer(), query("api_key"), cookie("sid"))
}

/// The future of a slow verifier, which must be `Send`.
trait Found: Future<Output = Result<Client, VerifyError>> + Send + 'static {}

impl<F: Future<Output = Result<Client, VerifyError>> + Send + 'static> Found for F {}

/// Looks up keys, as a database would.
fn thoughtful(
    keys: Keyring,
) -> impl Verify<Client = Client, Future = impl Found> + Send + Sync + 'static {
    let failing = KeyDigest::of(FAILING);
    verify::from_async_fn(move |digest| {
        let keys = keys.clone();
        async move {
            sleep(Duration::from_millis(fastrand::u64(..12))).await;
            if digest == failing {
                return Err(VerifyError::failed(io::Error::other("the store is down")));
            }
            let now = std::time::SystemTime::now();
            let found = keys.record_by_digest(&digest).filter(|record| record.check(now).is_ok());
            Ok(found.map(|record| record.client().clone()))
        }
    })
}

/// Returns the client of a request, and checks that it is the expected one.
fn owner(tally: &Tally, request: &Request) -> String {
    let client = request.extensions().get::<Client>();
    let owner = client.map_or(NOBODY, Client::id).to_owned();
    let wanted = request.headers().get(WANTED).map(|value| value.as_bytes());
    if wanted != Some(owner.as_bytes()) {
        let wanted = String::from_utf8_lossy(wanted.unwrap_or(b"nothing"));
        tally.odd(format!("{} let {owner} in, where {wanted} was wanted", request.uri().path()));
    }
    let holds_key = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|it| it == CANARY);
    // On an exempt path this line stays, because another service may need it.
    let may_stay = |name: &HeaderName| name == AUTHORIZATION && request.uri().path() == EXEMPT;
    let mut headers = request.headers().iter().filter(|(name, _)| !may_stay(name));
    let query = request.uri().query().unwrap_or_default();
    if holds_key(query.as_bytes()) || headers.any(|(_, value)| holds_key(value.as_bytes())) {
        tally.odd(format!("{} shows a key to the inner service", request.uri().path()));
    }
    owner
}

/// Serves HTTP/1 and HTTP/2 on one port.
pub async fn serve(listener: TcpListener, router: Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            // Half of the callers disconnect, which is an error here.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
