//! Texts that could be keys by their bytes, but are mistakes of a configuration.
//!
//! Each rule requires a pattern that random keys do not have. Keys of hexadecimal digits, base64 and
//! base64url never match. Keys of all visible characters match less than once in a thousand keys.

use std::str;

use crate::error::KeyringErrorKind;

/// Returns the kind of mistake if a text is certainly no key.
pub(crate) fn mistake(key: &[u8]) -> Option<KeyringErrorKind> {
    let key = str::from_utf8(key).ok()?;
    if is_digest(key) {
        Some(KeyringErrorKind::DigestAsKey)
    } else if is_enclosed(key) {
        Some(KeyringErrorKind::QuotedKey)
    } else if has_scheme(key) {
        Some(KeyringErrorKind::KeyWithScheme)
    } else if is_placeholder(key) {
        Some(KeyringErrorKind::PlaceholderKey)
    } else {
        None
    }
}

/// Finds a line of `sha256sum` or `openssl dgst`, and a digest in another spelling than `sha256:…`.
fn is_digest(key: &str) -> bool {
    if key.split_once(' ').is_some_and(|(digest, _)| is_hex_digest(digest)) {
        return true;
    }
    let Some((name, version)) = key.split_at_checked(3) else { return false };
    if !name.eq_ignore_ascii_case("sha")
        || !version.trim_start_matches('-').starts_with(|char: char| char.is_ascii_digit())
    {
        return false;
    }
    let last = version.rsplit(|char: char| !char.is_ascii_hexdigit()).next();
    last.is_some_and(is_hex_digest) || version.split_once('-').is_some_and(is_subresource_integrity)
}

/// Finds hexadecimal digits with the length of an MD5, SHA-1 or SHA-2 digest.
fn is_hex_digest(text: &str) -> bool {
    matches!(text.len(), 32 | 40 | 56 | 64 | 96 | 128)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Finds `sha256-` and a digest in base64.
fn is_subresource_integrity((version, digest): (&str, &str)) -> bool {
    let digits = digest.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    matches!((version, digits.len()), ("256", 43) | ("384", 64) | ("512", 86))
        && digits.bytes().all(is_digit)
}

/// Finds quotes, which a shell removes and `docker --env-file` keeps, and values of JSON.
fn is_enclosed(key: &str) -> bool {
    let pairs = [("\"", "\""), ("'", "'"), ("`", "`"), ("\\\"", "\\\""), ("\\'", "\\'")];
    let is_quoted = pairs
        .into_iter()
        .any(|(open, close)| key.strip_prefix(open).is_some_and(|rest| rest.ends_with(close)));
    let inside = |open, close| key.strip_prefix(open)?.strip_suffix(close).map(str::trim_start);
    let json = inside('{', '}').or_else(|| inside('[', ']'));
    is_quoted || json.is_some_and(|json| json.starts_with(['"', '\'']))
}

/// Finds the value of a header or its whole line, such as `Bearer abc` or `X-Api-Key: abc`.
fn has_scheme(key: &str) -> bool {
    const SCHEMES: [&str; 7] =
        ["bearer", "basic", "token", "apikey", "api-key", "api_key", "digest"];
    const HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "x-api-key", "bearer"];

    let is_one_of =
        |names: &[&str], name: &str| names.iter().any(|it| it.eq_ignore_ascii_case(name));
    if let Some((scheme, rest)) = key.split_once(' ') {
        if is_one_of(&SCHEMES, scheme) && !rest.trim_start().contains(' ') {
            return true;
        }
    }
    key.split_once(':').is_some_and(|(name, value)| {
        is_one_of(&HEADERS, name) || (is_name(name) && value.starts_with(' '))
    })
}

/// Finds a placeholder, which a template or a person should have replaced.
fn is_placeholder(key: &str) -> bool {
    is_filler(key) || is_bracketed_name(key) || is_variable(key) || is_reference(key)
}

fn is_filler(key: &str) -> bool {
    const WORDS: [&str; 16] = [
        "changeme",
        "changethis",
        "changeit",
        "replaceme",
        "replacethis",
        "fillmein",
        "placeholder",
        "redacted",
        "yourkeyhere",
        "yourapikey",
        "yourapikeyhere",
        "todo",
        "null",
        "nil",
        "none",
        "undefined",
    ];
    let is_all = |filler: &str| key.bytes().all(|byte| filler.as_bytes().contains(&byte));
    // An iterator, because a copy of the key would have to be wiped.
    let word = key.bytes().filter(|byte| !b" -_".contains(byte)).map(|it| it.to_ascii_lowercase());
    ["=", "*", ".", "-", "_", "?", "#"].into_iter().any(is_all)
        || (key.len() >= 4 && is_all("xX"))
        || WORDS.iter().any(|it| word.clone().eq(it.bytes()))
}

/// Finds `<key>`, `{key}`, `[key]`, `((key))`, `%KEY%`, `@KEY@`, `__KEY__`.
fn is_bracketed_name(key: &str) -> bool {
    let inside = |open: &str, close: &str| {
        let inside = key.strip_prefix(open)?.strip_suffix(close)?;
        Some(inside.trim_start_matches(open).trim_end_matches(close))
    };
    let is_words = |text: &str| {
        text.contains(|char: char| char.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./: ".contains(&byte))
    };
    [("<", ">"), ("{", "}"), ("[", "]"), ("((", "))"), ("%", "%")]
        .into_iter()
        .any(|(open, close)| inside(open, close).is_some_and(is_words))
        || [("@", "@"), ("__", "__")]
            .into_iter()
            .any(|(open, close)| inside(open, close).is_some_and(is_constant))
}

/// Finds `$KEY`, or a part such as `${KEY}`, `$(command)`, `{{ key }}` or `<% key %>`.
fn is_variable(key: &str) -> bool {
    let is_whole = key.strip_prefix('$').is_some_and(is_constant) || key.starts_with("$env:");
    let templates = [("{{", "}}"), ("<%", "%>"), ("{%", "%}")];
    let has_template = templates
        .into_iter()
        .any(|(open, close)| key.split_once(open).is_some_and(|(_, rest)| rest.contains(close)));
    let variables = [("${", '}'), ("#{", '}'), ("$(", ')')];
    let has_variable = variables.into_iter().any(|(open, close)| {
        key.match_indices(open).any(|(at, _)| {
            let rest = key.get(at + open.len()..).unwrap_or_default();
            let rest = rest.trim_start_matches([' ', '<', '!']);
            let is_end = |char: char| !char.is_ascii_alphanumeric() && !"_-./".contains(char);
            rest.find(is_end).is_some_and(|end| {
                let (name, rest) = rest.split_at(end);
                name.len() > 1 && rest.starts_with([close, ':', ' ']) && rest.contains(close)
            })
        })
    });
    is_whole || has_template || has_variable
}

/// Finds the address of a key: a URL, a file, or the name of a secret in a cloud.
fn is_reference(key: &str) -> bool {
    let references =
        ["/run/secrets/", "/var/run/secrets/", "arn:aws", "@Microsoft.KeyVault(", "ENC["];
    references.into_iter().any(|reference| key.starts_with(reference))
        || key.split_once("://").is_some_and(|(scheme, _)| is_name(scheme))
}

/// Finds the name of a variable in upper case, such as `MOBILE_APP_KEY`.
fn is_constant(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_uppercase() || char == '_')
        && text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

fn is_name(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-_.".contains(&byte))
}
