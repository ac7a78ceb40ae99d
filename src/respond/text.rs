use bytes::Bytes;
use http::Response;

use super::{Body, Respond};
use crate::rejection::Rejection;

/// `Unauthorized access`, as plain text.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::query, respond::Text};
///
/// let layer = ApiKeyLayer::new(query("api_key"), Keyring::single("12345abcde")?)
///     .respond(Text::default().message("Unauthorized"));
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Text(Body);

impl Text {
    /// Changes the text of the 401, for a missing and for a refused key alike.
    pub fn message(self, text: &str) -> Self {
        Self(Body::new(text.to_owned()))
    }
}

impl Respond for Text {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        self.0.respond(rejection, "text/plain; charset=utf-8", || rejection.message().to_owned())
    }
}
