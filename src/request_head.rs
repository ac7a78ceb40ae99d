use std::fmt;

use http::{Extensions, HeaderMap, Method, Request, Uri, request::Parts};

/// The head of a request, for extractors, verifiers, predicates and guards.
///
/// Copying it is as cheap as copying four references.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::{RequestHead, header}};
///
/// fn is_health_check(head: RequestHead<'_>) -> bool {
///     head.method() == http::Method::GET && head.uri().path() == "/health"
/// }
///
/// let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?)
///     .exempt_if(is_health_check);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    /// Borrows the head of a request.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// Borrows a head without its body, for example in an extractor of axum.
    ///
    /// ```
    /// use http::{Request, request::Parts};
    /// use tower_api_key::extract::RequestHead;
    ///
    /// fn path(parts: &Parts) -> &str {
    ///     RequestHead::of_parts(parts).uri().path()
    /// }
    ///
    /// let (parts, _body) = Request::new("body").into_parts();
    /// assert_eq!(path(&parts), "/");
    /// ```
    #[must_use]
    pub fn of_parts(parts: &'a Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }

    /// Returns the method.
    #[must_use]
    pub fn method(self) -> &'a Method {
        self.method
    }

    /// Returns the target.
    #[must_use]
    pub fn uri(self) -> &'a Uri {
        self.uri
    }

    /// Returns the headers.
    #[must_use]
    pub fn headers(self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the extensions, such as the peer's address.
    #[must_use]
    pub fn extensions(self) -> &'a Extensions {
        self.extensions
    }
}

/// Shows the method and the path only, because headers and query can hold the key.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.uri.path())
            .finish_non_exhaustive()
    }
}
