//! A second implementation of the rules for requests, from the standards and the manual of the library.
//!
//! It shares no code with the library. `tests/it/oracles.rs` and `fuzz/` compare the layer with it.

#![allow(dead_code, unreachable_pub, reason = "each user needs a part")]

use std::collections::BTreeMap;

use http::request::Parts;

/// A location with its kind and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    Header(&'static str),
    Query(&'static str),
    Cookie(&'static str),
    Scheme(&'static str),
}

/// The content of one location or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    Nothing,
    /// One value and its location. `None` means that no key can have this form.
    One(Option<Vec<u8>>, KeyLocation),
    TooMany,
}

impl Reading {
    /// Returns the verdict. `client_of` returns the client of a key, or the reason why it has none.
    pub fn verdict(
        &self,
        max_len: usize,
        optional: bool,
        client_of: impl FnOnce(&[u8]) -> Result<&'static str, &'static str>,
    ) -> Verdict {
        match self {
            Self::Nothing if optional => Verdict::Anonymous,
            Self::Nothing => Verdict::Rejected("missing", None),
            Self::TooMany => Verdict::Rejected("ambiguous", None),
            Self::One(value, location) => {
                match key(value.as_deref(), max_len).and_then(client_of) {
                    Ok(client) => Verdict::Client(client, *location),
                    Err(reason) => Verdict::Rejected(reason, Some(*location)),
                }
            }
        }
    }
}

/// Returns the key for the verifier, or the reason why the verifier is not called.
fn key(value: Option<&[u8]>, max_len: usize) -> Result<&[u8], &'static str> {
    let key = value.ok_or("malformed")?;
    let is_visible = key.iter().all(|byte| (0x20..=0x7E).contains(byte));
    let has_blank_edge = key.starts_with(b" ") || key.ends_with(b" ");
    match () {
        () if key.len() > max_len => Err("too_long"),
        () if !is_visible || has_blank_edge => Err("malformed"),
        () => Ok(key),
    }
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Exempt,
    Preflight,
    Anonymous,
    /// The client and the location of the key.
    Client(&'static str, KeyLocation),
    /// The reason, and the location of the key.
    Rejected(&'static str, Option<KeyLocation>),
}

impl Verdict {
    /// Replaces the reason if a scheme is missing, is another one, or is in a header that has no scheme.
    pub fn with_hint(self, request: &Parts, locations: &[KeyLocation]) -> Self {
        match self {
            Self::Rejected("missing", None) => {
                Self::Rejected(why_no_key(request, locations).unwrap_or("missing"), None)
            }
            Self::Rejected("unknown", Some(location @ KeyLocation::Header(name))) => {
                let line = lines(request, name).next().map(trimmed).unwrap_or_default();
                let has_scheme = line.to_ascii_lowercase().starts_with(b"bearer ");
                Self::Rejected(
                    if has_scheme { "scheme_in_header" } else { "unknown" },
                    Some(location),
                )
            }
            other => other,
        }
    }
}

fn why_no_key(request: &Parts, locations: &[KeyLocation]) -> Option<&'static str> {
    let schemes: Vec<_> = locations
        .iter()
        .filter_map(|location| match location {
            KeyLocation::Scheme(name) => Some(*name),
            _ => None,
        })
        .collect();
    let line = lines(request, "authorization").next().map(trimmed)?;
    let found = scheme_of(line);
    let is_ours = schemes.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(found));
    let is_foreign = !schemes.is_empty() && !line.is_empty() && !is_ours;
    let has_blank = line.contains(&b' ') || line.contains(&b'\t');
    is_foreign.then_some(if has_blank { "other_scheme" } else { "no_scheme" })
}

/// Returns the status of a rejection. For gRPC every status is 200.
pub fn status_of(reason: &str) -> u16 {
    match reason {
        "ambiguous" => 400,
        "insecure" => 403,
        "failed" => 503,
        _ => 401,
    }
}

/// Returns whether a request is a CORS-preflight request of the Fetch standard.
pub fn is_preflight(request: &Parts) -> bool {
    let has = |name| request.headers.contains_key(name);
    request.method == "OPTIONS" && has("origin") && has("access-control-request-method")
}

/// Returns the content type of the response to a gRPC request.
///
/// A gRPC request is a POST with exactly one content type of gRPC, in any case and with any parameters.
pub fn grpc(request: &Parts) -> Option<&'static str> {
    let [line] = lines(request, "content-type").collect::<Vec<_>>()[..] else { return None };
    let line = line.to_ascii_lowercase();
    let line = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    let (kind, suffix) = match line.iter().position(|byte| *byte == b'+') {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    };
    let kinds = ["application/grpc", "application/grpc-web", "application/grpc-web-text"];
    let kind = kinds.into_iter().find(|it| it.as_bytes() == kind)?;
    (request.method == "POST" && suffix != Some(b"")).then_some(kind)
}

impl KeyLocation {
    /// Reads this location.
    pub fn read(self, request: &Parts) -> Reading {
        match self {
            Self::Header(name) => {
                self.only(lines(request, name).map(|line| Some(trimmed(line).to_vec())))
            }
            Self::Query(name) => {
                let pairs = pairs(request.uri.query().unwrap_or_default());
                self.only(pairs.filter(|pair| pair.name == name.as_bytes()).map(|pair| pair.value))
            }
            Self::Cookie(name) => {
                let crumbs = lines(request, "cookie").flat_map(crumbs);
                let ours = crumbs.filter(|crumb| crumb.name == Some(name.as_bytes()));
                self.only(ours.map(|crumb| Some(crumb.value.to_vec())))
            }
            // The header holds one value, of any scheme.
            Self::Scheme(scheme) => {
                match &lines(request, "authorization").collect::<Vec<_>>()[..] {
                    [] => Reading::Nothing,
                    [line] => self.only(credentials(line, scheme)),
                    _ => Reading::TooMany,
                }
            }
        }
    }

    /// A blank value counts as absent. Two values count as two, even if they are blank.
    fn only(self, values: impl IntoIterator<Item = Option<Vec<u8>>>) -> Reading {
        let is_blank = |key: &[u8]| key.iter().all(|byte| matches!(byte, b' ' | b'\t'));
        match &values.into_iter().collect::<Vec<_>>()[..] {
            [] => Reading::Nothing,
            [Some(key)] if is_blank(key) => Reading::Nothing,
            [value] => Reading::One(value.clone(), self),
            _ => Reading::TooMany,
        }
    }

    /// Returns whether the value stays in the request.
    ///
    /// Forwarded keys stay. Credentials of an exempt request stay too, because another service may need them.
    pub fn stays(self, forward_key: bool, verdict: &Verdict) -> bool {
        forward_key || (*verdict == Verdict::Exempt && matches!(self, Self::Scheme(_)))
    }

    /// Returns the header of this location.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Cookie(_) => Some("cookie"),
            Self::Scheme(_) => Some("authorization"),
            Self::Query(_) => None,
        }
    }

    /// Removes all values of this location.
    fn strip(self, left: &mut Left) {
        match self {
            Self::Header(name) => drop(left.headers.remove(name)),
            Self::Query(name) => left.uri = uri_without(&left.uri, name),
            Self::Cookie(name) => left.retain("cookie", |lines| cookies_without(lines, name)),
            Self::Scheme(scheme) => left.retain("authorization", |lines| {
                lines.retain(|line| {
                    !scheme_of(trimmed(line)).eq_ignore_ascii_case(scheme.as_bytes())
                });
            }),
        }
    }
}

/// The rest of a request, as an inner service sees it. Only lines of one header have an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub uri: String,
    pub headers: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Left {
    /// Returns the whole request.
    pub fn of(request: &Parts) -> Self {
        let mut headers = BTreeMap::<_, Vec<_>>::new();
        for (name, line) in &request.headers {
            headers.entry(name.to_string()).or_default().push(line.as_bytes().to_vec());
        }
        Self { uri: request.uri.to_string(), headers }
    }

    /// Returns the request without the values of these locations.
    pub fn without(locations: impl IntoIterator<Item = KeyLocation>, request: &Parts) -> Self {
        let mut left = Self::of(request);
        locations.into_iter().for_each(|location| location.strip(&mut left));
        left
    }

    fn retain(&mut self, name: &str, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let Some(mut lines) = self.headers.remove(name) else { return };
        change(&mut lines);
        if !lines.is_empty() {
            self.headers.insert(name.to_owned(), lines);
        }
    }
}

/// How locations are read: one alone, exactly one of several, or the first with a value.
#[derive(Clone, Debug)]
pub enum Find {
    At(KeyLocation),
    OneOf(Vec<Self>),
    FirstOf(Vec<Self>),
}

impl Find {
    pub fn read(&self, request: &Parts) -> Reading {
        let present = |all: &[Self]| {
            let all = all.iter().map(|find| find.read(request));
            all.filter(|reading| *reading != Reading::Nothing).collect::<Vec<_>>()
        };
        match self {
            Self::At(location) => location.read(request),
            Self::FirstOf(all) => present(all).into_iter().next().unwrap_or(Reading::Nothing),
            Self::OneOf(all) => match &present(all)[..] {
                [] => Reading::Nothing,
                [one] => one.clone(),
                _ => Reading::TooMany,
            },
        }
    }

    pub fn locations(&self) -> Vec<KeyLocation> {
        match self {
            Self::At(location) => vec![*location],
            Self::OneOf(all) | Self::FirstOf(all) => all.iter().flat_map(Self::locations).collect(),
        }
    }
}

fn lines<'a>(request: &'a Parts, name: &str) -> impl Iterator<Item = &'a [u8]> {
    request.headers.get_all(name).into_iter().map(|line| line.as_bytes())
}

fn trimmed(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

// --------------------------------------------------------------------------------------------
// The query: the `application/x-www-form-urlencoded` parser of the WHATWG URL standard, §5.1.

struct Pair<'a> {
    raw: &'a str,
    name: Vec<u8>,
    /// `None` if a `%` is not followed by two hexadecimal digits.
    value: Option<Vec<u8>>,
}

fn pairs(query: &str) -> impl Iterator<Item = Pair<'_>> {
    query.split('&').map(|raw| {
        let bytes = raw.as_bytes();
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (bytes, &b""[..]),
        };
        let (value, is_well_escaped) = decoded(value);
        Pair { raw, name: decoded(name).0, value: is_well_escaped.then_some(value) }
    })
}

fn decoded(text: &[u8]) -> (Vec<u8>, bool) {
    let (mut bytes, mut is_well_escaped, mut at) = (Vec::new(), true, 0);
    while at < text.len() {
        let hex = |at: usize| text.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (text[at], hex(at + 1), hex(at + 2)) {
            (b'+', ..) => bytes.push(b' '),
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 2;
            }
            (byte, ..) => {
                is_well_escaped &= byte != b'%';
                bytes.push(byte);
            }
        }
        at += 1;
    }
    (bytes, is_well_escaped)
}

/// Removes the pairs of a name. If no pair is left, this removes the `?` too.
pub fn uri_without(uri: &str, name: &str) -> String {
    let Some((path, query)) = uri.split_once('?') else { return uri.to_owned() };
    let (ours, others): (Vec<_>, Vec<_>) =
        pairs(query).partition(|pair| pair.name == name.as_bytes());
    match (ours.len(), others.len()) {
        (0, _) => uri.to_owned(),
        (_, 0) => path.to_owned(),
        _ => format!("{path}?{}", others.iter().map(|pair| pair.raw).collect::<Vec<_>>().join("&")),
    }
}

// --------------------------------------------------------------------------------------------
// Cookies: RFC 6265 §5.4 as a server reads it. One pair of quotes is no part of a value.

/// The text between two semicolons. Without a `=` it has no name.
struct Crumb<'a> {
    raw: &'a [u8],
    name: Option<&'a [u8]>,
    value: &'a [u8],
}

fn crumbs(line: &[u8]) -> impl Iterator<Item = Crumb<'_>> {
    line.split(|byte| *byte == b';').map(|raw| {
        let Some(at) = raw.iter().position(|byte| *byte == b'=') else {
            return Crumb { raw, name: None, value: b"" };
        };
        let mut value = trimmed(&raw[at + 1..]);
        if value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"") {
            value = &value[1..value.len() - 1];
        }
        Crumb { raw, name: Some(trimmed(&raw[..at])), value }
    })
}

/// Removes the cookies of a name.
///
/// A line without such a cookie does not change. Another line loses these cookies, and blanks before its new
/// first cookie. An empty line is removed.
fn cookies_without(lines: &mut Vec<Vec<u8>>, name: &str) {
    let is_ours = |crumb: &Crumb<'_>| crumb.name == Some(name.as_bytes());
    let mut one_is_emptied = false;
    for line in lines.iter_mut().filter(|line| crumbs(line).any(|crumb| is_ours(&crumb))) {
        let others = crumbs(line).filter(|crumb| !is_ours(crumb)).map(|crumb| crumb.raw);
        let joined = others.collect::<Vec<_>>().join(&b';');
        *line = joined.trim_ascii_start().to_vec();
        one_is_emptied |= line.is_empty();
    }
    if one_is_emptied {
        lines.retain(|line| !line.is_empty());
    }
}

// --------------------------------------------------------------------------------------------
// `Authorization`: RFC 9110 §11.4, `credentials = auth-scheme [ 1*SP ( token68 / … ) ]`.

fn scheme_of(line: &[u8]) -> &[u8] {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    &line[..line.iter().take_while(|byte| is_tchar(byte)).count()]
}

/// Returns no value for another scheme or a scheme alone. The value is `None` if no token68 follows.
fn credentials(line: &[u8], ours: &str) -> Vec<Option<Vec<u8>>> {
    let line = trimmed(line);
    let scheme = scheme_of(line);
    let rest = &line[scheme.len()..];
    if !scheme.eq_ignore_ascii_case(ours.as_bytes()) || rest.is_empty() {
        return Vec::new();
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = &rest[spaces..];
    let is_character = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let characters = token.iter().take_while(|byte| is_character(byte)).count();
    let is_token68 = characters > 0 && token[characters..].iter().all(|byte| *byte == b'=');
    vec![(spaces > 0 && is_token68).then(|| token.to_vec())]
}
