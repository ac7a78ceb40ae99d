use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::COOKIE};

use super::{content::Content, header_values::retain_values};
use crate::key::trim;

pub(super) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Content<'a> {
    Content::only(values(headers, name), |value| Content::Value(value.into()))
}

/// Returns the values of all cookies of this name, without one pair of surrounding quotes. There can be
/// several `Cookie` lines, because HTTP/2 may split them (RFC 9113 §8.2.3).
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    all_pairs(headers)
        .filter_map(|pair| split(pair).filter(|(found, _)| *found == name.as_bytes()))
        .map(|(_, value)| match value {
            [b'"', quoted @ .., b'"'] => quoted,
            value => value,
        })
}

/// Removes the cookies of this name. The rest stays, byte for byte. If a line is then empty, the function
/// removes the line.
pub(super) fn strip(headers: &mut HeaderMap, name: &str) {
    let lines = headers.iter_mut().filter(|(header, _)| *header == COOKIE);
    let mut emptied = false;
    for (_, line) in lines.filter(|(_, line)| pairs(line).any(|pair| has_name(pair, name))) {
        *line = without(line, name);
        emptied |= line.is_empty();
    }
    if emptied {
        retain_values(headers, &COOKIE, |line| !line.is_empty());
    }
}

fn without(line: &HeaderValue, name: &str) -> HeaderValue {
    let mut left = Vec::with_capacity(line.len());
    for pair in pairs(line).filter(|pair| !has_name(pair, name)) {
        // The second pair of a line has a space before it.
        left.extend_from_slice(if left.is_empty() { pair.trim_ascii_start() } else { pair });
        left.push(b';');
    }
    left.pop();
    // A part of a valid value is valid, too.
    let left = HeaderValue::from_maybe_shared(Bytes::from(left));
    let mut left = left.unwrap_or(HeaderValue::from_static(""));
    left.set_sensitive(line.is_sensitive());
    left
}

pub(super) fn all_pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(COOKIE).into_iter().flat_map(pairs)
}

fn pairs(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| *byte == b';')
}

pub(super) fn has_name(pair: &[u8], name: &str) -> bool {
    split(pair).is_some_and(|(found, _)| found == name.as_bytes())
}

/// Splits a cookie into name and value. A pair without `=` has no name (RFC 6265 §5.2).
fn split(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    let (name, value) = pair.split_at_checked(at)?;
    Some((trim(name), trim(value.get(1..)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, line.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_pair_and_an_empty_line_are_removed() {
        for (before, after) in [
            (&["sid=k"][..], &[][..]),
            (&["a=1; sid=k; b=2"], &["a=1; b=2"]),
            (&["sid=k; b=2"], &["b=2"]),
            (&["a=1;  sid = k ;b=\"x\"; "], &["a=1;b=\"x\"; "]),
            (&["sid=k; ;", "sid=", "sid=k;b=2; sid=l"], &[";", "b=2"]),
            (&["a=1", "sid=k", "b=2;sid="], &["a=1", "b=2"]),
            (&["SID=k; sid2=k; xsid=k; sid"], &["SID=k; sid2=k; xsid=k; sid"]),
        ] {
            let mut headers = cookies(before);
            strip(&mut headers, "sid");
            let left: Vec<_> = headers.get_all(COOKIE).iter().map(|v| v.as_bytes()).collect();
            let after: Vec<_> = after.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(left, after, "{before:?}");
        }
    }

    #[test]
    fn one_pair_of_quotes_is_not_part_of_the_value() {
        let headers = cookies(&["sid=\"k\"; sid=\"\"k\"\"; sid=\"k; sid=a=b; sid=\""]);
        let values: Vec<_> = values(&headers, "sid").collect();
        assert_eq!(values, [&b"k"[..], b"\"k\"", b"\"k", b"a=b", b"\""]);
    }
}
