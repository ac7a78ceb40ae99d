//! Connections that send requests and compare the responses with the expected ones.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    keys::Keys,
    plan::{Plan, Protocol, Wanted},
    site::NOBODY,
    tally::{Table, Tally},
};

/// The state that all callers share.
pub struct Ground {
    pub keys: Arc<Keys>,
    pub tally: Arc<Tally>,
    pub server: SocketAddr,
    pub stop: Arc<AtomicBool>,
}

/// A time that is longer than any response takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl Ground {
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub async fn connect(&self) -> TcpStream {
        self.tally.connections.fetch_add(1, Ordering::Relaxed);
        TcpStream::connect(self.server).await.expect("a handle and a port are free")
    }
}

/// Opens one HTTP/1 connection after another.
pub async fn http1(ground: Arc<Ground>) {
    while ground.goes_on() {
        let io = TokioIo::new(ground.connect().await);
        let (mut sender, connection) =
            http1::Builder::new().handshake::<_, Full<Bytes>>(io).await.unwrap();
        let connection = tokio::spawn(connection);
        for _ in 0..fastrand::usize(1..40) {
            if !ground.goes_on() || sender.ready().await.is_err() {
                break;
            }
            let plan = Plan::any(&ground.keys, Protocol::Http1);
            ask(&ground, &plan, Protocol::Http1, |request| sender.send_request(request)).await;
            if plan.is_not_read() {
                break;
            }
            think().await;
        }
        drop(sender);
        end(connection).await;
    }
}

/// Opens one HTTP/2 connection after another, each with several streams at once.
pub async fn http2(ground: Arc<Ground>) {
    while ground.goes_on() {
        let io = TokioIo::new(ground.connect().await);
        let (sender, connection) =
            http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let streams = (0..4).map(|_| {
            let (ground, mut sender) = (Arc::clone(&ground), sender.clone());
            tokio::spawn(async move {
                for _ in 0..fastrand::usize(1..40) {
                    if !ground.goes_on() || sender.ready().await.is_err() {
                        break;
                    }
                    let plan = Plan::any(&ground.keys, Protocol::Http2);
                    ask(&ground, &plan, Protocol::Http2, |it| sender.send_request(it)).await;
                    think().await;
                }
            })
        });
        let streams: Vec<_> = streams.collect();
        drop(sender);
        for stream in streams {
            stream.await.unwrap();
        }
        end(connection).await;
    }
}

pub async fn think() {
    sleep(Duration::from_millis(fastrand::u64(..10))).await;
}

/// Checks that a connection ends after its last request.
async fn end<E>(connection: JoinHandle<Result<(), E>>) {
    let _ = timeout(PATIENCE, connection).await.expect("the connection ends");
}

pub async fn ask<F>(
    ground: &Ground,
    plan: &Plan,
    protocol: Protocol,
    send: impl FnOnce(Request<Full<Bytes>>) -> F,
) where
    F: Future<Output = hyper::Result<Response<Incoming>>>,
{
    let asked = async {
        let response = send(plan.request(protocol)).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Response::from_parts(head, body))
    };
    let outcome = match timeout(PATIENCE, asked).await {
        Ok(Ok(response)) => judge(&ground.keys, plan, &response),
        Ok(Err(_)) => judge_silence(plan, protocol),
        Err(_) => Err("no answer".to_owned()),
    };
    let Ground { tally, .. } = ground;
    let outcome = outcome.unwrap_or_else(|what| {
        let Plan { key, route, .. } = plan;
        tally.odd(format!("{protocol:?} {route}, key: {key}, {}: {what}", plan.shape.name()));
        "WRONG"
    });
    tally.requests.fetch_add(1, Ordering::Relaxed);
    tally.count(Table::Key, plan.key, outcome);
    tally.count(Table::Route, plan.route, outcome);
    tally.count(Table::Shape, plan.shape.name(), outcome);
}

fn judge(keys: &Keys, plan: &Plan, response: &Response<Bytes>) -> Result<&'static str, String> {
    let status = response.status();
    let is_let_in = |owner: &str| status == StatusCode::OK && response.body() == owner.as_bytes();
    let is_refused = status == StatusCode::UNAUTHORIZED
        && is_rejection(response, "Unauthorized access")
        && response.headers().get_all(header::WWW_AUTHENTICATE).iter().count() == 4;
    match &plan.wanted {
        Wanted::In(owner) if is_let_in(owner) && owner == NOBODY => Ok("let in, no client"),
        Wanted::In(owner) if is_let_in(owner) => Ok("let in"),
        Wanted::In(_) if is_refused && has_changed(keys, plan) => Ok("refused, changed meanwhile"),
        Wanted::Either(owner) if is_let_in(owner) => Ok("let in"),
        Wanted::Refused | Wanted::Either(_) if is_refused => Ok("refused"),
        Wanted::Ambiguous
            if status == StatusCode::BAD_REQUEST
                && is_rejection(response, "More than one API key in the request") =>
        {
            Ok("ambiguous")
        }
        Wanted::Failed
            if status == StatusCode::SERVICE_UNAVAILABLE
                && is_rejection(response, "Service unavailable") =>
        {
            Ok("failed")
        }
        Wanted::TooLarge if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            Ok("431 of the server")
        }
        _ => Err(format!("{status} is not the right answer")),
    }
}

fn is_rejection(response: &Response<Bytes>, message: &str) -> bool {
    response.headers().get(header::CACHE_CONTROL).is_some_and(|value| value == "no-store")
        && response.body() == format!(r#"{{"error":"{message}"}}"#).as_bytes()
}

/// Returns whether a key has changed since it was sent.
fn has_changed(keys: &Keys, plan: &Plan) -> bool {
    plan.live.is_some_and(|(number, version)| keys.version(number) != version)
}

/// If the server closes an HTTP/1 connection before it has read the request, the response can be lost.
fn judge_silence(plan: &Plan, protocol: Protocol) -> Result<&'static str, String> {
    if protocol == Protocol::Http1 && plan.is_not_read() {
        Ok("closed by the server")
    } else {
        Err("the connection was closed".to_owned())
    }
}
