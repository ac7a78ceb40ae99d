use std::{borrow::Cow, error::Error, iter::successors};

use http::Method;
use tracing::{Level, Span, event};

use super::{Decision, Observe, Outcome, text};
use crate::{
    client::Identity,
    rejection::{Reason, Rejection},
};

/// Logs every decision as one structured event, with the feature `tracing`.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header, observe::Tracing};
///
/// let keys = Keyring::single("12345abcde")?;
/// let layer = ApiKeyLayer::new(header("x-api-key"), keys).observe(Tracing);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// The target of the events is [`tower_api_key`](Self::TARGET). The message and the level depend on the
/// decision:
///
/// | decision | message | level |
/// |---|---|---|
/// | accepted, anonymous, exempt | `request accepted` | `DEBUG` |
/// | rejected, by the layer or by a guard | `request rejected` | `INFO` |
/// | reported, because the layer [only reports](crate::ApiKeyLayer::dangerous_report_only) | `request would be rejected (report-only)` | `INFO` |
/// | a guard forbids the request | `request forbidden` | `INFO` |
/// | a guard limits the request | `request limited` | `INFO` |
/// | rejected or reported, because the verifier or a guard failed | `API key not verified` | `ERROR` |
///
/// An attacker can cause any number of rejections, so
/// they are no warning. Count rejections with `Metrics`, and set an alert on the rate. Use
/// `RUST_LOG=info,tower_api_key=debug` to log accepted requests as well.
///
/// If a guard rejects an accepted request, the log has both events.
///
/// # Fields
///
/// The names follow the semantic conventions of OpenTelemetry, if they have a name. `client.*` is the address
/// of the caller there, and `enduser.id` and `user.id` are a person's, so the other names begin with
/// `api_key`. A field without a value is left out.
///
/// | field | value |
/// |---|---|
/// | `api_key.outcome` | [`Outcome::as_str`] |
/// | `api_key.reason` | reason of the rejection: [`Reason::as_str`] |
/// | `api_key.guard` | name of the guard, if the guard set its name: [`Rejection::guard`] |
/// | `api_key.location` | location of the key, as kind and configured name, such as `header x-api-key` |
/// | `api_key.client.id` | the client: [`Identity::id`] |
/// | `api_key.id` | public id of the accepted or rejected key, if it is known |
/// | `api_key.limit` | names of the limits that the request exceeds: [`Rejection::violated_limits`] |
/// | `api_key.duration` | time of the decision in seconds, including the wait for the verifier. A guard has none |
/// | `http.request.method` | a method of RFC 9110 or RFC 5789, or `_OTHER` |
/// | `http.request.method_original` | any other method |
/// | `url.path` | the path, without the query |
/// | `error.type` | `failed` if the verifier failed. A rejected caller is no error of the service |
/// | `exception.message` | the error of the verifier, and its sources |
///
/// Text from a caller is clipped after 256 characters. It holds no character that a terminal or a reader of
/// lines obeys, because a path is percent-encoded, and ids and messages are escaped as in Rust.
///
/// A message of up to 1,024 characters is the text of your own verifier. If your error shows a key, a password
/// or a connection string, the log does as well. The caller does not see it.
///
/// # On the request's span
///
/// The decision of the layer also records `api_key.outcome`, `api_key.reason`, `api_key.client.id` and
/// `api_key.id` on the current span, if the span declares them. So every line of the request names the client.
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
///         url.path = request.uri().path(),        // not the URI, because its query can hold the key
///         api_key.client.id = Empty,
///         api_key.id = Empty,
///     )
/// });
/// let app: Router = Router::new()
///     .route("/", get(async || "hello"))
///     .layer(auth.observe(Tracing))
///     .layer(trace);                              // outside, so that the span is there first
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

impl Tracing {
    /// The target of all events.
    pub const TARGET: &'static str = "tower_api_key";
}

const MAX_FIELD_LEN: usize = 256;
const MAX_MESSAGE_LEN: usize = 1024;

/// Emits an event. It is a macro, because the level of an event is part of its static description.
macro_rules! emit {
    ($level:ident, $fields:ident, $decision:ident, $message:literal) => {
        event!(
            target: Tracing::TARGET,
            Level::$level,
            api_key.outcome = $fields.outcome,
            api_key.reason = $fields.reason,
            api_key.guard = $decision.rejection().and_then(Rejection::guard),
            api_key.location = $fields.location.as_deref(),
            api_key.client.id = $fields.client_id.as_deref(),
            api_key.id = $fields.key_id.as_deref(),
            api_key.limit = $fields.limit.as_deref(),
            api_key.duration = $fields.duration,
            http.request.method = known($decision.method()).unwrap_or("_OTHER"),
            http.request.method_original = other($decision.method()).as_deref(),
            url.path = &*text::path($decision.path(), MAX_FIELD_LEN),
            error.type = $fields.reason.filter(|reason| *reason == Reason::Failed.as_str()),
            exception.message = $decision.rejection().and_then(cause).as_deref(),
            $message
        )
    };
}

impl<C: Identity> Observe<C> for Tracing {
    fn on_decision(&self, decision: &Decision<'_, C>) {
        let duration = Some(decision.elapsed().as_secs_f64());
        let fields = Fields { duration, ..Fields::of(decision) };
        fields.record_on(&Span::current());
        log(decision, &fields);
    }

    /// Leaves the span alone, which has the decision of the layer already.
    fn on_guard(&self, decision: &Decision<'_, C>) {
        log(decision, &Fields::of(decision));
    }
}

fn log<C>(decision: &Decision<'_, C>, fields: &Fields<'_>) {
    match (decision.rejection().map(Rejection::reason), decision.outcome()) {
        (None, _) => emit!(DEBUG, fields, decision, "request accepted"),
        (Some(Reason::Failed), _) => emit!(ERROR, fields, decision, "API key not verified"),
        (_, Outcome::Reported) => {
            emit!(INFO, fields, decision, "request would be rejected (report-only)");
        }
        (_, Outcome::Forbidden) => emit!(INFO, fields, decision, "request forbidden"),
        (_, Outcome::Limited) => emit!(INFO, fields, decision, "request limited"),
        _ => emit!(INFO, fields, decision, "request rejected"),
    }
}

/// The fields that need some work. The event and the span share some of them.
struct Fields<'a> {
    outcome: &'static str,
    reason: Option<&'static str>,
    location: Option<String>,
    client_id: Option<Cow<'a, str>>,
    key_id: Option<Cow<'a, str>>,
    limit: Option<Cow<'a, str>>,
    /// In seconds.
    duration: Option<f64>,
}

impl<'a> Fields<'a> {
    fn of<C: Identity>(decision: &Decision<'a, C>) -> Self {
        let safe = |id| text::printable(id, MAX_FIELD_LEN);
        let location = decision.location();
        Self {
            outcome: decision.outcome().as_str(),
            reason: decision.rejection().map(|rejection| rejection.reason().as_str()),
            location: location.map(|it| format!("{} {}", it.kind().as_str(), it.name())),
            client_id: decision.client().map(|client| safe(client.id())),
            key_id: decision.key_id().map(safe),
            limit: decision.rejection().and_then(violated_limits),
            duration: None,
        }
    }

    /// A span ignores a field that it does not declare.
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

/// Returns the name of a method that OpenTelemetry knows by default.
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
    known(method).is_none().then(|| text::printable(method.as_str(), MAX_FIELD_LEN))
}

/// Returns the names of the limits that a request exceeds.
fn violated_limits(rejection: &Rejection) -> Option<Cow<'_, str>> {
    let names = rejection.violated_limits().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| text::printable(&names, MAX_FIELD_LEN).into_owned().into())
}

/// Returns the error of a verifier that failed, and its sources, up to a limit, because sources can form a
/// circle.
fn cause(rejection: &Rejection) -> Option<String> {
    const MAX_SOURCES: usize = 8;

    let errors = successors(rejection.source(), |&error| error.source()).take(MAX_SOURCES);
    let text = errors.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    (!text.is_empty()).then(|| text::printable(&text, MAX_MESSAGE_LEN).into_owned())
}
