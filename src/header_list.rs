use http::{HeaderMap, HeaderName};

/// Whether the predicate holds for a member of a comma-separated header.
pub(crate) fn list_contains(
    headers: &HeaderMap,
    name: &HeaderName,
    predicate: impl Fn(&str) -> bool,
) -> bool {
    let lines = headers.get_all(name).into_iter().flat_map(|line| line.to_str());
    lines.flat_map(|line| line.split(',')).any(|member| predicate(member.trim()))
}
