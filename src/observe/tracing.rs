use std::{borrow::Cow, error::Error, iter::successors};

use http::Method;
use tracing::{Level, Span, event};

use super::{Decision, Observe, Outcome, text};
use crate::{
    client::Identity,
    rejection::{Reason, Rejection},
};

/// Tells the log of every decision: exactly one structured event for each, with the feature `tracing`.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header, observe::Tracing};
///
/// let keys = Keyring::single("12345abcde")?;
/// let layer = ApiKeyLayer::new(header("x-api-key"), keys).observe(Tracing);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// The events' target is [`tower_api_key`](Self::TARGET), and their level says whose business they are:
///
/// | decision | level |
/// |---|---|
/// | accepted, anonymous, exempt | `DEBUG` |
/// | rejected, since there was no key, more than one, or one that opens nothing | `INFO` |
/// | rejected, since the verifier failed | `ERROR` |
/// | reported: it would be rejected, but the layer [only reports](crate::ApiKeyLayer::dangerous_report_only) | as if it were rejected |
///
/// A stranger can cause as many refusals as they like, so that these are no warning: count them, with
/// `Metrics`, and warn on the rate. `RUST_LOG=info,tower_api_key=debug` shows who was let in as well.
///
/// # Fields
///
/// Names are those of OpenTelemetry's semantic conventions where there are some. These have no name for
/// a client of ours (`client.*` is its address, `enduser.id` and `user.id` are a person's), so that the
/// rest stands under `api_key`. What is not known is left out.
///
/// | field | holds |
/// |---|---|
/// | `api_key.outcome` | [`Outcome::as_str`] |
/// | `api_key.reason` | why it was rejected, or would be: [`Reason::as_str`] |
/// | `api_key.place` | where the key stood, such as `header x-api-key`: kind and configured name |
/// | `api_key.client.id` | who was let in: [`Identity::id`] |
/// | `api_key.id` | the key's public id, if one is known; of a refused key as well |
/// | `api_key.duration` | how long the decision took, in seconds, with the verifier's own waiting |
/// | `http.request.method` | one that RFC 9110 or RFC 5789 names, or `_OTHER` |
/// | `http.request.method_original` | any other |
/// | `url.path` | the path, without the query |
/// | `error.type` | `failed`, where the verifier failed; it is no error of ours when a caller is refused |
/// | `exception.message` | what it failed with, and the sources of that |
///
/// What a caller wrote is clipped after 256 characters, and holds none that a terminal or a reader of
/// lines obeys: in a path they are percent-encoded, as they should have been. Ids and messages are
/// escaped as in Rust.
///
/// A message (of up to 1,024 characters) is your verifier's own text. If an error of yours shows a key,
/// a password or a connection string, so does the log. The caller is told nothing of it.
///
/// # On the request's span
///
/// `api_key.outcome`, `api_key.reason`, `api_key.client.id` and `api_key.id` are also recorded on the
/// span that is entered, if it declares them, so that every line of the request names the client.
/// With axum and tower-http:
///
/// ```
/// # use tower_api_key::{ApiKeyLayer, Keyring, extract::header, observe::Tracing};
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use tower_http::trace::TraceLayer;
/// use tracing::{field::Empty, info_span};
///
/// # let auth = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
/// let trace = TraceLayer::new_for_http().make_span_with(|request: &Request<Body>| {
///     info_span!(
///         "request",
///         http.request.method = %request.method(),
///         url.path = request.uri().path(),        // not the whole URI: its query may hold the key
///         api_key.client.id = Empty,
///         api_key.id = Empty,
///     )
/// });
/// let app: Router = Router::new()
///     .route("/", get(async || "hello"))
///     .layer(auth.observe(Tracing))
///     .layer(trace);                              // outside: the span is there before the decision
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

impl Tracing {
    /// The target of all events.
    pub const TARGET: &'static str = "tower_api_key";
}

const MOST_OF_A_FIELD: usize = 256;
const MOST_OF_A_MESSAGE: usize = 1024;

/// The level of an event is part of its static description: one for each.
macro_rules! tell {
    ($level:ident, $said:ident, $event:ident, $message:literal) => {
        event!(
            target: Tracing::TARGET,
            Level::$level,
            api_key.outcome = $said.outcome,
            api_key.reason = $said.reason,
            api_key.place = $event.place().map(|it| format!("{} {}", it.kind().as_str(), it.name())),
            api_key.client.id = $said.client_id.as_deref(),
            api_key.id = $said.key_id.as_deref(),
            api_key.duration = $event.elapsed().as_secs_f64(),
            http.request.method = known($event.method()).unwrap_or("_OTHER"),
            http.request.method_original = other($event.method()).as_deref(),
            url.path = &*text::path($event.path(), MOST_OF_A_FIELD),
            error.type = $said.reason.filter(|reason| *reason == Reason::Failed.as_str()),
            exception.message = $event.rejection().and_then(cause).as_deref(),
            $message
        )
    };
}

impl<C: Identity> Observe<C> for Tracing {
    fn decided(&self, event: &Decision<'_, C>) {
        let said = Said::of(event);
        said.record_on(&Span::current());
        match event.rejection().map(Rejection::reason) {
            None => tell!(DEBUG, said, event, "request let in"),
            Some(Reason::Failed) => tell!(ERROR, said, event, "API key not verified"),
            Some(_) if event.outcome() == Outcome::Reported => {
                tell!(INFO, said, event, "request let by, which would have been turned away");
            }
            Some(_) => tell!(INFO, said, event, "request turned away"),
        }
    }
}

/// What the event and the span have in common.
struct Said<'a> {
    outcome: &'static str,
    reason: Option<&'static str>,
    client_id: Option<Cow<'a, str>>,
    key_id: Option<Cow<'a, str>>,
}

impl<'a> Said<'a> {
    fn of<C: Identity>(event: &Decision<'a, C>) -> Self {
        let safe = |id| text::printable(id, MOST_OF_A_FIELD);
        Self {
            outcome: event.outcome().as_str(),
            reason: event.rejection().map(|rejection| rejection.reason().as_str()),
            client_id: event.client().map(|client| safe(client.id())),
            key_id: event.key_id().map(safe),
        }
    }

    /// A span that does not declare a field ignores it.
    fn record_on(&self, span: &Span) {
        span.record("api_key.outcome", self.outcome);
        for (name, value) in [
            ("api_key.reason", self.reason),
            ("api_key.client.id", self.client_id.as_deref()),
            ("api_key.id", self.key_id.as_deref()),
        ] {
            if let Some(value) = value {
                span.record(name, value);
            }
        }
    }
}

/// OpenTelemetry knows these methods by default.
fn known(method: &Method) -> Option<&str> {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    known.contains(method).then(|| method.as_str())
}

fn other(method: &Method) -> Option<Cow<'_, str>> {
    known(method).is_none().then(|| text::printable(method.as_str(), MOST_OF_A_FIELD))
}

/// The error of a verifier that failed, and its sources; but not for ever, if they go in a circle.
fn cause(rejection: &Rejection) -> Option<String> {
    const MOST_SOURCES: usize = 8;

    let errors = successors(rejection.source(), |&error| error.source()).take(MOST_SOURCES);
    let text = errors.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    (!text.is_empty()).then(|| text::printable(&text, MOST_OF_A_MESSAGE).into_owned())
}
