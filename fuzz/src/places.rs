use std::convert::identity;

use axum::extract::OriginalUri;
use http::{Request, request::Parts};
use tower_api_key::{
    self as library, ApiKeyLayer, Keyring,
    extract::{
        self, Extract, Extracted, RequestHead, bearer, cookie, first_of, from_fn, header, query,
        scheme,
    },
};

use crate::{
    oracle::{Find, KeyLocation, Left, Reading},
    send, words,
};

/// The words for places, which may all stand in one configuration.
const PLACES: [(&str, KeyLocation); 8] = [
    ("header", KeyLocation::Header("x-api-key")),
    ("own", KeyLocation::Header("x-own")),
    ("query", KeyLocation::Query("api_key")),
    ("query2", KeyLocation::Query("k")),
    ("cookie", KeyLocation::Cookie("sid")),
    ("cookie2", KeyLocation::Cookie("key")),
    ("bearer", KeyLocation::Scheme("Bearer")),
    ("token", KeyLocation::Scheme("Token")),
];

/// Places in the order of their words. `tuple` and `first` gather those before them, so that
/// `header query first bearer` is `(first_of((header, query)), bearer)`.
pub fn find(line: &[u8]) -> Find {
    let mut found = Vec::new();
    let mut unused = PLACES.to_vec();
    for word in words(line) {
        if word == "tuple" && found.len() > 1 {
            found = vec![Find::OneOf(found)];
        } else if word == "first" && found.len() > 1 {
            found = vec![Find::FirstOf(found)];
        } else if let Some(at) = unused.iter().position(|(name, _)| *name == word) {
            found.push(Find::At(unused.remove(at).1));
        }
    }
    if found.is_empty() {
        found.extend(PLACES.map(|(_, place)| Find::At(place)));
    }
    Find::OneOf(found)
}

pub type Any = Box<dyn Extract>;

/// The library's extractor for what the oracle looks through.
pub fn extractor(find: &Find) -> Any {
    let all = |all: &[Find]| all.iter().map(extractor).collect::<Vec<_>>();
    match find {
        Find::At(KeyLocation::Header("x-own")) => {
            Box::new(from_fn(library::KeyLocation::header("x-own"), |head| {
                head.headers().get("x-own").into()
            }))
        }
        Find::At(KeyLocation::Header(name)) => Box::new(header(name)),
        Find::At(KeyLocation::Query(name)) => Box::new(query(name)),
        Find::At(KeyLocation::Cookie(name)) => Box::new(cookie(name)),
        Find::At(KeyLocation::Scheme("Bearer")) => Box::new(bearer()),
        Find::At(KeyLocation::Scheme(name)) => Box::new(scheme(name)),
        Find::OneOf(parts) => gathered!(identity, all(parts)),
        Find::FirstOf(parts) => gathered!(first_of, all(parts)),
    }
}

/// An extractor of so many parts.
macro_rules! gathered {
    ($by:path, $parts:expr) => {
        gathered!($by, $parts, (a b) (a b c) (a b c d) (a b c d e) (a b c d e f) (a b c d e f g) (a b c d e f g h))
    };
    ($by:path, $parts:expr, $(($($name:ident)+))+) => {{
        let mut parts: Vec<Any> = $parts;
        $(
            match <[Any; [$(stringify!($name)),+].len()]>::try_from(parts) {
                Ok([$($name),+]) => return Box::new($by(($($name),+))),
                Err(others) => parts = others,
            }
        )+
        parts.pop().expect("one part or more")
    }};
}
use gathered;

pub fn library_place(place: KeyLocation) -> library::KeyLocation {
    match place {
        KeyLocation::Header(name) => library::KeyLocation::header(name),
        KeyLocation::Query(name) => library::KeyLocation::query(name),
        KeyLocation::Cookie(name) => library::KeyLocation::cookie(name),
        KeyLocation::Scheme(name) => library::KeyLocation::scheme(name),
    }
}

/// Declares places without looking there, so that what is taken out of every request can be seen.
struct Blind(Any);

impl Extract for Blind {
    fn locations(&self) -> Vec<library::KeyLocation> {
        self.0.locations()
    }

    fn extract<'a>(&'a self, _: RequestHead<'a>) -> Extracted<'a> {
        Extracted::Absent
    }
}

/// Library and oracle find the same, and leave the same.
pub fn agree(find: &Find, request: &Parts) {
    let extractor = extractor(find);
    let whole = Request::from_parts(request.clone(), ());
    let found = match extractor.extract(RequestHead::of(&whole)) {
        extract::Extracted::Absent => Reading::Nothing,
        extract::Extracted::Ambiguous => Reading::TooMany,
        extract::Extracted::Found(found) => {
            let is_it =
                |(_, place): &&(_, KeyLocation)| Some(&library_place(*place)) == found.location();
            let (_, place) = PLACES.iter().find(is_it).expect("it tells the place");
            Reading::One(found.expose().map(<[u8]>::to_vec), *place)
        }
    };
    assert_eq!(found, find.read(request));

    let places = find.locations();
    let layer = ApiKeyLayer::new(Blind(extractor), <Keyring>::new()).optional();
    let seen = send(&layer, request).seen.expect("all may pass");
    assert_eq!(Left::of(&seen), Left::without(places.clone(), request));
    let original = seen.extensions.get::<OriginalUri>().expect("it was there").0.to_string();
    assert_eq!(original, seen.uri.to_string());
    for place in &places {
        // Several lines of others are too many for a scheme, and stay.
        let stands = place.read(&seen);
        let is_of_others = matches!(place, KeyLocation::Scheme(_)) && stands == Reading::TooMany;
        assert!(stands == Reading::Nothing || is_of_others, "{place:?} holds {stands:?}");
    }

    let seen = send(&layer.exempt_if(|_| true), request).seen.expect("all may pass");
    let emptied = places.into_iter().filter(|place| !matches!(place, KeyLocation::Scheme(_)));
    assert_eq!(Left::of(&seen), Left::without(emptied, request));
}
