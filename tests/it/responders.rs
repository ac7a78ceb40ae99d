//! Responders: the response of each, and the headers that no responder can lose.

use crate::support;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, request};
use support::{KEY, WRONG, ask, keys, strict, value};
use tower_api_key::{
    ApiKeyLayer, Rejection,
    extract::{bearer, header},
    rejection::Reason,
    respond::{Json, Problem, Respond, Text},
};

const HTTP: fn() -> request::Builder = || Request::get("/");

fn body_of(
    respond: impl Respond + Send + Sync + 'static,
    request: request::Builder,
) -> (String, String) {
    let reply = ask(&ApiKeyLayer::new(header("x-api-key"), strict()).respond(respond), request);
    let [content_type] = reply.lines("content-type")[..] else { panic!("{}", reply.wire()) };
    (content_type.to_owned(), reply.text().to_owned())
}

#[test]
fn text_writes_only_the_message() {
    let twice = || HTTP().header("x-api-key", KEY).header("x-api-key", KEY);
    for (request, text) in [
        (HTTP(), "Unauthorized access"),
        (HTTP().header("x-api-key", WRONG), "Unauthorized access"),
        (twice(), "More than one API key in the request"),
        (HTTP().header("x-api-key", value("failed")), "Service unavailable"),
    ] {
        let sent = body_of(Text::default(), request);
        assert_eq!(sent, ("text/plain; charset=utf-8".to_owned(), text.to_owned()));
    }
}

#[test]
fn r31_the_type_of_a_problem_can_be_set() {
    let mine = Problem::default().message("Ask us").type_uri("https://example.com/\"keys\"");
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).respond(mine);
    let body = |request: request::Builder| {
        let reply = ask(&layer, request);
        serde_json::from_str::<serde_json::Value>(reply.text()).unwrap()
    };
    let missing = body(Request::get("/"));
    assert_eq!(missing["type"], "https://example.com/\"keys\"");
    assert_eq!(missing["detail"], "Ask us");
    let two = body(Request::get("/").header("x-api-key", KEY).header("x-api-key", KEY));
    assert_eq!((&two["type"], &two["status"]), (&"about:blank".into(), &400.into()));
}

#[test]
fn r31_a_changed_responder_writes_the_new_body() {
    let answered = Problem::default();
    let body = |respond: &Problem| {
        let answer = respond.respond(&Rejection::new(Reason::Missing));
        serde_json::from_slice::<serde_json::Value>(answer.body()).unwrap()
    };
    assert_eq!(body(&answered)["detail"], "Unauthorized access");
    assert_eq!(body(&answered.clone().message("Ask us"))["detail"], "Ask us");
    assert_eq!(body(&answered.type_uri("tag:ours"))["type"], "tag:ours");
}

#[test]
fn r31_problem_details_have_the_status_and_no_reason() {
    let twice = || HTTP().header("x-api-key", KEY).header("x-api-key", KEY);
    let many = "More than one API key in the request";
    for (request, title, status, detail) in [
        (HTTP(), "Unauthorized", 401, "Unauthorized access"),
        (HTTP().header("x-api-key", value("expired")), "Unauthorized", 401, "Unauthorized access"),
        (twice(), "Bad Request", 400, many),
        (
            HTTP().header("x-api-key", value("failed")),
            "Service Unavailable",
            503,
            "Service unavailable",
        ),
    ] {
        let layer = ApiKeyLayer::new(header("x-api-key"), strict()).respond(Problem::default());
        let reply = ask(&layer, request);
        assert_eq!(reply.lines("content-type"), ["application/problem+json"]);
        assert_eq!(reply.status(), status);
        let members = format!(r#""title":"{title}","status":{status},"detail":"{detail}""#);
        assert_eq!(reply.text(), format!(r#"{{"type":"about:blank",{members}}}"#));
        assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_ok());
    }
}

#[test]
fn a_custom_message_changes_only_the_401() {
    let text = "No \"key\",\n no \\ \u{1}\u{e9}\u{1f511}";
    for request in [
        || HTTP(),
        || HTTP().header("x-api-key", WRONG),
        || HTTP().header("x-api-key", value("malformed")),
    ] {
        assert_eq!(body_of(Text::default().message(text), request()).1, text);
        let json: serde_json::Value =
            serde_json::from_str(&body_of(Json::default().message(text), request()).1).unwrap();
        assert_eq!(json["error"], text);
        let problem: serde_json::Value =
            serde_json::from_str(&body_of(Problem::default().message(text), request()).1).unwrap();
        assert_eq!((&problem["detail"], &problem["status"]), (&text.into(), &401.into()));
    }
    for request in [
        || HTTP().header("x-api-key", KEY).header("x-api-key", KEY),
        || HTTP().header("x-api-key", value("failed")),
    ] {
        assert_eq!(
            body_of(Text::default().message(text), request()),
            body_of(Text::default(), request())
        );
        assert_eq!(
            body_of(Json::default().message(text), request()),
            body_of(Json::default(), request())
        );
        assert_eq!(
            body_of(Problem::default().message(text), request()),
            body_of(Problem::default(), request())
        );
    }
}

#[test]
fn one_responder_writes_every_kind_with_its_own_body() {
    let layer = ApiKeyLayer::new(header("x-api-key"), strict());
    for layer in
        [layer.clone(), layer.clone().respond(Problem::default()), layer.respond(Text::default())]
    {
        let requests: [fn() -> request::Builder; 4] = [
            || HTTP(),
            || HTTP().header("x-api-key", KEY).header("x-api-key", KEY),
            || HTTP().header("x-api-key", value("failed")),
            || HTTP().header("x-api-key", WRONG),
        ];
        let first = requests.map(|request| ask(&layer, request()).wire());
        let again = requests.map(|request| ask(&layer, request()).wire());
        assert_eq!(first, again);
        assert_eq!(first[0], first[3]);
        assert!(first[1] != first[0] && first[2] != first[0] && first[1] != first[2]);
    }
}

/// Writes none of the headers that a rejection needs.
#[derive(Debug)]
struct Bare;

impl Respond for Bare {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from_static(b"bare"));
        *response.status_mut() = rejection.status();
        response
    }
}

#[test]
fn a_custom_responder_cannot_lose_the_challenge_no_store_or_the_rejection() {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), strict()).respond(Bare);
    for (request, status, lines) in [
        (HTTP(), 401, 2),
        (HTTP().header("x-api-key", WRONG), 401, 2),
        (HTTP().header("x-api-key", KEY).header("x-api-key", KEY), 400, 1),
        (HTTP().header("x-api-key", value("failed")), 503, 0),
    ] {
        let reply = ask(&layer, request);
        assert_eq!((reply.status(), reply.text()), (status, "bare"));
        assert_eq!(reply.lines("www-authenticate").len(), lines);
        assert_eq!(reply.lines("cache-control"), ["no-store"]);
        assert_eq!(reply.rejection().unwrap().status().as_u16(), status);
    }
}

#[test]
fn a_responder_can_add_a_challenge_and_choose_another_status() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let with = |status: u16, challenge: Option<&'static str>| {
        layer.clone().respond(move |_: &Rejection| {
            let mut response = Response::builder().status(status);
            if let Some(challenge) = challenge {
                response = response.header("www-authenticate", challenge);
            }
            response.body("theirs").unwrap()
        })
    };
    let ours = r#"ApiKey realm="api", in="header", name="x-api-key""#;
    let theirs = r#"Basic realm="other""#;
    assert_eq!(ask(&with(401, None), HTTP()).lines("www-authenticate"), [ours]);
    assert_eq!(ask(&with(401, Some(theirs)), HTTP()).lines("www-authenticate"), [theirs, ours]);
    assert_eq!(ask(&with(401, Some(ours)), HTTP()).lines("www-authenticate"), [ours]);

    // A 404 can hide a route. It has no challenge, is not stored (R29), and keeps its reason in metrics.
    for status in [404, 403, 200, 302] {
        let reply = ask(&with(status, None), HTTP());
        assert_eq!((reply.status(), reply.text()), (status, "theirs"));
        assert!(reply.lines("www-authenticate").is_empty());
        assert_eq!(reply.lines("cache-control"), ["no-store"]);
        assert_eq!((reply.reason(), reply.seen.is_none()), (Some(Reason::Missing), true));
        let by_bearer = ApiKeyLayer::new(bearer(), keys()).respond(move |_: &Rejection| {
            Response::builder().status(status).body("theirs").unwrap()
        });
        assert!(ask(&by_bearer, HTTP()).lines("www-authenticate").is_empty(), "{status}");
    }
}

#[test]
fn r5_no_challenge_calls_a_key_invalid_if_verification_failed() {
    let layer = ApiKeyLayer::new(bearer(), strict())
        .respond(|_: &Rejection| Response::builder().status(401).body("theirs").unwrap());
    for (case, challenge) in [
        ("failed", r#"Bearer realm="api""#),
        ("unknown", r#"Bearer realm="api", error="invalid_token""#),
    ] {
        let line = [b"Bearer ", &*value(case)].concat();
        let reply = ask(&layer, HTTP().header("authorization", line));
        assert_eq!(reply.lines("www-authenticate"), [challenge], "{case}");
    }
}

#[test]
fn a_closure_can_return_text_bytes_or_an_empty_body() {
    fn sent<T: Into<Bytes> + 'static>(body: fn() -> T) -> Bytes {
        let layer = ApiKeyLayer::new(header("x-api-key"), keys());
        let layer = layer.respond(move |_: &Rejection| Response::new(body()));
        ask(&layer, HTTP()).body
    }
    assert_eq!(sent(|| "text"), "text");
    assert_eq!(sent(|| "text".to_owned()), "text");
    assert_eq!(sent(|| b"bytes".to_vec()), "bytes");
    assert_eq!(sent(|| Bytes::from_static(b"bytes")), "bytes");
    assert_eq!(sent(Bytes::new), "");
}

#[test]
fn the_layer_replaces_a_rejection_that_a_responder_inserts() {
    let planted =
        ask(&ApiKeyLayer::new(header("x-api-key"), keys()), HTTP()).rejection().unwrap().clone();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).respond(move |_: &Rejection| {
        let mut response = Response::new("");
        response.extensions_mut().insert(planted.clone());
        response
    });
    assert_eq!(ask(&layer, HTTP().header("x-api-key", WRONG)).reason(), Some(Reason::Unknown));
}

#[test]
fn a_closure_is_a_responder_in_any_pointer() {
    use tower_api_key::{RequireScopeLayer, respond::Respond};

    fn teapot(rejection: &Rejection) -> Response<&'static str> {
        let mut response = Response::new("no coffee");
        *response.status_mut() = rejection.status();
        response
    }

    let held: [Arc<dyn Respond + Send + Sync>; 6] = [
        Arc::new(teapot),
        Arc::new(|_: &Rejection| Response::builder().status(401).body("no coffee").unwrap()),
        Arc::new(Box::new(teapot)),
        Arc::new(Box::new(teapot) as Box<dyn Respond + Send + Sync>),
        Arc::new(
            Box::new(teapot) as Box<dyn Fn(&Rejection) -> Response<&'static str> + Send + Sync>
        ),
        Arc::new(Arc::new(teapot)),
    ];
    for responder in held {
        let _ = RequireScopeLayer::all(["a"]).respond(Arc::clone(&responder));
        let layer = ApiKeyLayer::new(header("x-api-key"), keys()).respond(responder);
        let reply = ask(&layer, Request::get("/"));
        assert_eq!((reply.status(), reply.text()), (401, "no coffee"));
        assert_eq!(reply.lines("www-authenticate").len(), 1);
    }
}
