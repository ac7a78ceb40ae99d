use bytes::Bytes;
use http::Response;

use super::{Body, Respond, json::quoted};
use crate::rejection::Rejection;

/// Writes problem details (RFC 9457), as `application/problem+json`.
///
/// The 401 is `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Unauthorized access"}`.
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
            format!(
                r#"{{"type":{},"title":{},"status":{},"detail":{}}}"#,
                own(&self.type_uri).unwrap_or_else(|| quoted("about:blank")),
                quoted(status.canonical_reason().unwrap_or_default()),
                status.as_u16(),
                own(&self.detail).unwrap_or_else(|| quoted(rejection.message())),
            )
        })
    }
}
