//! A replica: a service on a socket, in a process of its own.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::{Path, Request},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use tower_api_key::{
    ApiKeyLayer, Client,
    extract::bearer,
    key::KeyFormat,
    limit::{ClientLimitLayer, Limit, Limiter, Limits},
    store::{Cached, Change, Changed, Mirrored, StoreError},
    usage::Usage,
    verify::Verify,
};
use tower_api_key_postgres::Postgres;
use tower_api_key_redis::Redis;

/// The time for which the replica with `Cached` uses an answer.
pub const FRESH: Duration = Duration::from_secs(10);

/// The client with the small limit.
pub const SMALL: &str = "small";
pub const SMALL_PER_SECOND: u64 = 10;
pub const SMALL_BURST: u64 = 50;

/// The overlap of each rotation.
pub const OVERLAP: Duration = Duration::from_secs(3);

static PLAN: Limits = Limits::new(&[Limit::per_minute("minute", 6_000_000)]);
static SMALL_PLAN: Limits = Limits::new(&[Limit::per_minute("minute", 600).burst(50)]);

#[derive(Clone)]
enum Keys {
    Mirrored(Mirrored),
    Cached(Cached),
}

impl Keys {
    async fn change(&self, change: Change) -> Result<Changed, StoreError> {
        match self {
            Self::Mirrored(keys) => keys.change(change).await,
            Self::Cached(keys) => keys.change(change).await,
        }
    }

    /// Returns the last contact and whether there is a problem.
    fn contact(&self) -> (SystemTime, bool) {
        match self {
            Self::Mirrored(keys) => {
                (keys.status().last_contact(), keys.status().problem().is_some())
            }
            Self::Cached(keys) => (keys.status().last_contact(), keys.status().problem().is_some()),
        }
    }
}

/// Serves until it is killed. The arguments are a port, two URLs, a kind and a planted mistake.
pub async fn run(arguments: &[String]) {
    let [port, postgres, redis, kind, mistake] = arguments else { panic!("{arguments:?}") };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let store = Postgres::open(postgres).unwrap();
    let keys = loop {
        let opened = if kind == "cached" {
            let options = Cached::options().capacity(10_000).fresh(FRESH);
            options.open(store.clone()).await.map(Keys::Cached)
        } else {
            Mirrored::open(store.clone()).await.map(Keys::Mirrored)
        };
        match opened {
            Ok(keys) => break keys,
            Err(error) => {
                eprintln!("not open yet: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    };
    let usage = Usage::new();
    let writer = usage.flush_to(store.usage()).every(Duration::from_secs(2));
    let (writer, task) = writer.in_task(tokio::time::sleep).unwrap();
    tokio::spawn(task);
    let guarded = match keys.clone() {
        Keys::Mirrored(keys) => guarded(keys, redis, usage),
        Keys::Cached(keys) => guarded(keys, redis, usage),
    };
    let (reader, writer) = (keys.clone(), Arc::new(writer));
    let app = plant(guarded, mistake)
        .route(
            "/status",
            get(async move || {
                let (contact, has_problem) = reader.contact();
                let contact = contact.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
                format!("{contact} {has_problem} {}", memory())
            }),
        )
        .route(
            "/flush",
            post(async move || match writer.flush().await {
                Ok(()) => StatusCode::OK,
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
            }),
        )
        .route(
            "/change/{what}/{id}",
            post(async move |Path((what, id)): Path<(String, String)>| {
                change(&keys, &what, id).await
            }),
        );
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    axum::serve(listener, app).await.unwrap();
}

fn guarded<V>(keys: V, redis: &str, usage: Usage) -> Router
where
    V: Verify<Client = Client> + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    let limiter = Limiter::new(Redis::open(redis).unwrap());
    let limits =
        ClientLimitLayer::new(
            limiter,
            |client: &Client| {
                if client.id() == SMALL { &SMALL_PLAN } else { &PLAN }
            },
        );
    let keys = ApiKeyLayer::new(bearer(), keys).observe(usage);
    Router::new().route("/", get(async || "accepted")).layer(limits).layer(keys)
}

/// Returns the change of a name, which the command makes in the same way.
pub fn change_of(what: &str, id: String) -> Change {
    match what {
        "issue" => Change::issue(&KeyFormat::default(), Client::new(id)),
        "rotate" => Change::rotate(id, OVERLAP),
        "revoke" => Change::revoke_key(id),
        "pause" => Change::pause(id),
        "resume" => Change::resume(id),
        _ => panic!("no change: {what}"),
    }
}

async fn change(keys: &Keys, what: &str, id: String) -> Response {
    match keys.change(change_of(what, id)).await {
        Ok(changed) => {
            minted(changed).map_or(String::new(), |(id, key)| format!("{id} {key}")).into_response()
        }
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{:?}", error.kind())).into_response()
        }
    }
}

/// Returns the id and the text of a new key.
pub fn minted(changed: Changed) -> Option<(String, String)> {
    let minted = changed.into_minted()?;
    Some((minted.id().to_owned(), minted.reveal(str::to_owned)))
}

/// Returns the memory of this process in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Adds a mistake that the oracle must find.
fn plant(app: Router, mistake: &str) -> Router {
    let accepted = Arc::new(Mutex::new(HashMap::new()));
    match mistake {
        "none" => app,
        // A replica that does not learn of revocations.
        "deaf" => app.layer(middleware::from_fn(move |request: Request, next: Next| {
            let accepted = Arc::clone(&accepted);
            async move {
                let key = request.headers().get(AUTHORIZATION).cloned();
                let response = next.run(request).await;
                let mut accepted = accepted.lock().unwrap();
                match response.status() {
                    StatusCode::OK => _ = accepted.insert(key, ()),
                    StatusCode::UNAUTHORIZED if accepted.contains_key(&key) => {
                        return StatusCode::OK.into_response();
                    }
                    _ => {}
                }
                response
            }
        })),
        // A failure of the store that looks like an unknown key.
        "denying" => app.layer(middleware::map_response(|response: Response| async {
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            response
        })),
        _ => panic!("no mistake: {mistake}. Choose none, deaf or denying"),
    }
}
