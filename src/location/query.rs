use std::borrow::Cow;

use http::{
    Uri,
    uri::{Parts, PathAndQuery},
};
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use super::content::Content;

pub(super) fn read<'a>(uri: &'a Uri, name: &str) -> Content<'a> {
    Content::only(values(uri, name), |value| match value.decode() {
        Some(key) => Content::Value(key),
        None => Content::Malformed,
    })
}

/// The encoded text behind the `=` of a pair.
#[derive(Clone, Copy)]
pub(super) struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// Returns `None` if a `%` is without two hexadecimal digits, because no encoder writes it so.
    fn decode(self) -> Option<Cow<'a, [u8]>> {
        (!has_bad_escape(self.0)).then(|| decode(self.0))
    }
}

/// Returns the values of all pairs with this decoded name.
pub(super) fn values<'a>(uri: &'a Uri, name: &str) -> impl Iterator<Item = Value<'a>> {
    pairs(uri)
        .filter(move |pair| has_name(pair, name))
        .map(|pair| Value(pair.split_once('=').map_or("", |(_, value)| value)))
}

/// Removes the pairs with this decoded name.
pub(super) fn strip(uri: &mut Uri, name: &str) {
    strip_where(uri, |pair| has_name(pair, name));
}

/// Removes some pairs, and the `?` if no pair is left.
pub(super) fn strip_where(uri: &mut Uri, is_removed: impl Fn(&str) -> bool) {
    if !pairs(uri).any(&is_removed) {
        return;
    }
    let pairs = pairs(uri).filter(|pair| !is_removed(pair));
    let path = uri.path_and_query().map_or("", |whole| match whole.as_str().split_once('?') {
        Some((path, _)) => path,
        None => whole.path(),
    });
    let mut whole = String::with_capacity(uri.path_and_query().map_or(0, |it| it.as_str().len()));
    whole.push_str(path);
    let mut before = '?';
    for pair in pairs {
        whole.push(before);
        whole.push_str(pair);
        before = '&';
    }
    // A part of a valid path and query is valid, too. Otherwise the whole query would be removed.
    let left = PathAndQuery::try_from(whole).unwrap_or(PathAndQuery::from_static("/"));
    let mut parts = Parts::from(std::mem::take(uri));
    parts.path_and_query = Some(left);
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

pub(super) fn pairs(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().map(|query| query.split('&')).into_iter().flatten()
}

/// Compares the decoded name without a copy of it. A `+` is a space, and no name has one.
pub(super) fn has_name(pair: &str, name: &str) -> bool {
    let found = pair.split_once('=').map_or(pair, |(found, _)| found);
    if found.contains(['%', '+']) {
        !found.contains('+') && percent_decode(found.as_bytes()).eq(name.bytes())
    } else {
        found == name
    }
}

pub(super) fn decode_zeroizing(text: &str) -> Zeroizing<Vec<u8>> {
    decode(text).into_owned().into()
}

/// Form-decodes to raw bytes. A `+` is a space, and no byte becomes U+FFFD.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let spaced = Zeroizing::new(text.replace('+', " "));
    // The vector never grows, because a copy of a part of the key would stay in memory.
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend(percent_decode(spaced.as_bytes()));
    Cow::Owned(decoded)
}

fn has_bad_escape(text: &str) -> bool {
    text.split('%').skip(1).any(|rest| {
        !matches!(rest.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(uri: &str) -> String {
        let mut uri = uri.parse().unwrap();
        strip(&mut uri, "api_key");
        uri.to_string()
    }

    #[test]
    fn the_rest_of_the_query_stays_byte_for_byte() {
        for (uri, left) in [
            ("/p?api_key=a", "/p"),
            ("/p?api_key", "/p"),
            ("/p?api_key=a&api_key=b", "/p"),
            ("/p?a=%65+x&api_key=k&b=;%zz", "/p?a=%65+x&b=;%zz"),
            ("/p?&&api_key=k&", "/p?&&"),
            ("/p?%61pi%5Fkey=k&x", "/p?x"),
            ("/p?API_KEY=k&api_key2=k&xapi_key=k", "/p?API_KEY=k&api_key2=k&xapi_key=k"),
            ("/p?x=api_key=1", "/p?x=api_key=1"),
            ("/p?api_key=a?b=c", "/p"),
            ("/?", "/?"),
            ("http://h/p?api_key=k&x=1", "http://h/p?x=1"),
            ("http://h?api_key=k", "http://h/"),
            ("http://u@h:80/?x&api_key=k", "http://u@h:80/?x"),
            ("//evil/p?api_key=k", "//evil/p"),
            ("*", "*"),
        ] {
            assert_eq!(without(uri), left, "{uri}");
        }
    }

    #[test]
    fn names_are_compared_in_decoded_form() {
        for (pair, name, is_equal) in [
            ("a%2Bb=1", "a+b", true),
            ("a+b=1", "a+b", false),
            ("a+%62", "a+b", false),
            ("%61%25", "a%", true),
            ("a%", "a%", true),
            ("a%2", "a%2", true),
            ("%61", "%61", false),
        ] {
            assert_eq!(has_name(pair, name), is_equal, "{pair}");
        }
    }

    #[test]
    fn values_are_decoded_to_raw_bytes_or_malformed() {
        let decoded = |uri: &str| -> Vec<Option<Vec<u8>>> {
            let uri = uri.parse().unwrap();
            values(&uri, "k").map(|value| value.decode().map(Cow::into_owned)).collect()
        };
        assert_eq!(decoded("/?k=a%20b+c%2B%FF"), [Some(b"a b c+\xff".to_vec())]);
        assert_eq!(decoded("/?k=%zz&k=%&k=%4&k=a%4g"), [None, None, None, None]);
        assert_eq!(decoded("/?k&%6b=&k=="), [Some(vec![]), Some(vec![]), Some(b"=".to_vec())]);
        assert!(decoded("/?kk=1&K=1&a=k;k=1").is_empty());
    }
}
