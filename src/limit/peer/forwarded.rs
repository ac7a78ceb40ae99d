//! The peer in a header that proxies write, counted from the right.

use std::{net::IpAddr, net::SocketAddr, num::NonZeroUsize};

use http::{
    HeaderMap, HeaderName,
    header::{FORWARDED, HeaderValue},
};

use super::Peer;
use crate::{
    error::{ConfigError, ConfigErrorKind, expect_valid},
    extract::RequestHead,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns a closure that reads the peer from `X-Forwarded-For`.
///
/// The argument is the number of your proxies in front. `1` stands for the last address, which the nearest proxy
/// wrote. Several lines of the header count as one list. An address can have a port. If the list is too short, or the entry is no address, there is no peer.
///
/// # Panics
///
/// If the number is 0. Use [`try_x_forwarded_for`] for a number from configuration.
///
/// # Examples
///
/// ```
/// use tower_api_key::{extract::RequestHead, limit::peer};
///
/// let request = http::Request::builder()
///     .header("x-forwarded-for", "203.0.113.9, 192.0.2.7, 10.0.0.1")
///     .body(())?;
/// let head = RequestHead::of(&request);
/// // A load balancer saw 192.0.2.7, and a second proxy saw the load balancer at 10.0.0.1.
/// assert_eq!(peer::x_forwarded_for(2)(head).map(|peer| peer.to_string()).as_deref(), Some("192.0.2.7"));
/// assert_eq!(peer::x_forwarded_for(4)(head), None);
/// # Ok::<(), http::Error>(())
/// ```
#[track_caller]
pub fn x_forwarded_for(
    trusted_proxies: usize,
) -> impl Fn(RequestHead<'_>) -> Option<Peer> + Clone + Send + Sync + 'static {
    expect_valid(try_x_forwarded_for(trusted_proxies))
}

/// Returns the closure of [`x_forwarded_for`] for a number from configuration.
///
/// # Errors
///
/// If the number is 0, because the header would then come from the caller.
pub fn try_x_forwarded_for(
    trusted_proxies: usize,
) -> Result<impl Fn(RequestHead<'_>) -> Option<Peer> + Clone + Send + Sync + 'static, ConfigError> {
    let skip = skipped(trusted_proxies)?;
    Ok(move |head: RequestHead<'_>| {
        let lines = lines_from_right(head.headers(), &X_FORWARDED_FOR);
        let entries = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
        let mut entries = entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty());
        entries.nth(skip).and_then(address).map(Peer::from)
    })
}

/// Returns a closure that reads the peer from `Forwarded` (RFC 7239).
///
/// The argument is the number of your proxies in front. `1` stands for the last element, which the nearest proxy
/// wrote. Several lines of the header count as one list. If the list is too short, or the element has no address in `for`, there is no peer. An obfuscated
/// identifier (`for=_hidden`) and `for=unknown` are no addresses.
///
/// # Panics
///
/// If the number is 0. Use [`try_forwarded`] for a number from configuration.
///
/// # Examples
///
/// ```
/// use tower_api_key::{extract::RequestHead, limit::peer};
///
/// let request = http::Request::builder()
///     .header("forwarded", r#"for=spoofed, for="[2001:db8::7]:4711";proto=https"#)
///     .body(())?;
/// let found = peer::forwarded(1)(RequestHead::of(&request));
/// assert_eq!(found.map(|peer| peer.to_string()).as_deref(), Some("2001:db8::/64"));
/// # Ok::<(), http::Error>(())
/// ```
#[track_caller]
pub fn forwarded(
    trusted_proxies: usize,
) -> impl Fn(RequestHead<'_>) -> Option<Peer> + Clone + Send + Sync + 'static {
    expect_valid(try_forwarded(trusted_proxies))
}

/// Returns the closure of [`forwarded`] for a number from configuration.
///
/// # Errors
///
/// If the number is 0, because the header would then come from the caller.
pub fn try_forwarded(
    trusted_proxies: usize,
) -> Result<impl Fn(RequestHead<'_>) -> Option<Peer> + Clone + Send + Sync + 'static, ConfigError> {
    let skip = skipped(trusted_proxies)?;
    Ok(move |head: RequestHead<'_>| {
        let lines = lines_from_right(head.headers(), &FORWARDED);
        let elements = lines.flat_map(|line| split_from_right(line, b','));
        let mut elements = elements.filter(|element| !element.trim_ascii().is_empty());
        elements.nth(skip).and_then(node_of).and_then(address).map(Peer::from)
    })
}

/// Returns how many entries to skip from the right.
fn skipped(trusted_proxies: usize) -> Result<usize, ConfigError> {
    let proxies = NonZeroUsize::new(trusted_proxies).ok_or(ConfigErrorKind::TrustedHops)?;
    Ok(proxies.get().saturating_sub(1))
}

fn lines_from_right<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().rev().map(HeaderValue::as_bytes)
}

/// Splits at separators outside of quotes, from the right.
///
/// From the left, a quote that an attacker leaves open would swallow the elements of the trusted proxies.
fn split_from_right(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut is_quoted = false;
        let at = (0..text.len()).rev().find(|at| {
            let (before, byte) = (text.get(..*at).unwrap_or_default(), text.get(*at).copied());
            is_quoted ^= byte == Some(b'"') && !is_escaped(before);
            byte == Some(separator) && !is_quoted
        });
        let Some(at) = at else { return rest.take() };
        let (before, after) = text.split_at_checked(at)?;
        rest = Some(before);
        after.get(1..)
    })
}

/// Returns whether an odd number of backslashes precedes.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Returns the value of the only `for` of an element, without its quotes.
fn node_of(element: &[u8]) -> Option<&[u8]> {
    let mut nodes = split_from_right(element, b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at_checked(at)?;
        name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| value.get(1..))?
    });
    let (node, None) = (nodes.next()?.trim_ascii(), nodes.next()) else { return None };
    match node {
        [b'"', node @ .., b'"'] => Some(node),
        _ => Some(node),
    }
}

/// Reads an address, with or without brackets and a port.
fn address(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node).ok()?;
    // RFC 7239 has a port that is obfuscated.
    let node = node.rsplit_once(":_").map_or(node, |(address, _)| address);
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    match node.strip_prefix('[').and_then(|node| node.strip_suffix(']')) {
        Some(node) => node.parse().ok().map(IpAddr::V6),
        None => node.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(
        closure: impl Fn(RequestHead<'_>) -> Option<Peer>,
        name: &str,
        lines: &[&[u8]],
    ) -> String {
        let request = lines.iter().fold(Request::builder(), |it, line| it.header(name, *line));
        let request = request.body(()).unwrap();
        closure(RequestHead::of(&request)).map_or("-".to_owned(), |peer| peer.to_string())
    }

    #[test]
    fn x_forwarded_for_is_counted_from_the_right() {
        for (lines, proxies, peer) in [
            (&[][..], 1, "-"),
            (&["192.0.2.7"][..], 1, "192.0.2.7"),
            (&["192.0.2.7"], 2, "-"),
            (&["192.0.2.7"], usize::MAX, "-"),
            (&["9.9.9.9, 192.0.2.7"], 1, "192.0.2.7"),
            (&["9.9.9.9,192.0.2.7 ,\t10.0.0.1"], 2, "192.0.2.7"),
            // Several lines are one list.
            (&["9.9.9.9", "192.0.2.7"], 1, "192.0.2.7"),
            (&["9.9.9.9, 192.0.2.7", "10.0.0.1"], 2, "192.0.2.7"),
            (&["9.9.9.9", "192.0.2.7", "10.0.0.1"], 3, "9.9.9.9"),
            // Empty entries are no entries (RFC 9110 §5.6.1).
            (&["192.0.2.7,, ,"], 1, "192.0.2.7"),
            (&[", 192.0.2.7"], 2, "-"),
            (&["192.0.2.7", ""], 1, "192.0.2.7"),
            // Ports and brackets.
            (&["192.0.2.7:4711"], 1, "192.0.2.7"),
            (&["2001:db8::7"], 1, "2001:db8::/64"),
            (&["[2001:db8::7]"], 1, "2001:db8::/64"),
            (&["[2001:db8::7]:4711"], 1, "2001:db8::/64"),
            (&["::ffff:192.0.2.7"], 1, "192.0.2.7"),
            // Garbage.
            (&["192.0.2.7, unknown"], 1, "-"),
            (&["192.0.2.7, _hidden"], 1, "-"),
            (&["192.0.2.7, 300.1.1.1"], 1, "-"),
            (&["192.0.2.7, 010.0.0.1"], 1, "-"),
            (&["192.0.2.7, 10.0.0.1:99999"], 1, "-"),
            (&["192.0.2.7, [10.0.0.1]"], 1, "-"),
            (&["192.0.2.7, [::1"], 1, "-"),
            (&["192.0.2.7 10.0.0.1"], 1, "-"),
            (&["192.0.2.7, \"10.0.0.1\""], 1, "-"),
            (&["192.0.2.7, localhost"], 1, "-"),
            (&["192.0.2.7, ["], 1, "-"),
            (&["192.0.2.7, :_"], 1, "-"),
            (&["unknown, \u{e9}, 192.0.2.7"], 1, "192.0.2.7"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            let found = read(x_forwarded_for(proxies), "X-Forwarded-For", &lines);
            assert_eq!(found, peer, "{lines:?} {proxies}");
        }
        let lines = [&b"\xff\xfe, 192.0.2.7"[..]];
        assert_eq!(read(x_forwarded_for(1), "x-forwarded-for", &lines), "192.0.2.7");
        assert_eq!(read(x_forwarded_for(2), "x-forwarded-for", &lines), "-");
    }

    #[test]
    fn forwarded_is_counted_from_the_right_and_an_open_quote_swallows_no_trusted_element() {
        for (lines, proxies, peer) in [
            (&[][..], 1, "-"),
            (&["for=192.0.2.7"][..], 1, "192.0.2.7"),
            (&["For=192.0.2.7;proto=https;by=203.0.113.4"], 1, "192.0.2.7"),
            (&["proto=https ; FOR = 192.0.2.7"], 1, "192.0.2.7"),
            (&["for=9.9.9.9, for=192.0.2.7"], 1, "192.0.2.7"),
            (&["for=9.9.9.9, for=192.0.2.7,for=10.0.0.1"], 2, "192.0.2.7"),
            (&["for=9.9.9.9", "for=192.0.2.7", "for=10.0.0.1"], 2, "192.0.2.7"),
            (&["for=192.0.2.7"], 2, "-"),
            (&["for=192.0.2.7, ,"], 1, "192.0.2.7"),
            // Quotes, ports and brackets.
            (&[r#"for="192.0.2.7:4711""#], 1, "192.0.2.7"),
            (&[r#"for="[2001:db8::7]""#], 1, "2001:db8::/64"),
            (&[r#"for="[2001:db8::7]:4711";by="[2001:db8::1]""#], 1, "2001:db8::/64"),
            (&[r#"for="192.0.2.7:_port""#], 1, "192.0.2.7"),
            (&[r#"for="[2001:db8::7]:_p.o_r-t""#], 1, "2001:db8::/64"),
            // Names that are no addresses, and no name.
            (&["for=9.9.9.9, for=unknown"], 1, "-"),
            (&["for=9.9.9.9, for=_hidden"], 1, "-"),
            (&["for=9.9.9.9, for=\"_gazonk\""], 1, "-"),
            (&["for=9.9.9.9, proto=https"], 1, "-"),
            (&["for=9.9.9.9, for=192.0.2.7;for=9.9.9.8"], 1, "-"),
            (&["for=9.9.9.9, for"], 1, "-"),
            (&["for=9.9.9.9, for="], 1, "-"),
            (&["for=9.9.9.9, for=\""], 1, "-"),
            (&["for=9.9.9.9, 192.0.2.7"], 1, "-"),
            // An attacker wrote the left part.
            (&[r#"for="9.9.9.9, for=192.0.2.7"#], 1, "192.0.2.7"),
            (&[r#"for=", for="[2001:db8::7]""#], 1, "2001:db8::/64"),
            (&[r#"for=\", for=192.0.2.7"#], 1, "192.0.2.7"),
            (&[r#"for=9.9.9.9\"#, "for=192.0.2.7"], 1, "192.0.2.7"),
            // A proxy copied the name of the host from the caller, and escaped it.
            (&[r#"for=192.0.2.7;host="a\", for=9.9.9.9;x=\"b""#], 1, "192.0.2.7"),
            (&[r#"for=192.0.2.7;host="a\\\", for=9.9.9.9;x=\"b\\""#], 1, "192.0.2.7"),
            (&[r#"for=192.0.2.7;host="a;for=9.9.9.9""#], 1, "192.0.2.7"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            let found = read(forwarded(proxies), "Forwarded", &lines);
            assert_eq!(found, peer, "{lines:?} {proxies}");
        }
        let lines = [&b"for=\xff, for=192.0.2.7"[..]];
        assert_eq!(read(forwarded(1), "forwarded", &lines), "192.0.2.7");
    }

    #[test]
    fn a_long_header_takes_time_in_proportion_to_its_length() {
        let hostile = [r#"\"#.repeat(32_000), r#"""#.repeat(32_000), ",".repeat(32_000)];
        for line in hostile {
            let lines = [line.as_bytes(), line.as_bytes()];
            let started = std::time::Instant::now();
            assert_eq!(read(forwarded(2), "forwarded", &lines), "-");
            assert!(started.elapsed() < std::time::Duration::from_secs(1));
        }
    }

    #[test]
    fn no_trusted_proxy_is_an_error() {
        let error = try_x_forwarded_for(0).err().unwrap();
        assert_eq!(error.kind(), ConfigErrorKind::TrustedHops);
        assert_eq!(try_forwarded(0).err(), Some(error));
    }
}
