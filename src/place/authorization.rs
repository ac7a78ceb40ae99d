use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use super::keep;
use crate::key::trim;

/// What one `Authorization` line says to somebody who waits for one scheme (RFC 9110 §11.4).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SchemeValue<'a> {
    /// Another scheme, or ours with nothing behind it.
    None,
    Token68(&'a [u8]),
    /// Ours, and anything but one token68 behind it.
    Other,
}

pub(crate) fn read<'a>(value: &'a HeaderValue, scheme: &str) -> SchemeValue<'a> {
    match after_scheme(value, scheme) {
        None | Some([]) => SchemeValue::None,
        Some([b' ', rest @ ..]) => match trim_spaces(rest) {
            token if is_token68(token) => SchemeValue::Token68(token),
            _ => SchemeValue::Other,
        },
        Some(_) => SchemeValue::Other,
    }
}

/// Whether a key begins with `Bearer `. The presented bytes alone decide, so that it takes the same for
/// every key that is refused.
#[inline(always)]
pub(crate) fn begins_with_bearer(key: &[u8]) -> bool {
    matches!(key, [b'B' | b'b', rest @ ..]
        if rest.get(..6).is_some_and(|rest| rest.eq_ignore_ascii_case(b"earer ")))
}

/// Drops the lines of this scheme. Those of other schemes stay, in their order.
pub(crate) fn take_out(headers: &mut HeaderMap, scheme: &str) {
    if headers.get_all(AUTHORIZATION).iter().any(|line| is_of(line, scheme)) {
        keep(headers, &AUTHORIZATION, |line| !is_of(line, scheme));
    }
}

pub(super) fn is_of(line: &HeaderValue, scheme: &str) -> bool {
    after_scheme(line, scheme).is_some()
}

/// What stands in an `Authorization` line that holds no key for any of some schemes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// Nothing, or one of the schemes with nothing behind it.
    Nothing,
    NoScheme,
    OtherScheme,
}

pub(crate) fn read_foreign<'a>(
    line: &HeaderValue,
    mut schemes: impl Iterator<Item = &'a str>,
) -> Foreign {
    match trim(line.as_bytes()) {
        [] => Foreign::Nothing,
        _ if schemes.any(|scheme| is_of(line, scheme)) => Foreign::Nothing,
        line if line.iter().any(|byte| matches!(byte, b' ' | b'\t')) => Foreign::OtherScheme,
        _ => Foreign::NoScheme,
    }
}

/// What follows our scheme; `None` for another scheme.
fn after_scheme<'a>(value: &'a HeaderValue, scheme: &str) -> Option<&'a [u8]> {
    let (found, rest) = trim(value.as_bytes()).split_at_checked(scheme.len())?;
    if !found.eq_ignore_ascii_case(scheme.as_bytes()) {
        return None;
    }
    let goes_on = rest.first().is_some_and(|byte| is_token_byte(*byte));
    (!goes_on).then_some(rest)
}

fn trim_spaces(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

/// RFC 9110 §5.6.2: what a scheme may be made of.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 §11.2: at least one character, then padding.
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
    fn r7_the_scheme_is_read_in_any_case_and_nothing_else_is_lenient() {
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
            assert_eq!(read(&value, "Bearer"), read_as, "{line:?}");
        }
    }

    #[test]
    fn a_line_without_a_key_has_no_scheme_or_another_or_nothing_behind_ours() {
        for (line, read_as) in [
            ("", Foreign::Nothing),
            (" ", Foreign::Nothing),
            ("bearer", Foreign::Nothing),
            ("Token  ", Foreign::Nothing),
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
    fn another_scheme_survives() {
        let mut headers = HeaderMap::new();
        for line in ["Basic one", "bearer k", "Digest two", "Bearer"] {
            headers.append(AUTHORIZATION, line.parse().unwrap());
        }
        take_out(&mut headers, "Bearer");
        let left: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(left, ["Basic one", "Digest two"]);
    }
}
