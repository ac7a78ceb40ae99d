//! A request, and the expected response.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;

use crate::{
    keys::{Keys, Life, any_revoked, any_standing, changing_client},
    site::{BUFFERED, EXEMPT, FAILING, GUARDED, NOBODY, OPTIONAL, REFUSED, SLOW, WANTED},
};

pub struct Plan {
    pub key: &'static str,
    pub route: &'static str,
    pub shape: Shape,
    pub wanted: Wanted,
    /// The number and version of a changing key that was live when the request was planned.
    pub live: Option<(usize, u64)>,
    query: Vec<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone, PartialEq)]
pub enum Wanted {
    /// Accepted, as this client or without a client.
    In(String),
    /// Accepted as this client or rejected, because the key is changing.
    Either(String),
    Refused,
    Ambiguous,
    Failed,
    /// Rejected by the server, before the layer.
    TooLarge,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    Plain,
    LongQuery,
    HugeHead,
    LargeBody,
    /// Larger than the server accepts.
    TooLargeHead,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::LongQuery => "long query",
            Self::HugeHead => "huge head",
            Self::LargeBody => "large body, never read",
            Self::TooLargeHead => "head over the server's limit",
        }
    }

    fn any() -> Self {
        match fastrand::u8(..40) {
            0 => Self::LongQuery,
            1 => Self::HugeHead,
            2 => Self::LargeBody,
            3 => Self::TooLargeHead,
            _ => Self::Plain,
        }
    }
}

/// The limits of the protocols differ. hyper accepts 100 header lines and 400 KiB in HTTP/1, and 16 KiB in
/// HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Plan {
    pub fn any(keys: &Keys, protocol: Protocol) -> Self {
        let route = [GUARDED, GUARDED, OPTIONAL, SLOW, BUFFERED, EXEMPT][fastrand::usize(..6)];
        let mut plan = Self::with_any_key(keys, route);
        if route == EXEMPT {
            plan.wanted = Wanted::In(NOBODY.to_owned());
            plan.live = None;
        }
        plan.shape = Shape::any();
        plan.fill(protocol);
        plan
    }

    /// Returns a request to the route with the slow verifier.
    pub fn slow(keys: &Keys) -> Self {
        Self::with_any_key(keys, SLOW)
    }

    /// Returns whether the server responds before it has read the request. HTTP/1 connections close then.
    pub fn is_not_read(&self) -> bool {
        matches!(self.shape, Shape::LargeBody | Shape::TooLargeHead)
    }

    pub fn wrong(route: &'static str) -> Self {
        let mut plan = Self::new(route, "unknown", Wanted::Refused);
        plan.put("soak-a-key-of-nobody-0123456789");
        plan
    }

    fn new(route: &'static str, key: &'static str, wanted: Wanted) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { key, route, shape: Shape::Plain, wanted, live: None, query, headers }
    }

    fn with_any_key(keys: &Keys, route: &'static str) -> Self {
        let refused = |kind, key: &str| {
            let mut plan = Self::new(route, kind, Wanted::Refused);
            plan.put(key);
            plan
        };
        match fastrand::u8(..32) {
            0..8 => {
                let (key, client) = any_standing();
                let mut plan = Self::new(route, "good", Wanted::In(client));
                plan.put(&key);
                plan
            }
            8..20 => Self::with_changing_key(keys, route),
            20..22 => Self::wrong(route),
            22..24 => refused("revoked before", &any_revoked()),
            24 => refused("over-long", &format!("soak{}", "k".repeat(fastrand::usize(1021..4000)))),
            25 => Self::malformed(route),
            26..28 => Self::doubled(route),
            28 if route == SLOW => {
                let mut plan = Self::new(route, "the store is down", Wanted::Failed);
                plan.put(FAILING);
                plan
            }
            _ if route == OPTIONAL => Self::new(route, "none", Wanted::In(NOBODY.to_owned())),
            _ => Self::new(route, "none", Wanted::Refused),
        }
    }

    fn with_changing_key(keys: &Keys, route: &'static str) -> Self {
        let (number, changing) = keys.any_changing();
        let client = changing_client(number);
        let former = changing.former.as_ref().filter(|_| fastrand::bool());
        let (kind, wanted) = match changing.life {
            _ if former.is_some() => ("changing: rotated away", Wanted::Refused),
            Life::Live => ("changing: live", Wanted::In(client)),
            Life::Dead => ("changing: just revoked", Wanted::Refused),
            Life::Coming | Life::Going => ("changing: at this instant", Wanted::Either(client)),
        };
        let mut plan = Self::new(route, kind, wanted);
        if matches!(plan.wanted, Wanted::In(_)) {
            plan.live = Some((number, changing.version));
        }
        plan.put(former.unwrap_or(&changing.key));
        plan
    }

    fn malformed(route: &'static str) -> Self {
        let mut plan = Self::new(route, "malformed", Wanted::Refused);
        match fastrand::u8(..3) {
            0 => plan.header("x-api-key", b"soak-\xFF-0123456789"),
            1 => plan.header("authorization", b"Bearer soak of two words"),
            _ => plan.query.push("api_key=soak%zz0123456789".to_owned()),
        }
        plan
    }

    /// Adds two valid keys.
    fn doubled(route: &'static str) -> Self {
        let mut plan = Self::new(route, "doubled", Wanted::Ambiguous);
        let (first, second) = (any_standing().0, any_standing().0);
        plan.header("x-api-key", first.as_bytes());
        if fastrand::bool() {
            plan.header("x-api-key", second.as_bytes());
        } else {
            plan.query.push(format!("api_key={second}"));
        }
        plan
    }

    /// Adds a key in one of the locations.
    fn put(&mut self, key: &str) {
        match fastrand::u8(..4) {
            0 => self.header("x-api-key", key.as_bytes()),
            1 => self.header("authorization", format!("Bearer {key}").as_bytes()),
            2 => self.header("cookie", format!("a=1; sid={key}; b=2").as_bytes()),
            _ => self.query.push(format!("api_key={key}")),
        }
    }

    fn header(&mut self, name: &'static str, value: &[u8]) {
        let value = HeaderValue::from_bytes(value).unwrap();
        self.headers.push((HeaderName::from_static(name), value));
    }

    fn fill(&mut self, protocol: Protocol) {
        let http1 = protocol == Protocol::Http1;
        let (lines, len) = match self.shape {
            Shape::HugeHead if http1 => (80, 2_000),
            Shape::HugeHead => (30, 200),
            Shape::TooLargeHead if http1 => (120, 10),
            Shape::TooLargeHead => (30, 1_000),
            Shape::LongQuery => {
                let len = if http1 { 50_000 } else { 8_000 };
                return self.query.insert(0, format!("fill={}", "x".repeat(len)));
            }
            Shape::Plain | Shape::LargeBody => return,
        };
        let value = HeaderValue::try_from("x".repeat(len)).unwrap();
        let name = |line| HeaderName::try_from(format!("x-fill-{line}")).unwrap();
        self.headers.extend((0..lines).map(|line| (name(line), value.clone())));
        if self.shape == Shape::TooLargeHead {
            (self.wanted, self.live) = (Wanted::TooLarge, None);
        }
    }

    pub fn request(&self, protocol: Protocol) -> Request<Full<Bytes>> {
        static BODY: [u8; 400_000] = [b'x'; 400_000];
        let large = self.shape == Shape::LargeBody;
        let (method, body) = if large { (Method::POST, &BODY[..]) } else { (Method::GET, &[][..]) };
        let mut request = Request::new(Full::new(Bytes::from_static(body)));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri(protocol);
        let wanted = match &self.wanted {
            Wanted::In(owner) | Wanted::Either(owner) => owner,
            _ => REFUSED,
        };
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers.insert(WANTED, wanted.parse().unwrap());
        if protocol == Protocol::Http1 {
            headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        }
        request
    }

    fn uri(&self, protocol: Protocol) -> Uri {
        let server = if protocol == Protocol::Http2 { "http://localhost" } else { "" };
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("{server}{}{mark}{}", self.route, self.query.join("&")).parse().unwrap()
    }
}
