use std::fmt::Write;

use bytes::Bytes;
use http::Response;

use super::{Body, Respond};
use crate::rejection::Rejection;

/// Writes `{"error":"Unauthorized access"}`. This is the default.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header, respond::Json};
///
/// let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?)
///     .respond(Json::default().message("A key, please"));
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Json {
    message: Option<Box<str>>,
    unauthorized: Body,
}

impl Json {
    /// Sets the text of the 401, for a missing and for a wrong key alike.
    pub fn message(self, text: &str) -> Self {
        Self { message: Some(text.into()), unauthorized: Body::default() }
    }
}

impl Respond for Json {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        self.unauthorized.respond(rejection, "application/json", |is_401| {
            let own = self.message.as_deref().filter(|_| is_401);
            let text = own.unwrap_or(rejection.message());
            format!("{{\"error\":{}}}", quoted(text))
        })
    }
}

/// Returns a JSON string (RFC 8259 §7).
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            // Writing to a `String` does not fail.
            '\0'..='\x1F' => drop(write!(quoted, "\\u{:04x}", u32::from(char))),
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_json_string() {
        assert_eq!(quoted("a \"b\" \\ \n\u{1f} é ☃"), r#""a \"b\" \\ \u000a\u001f é ☃""#);
    }
}
