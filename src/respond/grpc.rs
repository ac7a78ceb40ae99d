use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header::CONTENT_TYPE};

use super::Respond;
use crate::rejection::{Rejection, RejectionKind};

/// A gRPC or gRPC-Web call, which is answered 200 with a `grpc-status` and no body: trailers-only,
/// for gRPC in the one HEADERS frame that also ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grpc {
    Native,
    Web,
    WebText,
}

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

impl Grpc {
    /// Only POST, and only the content types as the protocol writes them, so that nobody turns a 401
    /// into a 200 with a content type on some other request.
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(CONTENT_TYPE).into_iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let rest = line.as_bytes().strip_prefix(b"application/grpc")?;
        let (call, rest) = if let Some(rest) = rest.strip_prefix(b"-web-text") {
            (Self::WebText, rest)
        } else if let Some(rest) = rest.strip_prefix(b"-web") {
            (Self::Web, rest)
        } else {
            (Self::Native, rest)
        };
        (method == Method::POST && matches!(rest, [] | [b'+', _, ..])).then_some(call)
    }

    /// A status and a message: of ASCII without `%`, which is how percent-encoding leaves it.
    pub(crate) fn answer(self, code: &'static str, message: &'static str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type());
        headers.insert(STATUS, HeaderValue::from_static(code));
        headers.insert(MESSAGE, HeaderValue::from_static(message));
        response
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Native => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        })
    }
}

impl Respond for Grpc {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        let code = match rejection.kind() {
            RejectionKind::Missing | RejectionKind::Refused => "16",
            RejectionKind::Ambiguous => "3",
            RejectionKind::Failed => "14",
            RejectionKind::Forbidden | RejectionKind::Insecure => "7",
        };
        self.answer(code, rejection.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r35_only_a_post_with_the_exact_content_type_is_a_grpc_call() {
        let of = |method, content_type: &str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
            Grpc::of(&method, &headers)
        };
        for (content_type, call) in [
            ("application/grpc", Some(Grpc::Native)),
            ("application/grpc+proto", Some(Grpc::Native)),
            ("application/grpc-web", Some(Grpc::Web)),
            ("application/grpc-web+proto", Some(Grpc::Web)),
            ("application/grpc-web-text", Some(Grpc::WebText)),
            ("application/grpc-web-text+proto", Some(Grpc::WebText)),
            ("application/grpc+", None),
            ("application/grpcx", None),
            ("application/grpc-web-textual", None),
            ("application/grpc-webber", None),
            ("application/grpc;charset=utf-8", None),
            ("APPLICATION/GRPC+proto", None),
            (" application/grpc", None),
            ("application/json", None),
        ] {
            assert_eq!(of(Method::POST, content_type), call, "{content_type}");
            assert_eq!(of(Method::GET, content_type), None, "GET {content_type}");
        }
    }
}
