use http::{HeaderMap, HeaderName, Uri, header};

use super::{Kind, Place, SchemeName, authorization, cookie, keep, query};

/// What a place's own rule does to bytes that an extractor found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// They do not stand there, or the rule removes them in another form.
    No,
    /// It removes nothing, and they can stand there in another form.
    Perhaps,
    /// It leaves a line, or a pair of a query, that holds them.
    Yes,
    /// It removes them.
    Removed,
}

impl Place {
    pub(crate) fn leaves(&self, headers: &HeaderMap, uri: &Uri, found: &[u8]) -> Left {
        match &*self.0 {
            Kind::Header(name) => {
                let mut lines = headers.get_all(name).into_iter();
                let is_there = lines.any(|line| contains(line.as_bytes(), found));
                if is_there { Left::Removed } else { Left::No }
            }
            Kind::Scheme(SchemeName(scheme)) => {
                let lines = headers.get_all(header::AUTHORIZATION).into_iter();
                leaves(lines.map(|line| {
                    (authorization::is_of(line, scheme), contains(line.as_bytes(), found))
                }))
            }
            Kind::Cookie(name) => leaves(
                cookie::all_pairs(headers)
                    .map(|pair| (cookie::has_name(pair, name), contains(pair, found))),
            ),
            Kind::Query(name) => leaves(
                query::pairs(uri).map(|pair| (query::has_name(pair, name), holds(pair, found))),
            ),
        }
    }

    /// Removes each line that holds these bytes, or each pair of a query. If none does, the bytes stand
    /// there in another form, and all of them go.
    pub(crate) fn strip_lines(&self, headers: &mut HeaderMap, found: &[u8]) {
        if let Kind::Scheme(_) | Kind::Cookie(_) = &*self.0 {
            self.header_name().into_iter().for_each(|name| strip_lines(headers, name, found));
        }
    }

    pub(crate) fn strip_pairs(&self, uri: &mut Uri, found: &[u8]) {
        if let Kind::Query(_) = &*self.0 {
            let one_holds = query::pairs(uri).any(|pair| holds(pair, found));
            query::take_out_where(uri, |pair| !one_holds || holds(pair, found));
        }
    }
}

fn strip_lines(headers: &mut HeaderMap, name: &HeaderName, found: &[u8]) {
    let mut lines = headers.get_all(name).into_iter();
    let one_holds = lines.any(|line| contains(line.as_bytes(), found));
    keep(headers, name, |line| one_holds && !contains(line.as_bytes(), found));
}

/// Of parts, each with whether the rule removes it and whether it holds the bytes.
fn leaves(parts: impl Iterator<Item = (bool, bool)>) -> Left {
    let (mut goes, mut left) = (false, Left::No);
    for (is_ours, holds) in parts {
        goes |= is_ours;
        left = left.max(match (is_ours, holds) {
            (true, true) => Left::Removed,
            (true, false) => Left::No,
            (false, true) => Left::Yes,
            (false, false) => Left::Perhaps,
        });
    }
    if goes && left == Left::Perhaps { Left::No } else { left }
}

fn contains(text: &[u8], found: &[u8]) -> bool {
    !found.is_empty() && text.windows(found.len()).any(|part| part == found)
}

fn holds(pair: &str, found: &[u8]) -> bool {
    contains(pair.as_bytes(), found) || contains(&query::decode_wiped(pair), found)
}
