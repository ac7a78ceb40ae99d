use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header::CONTENT_TYPE};

use super::{Respond, grpc_details};
use crate::rejection::{Rejection, RejectionKind};

/// A gRPC or gRPC-Web call. Its rejection is a 200 with a `grpc-status` and without a body, so that one
/// HEADERS frame of gRPC ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grpc {
    Native,
    Web,
    WebText,
}

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

impl Grpc {
    /// Returns the kind of a call. Only a POST is a call, so that no other request gets a 200 for its content type.
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(CONTENT_TYPE).into_iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let media_type = line.as_bytes().split(|byte| *byte == b';').next()?.trim_ascii_end();
        let rest = after(media_type, b"application/grpc")?;
        let (call, rest) = if let Some(rest) = after(rest, b"-web-text") {
            (Self::WebText, rest)
        } else if let Some(rest) = after(rest, b"-web") {
            (Self::Web, rest)
        } else {
            (Self::Native, rest)
        };
        (method == Method::POST && matches!(rest, [] | [b'+', _, ..])).then_some(call)
    }

    /// Writes a status and a message, which is percent-encoded already.
    pub(super) fn answer(self, code: &'static str, message: HeaderValue) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type());
        headers.insert(STATUS, HeaderValue::from_static(code));
        headers.insert(MESSAGE, message);
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

/// Returns the bytes after a start, which matches in any case.
fn after<'a>(text: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = text.split_at_checked(start.len())?;
    found.eq_ignore_ascii_case(start).then_some(rest)
}

fn code(kind: RejectionKind) -> &'static str {
    match kind {
        RejectionKind::Missing | RejectionKind::InvalidKey => "16",
        RejectionKind::Ambiguous => "3",
        RejectionKind::Failed => "14",
        RejectionKind::Forbidden | RejectionKind::Insecure => "7",
        RejectionKind::Limited => "8",
    }
}

/// Writes the time after which the caller can try again, as `grpc-retry-pushback-ms` and as a `RetryInfo`.
///
/// Stubs obey the first (gRFC A6, "Pushback"). OTLP exporters retry code 8 only if they find the second.
pub(super) fn write_retry(headers: &mut HeaderMap, rejection: &Rejection, seconds: u64) {
    // A signed 32-bit integer.
    let millis = i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX);
    headers.insert(PUSHBACK, millis.into());
    if let Ok(code) = code(rejection.kind()).parse() {
        let details = grpc_details::retry_info(code, rejection.message(), seconds);
        // Base64 is visible ASCII.
        headers.extend(HeaderValue::try_from(details).ok().map(|details| (DETAILS, details)));
    }
}

/// Asks stubs not to retry, because a negative pushback means so (gRFC A6).
pub(super) fn write_no_retry(headers: &mut HeaderMap) {
    headers.insert(PUSHBACK, HeaderValue::from_static("-1"));
}

impl Respond for Grpc {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        // No message has a `%`.
        self.answer(code(rejection.kind()), HeaderValue::from_static(rejection.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r35_only_a_post_with_a_media_type_of_grpc_in_any_case_and_with_any_parameters_is_a_call() {
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
            ("application/grpc;charset=utf-8", Some(Grpc::Native)),
            ("application/grpc ; x=y", Some(Grpc::Native)),
            ("application/grpc+proto;", Some(Grpc::Native)),
            ("APPLICATION/GRPC+proto", Some(Grpc::Native)),
            ("Application/gRPC-Web+Thrift; x=\";\"", Some(Grpc::Web)),
            ("application/GRPC-WEB-TEXT;x", Some(Grpc::WebText)),
            ("application/grpc+;x=y", None),
            ("application/grpc x", None),
            ("application/grpc,application/grpc", None),
            ("x;application/grpc", None),
            (" application/grpc", None),
            ("application/json", None),
        ] {
            assert_eq!(of(Method::POST, content_type), call, "{content_type}");
            assert_eq!(of(Method::GET, content_type), None, "GET {content_type}");
        }
    }
}
