//! Helpers for tests: keys, one request through a layer, and its result.

#![allow(dead_code, reason = "each test uses a part")]

#[cfg(feature = "file")]
pub(crate) mod key_file;
#[cfg(feature = "limit")]
pub(crate) mod limit_list;
pub(crate) mod log;
pub(crate) mod oracle;
pub(crate) mod public_types;
pub(crate) mod services;
pub(crate) mod traces;

use std::{
    convert::Infallible,
    fmt::Write,
    future::ready,
    io,
    pin::{Pin, pin},
};

use bytes::Bytes;
use http::{Request, Response, header::COOKIE, request, response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use proptest::test_runner::Config as ProptestConfig;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, KeyLocation, Keyring, Rejection,
    body::ResponseBody,
    extract::{self, Extract, bearer, cookie, header, query, scheme},
    observe::Observe,
    record::Record,
    rejection::Reason,
    verify::{self, PresentedKey, Verify, VerifyError},
};

/// The key of the client `mobile-app`. It is a token68, so that every location can carry it.
pub(crate) const KEY: &str = "key-of-the-mobile-app-0123456789";

/// The key of the client `ci`.
pub(crate) const OTHER: &str = "the-other-good-key-9876543210";

/// A key of no client.
pub(crate) const WRONG: &str = "a-key-that-was-never-issued-0000";

/// Returns the keys of three clients. `mobile-app` has two keys, and the key of `former` is revoked.
pub(crate) fn keys_of_three_clients() -> Keyring {
    let keys = Keyring::new();
    for (key, id, client) in [
        (KEY, "OldKey01", "mobile-app"),
        ("the-new-key-of-the-mobile-app", "NewKey02", "mobile-app"),
        (OTHER, "CiCiCiK3", "ci"),
        ("key-to-be-revoked", "FormerK4", "former"),
    ] {
        let record = Record::new(KeyDigest::of(key), Client::new(client));
        keys.insert_record(record.with_id(id).unwrap()).unwrap();
    }
    assert!(keys.revoke_key("FormerK4"));
    keys
}

pub(crate) fn keys() -> Keyring {
    let keys = Keyring::new();
    keys.insert(KEY, Client::new("mobile-app")).unwrap();
    keys.insert(OTHER, Client::new("ci")).unwrap();
    keys
}

/// Returns a keyring and, with `or`, a verifier with more reasons.
pub(crate) fn strict() -> impl Verify<Client = Client, Future = verify::Never<Client>> + Clone {
    let keys = keys();
    keys.insert("key-to-be-revoked", Client::new("former")).unwrap();
    keys.insert("key-to-be-removed", Client::new("another")).unwrap();
    assert_eq!(keys.revoke_client("former"), 1);
    keys.insert("key-to-be-paused", Client::new("overdue")).unwrap();
    let paused = keys.record_by_digest(&KeyDigest::of("key-to-be-paused")).unwrap();
    keys.pause(paused.id().unwrap()).unwrap();
    assert!(keys.remove(&KeyDigest::of("key-to-be-removed")).is_some());
    keys.or(verify::from_fn(|key: &PresentedKey<'_>| match key.expose() {
        b"key-that-has-expired" => Err(VerifyError::expired()),
        b"key-that-is-not-yet-valid" => Err(VerifyError::not_yet_valid()),
        b"key-that-was-revoked" => Err(VerifyError::revoked()),
        b"key-of-a-store-that-is-down" => {
            Err(VerifyError::failed(io::Error::other("connection refused")))
        }
        _ => Ok(None),
    }))
}

/// Returns the key that a caller presents in this case.
pub(crate) fn value(case: &str) -> Vec<u8> {
    match case {
        "unknown" => WRONG.into(),
        "revoked" => "key-to-be-revoked".into(),
        "removed" => "key-to-be-removed".into(),
        "paused" => "key-to-be-paused".into(),
        "expired" => "key-that-has-expired".into(),
        "not_yet_valid" => "key-that-is-not-yet-valid".into(),
        "revoked_by_verifier" => "key-that-was-revoked".into(),
        "malformed" => b"mal\xffformed".into(),
        "over_long" => "k".repeat(1025).into(),
        "failed" => "key-of-a-store-that-is-down".into(),
        "good" => KEY.into(),
        _ => unreachable!("{case}"),
    }
}

/// The result of one request.
pub(crate) struct Reply {
    pub(crate) head: response::Parts,
    pub(crate) body: Bytes,
    /// Whether `is_end_stream` was true before the body was read.
    pub(crate) ended: bool,
    /// The request that the inner service received, if it was called.
    pub(crate) seen: Option<request::Parts>,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    pub(crate) fn rejection(&self) -> Option<&Rejection> {
        self.head.extensions.get()
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        self.rejection().map(Rejection::reason)
    }

    pub(crate) fn client(&self) -> Option<&Client> {
        self.seen.as_ref()?.extensions.get()
    }

    /// Returns the request that the inner service received.
    #[track_caller]
    pub(crate) fn seen(&self) -> &request::Parts {
        self.seen.as_ref().unwrap_or_else(|| panic!("rejected: {}", self.outcome()))
    }

    /// Returns the status and the client or reason, such as `200 mobile-app`, `200 -` or `401 unknown`.
    pub(crate) fn outcome(&self) -> String {
        let result = match (&self.seen, self.rejection()) {
            (Some(_), None) => self.client().map_or("-", Client::id),
            (None, Some(rejection)) => rejection.reason().as_str(),
            (Some(_), Some(_)) => "accepted and rejected",
            (None, None) => "neither accepted nor rejected",
        };
        format!("{} {result}", self.status())
    }

    /// Returns all lines of one header of the response.
    pub(crate) fn lines(&self, name: &str) -> Vec<&str> {
        self.head.headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Returns status, headers and body, byte for byte, as the caller gets them.
    pub(crate) fn wire(&self) -> String {
        let mut wire = format!("{:?} {}\n", self.head.version, self.status());
        for (name, value) in &self.head.headers {
            writeln!(wire, "{name}: {}", value.as_bytes().escape_ascii()).unwrap();
        }
        write!(wire, "\n{}", self.body.escape_ascii()).unwrap();
        wire
    }
}

/// Sends a request through a layer to a service that returns `hello`.
pub(crate) fn ask<E, V, O>(layer: &ApiKeyLayer<E, V, O>, request: request::Builder) -> Reply
where
    E: Extract,
    V: Verify,
    O: Observe<V::Client>,
{
    ask_of(layer, request, |_| Response::new(Full::from("hello")))
}

/// Sends a request through a layer to an inner service of the test.
pub(crate) fn ask_of<E, V, O>(
    layer: &ApiKeyLayer<E, V, O>,
    request: request::Builder,
    inner: impl Fn(&request::Parts) -> Response<Full<Bytes>>,
) -> Reply
where
    E: Extract,
    V: Verify,
    O: Observe<V::Client>,
{
    let service = layer.layer(service_of(&inner));
    reply_of(block_on(service.oneshot(request.body(()).unwrap())).unwrap())
}

/// The request that the inner service received.
#[derive(Clone)]
struct Seen(request::Parts);

/// Returns the inner service of a test. All tests have one type, because each type is compiled anew.
fn service_of<'a>(
    inner: &'a dyn Fn(&request::Parts) -> Response<Full<Bytes>>,
) -> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone + 'a {
    service_fn(move |request: Request<()>| {
        let (seen, ()) = request.into_parts();
        let mut response = inner(&seen);
        response.extensions_mut().insert(Seen(seen));
        ready(Ok(response))
    })
}

fn reply_of(response: Response<ResponseBody<Full<Bytes>>>) -> Reply {
    let (mut head, body) = response.into_parts();
    let ended = body.is_end_stream();
    let body = block_on(body.collect()).unwrap().to_bytes();
    let seen = head.extensions.remove::<Seen>().map(|seen| seen.0);
    Reply { head, body, ended, seen }
}

/// Returns a configuration with this number of cases and without a file of failures.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

/// Runs a future in the runtime of this thread, because a new runtime takes longer than a request.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
    }
    let mut output = None;
    {
        // The runtime's code is compiled once, and not for each future.
        let future: Pin<&mut dyn Future<Output = ()>> = pin!(async { output = Some(future.await) });
        RUNTIME.with(|runtime| runtime.block_on(future));
    }
    output.unwrap()
}

/// Any extractor. A table can hold several.
pub(crate) type Any = Box<dyn Extract + Send + Sync>;

/// One kind of location: its extractor, and a function that adds a value to a request.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    pub(crate) name: &'static str,
    pub(crate) extract: fn() -> Any,
    pub(crate) put: fn(request::Builder, &[u8]) -> request::Builder,
}

impl Spot {
    /// Returns a layer with only this location.
    pub(crate) fn layer<V: Verify>(&self, verify: V) -> ApiKeyLayer<Any, V> {
        ApiKeyLayer::new((self.extract)(), verify)
    }

    /// Returns a GET with these values in this location.
    pub(crate) fn get(&self, values: &[&str]) -> request::Builder {
        values
            .iter()
            .fold(Request::get("/"), |request, value| (self.put)(request, value.as_bytes()))
    }
}

/// One location of each kind.
pub(crate) const SPOTS: [Spot; 6] = [
    Spot {
        name: "header `x-api-key`",
        extract: || Box::new(header("x-api-key")),
        put: |request, value| request.header("X-API-Key", value),
    },
    Spot {
        name: "query `api_key`",
        extract: || Box::new(query("api_key")),
        put: |request, value| {
            let uri = request.uri_ref().unwrap().to_string();
            let before = if uri.contains('?') { '&' } else { '?' };
            request.uri(format!("{uri}{before}api_key={}", escaped(value)))
        },
    },
    Spot {
        name: "cookie `sid`",
        extract: || Box::new(cookie("sid")),
        put: |request, value| request.header(COOKIE, [b"sid=", value].concat()),
    },
    Spot {
        name: "scheme `Bearer`",
        extract: || Box::new(bearer()),
        put: |request, value| request.header("authorization", [b"Bearer ", value].concat()),
    },
    Spot {
        name: "scheme `Token`",
        extract: || Box::new(scheme("Token")),
        put: |request, value| request.header("authorization", [b"Token ", value].concat()),
    },
    Spot {
        name: "header `x-own`",
        extract: || {
            Box::new(extract::from_fn(KeyLocation::header("x-own"), |head| {
                head.headers().get("x-own").into()
            }))
        },
        put: |request, value| request.header("x-own", value),
    },
];

/// Percent-encodes every byte except letters, digits and hyphens.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(char::from(*byte)),
            _ => write!(text, "%{byte:02X}").unwrap(),
        }
        text
    })
}
