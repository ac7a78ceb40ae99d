use bytes::Bytes;
use http::{Response, StatusCode};

use super::{Body, Respond, json::quoted};
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
pub struct Problem(Body);

impl Problem {
    /// Changes the `detail` of the 401, for a missing and for a refused key alike.
    pub fn message(self, text: &str) -> Self {
        Self(Body::new(write(StatusCode::UNAUTHORIZED, text)))
    }
}

impl Respond for Problem {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        self.0.respond(rejection, "application/problem+json", || {
            write(rejection.status(), rejection.message())
        })
    }
}

fn write(status: StatusCode, detail: &str) -> String {
    // With `about:blank` the title is the status's own phrase (RFC 9457 §4.2.1).
    format!(
        r#"{{"type":"about:blank","title":{},"status":{},"detail":{}}}"#,
        quoted(status.canonical_reason().unwrap_or_default()),
        status.as_u16(),
        quoted(detail),
    )
}
