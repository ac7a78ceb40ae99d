//! Text from callers and verifiers in a log. It is clipped, and a terminal or a reader of lines obeys none of it.

use std::{borrow::Cow, fmt::Write};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::client::is_hidden;

/// The characters that RFC 3986 does not allow in a path, but servers pass on.
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Percent-encodes a path, which does not change its meaning.
pub(super) fn path(path: &str, max: usize) -> Cow<'_, str> {
    clipped(path, max, |path| utf8_percent_encode(path, NOT_IN_A_PATH).into())
}

/// Escapes invisible characters and the backslash, as Rust does.
pub(super) fn printable(text: &str, max: usize) -> Cow<'_, str> {
    clipped(text, max, |text| {
        if text.chars().all(is_plain) {
            return text.into();
        }
        text.chars()
            .fold(String::new(), |mut safe, char| {
                if is_plain(char) {
                    safe.push(char);
                } else {
                    let _ = match char.escape_debug() {
                        escaped if escaped.len() > 1 => write!(safe, "{escaped}"),
                        _ => write!(safe, "{}", char.escape_unicode()),
                    };
                }
                safe
            })
            .into()
    })
}

/// Returns whether a character is visible and harmless. `escape_debug` escapes controls, also those from U+0080
/// to U+009F, and marks that reverse a line. It does not escape letters without a shape.
fn is_plain(char: char) -> bool {
    matches!(char, ' '..='[' | ']'..='~') || (char.escape_debug().len() == 1 && !is_hidden(char))
}

fn clipped(text: &str, max: usize, safe: impl for<'a> Fn(&'a str) -> Cow<'a, str>) -> Cow<'_, str> {
    match text.char_indices().nth(max).and_then(|(end, _)| text.get(..end)) {
        None => safe(text),
        Some(start) => format!("{}…", safe(start)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_text_is_unchanged_and_not_copied() {
        for good in ["/", "/a/%41;b=c,d/~e!$&'()*+:@-._", "*", ""] {
            assert!(matches!(path(good, 64), Cow::Borrowed(same) if same == good), "{good}");
        }
        for good in ["mobile-app", "can't connect to \"db\"", "Zoë’s café", ""] {
            assert!(matches!(printable(good, 64), Cow::Borrowed(same) if same == good), "{good}");
        }
    }

    #[test]
    fn text_has_no_control_and_no_line_break() {
        for (hostile, in_a_path, elsewhere) in [
            ("\x1b[2J", "%1B[2J", r"\u{1b}[2J"),
            ("\u{9b}2J", "%C2%9B2J", r"\u{9b}2J"),
            ("a\r\nb\tc", "a%0D%0Ab%09c", r"a\r\nb\tc"),
            ("\u{7f}\u{0}", "%7F%00", r"\u{7f}\0"),
            ("\u{202e}live\u{2028}", "%E2%80%AElive%E2%80%A8", r"\u{202e}live\u{2028}"),
            ("a\u{3164}\u{e0061}", "a%E3%85%A4%F3%A0%81%A1", r"a\u{3164}\u{e0061}"),
            ("a=\"b\" c", "a=%22b%22%20c", "a=\"b\" c"),
            (r"\x1b`|{}^<>", "%5Cx1b%60%7C%7B%7D%5E%3C%3E", r"\\x1b`|{}^<>"),
        ] {
            assert_eq!((&*path(hostile, 64), &*printable(hostile, 64)), (in_a_path, elsewhere));
        }
    }

    #[test]
    fn long_text_is_clipped_between_two_characters() {
        assert_eq!(printable("äöü", 3), "äöü");
        assert_eq!(printable("äöüß", 3), "äöü…");
        assert_eq!(path("/äöü", 3), "/%C3%A4%C3%B6…");
        assert_eq!(printable(&"\u{7}".repeat(9), 2), r"\u{7}\u{7}…");
    }
}
