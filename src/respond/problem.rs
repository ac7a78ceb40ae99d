use bytes::Bytes;
use http::Response;

use super::{Respond, json::quoted, response, text};
use crate::rejection::Rejection;

/// Problem details (RFC 9457), as `application/problem+json`:
/// `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Unauthorized access"}`.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header, respond::Problem};
///
/// let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?)
///     .respond(Problem::default().message("Send your key in x-api-key"));
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Problem {
    unauthorized: Option<Box<str>>,
}

impl Problem {
    /// Changes the `detail` of the 401, for a missing and for a refused key alike.
    pub fn message(self, text: &str) -> Self {
        Self { unauthorized: Some(text.into()) }
    }
}

impl Respond for Problem {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        let detail = text(rejection, self.unauthorized.as_deref());
        let status = rejection.status();
        // With `about:blank` the title is the status's own phrase (RFC 9457 §4.2.1).
        let body = format!(
            r#"{{"type":"about:blank","title":{},"status":{},"detail":{}}}"#,
            quoted(status.canonical_reason().unwrap_or_default()),
            status.as_u16(),
            quoted(detail),
        );
        response(rejection, "application/problem+json", body)
    }
}
