use http::{HeaderMap, HeaderName, Uri, header::AUTHORIZATION};

use super::{
    authorization, cookie,
    header_values::retain_values,
    key_location::{KeyLocation, Kind},
    query,
};

/// The bytes of a key that a location's own rule leaves in the request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Residue {
    /// The location does not hold them, or the rule removes them in another form.
    None,
    /// The rule removes nothing, but the location can hold them in another form.
    Possible,
    /// The rule leaves a line, or a pair of a query, that holds them.
    Present,
    /// The rule removes them.
    Removed,
}

impl KeyLocation {
    pub(crate) fn residue(&self, headers: &HeaderMap, uri: &Uri, found: &[u8]) -> Residue {
        match &*self.0 {
            Kind::Header(name) => {
                let mut lines = headers.get_all(name).into_iter();
                let is_found = lines.any(|line| contains(line.as_bytes(), found));
                if is_found { Residue::Removed } else { Residue::None }
            }
            Kind::Scheme(scheme) => {
                let lines = headers.get_all(AUTHORIZATION).into_iter();
                summarize(lines.map(|line| {
                    (authorization::is_of(line, scheme.as_str()), contains(line.as_bytes(), found))
                }))
            }
            Kind::Cookie(name) => summarize(
                cookie::all_pairs(headers)
                    .map(|pair| (cookie::has_name(pair, name), contains(pair, found))),
            ),
            Kind::Query(name) => summarize(
                query::pairs(uri)
                    .map(|pair| (query::has_name(pair, name), pair_contains(pair, found))),
            ),
        }
    }

    /// Removes each line with these bytes. If no line does, the bytes have another form, and the
    /// function removes all lines.
    pub(crate) fn strip_lines(&self, headers: &mut HeaderMap, found: &[u8]) {
        if let Kind::Scheme(_) | Kind::Cookie(_) = &*self.0 {
            self.header_name().into_iter().for_each(|name| strip_lines(headers, name, found));
        }
    }

    /// Removes each pair of a query, as [`strip_lines`](Self::strip_lines) removes lines.
    pub(crate) fn strip_pairs(&self, uri: &mut Uri, found: &[u8]) {
        if let Kind::Query(_) = &*self.0 {
            let any_contains = query::pairs(uri).any(|pair| pair_contains(pair, found));
            query::strip_where(uri, |pair| !any_contains || pair_contains(pair, found));
        }
    }
}

fn strip_lines(headers: &mut HeaderMap, name: &HeaderName, found: &[u8]) {
    let mut lines = headers.get_all(name).into_iter();
    let any_contains = lines.any(|line| contains(line.as_bytes(), found));
    retain_values(headers, name, |line| any_contains && !contains(line.as_bytes(), found));
}

/// Summarizes lines or pairs. The first value of each says whether the rule removes it, and the second
/// whether it contains the bytes.
fn summarize(parts: impl Iterator<Item = (bool, bool)>) -> Residue {
    let (mut removes_any, mut residue) = (false, Residue::None);
    for (is_removed, contains) in parts {
        removes_any |= is_removed;
        residue = residue.max(match (is_removed, contains) {
            (true, true) => Residue::Removed,
            (true, false) => Residue::None,
            (false, true) => Residue::Present,
            (false, false) => Residue::Possible,
        });
    }
    if removes_any && residue == Residue::Possible { Residue::None } else { residue }
}

fn contains(text: &[u8], found: &[u8]) -> bool {
    !found.is_empty() && text.windows(found.len()).any(|part| part == found)
}

fn pair_contains(pair: &str, found: &[u8]) -> bool {
    contains(pair.as_bytes(), found) || contains(&query::decode_zeroizing(pair), found)
}
