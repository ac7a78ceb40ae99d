use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

use crate::{
    location::{KeyLocation, LocationKind},
    rejection::{Reason, Rejection, RejectionKind},
};

/// The challenges of a layer, written when the layer is built.
///
/// Each location has a line. `Bearer` comes first, because RFC 9110 §11.6.1 puts registered schemes first.
#[derive(Clone)]
pub(super) struct Challenges {
    bearer: Option<Bearer>,
    others: Vec<HeaderValue>,
}

/// The `Bearer` line, with the error codes of RFC 6750 §3.1.
#[derive(Clone)]
struct Bearer {
    plain: HeaderValue,
    invalid_token: HeaderValue,
    invalid_request: HeaderValue,
    insufficient_scope: HeaderValue,
}

impl Challenges {
    pub(super) fn new(locations: &[KeyLocation], realm: &str) -> Self {
        let bearer =
            locations.iter().find(|location| location.is_bearer()).map(|location| Bearer {
                plain: challenge(location, realm, None),
                invalid_token: challenge(location, realm, Some("invalid_token")),
                invalid_request: challenge(location, realm, Some("invalid_request")),
                insufficient_scope: challenge(location, realm, Some("insufficient_scope")),
            });
        let others = locations.iter().filter(|location| !location.is_bearer());
        Self { bearer, others: others.map(|location| challenge(location, realm, None)).collect() }
    }

    /// Adds the challenges of a status, except those that the responder has written.
    pub(super) fn write(&self, rejection: &Rejection, status: StatusCode, headers: &mut HeaderMap) {
        let by_bearer = || rejection.location().is_some_and(KeyLocation::is_bearer);
        let lacks_scope = rejection.reason() == Reason::InsufficientScope;
        let bearer = self.bearer.as_ref().map(|bearer| match rejection.kind() {
            RejectionKind::Missing | RejectionKind::Failed => &bearer.plain,
            RejectionKind::Ambiguous => &bearer.invalid_request,
            RejectionKind::Forbidden if lacks_scope => &bearer.insufficient_scope,
            RejectionKind::InvalidKey if by_bearer() => &bearer.invalid_token,
            _ => &bearer.plain,
        });
        let others: &[_] = match status {
            StatusCode::UNAUTHORIZED => &self.others,
            StatusCode::BAD_REQUEST => &[],
            StatusCode::FORBIDDEN if lacks_scope => &[],
            _ => return,
        };
        for line in bearer.into_iter().chain(others) {
            if !headers.get_all(WWW_AUTHENTICATE).iter().any(|theirs| theirs == line) {
                headers.append(WWW_AUTHENTICATE, line.clone());
            }
        }
    }
}

/// Writes one line. A scheme has its own name, and any other location has `in` and `name`.
fn challenge(location: &KeyLocation, realm: &str, error: Option<&str>) -> HeaderValue {
    let is_scheme = location.kind() == LocationKind::Scheme;
    let mut line = String::from(if is_scheme { location.name() } else { "ApiKey" });
    push_quoted(&mut line, " realm=", realm);
    if let Some(error) = error {
        push_quoted(&mut line, ", error=", error);
    }
    if !is_scheme {
        push_quoted(&mut line, ", in=", location.kind().as_str());
        push_quoted(&mut line, ", name=", location.name());
    }
    // Realm and names are ASCII without control characters, because they were checked.
    HeaderValue::try_from(line).unwrap_or(HeaderValue::from_static("ApiKey"))
}

/// Writes a parameter, whose value is a quoted-string (RFC 9110 §5.6.4).
fn push_quoted(line: &mut String, name: &str, value: &str) {
    line.push_str(name);
    line.push('"');
    for char in value.chars() {
        if matches!(char, '"' | '\\') {
            line.push('\\');
        }
        line.push(char);
    }
    line.push('"');
}
