//! `Retry-After` if verification failed.

use crate::support;

use std::time::Duration;

use http::{Request, Response, request};
use support::{KEY, Reply, WRONG, ask};
use tokio::net::TcpListener;
use tonic::{
    Code,
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, KeyLocation,
    extract::header,
    rejection::RejectionKind,
    respond::{Problem, Text},
    verify::{self, FromFn, PresentedKey},
};

type Answer = Result<Option<Client>, &'static str>;

/// Fails for every key except one that it rejects.
fn layer() -> ApiKeyLayer<KeyLocation, FromFn<impl Fn(&PresentedKey<'_>) -> Answer>> {
    let verify = |key: &PresentedKey<'_>| -> Answer {
        if key.expose() == WRONG.as_bytes() { Ok(None) } else { Err("the store is down") }
    };
    ApiKeyLayer::new(header("x-api-key"), verify::from_fn(verify))
}

const GRPC: fn() -> request::Builder =
    || Request::post("/").header("content-type", "application/grpc");

/// Returns the times after which an HTTP caller and a gRPC caller can try again.
fn retry_times(reply: &Reply) -> [Vec<&str>; 2] {
    [reply.lines("retry-after"), reply.lines("grpc-retry-pushback-ms")]
}

#[test]
fn retry_after_is_in_whole_seconds_rounded_up_and_at_least_one() {
    for (wait, seconds, millis) in [
        (Duration::ZERO, "1", "1000"),
        (Duration::from_nanos(1), "1", "1000"),
        (Duration::from_secs(1), "1", "1000"),
        (Duration::from_millis(1001), "2", "2000"),
        (Duration::from_secs(120), "120", "120000"),
        // gRPC sends milliseconds as an i32.
        (Duration::from_millis(2_147_483_000), "2147483", "2147483000"),
        (Duration::from_millis(2_147_483_001), "2147484", "2147483647"),
        (Duration::MAX, "18446744073709551615", "2147483647"),
    ] {
        let layer = layer().retry_after(wait);
        for request in [Request::get("/"), Request::head("/")] {
            let reply = ask(&layer, request.header("x-api-key", KEY));
            assert_eq!(
                (reply.status(), retry_times(&reply)),
                (503, [vec![seconds], vec![]]),
                "{wait:?}"
            );
        }
        let reply = ask(&layer, GRPC().header("x-api-key", KEY));
        assert_eq!((reply.status(), reply.lines("grpc-status")), (200, vec!["14"]));
        assert_eq!(retry_times(&reply), [vec![], vec![millis]], "{wait:?}");
    }
}

#[test]
fn only_a_failure_has_retry_after_and_only_if_configured() {
    let waiting = layer().retry_after(Duration::from_secs(3));
    let insecure = waiting.clone().require_secure(|_| false);
    for form in [|| Request::get("/"), GRPC] {
        let twice = form().header("x-api-key", KEY).header("x-api-key", KEY);
        for (layer, request) in [
            (&layer(), form().header("x-api-key", KEY)),
            (&waiting, form()),
            (&waiting, form().header("x-api-key", WRONG)),
            (&waiting, twice),
            (&insecure, form().header("x-api-key", KEY)),
        ] {
            let reply = ask(layer, request);
            assert!(reply.rejection().is_some());
            assert!(retry_times(&reply).concat().is_empty(), "{}", reply.outcome());
        }
    }
}

#[test]
fn retry_after_is_added_to_each_503_without_one() {
    let get = || Request::get("/").header("x-api-key", KEY);
    let waiting = layer().retry_after(Duration::from_secs(3));
    for layer in
        [waiting.clone().respond(Problem::default()), waiting.clone().respond(Text::default())]
    {
        assert_eq!(ask(&layer, get()).lines("retry-after"), ["3"]);
    }
    let answering = |status: u16, retry_after: Option<&'static str>| {
        waiting.clone().respond(move |rejection: &tower_api_key::Rejection| {
            assert_eq!(rejection.kind(), RejectionKind::Failed);
            let response = Response::builder().status(status);
            let response =
                retry_after.into_iter().fold(response, |it, line| it.header("retry-after", line));
            response.body("").unwrap()
        })
    };
    for (status, theirs, sent) in [
        (503, None, &["3"][..]),
        (503, Some("60"), &["60"]),
        (500, None, &[]),
        (429, Some("9"), &["9"]),
    ] {
        assert_eq!(ask(&answering(status, theirs), get()).lines("retry-after"), sent);
    }
}

#[tokio::test]
async fn a_tonic_caller_finds_the_pushback_in_the_metadata() {
    async fn fail(_: KeyDigest) -> Answer {
        tokio::task::yield_now().await;
        Err("the store is down")
    }
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), verify::from_async_fn(fail))
        .retry_after(Duration::from_millis(1500));
    let server = Server::builder().layer(layer).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
    let status = client.check(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "Service unavailable"));
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "2000");
}
