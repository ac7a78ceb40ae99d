use bytes::Bytes;
use http::Response;

use super::{Body, Respond, json::quoted};
use crate::rejection::{Rejection, RejectionKind};

/// Writes problem details (RFC 9457), as `application/problem+json`.
///
/// The 401 is `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Unauthorized access"}`.
///
/// The type of a 429 is `https://iana.org/assignments/http-problem-types#quota-exceeded`. Its member
/// `violated-policies` lists the [names of the limits](Rejection::violated_limits). Both follow
/// draft-ietf-httpapi-ratelimit-headers-10, and can change with the draft.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header, respond::Problem};
///
/// let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?)
///     .respond(Problem::default().message("Send your key in x-api-key"));
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Problem {
    type_uri: Option<Box<str>>,
    detail: Option<Box<str>>,
    unauthorized: Body,
}

impl Problem {
    /// Sets the `detail` of the 401, for a missing and for a wrong key alike.
    pub fn message(self, text: &str) -> Self {
        Self { detail: Some(text.into()), unauthorized: Body::default(), ..self }
    }

    /// Sets the `type` of the 401, a URI for a description of the problem.
    ///
    /// The default is `about:blank` (RFC 9457 §4.2.1).
    pub fn type_uri(self, uri: &str) -> Self {
        Self { type_uri: Some(uri.into()), unauthorized: Body::default(), ..self }
    }
}

impl Respond for Problem {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        self.unauthorized.respond(rejection, "application/problem+json", |is_401| {
            let own = |own: &'_ Option<Box<str>>| own.as_deref().filter(|_| is_401).map(quoted);
            let status = rejection.status();
            let (type_uri, title) = match rejection.kind() {
                RejectionKind::Limited => (QUOTA_EXCEEDED, "The request exceeds a quota"),
                _ => ("about:blank", status.canonical_reason().unwrap_or_default()),
            };
            format!(
                r#"{{"type":{},"title":{},"status":{},"detail":{}{}}}"#,
                own(&self.type_uri).unwrap_or_else(|| quoted(type_uri)),
                quoted(title),
                status.as_u16(),
                own(&self.detail).unwrap_or_else(|| quoted(rejection.message())),
                violated_policies(rejection),
            )
        })
    }
}

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Returns the member of the problem type. A guard can reject without the name of a limit.
fn violated_policies(rejection: &Rejection) -> String {
    let names: Vec<_> = rejection.violated_limits().map(quoted).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(r#","violated-policies":[{}]"#, names.join(","))
}
