//! Escapes texts for a terminal.

use serde_json::Value;

/// Escapes characters as Rust does, so that a text is one line and looks like no other text.
pub(crate) fn text(text: &str) -> String {
    text.chars().fold(String::new(), |mut printable, char| {
        let escaped = char.escape_debug();
        if !needs_escape(char) && char != '\\' {
            printable.push(char);
        } else if escaped.len() > 1 {
            printable.extend(escaped);
        } else {
            printable.extend(char.escape_unicode());
        }
        printable
    })
}

/// Formats JSON, and escapes characters that `serde_json` does not escape but a terminal can misread.
pub(crate) fn json(value: &Value) -> String {
    value.to_string().chars().fold(String::new(), |mut escaped, char| {
        if needs_escape(char) {
            for unit in char.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(char);
        }
        escaped
    })
}

/// Returns whether a terminal can obey a character, hide it, or merge it with the previous one.
///
/// `escape_debug` escapes controls, blanks, format characters, unassigned characters and combining marks.
/// It does not escape letters and symbols without a shape, so this names them.
fn needs_escape(char: char) -> bool {
    let has_no_shape = matches!(
        char,
        '\u{115F}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}' | '\u{1D159}'
    );
    has_no_shape || (!matches!(char, ' '..='~') && char.escape_debug().len() > 1)
}
