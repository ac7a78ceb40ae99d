use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

use crate::{
    place::{Place, PlaceKind},
    rejection::{Rejection, RejectionKind},
};

/// The challenges of a layer, one line a place, `Bearer` first, as RFC 9110 §11.6.1 wants registered
/// schemes to stand. Written when the layer is built.
#[derive(Clone)]
pub(crate) struct Challenges {
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
    pub(crate) fn new(places: &[Place], realm: &str) -> Self {
        let bearer = places.iter().find(|place| place.is_bearer()).map(|place| Bearer {
            plain: challenge(place, realm, None),
            invalid_token: challenge(place, realm, Some("invalid_token")),
            invalid_request: challenge(place, realm, Some("invalid_request")),
            insufficient_scope: challenge(place, realm, Some("insufficient_scope")),
        });
        let others = places.iter().filter(|place| !place.is_bearer());
        Self { bearer, others: others.map(|place| challenge(place, realm, None)).collect() }
    }

    /// Adds what a response of this status has to say, beside what a responder has said.
    pub(crate) fn write(&self, rejection: &Rejection, status: StatusCode, headers: &mut HeaderMap) {
        let by_bearer = || rejection.place().is_some_and(Place::is_bearer);
        let bearer = self.bearer.as_ref().map(|bearer| match rejection.kind() {
            RejectionKind::Missing | RejectionKind::Failed => &bearer.plain,
            RejectionKind::Ambiguous => &bearer.invalid_request,
            RejectionKind::Forbidden => &bearer.insufficient_scope,
            RejectionKind::Refused if by_bearer() => &bearer.invalid_token,
            _ => &bearer.plain,
        });
        let others: &[_] = match status {
            StatusCode::UNAUTHORIZED => &self.others,
            StatusCode::BAD_REQUEST => &[],
            StatusCode::FORBIDDEN if rejection.kind() == RejectionKind::Forbidden => &[],
            _ => return,
        };
        for line in bearer.into_iter().chain(others) {
            if !headers.get_all(WWW_AUTHENTICATE).iter().any(|theirs| theirs == line) {
                headers.append(WWW_AUTHENTICATE, line.clone());
            }
        }
    }
}

/// One line: a scheme names itself, and what is no scheme of `Authorization` says where it stands.
fn challenge(place: &Place, realm: &str, error: Option<&str>) -> HeaderValue {
    let is_scheme = place.kind() == PlaceKind::Scheme;
    let mut line = String::from(if is_scheme { place.name() } else { "ApiKey" });
    push_quoted(&mut line, " realm=", realm);
    if let Some(error) = error {
        push_quoted(&mut line, ", error=", error);
    }
    if !is_scheme {
        push_quoted(&mut line, ", in=", place.kind().as_str());
        push_quoted(&mut line, ", name=", place.name());
    }
    // Realm and names were checked to be ASCII without control characters.
    HeaderValue::try_from(line).unwrap_or(HeaderValue::from_static("ApiKey"))
}

/// A parameter, with its value as a quoted-string (RFC 9110 §5.6.4).
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
