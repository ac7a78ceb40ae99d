//! Instructions of one request behind the layer, as the difference to the floor, against those that
//! were accepted before. `--accept` accepts these.

use std::{
    collections::HashMap,
    fs,
    process::{Command, ExitCode},
};

use http::{StatusCode, Uri};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring,
    extract::{Extract, bearer, cookie, header, query, scheme},
    limit::{ClientLimitLayer, Limit, Limiter, Limits, RateLimitHeaders},
    usage::Usage,
};
use tower_api_key_counts::{
    Inner,
    callgrind::{self, Count},
    client_request, count,
    floor::{self, BY_HAND, BY_HAND_REFUSED, FLOOR, FLOOR_WITHOUT_KEY, FLOOR_WITHOUT_LIMIT},
    key, keyring, request, with_key, wrong_key,
};
use tower_layer::Layer;

static PLAN: Limits = Limits::new(&[Limit::per_second("second", 1_000_000_000)]);

/// A case may grow by as many without being accepted anew.
const TOLERANCE: i64 = 20;
const ACCEPTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/expected.txt");

fn main() -> ExitCode {
    if client_request::is_running() {
        cases();
        return ExitCode::SUCCESS;
    }
    let counts = callgrind::run("counts");
    if std::env::args().any(|argument| argument == "--accept") {
        accept(&counts);
    }
    judge(&counts)
}

fn cases() {
    let (one, many) = (&keyring(1), &keyring(100_000));
    client_request::start();
    floor::cases();

    let good = |_| with_key(&key(0));
    let wrong = |number| with_key(&wrong_key(number));
    let keyless = |_| request("x-other", "nothing");
    let bearing = |scheme| request("authorization", &format!("{scheme} {}", key(0)));

    let by_header = ours(header("x-api-key"), one);
    count("header, 1 key", StatusCode::OK, by_header.layer(Inner), good);
    let observed = by_header.clone().observe(()).layer(Inner);
    count("header, 1 key, observer ()", StatusCode::OK, observed, good);
    let observed = by_header.clone().observe(Usage::new()).layer(Inner);
    count("header, 1 key, usage", StatusCode::OK, observed, good);
    let cached = ApiKeyLayer::new(header("x-api-key"), one.clone()).layer(Inner);
    count("header, 1 key, cache headers", StatusCode::OK, cached, good);
    let places = (header("x-api-key"), bearer(), query("api_key"));
    count("header of three places, 1 key", StatusCode::OK, ours(places, one).layer(Inner), good);
    let place = ours(bearer(), one).layer(Inner);
    count("bearer, 1 key", StatusCode::OK, place, |_| bearing("Bearer"));
    let place = ours(scheme("Token"), one).layer(Inner);
    count("scheme, 1 key", StatusCode::OK, place, |_| bearing("Token"));
    let line = format!("theme=dark; api_key={}; lang=en", key(0));
    let place = ours(cookie("api_key"), one).layer(Inner);
    count("cookie, 1 key", StatusCode::OK, place, |_| request("cookie", &line));
    let uri: Uri =
        format!("/secret-data?page=1&api_key={}&size=10", key(0)).parse().expect("a URI");
    count("query, 1 key", StatusCode::OK, ours(query("api_key"), one).layer(Inner), |_| {
        let mut request = keyless(0);
        *request.uri_mut() = uri.clone();
        request
    });
    count("refused, 1 key", StatusCode::UNAUTHORIZED, by_header.layer(Inner), wrong);
    count("no key", StatusCode::UNAUTHORIZED, by_header.layer(Inner), keyless);

    let many = ours(header("x-api-key"), many);
    count("header, 100,000 keys", StatusCode::OK, many.layer(Inner), |number| {
        with_key(&key(number * 1000))
    });
    count("refused, 100,000 keys", StatusCode::UNAUTHORIZED, many.layer(Inner), wrong);

    let of_client = |_| {
        let mut request = request("x-other", "nothing");
        request.extensions_mut().insert(Client::new("client"));
        request
    };
    let limit = ClientLimitLayer::new(Limiter::in_process(), |_: &Client| &PLAN);
    count(FLOOR_WITHOUT_LIMIT, StatusCode::OK, Inner, of_client);
    count("client limit", StatusCode::OK, limit.layer(Inner), of_client);
    let headers = limit.headers(RateLimitHeaders::Always).layer(Inner);
    count("client limit, headers", StatusCode::OK, headers, of_client);
}

fn ours<E: Extract>(extract: E, keys: &Keyring) -> ApiKeyLayer<E, Keyring> {
    ApiKeyLayer::new(extract, keys.clone()).no_cache_headers()
}

/// The cases beside the floor. What is refused unhashed is compared with a floor that hashes nothing.
fn differences(counts: &[Count]) -> impl Iterator<Item = (&str, i64)> {
    let of = |name: &str| counts.iter().find(|it| it.case == name).expect("a floor").least;
    let (floor, without_key) = (of(FLOOR), of(FLOOR_WITHOUT_KEY));
    let without_limit = of(FLOOR_WITHOUT_LIMIT);
    let cases = counts.iter().filter(|it| !it.case.starts_with(FLOOR));
    cases.map(move |it| {
        let floor = match &*it.case {
            "no key" => without_key,
            case if case.starts_with("client limit") => without_limit,
            _ => floor,
        };
        (&*it.case, it.least - floor)
    })
}

/// What others cost is for comparison.
fn is_gated(case: &str) -> bool {
    ![BY_HAND, BY_HAND_REFUSED].contains(&case)
}

fn accept(counts: &[Count]) {
    let gated = differences(counts).filter(|(case, _)| is_gated(case));
    let lines = gated.map(|(case, count)| format!("{count:>6}  {case}\n"));
    let text = format!("# {}\n{}", compiler(), lines.collect::<String>());
    fs::write(ACCEPTED, text).expect("expected.txt");
}

/// Another compiler makes other instructions of the same code.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().expect("rustc");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn judge(counts: &[Count]) -> ExitCode {
    let text = fs::read_to_string(ACCEPTED).unwrap_or_default();
    let (accepted_with, lines) = text.split_once('\n').unwrap_or_default();
    let mut accepted: HashMap<&str, i64> = lines
        .lines()
        .map(|line| line.trim().split_once("  ").expect("a count and a case"))
        .map(|(count, case)| (case, count.parse().expect("a count")))
        .collect();

    let (mut grown, mut shrunk) = (Vec::new(), Vec::new());
    println!("instructions of a request, beyond the floor");
    println!("{:>9} {:>9} {:>7}  case", "accepted", "now", "change");
    for (case, now) in differences(counts) {
        let before = accepted.remove(case);
        let change = before.map(|before| now - before);
        let show = |count: Option<i64>| count.map_or_else(|| "-".to_owned(), |it| it.to_string());
        println!("{:>9} {now:>9} {:>7}  {case}", show(before), show(change));
        match change {
            _ if !is_gated(case) => {}
            None => grown.push(format!("{case}: it has no accepted figure")),
            Some(more) if more > TOLERANCE => grown.push(format!("{case}: {more} more")),
            Some(less) if less < -TOLERANCE => shrunk.push(format!("{case}: {} fewer", -less)),
            Some(_) => {}
        }
    }
    grown.extend(accepted.keys().map(|case| format!("{case}: an accepted figure, and no case")));
    for line in &shrunk {
        println!("SHRUNK {line}; benches/counts/run counts --accept keeps it so");
    }
    for line in &grown {
        println!("FAILED {line}; benches/counts/run counts --accept if it is worth it");
    }
    let compiler = compiler();
    if accepted_with.trim_start_matches("# ") != compiler {
        println!(
            "the accepted figures are of another compiler: {accepted_with}; this is {compiler}"
        );
    }
    if grown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
