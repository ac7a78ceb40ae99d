use http::{
    HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, COOKIE, HeaderName},
    request,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::location::{KeyLocation, LocationKind};

/// Converts into the request of a test: a method and a path, or a whole [`Request`].
pub trait IntoTestRequest {
    /// The body of the request.
    type Body;

    /// Returns the request.
    fn into_test_request(self) -> Request<Self::Body>;
}

impl<B> IntoTestRequest for Request<B> {
    type Body = B;

    fn into_test_request(self) -> Self {
        self
    }
}

#[allow(clippy::panic, reason = "a mistake in the test")]
impl<M, P> IntoTestRequest for (M, P)
where
    Method: TryFrom<M>,
    P: AsRef<str>,
{
    type Body = String;

    fn into_test_request(self) -> Request<String> {
        let (method, path) = self;
        let mut request = Request::new(String::new());
        match Method::try_from(method) {
            Ok(method) => *request.method_mut() = method,
            Err(_) => panic!("the method for {} is invalid", path.as_ref()),
        }
        *request.uri_mut() = uri_of(path.as_ref().to_owned());
        request
    }
}

#[allow(clippy::panic, reason = "a mistake in the test")]
fn uri_of(text: String) -> Uri {
    Uri::try_from(text).unwrap_or_else(|error| panic!("the path of a request is invalid: {error}"))
}

pub(super) fn put_wrong_key(head: &mut request::Parts, location: &KeyLocation) {
    const WRONG: &str = "a-key-of-no-client";
    let name = location.name();
    let (header, line) = match location.kind() {
        LocationKind::Header => (name.parse().ok(), WRONG.to_owned()),
        LocationKind::Cookie => (Some(COOKIE), format!("{name}={WRONG}")),
        LocationKind::Scheme => (Some(AUTHORIZATION), format!("{name} {WRONG}")),
        LocationKind::Query => {
            let uri = head.uri.to_string();
            let separator = if uri.contains('?') { '&' } else { '?' };
            let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
            head.uri = uri_of(format!("{uri}{separator}{name}={WRONG}"));
            return;
        }
    };
    // The name of a location is valid in a header, because it was checked.
    if let (Some::<HeaderName>(header), Ok(line)) = (header, HeaderValue::try_from(line)) {
        if header == COOKIE {
            head.headers.append(header, line);
        } else {
            head.headers.insert(header, line);
        }
    }
}
