use bytes::Bytes;
use http::Response;

use super::{Respond, response, text};
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
pub struct Text {
    unauthorized: Option<Box<str>>,
}

impl Text {
    /// Changes the text of the 401, for a missing and for a refused key alike.
    pub fn message(self, text: &str) -> Self {
        Self { unauthorized: Some(text.into()) }
    }
}

impl Respond for Text {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        let text = text(rejection, self.unauthorized.as_deref());
        response(rejection, "text/plain; charset=utf-8", text.to_owned())
    }
}
