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

/// Drops the lines of this scheme. Those of other schemes stay, in their order.
pub(crate) fn take_out(headers: &mut HeaderMap, scheme: &str) {
    let is_ours = |line: &HeaderValue| after_scheme(line, scheme).is_some();
    if headers.get_all(AUTHORIZATION).iter().any(is_ours) {
        keep(headers, &AUTHORIZATION, |line| !is_ours(line));
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
