//! The whole service: a configuration of words, the keys behind it, and what it should answer.

use std::{
    cell::RefCell, collections::BTreeMap, future::poll_fn, io, rc::Rc, task::Poll, time::UNIX_EPOCH,
};

use http::{HeaderMap, Response, request::Parts};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    observe::{Decision, Observe},
    record::Record,
    respond::{Problem, Text},
    verify::{self, Verify, VerifyError},
};

use crate::{
    extractor, find,
    oracle::{Find, KeyLocation, Verdict, grpc, is_preflight, status_of},
    places::Any,
    words,
};

pub const OPEN: &str = "/open";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Problem,
    Text,
    /// One that says something of its own of challenge and caching.
    Own,
}

#[derive(Debug)]
pub struct Setup {
    pub find: Find,
    pub optional: bool,
    pub forward: bool,
    pub exempt: bool,
    pub preflight: bool,
    pub uncached: bool,
    pub is_async: bool,
    pub form: Form,
    pub max_len: usize,
    pub realm: String,
}

impl Setup {
    pub fn of(line: &[u8]) -> Self {
        let has = |wanted| words(line).any(|word| word == wanted);
        let value = |name| words(line).find_map(|word| word.strip_prefix(name));
        Self {
            find: find(line),
            optional: has("optional"),
            forward: has("forward"),
            exempt: has("exempt"),
            preflight: has("preflight"),
            uncached: has("uncached"),
            is_async: has("async"),
            form: match () {
                () if has("problem") => Form::Problem,
                () if has("text") => Form::Text,
                () if has("own-form") => Form::Own,
                () => Form::Json,
            },
            max_len: value("max=").and_then(|max| max.parse().ok()).unwrap_or(1024),
            realm: value("realm=").unwrap_or("api").to_owned(),
        }
    }

    /// `None` where the realm is none, as it should be.
    pub fn layer<V: Verify>(&self, verifier: V) -> Option<ApiKeyLayer<Any, V>> {
        let layer = ApiKeyLayer::new(extractor(&self.find), verifier).try_realm(&self.realm);
        let is_realm = self.realm.chars().all(|char| char == '\t' || (' '..='~').contains(&char));
        assert_eq!(layer.is_ok(), is_realm);
        let mut layer = layer.ok()?.max_key_len(self.max_len);
        if self.optional {
            layer = layer.optional();
        }
        if self.forward {
            layer = layer.forward_key();
        }
        if self.exempt {
            layer = layer.exempt_path(OPEN);
        }
        if self.preflight {
            layer = layer.pass_preflight();
        }
        if self.uncached {
            layer = layer.no_cache_headers();
        }
        Some(match self.form {
            Form::Json => layer,
            Form::Problem => layer.respond(Problem::default()),
            Form::Text => layer.respond(Text::default()),
            Form::Own => layer.respond(|rejection: &tower_api_key::Rejection| {
                let response = Response::builder().status(rejection.status());
                let response =
                    response.header("www-authenticate", "Own").header("cache-control", "max-age=9");
                response.body(rejection.message()).expect("a response")
            }),
        })
    }
}

// --------------------------------------------------------------------------------------------
// The keys, and who says whose they are.

/// All keys that are known, each with its client or with why it opens nothing.
pub const KEYS: [(&str, Result<&str, &str>); 6] = [
    ("canary-of-mobile-app", Ok("mobile-app")),
    ("canary-of-ci", Ok("ci")),
    ("canary-expired", Err("expired")),
    ("canary-not-yet-valid", Err("not_yet_valid")),
    ("canary-revoked", Err("revoked")),
    ("canary-down", Err("failed")),
];

/// Four of them are in a keyring.
pub fn keyring() -> Keyring {
    let record = |client: &'static str, key: &str| {
        Record::new(KeyDigest::of(key), Client::new(client)).with_created(UNIX_EPOCH)
    };
    let keys = Keyring::new();
    let end_of_time = UNIX_EPOCH + std::time::Duration::from_secs(1 << 33);
    for record in [
        record("mobile-app", "canary-of-mobile-app"),
        record("former", "canary-expired").with_expires(UNIX_EPOCH),
        record("next", "canary-not-yet-valid").with_not_before(end_of_time),
        record("banned", "canary-revoked").with_revoked(UNIX_EPOCH),
    ] {
        keys.insert_record(record).expect("a good record");
    }
    keys
}

/// The others are asked for elsewhere.
fn ask(digest: KeyDigest) -> Result<Option<Client>, VerifyError> {
    if digest == KeyDigest::of("canary-down") {
        return Err(VerifyError::failed(io::Error::other("a cause that callers must not see")));
    }
    Ok((digest == KeyDigest::of("canary-of-ci")).then(|| Client::new("ci")))
}

pub fn at_once(keys: Keyring) -> impl Verify<Client = Client, Future = verify::Never<Client>> {
    keys.or(verify::from_fn(|key: &verify::PresentedKey<'_>| ask(key.digest())))
}

/// After a while, for half of the keys.
pub fn later(keys: Keyring) -> impl Verify<Client = Client> {
    keys.or(verify::from_async_fn(|digest: KeyDigest| {
        let mut left = digest.to_bytes()[0] & 1;
        async move {
            poll_fn(|context| match left {
                0 => Poll::Ready(()),
                _ => {
                    left -= 1;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
            ask(digest)
        }
    }))
}

/// Keeps what it is told.
#[derive(Clone, Default)]
pub struct Told(pub Rc<RefCell<Vec<(String, String)>>>);

impl Observe for Told {
    fn on_decision(&self, event: &Decision<'_>) {
        let outcome = event.outcome().as_str();
        let reason = event.rejection().map(|rejection| rejection.reason().as_str());
        let client = event.client().map(Client::id);
        let outcome = format!("{outcome} {}", client.or(reason).unwrap_or("-"));
        self.0.borrow_mut().push((outcome, format!("{event:?} {:?}", event.key_id())));
    }
}

// --------------------------------------------------------------------------------------------
// What should come of a request.

impl Setup {
    pub fn verdict(&self, request: &Parts) -> Verdict {
        if self.exempt && request.uri.path() == OPEN {
            return Verdict::Exempt;
        }
        if self.preflight && is_preflight(request) {
            return Verdict::Preflight;
        }
        self.find
            .read(request)
            .verdict(self.max_len, self.optional, |key| {
                let known = KEYS.iter().find(|(known, _)| known.as_bytes() == key);
                known.map_or(Err("unknown"), |(_, whose)| *whose)
            })
            .with_hint(request, &self.find.locations())
    }
}

/// As an observer is told.
pub fn outcome(way: &Verdict) -> String {
    match way {
        Verdict::Exempt | Verdict::Preflight => "exempt -".to_owned(),
        Verdict::Anonymous => "anonymous -".to_owned(),
        Verdict::Client(client, _) => format!("accepted {client}"),
        Verdict::Rejected(reason, _) => format!("rejected {reason}"),
    }
}

/// A response: its status, its headers by name, its body.
pub type Answer = (u16, BTreeMap<String, Vec<String>>, String);

pub fn answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    let mut by_name = BTreeMap::<_, Vec<_>>::new();
    for (name, line) in headers {
        let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
        by_name.entry(name.to_string()).or_default().push(line);
    }
    (status, by_name, String::from_utf8_lossy(body).into_owned())
}

fn named(headers: &[(&str, &[String])]) -> BTreeMap<String, Vec<String>> {
    let lines = headers.iter().filter(|(_, lines)| !lines.is_empty());
    lines.map(|(name, lines)| ((*name).to_owned(), lines.to_vec())).collect()
}

/// The answer of the service inside, with what is said to caches.
pub fn passed(setup: &Setup, request: &Parts, way: &Verdict) -> Answer {
    let is_public = request.headers.contains_key("x-public");
    let mut caching: Vec<_> = is_public.then(|| "public".to_owned()).into_iter().collect();
    let mut vary = Vec::new();
    let mut referrer = Vec::new();
    let is_kept = matches!(request.method.as_str(), "GET" | "HEAD");
    if is_kept && !setup.uncached && !matches!(way, Verdict::Exempt | Verdict::Preflight) {
        for place in setup.find.locations() {
            let name = match place {
                KeyLocation::Header(name) => name,
                KeyLocation::Cookie(_) => "cookie",
                KeyLocation::Scheme(_) => "authorization",
                KeyLocation::Query(_) => continue,
            };
            if !vary.contains(&name) {
                vary.push(name);
            }
        }
        if let Verdict::Client(_, place) = way {
            if !is_public {
                caching.push("private".to_owned());
            }
            if matches!(place, KeyLocation::Query(_)) {
                referrer.push("no-referrer".to_owned());
            }
        }
    }
    let vary: Vec<_> = (!vary.is_empty()).then(|| vary.join(", ")).into_iter().collect();
    let headers = [("cache-control", &*caching), ("vary", &*vary), ("referrer-policy", &*referrer)];
    (200, named(&headers), "inside".to_owned())
}

/// The answer of the layer.
pub fn rejected(
    setup: &Setup,
    request: &Parts,
    reason: &str,
    place: Option<KeyLocation>,
) -> Answer {
    let status = status_of(reason);
    let (grpc_status, title, message) = match status {
        503 => ("14", "Service Unavailable", "Service unavailable"),
        400 => ("3", "Bad Request", "More than one API key in the request"),
        _ => ("16", "Unauthorized", "Unauthorized access"),
    };
    let line = |text: &str| vec![text.to_owned()];
    if let Some(content_type) = grpc(request) {
        let headers = [
            ("content-type", &*line(content_type)),
            ("grpc-status", &*line(grpc_status)),
            ("grpc-message", &*line(message)),
            ("cache-control", &*line("no-store")),
        ];
        return (200, named(&headers), String::new());
    }
    let (content_type, body) = match setup.form {
        Form::Json => (line("application/json"), format!(r#"{{"error":"{message}"}}"#)),
        Form::Problem => (
            line("application/problem+json"),
            format!(
                r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{message}"}}"#
            ),
        ),
        Form::Text => (line("text/plain; charset=utf-8"), message.to_owned()),
        Form::Own => (Vec::new(), message.to_owned()),
    };
    let is_own = setup.form == Form::Own;
    let mut challenges = if is_own { line("Own") } else { Vec::new() };
    challenges.extend(challenges_of(setup, status, reason, place));
    let caching =
        if is_own { vec!["max-age=9".to_owned(), "no-store".to_owned()] } else { line("no-store") };
    let headers = [
        ("content-type", &*content_type),
        ("www-authenticate", &*challenges),
        ("cache-control", &*caching),
    ];
    (status, named(&headers), body)
}

/// Of a 401 one a place, `Bearer` first; of a 400 that of `Bearer` alone, which has a code for it.
fn challenges_of(
    setup: &Setup,
    status: u16,
    reason: &str,
    place: Option<KeyLocation>,
) -> Vec<String> {
    let realm = setup.realm.replace('\\', r"\\").replace('"', r#"\""#);
    let bearer = KeyLocation::Scheme("Bearer");
    let error = match reason {
        "missing" | "no_scheme" | "other_scheme" => "",
        "ambiguous" => r#", error="invalid_request""#,
        _ if place == Some(bearer) => r#", error="invalid_token""#,
        _ => "",
    };
    let mut places = setup.find.locations();
    places.sort_by_key(|place| *place != bearer);
    places.retain(|place| status == 401 || (status == 400 && *place == bearer));
    let challenge = |place| match place {
        KeyLocation::Scheme("Bearer") => format!(r#"Bearer realm="{realm}"{error}"#),
        KeyLocation::Scheme(scheme) => format!(r#"{scheme} realm="{realm}""#),
        KeyLocation::Header(name) => {
            format!(r#"ApiKey realm="{realm}", in="header", name="{name}""#)
        }
        KeyLocation::Query(name) => format!(r#"ApiKey realm="{realm}", in="query", name="{name}""#),
        KeyLocation::Cookie(name) => {
            format!(r#"ApiKey realm="{realm}", in="cookie", name="{name}""#)
        }
    };
    places.into_iter().map(challenge).collect()
}
