use http::{HeaderMap, HeaderName, HeaderValue};

/// Keeps the wanted lines of a header, in their order. If the map is full, only one line stays, because
/// `HeaderMap` reserves room for one more entry even if the name exists.
pub(super) fn retain_values(
    headers: &mut HeaderMap,
    name: &HeaderName,
    is_wanted: impl Fn(&HeaderValue) -> bool,
) {
    let lines = headers.get_all(name).into_iter();
    let wanted: Vec<_> = lines.filter(|line| is_wanted(line)).cloned().collect();
    headers.remove(name);
    for line in wanted {
        headers.try_append(name, line).ok();
    }
}

/// Whether this is a token of RFC 9110 §5.6.2, because header names are tokens.
pub(super) fn is_token(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}
