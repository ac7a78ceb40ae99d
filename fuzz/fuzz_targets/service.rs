//! The whole service, in an arbitrary configuration: the service inside is called if and only if the
//! oracle says so, with what it says, and answers are what it says, byte for byte. No key gets out.
//!
//! The first line is of words that choose the configuration: see [`Setup`].

#![no_main]

use std::{error::Error, fmt::Debug, sync::LazyLock};

use axum::extract::OriginalUri;
use http::request::Parts;
use libfuzzer_sys::fuzz_target;
use tower_api_key::{
    Anonymous, Client, Exempt, KeyDigest, Keyring, Rejection, extract::RequestHead, verify::Verify,
};
use tower_api_key_fuzz::{
    CANARY, Reply, first_line, library_place,
    oracle::{Left, Verdict},
    request, send,
    service::{KEYS, Setup, Told, answer, at_once, keyring, later, outcome, passed, rejected},
};

static KEYRING: LazyLock<Keyring> = LazyLock::new(keyring);

fuzz_target!(|input: &[u8]| {
    let (line, text) = first_line(input);
    let setup = Setup::of(line);
    let Some(mut request) = request(text) else { return };
    // Nobody's: it has to go.
    request.extensions.insert(Client::new("intruder"));
    if setup.is_async {
        check(&setup, &request, later(KEYRING.clone()));
    } else {
        check(&setup, &request, at_once(KEYRING.clone()));
    }
});

fn check<V: Verify<Client = Client>>(setup: &Setup, request: &Parts, verifier: V) {
    let told = Told::default();
    let Some(layer) = setup.layer(verifier) else { return };
    let layer = layer.observe(told.clone());
    let reply = send(&layer, request);

    let way = setup.verdict(request);
    let got = answer(reply.head.status.as_u16(), &reply.head.headers, &reply.body);
    let rejection = reply.head.extensions.get::<Rejection>();
    match (&way, &reply.seen) {
        (Verdict::Rejected(reason, place), None) => {
            assert_eq!(got, rejected(setup, request, reason, *place));
            let rejection = rejection.expect("outer layers find why");
            assert_eq!(rejection.reason().as_str(), *reason);
            assert_eq!(rejection.location(), place.map(library_place).as_ref());
        }
        (Verdict::Rejected(..), Some(_)) => panic!("let in: {way:?}"),
        (_, None) => panic!("turned away: {way:?}, {rejection:?}"),
        (_, Some(seen)) => {
            assert_eq!(got, passed(setup, request, &way));
            assert!(rejection.is_none());
            check_passed(setup, request, &way, seen);
        }
    }
    let told = told.0.take();
    assert_eq!(told.iter().map(|(told, _)| told).collect::<Vec<_>>(), [&outcome(&way)]);
    let shown = format!("{layer:?} {:?}", told);
    check_nothing_shown(setup, request, &reply, shown);
}

/// What the service inside has seen.
fn check_passed(setup: &Setup, request: &Parts, way: &Verdict, seen: &Parts) {
    let places = setup.find.locations().into_iter();
    let (stay, go): (Vec<_>, Vec<_>) = places.partition(|place| place.stays(setup.forward, way));
    assert_eq!(Left::of(seen), Left::without(go, request));
    assert_eq!(seen.extensions.get::<OriginalUri>().expect("it was there").0, seen.uri);
    for (name, line) in &seen.headers {
        let may_hold_a_key = stay.iter().any(|place| place.header() == Some(name.as_str()));
        assert_eq!(line.is_sensitive(), may_hold_a_key, "{name}");
    }

    let client = seen.extensions.get::<Client>().map(Client::id);
    let anonymous = seen.extensions.get::<Anonymous>();
    match way {
        Verdict::Client(whose, _) => assert_eq!(client, Some(*whose)),
        _ => assert_eq!(client, None),
    }
    assert_eq!(anonymous.is_some(), *way == Verdict::Anonymous);
    let exempt = seen.extensions.get::<Exempt>();
    assert_eq!(exempt.is_some(), matches!(way, Verdict::Exempt | Verdict::Preflight));
    if let Some(anonymous) = anonymous {
        let response = anonymous.reject(RequestHead::of_parts(seen));
        let got = answer(response.status().as_u16(), response.headers(), response.body());
        assert_eq!(got, rejected(setup, request, "missing", None));
    }
}

/// Nothing that callers, logs or services further in get to see holds a key or a digest.
fn check_nothing_shown(setup: &Setup, request: &Parts, reply: &Reply, mut shown: String) {
    let mut show = |it: &dyn Debug| shown += &format!("{it:?} {it:#?}");
    show(&reply.head);
    show(&reply.body);
    if let Some(rejection) = reply.head.extensions.get::<Rejection>() {
        show(&(rejection, rejection.to_string(), rejection.source().map(ToString::to_string)));
    }
    if let Some(seen) = &reply.seen {
        show(&(seen.extensions.get::<Client>(), seen.extensions.get::<Anonymous>(), &seen.headers));
        // A key in the URI stays there where it is to be forwarded, and nothing can mark it.
        if !setup.forward {
            show(&(seen, seen.extensions.get::<OriginalUri>()));
        }
    }
    // What the caller has written elsewhere is no key, and nobody hides it.
    let places = setup.find.locations();
    let elsewhere = (&request.method, &setup.realm, Left::without(places, request));
    let is_elsewhere = |text: &str| holds(&elsewhere, text);
    for secret in SECRETS.iter().filter(|secret| !is_elsewhere(secret)) {
        assert!(!shown.contains(&**secret), "{secret} in {shown}");
    }
}

/// As it is shown: a byte of no character is two digits there, which may begin a word.
fn holds((method, realm, left): &(&http::Method, &String, Left), text: &str) -> bool {
    let is_in = |line: &Vec<u8>| line.escape_ascii().to_string().contains(text);
    let mut headers = left.headers.iter();
    method.as_str().contains(text)
        || realm.contains(text)
        || left.uri.contains(text)
        || headers.any(|(name, lines)| name.contains(text) || lines.iter().any(is_in))
}

/// What all keys have in them, and the beginnings of their digests.
static SECRETS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let digests =
        KEYS.map(|(key, _)| KeyDigest::of(key).encode()["sha256:".len()..][..16].to_owned());
    [CANARY.to_owned()].into_iter().chain(digests).collect()
});
