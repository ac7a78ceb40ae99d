//! Connections that end early. The inner service reports a request that was accepted by mistake.

use std::{net::Shutdown, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    callers::{Ground, think},
    plan::{Plan, Protocol, Shape},
    tally::Table,
};

/// Ends HTTP/1 connections in the head, in the body, and during the verification.
pub async fn http1(ground: Arc<Ground>) {
    while ground.goes_on() {
        let plan = Plan::slow(&ground.keys);
        let mut stream = ground.connect().await;
        let (mut text, mut where_cut) = (head(&plan), "HTTP/1, while the verifier thinks");
        match fastrand::u8(..3) {
            0 => {
                text.truncate(fastrand::usize(1..text.len() - 2));
                where_cut = "HTTP/1, in the head";
            }
            1 => {
                text.splice(text.len() - 2.., *b"content-length: 100000\r\n\r\nthe first part");
                where_cut = "HTTP/1, in the body";
            }
            _ => {}
        }
        stream.write_all(&text).await.unwrap();
        sleep(a_moment()).await;
        drop(stream);
        ground.tally.count(Table::CutOff, where_cut, "times");
        think().await;
    }
}

/// Resets HTTP/2 streams, and at last closes the connection while a stream waits.
pub async fn http2(ground: Arc<Ground>) {
    while ground.goes_on() {
        let stream = ground.connect().await.into_std().unwrap();
        let cord = stream.try_clone().unwrap();
        let io = TokioIo::new(TcpStream::from_std(stream).unwrap());
        let (sender, connection) =
            http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let ask = || {
            let mut sender = sender.clone();
            let mut plan = Plan::slow(&ground.keys);
            if fastrand::bool() {
                plan.shape = Shape::LargeBody;
            }
            async move { sender.send_request(plan.request(Protocol::Http2)).await.map(drop) }
        };
        for _ in 0..fastrand::usize(1..20) {
            let streams = [(); 3].map(|()| tokio::spawn(timeout(a_moment(), ask())));
            for stream in streams {
                let _ = stream.await.unwrap();
                ground.tally.count(Table::CutOff, "HTTP/2, a stream", "times");
            }
        }
        let waiting = tokio::spawn(ask());
        sleep(a_moment()).await;
        cord.shutdown(Shutdown::Both).unwrap();
        let _ = waiting.await.unwrap();
        let _ = connection.await.unwrap();
        ground.tally.count(Table::CutOff, "HTTP/2, the connection", "times");
    }
}

/// Returns about the time that the verifier takes.
fn a_moment() -> Duration {
    Duration::from_millis(fastrand::u64(..14))
}

fn head(plan: &Plan) -> Vec<u8> {
    let request = plan.request(Protocol::Http1);
    let mut text = format!("POST {} HTTP/1.1\r\n", request.uri()).into_bytes();
    for (name, value) in request.headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}
