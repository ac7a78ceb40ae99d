use std::hash::{Hash, Hasher};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use super::{content::Content, header_values::retain_values};
use crate::key::trim;

const BEARER: &str = "Bearer";

/// The name of a scheme. It matches in any case (RFC 9110 §11.1).
pub(super) struct SchemeName(Box<str>);

impl SchemeName {
    pub(super) fn bearer() -> Self {
        Self(BEARER.into())
    }

    /// The name keeps its case, except for `Bearer`.
    pub(super) fn new(name: &str) -> Self {
        if name.eq_ignore_ascii_case(BEARER) { Self::bearer() } else { Self(name.into()) }
    }

    #[inline]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_bearer(&self) -> bool {
        self.as_str() == BEARER
    }
}

impl PartialEq for SchemeName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for SchemeName {}

impl Hash for SchemeName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_ascii_lowercase().hash(state);
    }
}

#[inline(always)]
pub(super) fn read<'a>(headers: &'a HeaderMap, scheme: &str) -> Content<'a> {
    Content::only(headers.get_all(AUTHORIZATION).into_iter(), |line| {
        match read_line(line, scheme) {
            SchemeValue::None => Content::Absent,
            SchemeValue::Token68(key) => Content::Value(key.into()),
            SchemeValue::Other => Content::Malformed,
        }
    })
}

/// The meaning of one `Authorization` line for one scheme (RFC 9110 §11.4).
#[derive(Debug, PartialEq, Eq)]
enum SchemeValue<'a> {
    /// Another scheme, or this scheme without a value.
    None,
    Token68(&'a [u8]),
    /// This scheme with any other value.
    Other,
}

fn read_line<'a>(value: &'a HeaderValue, scheme: &str) -> SchemeValue<'a> {
    match after_scheme(value, scheme) {
        None | Some([]) => SchemeValue::None,
        Some([b' ', rest @ ..]) => match trim_spaces(rest) {
            token if is_token68(token) => SchemeValue::Token68(token),
            _ => SchemeValue::Other,
        },
        Some(_) => SchemeValue::Other,
    }
}

/// Whether a key begins with `Bearer `. Only the presented bytes decide, because the work must be the
/// same for every rejected key.
#[inline(always)]
pub(crate) fn begins_with_bearer(key: &[u8]) -> bool {
    matches!(key, [b'B' | b'b', rest @ ..]
        if rest.get(..6).is_some_and(|rest| rest.eq_ignore_ascii_case(b"earer ")))
}

/// Removes the lines of this scheme. Lines of other schemes stay, in their order.
pub(super) fn strip(headers: &mut HeaderMap, scheme: &str) {
    if headers.get_all(AUTHORIZATION).iter().any(|line| is_of(line, scheme)) {
        retain_values(headers, &AUTHORIZATION, |line| !is_of(line, scheme));
    }
}

pub(super) fn is_of(line: &HeaderValue, scheme: &str) -> bool {
    after_scheme(line, scheme).is_some()
}

/// The content of an `Authorization` line without a key for the given schemes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// No value, or one of the schemes without a value.
    None,
    NoScheme,
    OtherScheme,
}

pub(crate) fn read_foreign<'a>(
    line: &HeaderValue,
    mut schemes: impl Iterator<Item = &'a str>,
) -> Foreign {
    match trim(line.as_bytes()) {
        [] => Foreign::None,
        _ if schemes.any(|scheme| is_of(line, scheme)) => Foreign::None,
        line if line.iter().any(|byte| matches!(byte, b' ' | b'\t')) => Foreign::OtherScheme,
        _ => Foreign::NoScheme,
    }
}

/// Returns the rest of the line behind this scheme, or `None` for another scheme.
fn after_scheme<'a>(value: &'a HeaderValue, scheme: &str) -> Option<&'a [u8]> {
    let (found, rest) = trim(value.as_bytes()).split_at_checked(scheme.len())?;
    if !found.eq_ignore_ascii_case(scheme.as_bytes()) {
        return None;
    }
    let continues = rest.first().is_some_and(|byte| is_token_byte(*byte));
    (!continues).then_some(rest)
}

fn trim_spaces(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Whether a scheme can contain this byte (RFC 9110 §5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether this is one or more characters and then padding (RFC 9110 §11.2).
fn is_token68(token: &[u8]) -> bool {
    let mut characters = token;
    while let [rest @ .., b'='] = characters {
        characters = rest;
    }
    !characters.is_empty()
        && characters.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r7_a_scheme_matches_in_any_case_and_the_rest_is_strict() {
        for (line, read_as) in [
            ("Bearer abc", SchemeValue::Token68(b"abc")),
            ("bEARER   a-._~+/1==", SchemeValue::Token68(b"a-._~+/1==")),
            ("Bearer", SchemeValue::None),
            ("Bearer  ", SchemeValue::None),
            ("Bearerish abc", SchemeValue::None),
            ("Bearer-abc", SchemeValue::None),
            ("Basic abc", SchemeValue::None),
            ("", SchemeValue::None),
            ("Bearer abc def", SchemeValue::Other),
            ("Bearer abc, Bearer def", SchemeValue::Other),
            ("Bearer \"abc\"", SchemeValue::Other),
            ("Bearer ==", SchemeValue::Other),
            ("Bearer a=b", SchemeValue::Other),
            ("Bearer \tabc", SchemeValue::Other),
            ("Bearer\tabc", SchemeValue::Other),
            ("Bearer/abc", SchemeValue::Other),
            ("Bearer=abc", SchemeValue::Other),
        ] {
            let value = HeaderValue::from_str(line).unwrap();
            assert_eq!(read_line(&value, "Bearer"), read_as, "{line:?}");
        }
    }

    #[test]
    fn a_line_without_a_key_has_no_scheme_or_another_scheme_or_no_value() {
        for (line, read_as) in [
            ("", Foreign::None),
            (" ", Foreign::None),
            ("bearer", Foreign::None),
            ("Token  ", Foreign::None),
            ("abc", Foreign::NoScheme),
            (" abc/def== ", Foreign::NoScheme),
            ("Bearer-abc", Foreign::NoScheme),
            ("Basic abc", Foreign::OtherScheme),
            ("Basic\tabc", Foreign::OtherScheme),
            ("Bearerish abc", Foreign::OtherScheme),
            ("Digest username=\"abc\"", Foreign::OtherScheme),
        ] {
            let value = HeaderValue::from_str(line).unwrap();
            let schemes = ["Bearer", "Token"].into_iter();
            assert_eq!(read_foreign(&value, schemes), read_as, "{line:?}");
        }
    }

    #[test]
    fn lines_of_other_schemes_stay() {
        let mut headers = HeaderMap::new();
        for line in ["Basic one", "bearer k", "Digest two", "Bearer"] {
            headers.append(AUTHORIZATION, line.parse().unwrap());
        }
        strip(&mut headers, "Bearer");
        let left: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(left, ["Basic one", "Digest two"]);
    }
}
