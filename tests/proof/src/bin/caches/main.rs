//! Checks that a cache never returns the response of one caller to another.
//!
//! Callers send requests to a real nginx, whose `proxy_cache` stores every response that it may store. Each
//! response names its caller.

mod nginx;
mod site;

use std::{net::SocketAddr, process::ExitCode};

use axum::body::Body;
use http::{Method, Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;

use nginx::Nginx;
use site::{ANSWERS, EXEMPT, FIRST, NOBODY, OWNER, SECOND, WRONG};

#[derive(Clone, Copy, PartialEq)]
enum Caller {
    Stranger,
    First,
    Second,
    Wrong,
}

use Caller::{First, Second, Stranger, Wrong};

/// The orders of callers. One begins without a key, the other with a client, each at a new path.
const ORDERS: [&[(Method, Caller)]; 2] = [
    &[
        (Method::GET, Stranger),
        (Method::GET, Stranger),
        (Method::GET, First),
        (Method::GET, First),
        (Method::GET, Stranger),
        (Method::GET, Second),
        (Method::GET, Wrong),
        (Method::GET, Wrong),
        (Method::HEAD, Stranger),
        (Method::HEAD, Second),
        (Method::GET, Stranger),
    ],
    &[
        (Method::GET, First),
        (Method::GET, Stranger),
        (Method::GET, Second),
        (Method::GET, First),
        (Method::GET, Wrong),
        (Method::HEAD, First),
        (Method::HEAD, Stranger),
        (Method::GET, Stranger),
        (Method::GET, Wrong),
        (Method::GET, Second),
    ],
];

const PLACES: [&str; 4] = ["header", "query", "cookie", "bearer"];

/// Counts of right and wrong responses.
#[derive(Default)]
struct Tally {
    steps: usize,
    hits: usize,
    /// Responses for a client that another caller got.
    leaked: usize,
    /// Rejections and responses without a client that a client got.
    confused: usize,
    /// Other wrong responses, and rejections from the cache.
    odd: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, site::site()).into_future());
    let nginx = Nginx::before(site);

    println!("# Answers through the `proxy_cache` of {}\n", nginx::version());
    println!(
        "Printed by `tests/proof/caches`. Callers come in turn to one path, each with what the"
    );
    println!("cache said to them; `!` and a name is an answer that was made for somebody else.");
    println!("\n## As it is by default\n");
    let default = walk(nginx.addr, "default", &ANSWERS).await;
    println!("\n## Control: with `.no_cache_headers()` answers must cross\n");
    let control = walk(nginx.addr, "no-headers", &["plain"]).await;

    let holds = default.leaked + default.confused + default.odd == 0 && default.hits > 0;
    let can_fail = control.leaked > 0 && control.confused > 0;
    println!("\n## In all\n");
    println!(
        "| | answers | from the cache | a client's to others | others' to a client | else | |"
    );
    println!("|---|--:|--:|--:|--:|--:|---|");
    default.print("default", holds);
    control.print("control", can_fail);
    if holds && can_fail { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries all orders of callers, on both kinds of route, for each kind of response and each location of a key.
async fn walk(cache: SocketAddr, layer: &str, answers: &[&str]) -> Tally {
    let mut tally = Tally::default();
    println!("| route | answer | key by | callers |\n|---|---|---|---|");
    for route in ["optional", "required"] {
        for answer in answers {
            for place in PLACES {
                for (order, steps) in ORDERS.iter().enumerate() {
                    let path = format!("/{layer}/{route}/{answer}/{place}-{order}");
                    let told = follow(cache, &path, route == "optional", place, steps, &mut tally);
                    println!("| {route} | {answer} | {place} | {} |", told.await);
                }
            }
        }
        for place in PLACES {
            let path = format!("/{layer}/{route}{EXEMPT}");
            let told = follow(cache, &path, true, place, ORDERS[0], &mut tally);
            println!("| {route}, exempt path | max-age | {place} | {} |", told.await);
        }
    }
    tally
}

async fn follow(
    cache: SocketAddr,
    path: &str,
    open: bool,
    place: &str,
    steps: &[(Method, Caller)],
    tally: &mut Tally,
) -> String {
    let mut told = Vec::new();
    for (method, caller) in steps {
        let wanted = caller.wants(path, open);
        let got = ask(cache, method, path, place, *caller).await;
        told.push(tally.count(method, *caller, wanted, &got));
    }
    told.join(", ")
}

impl Caller {
    fn key(self) -> Option<&'static str> {
        match self {
            Stranger => None,
            First => Some(FIRST),
            Second => Some(SECOND),
            Wrong => Some(WRONG),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Stranger => "stranger",
            First => "first",
            Second => "second",
            Wrong => "wrong",
        }
    }

    /// Returns the client in the right response. Without a client it is `NOBODY`, and for a rejection `None`.
    fn wants(self, path: &str, open: bool) -> Option<&'static str> {
        match self {
            _ if path.ends_with(EXEMPT) => Some(NOBODY),
            First | Second => Some(self.name()),
            Stranger if open => Some(NOBODY),
            Stranger | Wrong => None,
        }
    }
}

struct Got {
    status: StatusCode,
    owner: Option<String>,
    cache: String,
    /// Whether the body matches the head.
    is_whole: bool,
}

async fn ask(cache: SocketAddr, method: &Method, path: &str, place: &str, caller: Caller) -> Got {
    let mut request = Request::builder().method(method);
    let mut uri = format!("http://{cache}{path}");
    match (place, caller.key()) {
        (_, None) => {}
        ("header", Some(key)) => request = request.header("x-api-key", key),
        ("cookie", Some(key)) => request = request.header("cookie", format!("sid={key}")),
        ("bearer", Some(key)) => request = request.header("authorization", format!("Bearer {key}")),
        (_, Some(key)) => uri = format!("{uri}?api_key={key}"),
    }
    let request = request.uri(uri).body(Body::empty()).unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(Body::new(body), 1 << 20).await.unwrap();

    let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let owner = header(OWNER);
    let whole = match &owner {
        _ if method == Method::HEAD => String::new(),
        Some(owner) => format!("for {owner}\n"),
        None => r#"{"error":"Unauthorized access"}"#.to_owned(),
    };
    Got {
        status: head.status,
        owner,
        cache: header("x-cache").expect("all answers come through the cache"),
        is_whole: body == whole,
    }
}

impl Tally {
    /// Counts one step, and returns a short description.
    fn count(
        &mut self,
        method: &Method,
        caller: Caller,
        wanted: Option<&str>,
        got: &Got,
    ) -> String {
        self.steps += 1;
        let is_hit = got.cache == "HIT";
        self.hits += usize::from(is_hit);
        let owner = got.owner.as_deref();
        let refused = got.status == StatusCode::UNAUTHORIZED;
        let right =
            owner == wanted && refused == owner.is_none() && got.is_whole && !(refused && is_hit);
        if !right {
            let somebody = |owner: &str| owner != NOBODY;
            match (owner, wanted) {
                (Some(owner), wanted) if somebody(owner) && wanted != Some(owner) => {
                    self.leaked += 1
                }
                (_, Some(wanted)) if somebody(wanted) => self.confused += 1,
                _ => self.odd += 1,
            }
        }
        let method = if method == Method::HEAD { "HEAD " } else { "" };
        let wrong = if right { "" } else { &format!(" !{}", owner.unwrap_or("refused")) };
        let refused = if refused { "401 " } else { "" };
        format!("{method}{} {refused}{}{wrong}", caller.name(), got.cache)
    }

    fn print(&self, name: &str, right: bool) {
        let Self { steps, hits, leaked, confused, odd } = self;
        let verdict = if right { "as it should be" } else { "WRONG" };
        println!("| {name} | {steps} | {hits} | {leaked} | {confused} | {odd} | **{verdict}** |");
    }
}
