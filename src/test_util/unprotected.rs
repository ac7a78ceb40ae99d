use std::fmt;

use http::StatusCode;

use crate::location::KeyLocation;

/// A request that no key layer rejected. It equals the text of its method and path, such as `"GET /health"`.
#[derive(Clone)]
pub struct Unprotected {
    pub(super) text: String,
    pub(super) wrong_key: Option<KeyLocation>,
    pub(super) status: Option<StatusCode>,
}

impl Unprotected {
    /// Returns the status of the response. An error of the service has no status.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns the location of the wrong key, if the request had one.
    #[must_use]
    pub fn wrong_key(&self) -> Option<&KeyLocation> {
        self.wrong_key.as_ref()
    }
}

impl PartialEq<&str> for Unprotected {
    fn eq(&self, text: &&str) -> bool {
        self.text == *text
    }
}

/// Shows the request, such as ``GET /health (200)``, or ``GET /health with a wrong key in header `x-api-key` (200)``.
impl fmt::Display for Unprotected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if let Some(location) = &self.wrong_key {
            write!(f, " with a wrong key in {location}")?;
        }
        match self.status {
            Some(status) => write!(f, " ({})", status.as_u16()),
            None => f.write_str(" (an error)"),
        }
    }
}

/// Shows the same text, because a failed assertion prints it.
impl fmt::Debug for Unprotected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
