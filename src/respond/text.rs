use bytes::Bytes;
use http::Response;

use super::{Body, Respond};
use crate::rejection::Rejection;

/// Writes `Unauthorized access`, as plain text.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::query, respond::Text};
///
/// let layer = ApiKeyLayer::new(query("api_key"), Keyring::single("12345abcde")?)
///     .respond(Text::default().message("Unauthorized"));
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Text {
    message: Option<Box<str>>,
    unauthorized: Body,
}

impl Text {
    /// Sets the text of the 401, for a missing and for a wrong key alike.
    pub fn message(self, text: &str) -> Self {
        Self { message: Some(text.into()), unauthorized: Body::default() }
    }
}

impl Respond for Text {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        self.unauthorized.respond(rejection, "text/plain; charset=utf-8", |is_401| {
            let own = self.message.as_deref().filter(|_| is_401);
            let text = own.unwrap_or(rejection.message());
            text.to_owned()
        })
    }
}
