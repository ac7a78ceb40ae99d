//! A second reading of requests, spelled out byte by byte from the standards and from what the
//! library's documentation says of places, against which the layer is held: by `tests/it/oracles.rs`, and
//! by `fuzz/`. It shares nothing with the library.

#![allow(dead_code, unreachable_pub, reason = "whoever includes it takes what it needs")]

use std::collections::BTreeMap;

use http::request::Parts;

/// A place, by its kind and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    Header(&'static str),
    Query(&'static str),
    Cookie(&'static str),
    Scheme(&'static str),
}

/// What stands in a place, or in several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    Nothing,
    /// One value and where it stands; none where it can be no key, whatever key was meant.
    One(Option<Vec<u8>>, KeyLocation),
    TooMany,
}

impl Stands {
    /// What comes of it, by whose each key is, or by why a key is nobody's.
    pub fn way(
        &self,
        max_len: usize,
        optional: bool,
        whose: impl FnOnce(&[u8]) -> Result<&'static str, &'static str>,
    ) -> Way {
        match self {
            Self::Nothing if optional => Way::Anonymous,
            Self::Nothing => Way::Rejected("missing", None),
            Self::TooMany => Way::Rejected("ambiguous", None),
            Self::One(value, place) => match key(value.as_deref(), max_len).and_then(whose) {
                Ok(client) => Way::Client(client, *place),
                Err(reason) => Way::Rejected(reason, Some(*place)),
            },
        }
    }
}

/// The key for the verifier to see, or why it sees none.
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

/// What comes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Exempt,
    Preflight,
    Anonymous,
    /// Whose the key is, and where it stands.
    Client(&'static str, KeyLocation),
    /// Why, and where what stands.
    Rejected(&'static str, Option<KeyLocation>),
}

impl Way {
    /// With what support is told of a key that stands in the wrong way where a scheme is read, or has a
    /// scheme where none is read.
    pub fn told_apart(self, request: &Parts, places: &[KeyLocation]) -> Self {
        match self {
            Self::Rejected("missing", None) => {
                Self::Rejected(why_no_key(request, places).unwrap_or("missing"), None)
            }
            Self::Rejected("unknown", Some(place @ KeyLocation::Header(name))) => {
                let line = lines(request, name).next().map(trimmed).unwrap_or_default();
                let has_scheme = line.to_ascii_lowercase().starts_with(b"bearer ");
                Self::Rejected(if has_scheme { "scheme_in_header" } else { "unknown" }, Some(place))
            }
            other => other,
        }
    }
}

fn why_no_key(request: &Parts, places: &[KeyLocation]) -> Option<&'static str> {
    let schemes: Vec<_> = places
        .iter()
        .filter_map(|place| match place {
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

/// The status of a rejection, but for gRPC, where all are a 200.
pub fn status_of(reason: &str) -> u16 {
    match reason {
        "ambiguous" => 400,
        "insecure" => 403,
        "failed" => 503,
        _ => 401,
    }
}

/// What the Fetch standard calls a CORS-preflight request.
pub fn is_preflight(request: &Parts) -> bool {
    let has = |name| request.headers.contains_key(name);
    request.method == "OPTIONS" && has("origin") && has("access-control-request-method")
}

/// The content type to answer in, of a POST that has one of gRPC's once, in any case and with any
/// parameters.
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
    /// What stands here.
    pub fn read(self, request: &Parts) -> Stands {
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
            // Credentials of any scheme are one value of the header.
            Self::Scheme(scheme) => {
                match &lines(request, "authorization").collect::<Vec<_>>()[..] {
                    [] => Stands::Nothing,
                    [line] => self.only(credentials(line, scheme)),
                    _ => Stands::TooMany,
                }
            }
        }
    }

    /// A blank value is an absent one, but two values are two, whatever they are.
    fn only(self, values: impl IntoIterator<Item = Option<Vec<u8>>>) -> Stands {
        let is_blank = |key: &[u8]| key.iter().all(|byte| matches!(byte, b' ' | b'\t'));
        match &values.into_iter().collect::<Vec<_>>()[..] {
            [] => Stands::Nothing,
            [Some(key)] if is_blank(key) => Stands::Nothing,
            [value] => Stands::One(value.clone(), self),
            _ => Stands::TooMany,
        }
    }

    /// Whether what stands here stays: all where keys are forwarded, and credentials of an exempt
    /// request, which may be meant for somebody else.
    pub fn stays(self, forward_key: bool, way: &Way) -> bool {
        forward_key || (*way == Way::Exempt && matches!(self, Self::Scheme(_)))
    }

    /// The header that it is in.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Cookie(_) => Some("cookie"),
            Self::Scheme(_) => Some("authorization"),
            Self::Query(_) => None,
        }
    }

    /// Takes out all that stands here.
    fn take_out(self, left: &mut Left) {
        match self {
            Self::Header(name) => drop(left.headers.remove(name)),
            Self::Query(name) => left.uri = uri_without(&left.uri, name),
            Self::Cookie(name) => left.keep("cookie", |lines| cookies_without(lines, name)),
            Self::Scheme(scheme) => left.keep("authorization", |lines| {
                lines.retain(|line| {
                    !scheme_of(trimmed(line)).eq_ignore_ascii_case(scheme.as_bytes())
                });
            }),
        }
    }
}

/// What a service further in gets to see. Lines of one header have an order, headers have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub uri: String,
    pub headers: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Left {
    /// All of it.
    pub fn of(request: &Parts) -> Self {
        let mut headers = BTreeMap::<_, Vec<_>>::new();
        for (name, line) in &request.headers {
            headers.entry(name.to_string()).or_default().push(line.as_bytes().to_vec());
        }
        Self { uri: request.uri.to_string(), headers }
    }

    /// All but what stands in these places.
    pub fn without(places: impl IntoIterator<Item = KeyLocation>, request: &Parts) -> Self {
        let mut left = Self::of(request);
        places.into_iter().for_each(|place| place.take_out(&mut left));
        left
    }

    fn keep(&mut self, name: &str, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let Some(mut lines) = self.headers.remove(name) else { return };
        change(&mut lines);
        if !lines.is_empty() {
            self.headers.insert(name.to_owned(), lines);
        }
    }
}

/// How places are looked through: each for itself, one of several, or the first that is there.
#[derive(Clone, Debug)]
pub enum Find {
    At(KeyLocation),
    OneOf(Vec<Self>),
    FirstOf(Vec<Self>),
}

impl Find {
    pub fn read(&self, request: &Parts) -> Stands {
        let there = |all: &[Self]| {
            let all = all.iter().map(|find| find.read(request));
            all.filter(|stands| *stands != Stands::Nothing).collect::<Vec<_>>()
        };
        match self {
            Self::At(place) => place.read(request),
            Self::FirstOf(all) => there(all).into_iter().next().unwrap_or(Stands::Nothing),
            Self::OneOf(all) => match &there(all)[..] {
                [] => Stands::Nothing,
                [one] => one.clone(),
                _ => Stands::TooMany,
            },
        }
    }

    pub fn locations(&self) -> Vec<KeyLocation> {
        match self {
            Self::At(place) => vec![*place],
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

/// The rest of the query stays byte for byte; without any pair left, the `?` goes too.
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
// Cookies: RFC 6265 §5.4 as a server reads it, but for one pair of quotes, which is no part of a value.

/// What stands between two semicolons; without a `=` it has no name.
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

/// Lines without a cookie of ours are left alone. Of others nothing goes but our cookies, and the
/// blanks before what is then the first one; and where nothing is left, the line.
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

/// No value for another scheme, or ours alone; a bad one where something else than a token68 follows.
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
