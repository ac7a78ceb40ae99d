use std::fmt;

use http::{Extensions, HeaderMap, Method, Request, Uri};

/// The head of a request: what an extractor may read. It costs nothing to copy.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> Head<'a> {
    /// The head of a request.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The request's method.
    #[must_use]
    pub fn method(self) -> &'a Method {
        self.method
    }

    /// The request's target.
    #[must_use]
    pub fn uri(self) -> &'a Uri {
        self.uri
    }

    /// The request's headers.
    #[must_use]
    pub fn headers(self) -> &'a HeaderMap {
        self.headers
    }

    /// The request's extensions, such as the peer's address.
    #[must_use]
    pub fn extensions(self) -> &'a Extensions {
        self.extensions
    }
}

/// Method and path alone: headers and query may hold the key.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("path", &self.uri.path())
            .finish_non_exhaustive()
    }
}
