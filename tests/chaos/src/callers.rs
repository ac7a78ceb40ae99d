//! Callers with connections that stay open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, header::AUTHORIZATION},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::{sleep, timeout};

use crate::{
    SECOND, now,
    oracle::{Expect, Ground, Key, Replica, Sent},
};

/// The longest time of a request.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub struct Caller(Client<HttpConnector, Body>);

impl Caller {
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Sends a request, and returns its status and its body.
    pub async fn send(
        &self,
        port: u16,
        method: Method,
        path: &str,
        key: &str,
    ) -> Option<(u16, String)> {
        let request =
            Request::builder().method(method).uri(format!("http://127.0.0.1:{port}{path}"));
        let request =
            request.header(AUTHORIZATION, format!("Bearer {key}")).body(Body::empty()).unwrap();
        timeout(PATIENCE, async {
            let response = self.0.request(request).await.ok()?;
            let status = response.status().as_u16();
            let body = to_bytes(Body::new(response.into_body()), 10_000).await.ok()?;
            Some((status, String::from_utf8_lossy(&body).into_owned()))
        })
        .await
        .ok()?
    }

    /// Sends a request with a key, judges the answer, and returns its status.
    pub async fn ask(&self, ground: &Ground, key: &Key, replica: &Replica) -> Option<u16> {
        let sent = Sent::new(ground, key, replica);
        let status =
            self.send(replica.port, Method::GET, "/", &key.text).await.map(|(status, _)| status);
        sent.judge(status);
        status
    }
}

/// Sends requests to a replica until the end.
pub async fn call(
    ground: Arc<Ground>,
    number: usize,
    ballast: u64,
    ends: Arc<AtomicBool>,
    mut random: fastrand::Rng,
) {
    let (caller, replica) = (Caller::new(), &ground.replicas[number]);
    while !ends.load(SeqCst) {
        let key = match random.u8(..10) {
            0..=1 => Arc::new(crate::ballast(random.u64(..ballast))),
            2 => {
                let text = format!("stranger-{}", random.u64(..));
                Arc::new(Key::new(String::new(), text, Expect::Reject, Some(number)))
            }
            // The first key is that of the client with the small limit.
            3 => Arc::clone(&ground.keys.read().unwrap()[0]),
            _ => {
                let keys = ground.keys.read().unwrap();
                Arc::clone(&keys[random.usize(..keys.len())])
            }
        };
        _ = caller.ask(&ground, &key, replica).await;
        sleep(Duration::from_millis(4)).await;
    }
}

/// Asks a replica for a revoked key until it rejects the key, and notes the time since the commit.
pub async fn probe(ground: Arc<Ground>, key: Arc<Key>, number: usize, ends: Arc<AtomicBool>) {
    let (caller, replica, before) = (Caller::new(), &ground.replicas[number], key.state());
    let mut has_fault = false;
    while !ends.load(SeqCst) && now() < before.since + 90 * SECOND {
        has_fault |= replica.view().cause.is_some();
        let status = caller.ask(&ground, &key, replica).await;
        let view = replica.view();
        has_fault |= view.cause.is_some() || view.calm_since > before.since;
        if key.state().since != before.since {
            return;
        }
        let time = now() - before.since;
        if status == Some(401) {
            ground.tally.times[usize::from(has_fault)].lock().unwrap().push(time);
            return;
        }
        sleep(Duration::from_millis(if time < SECOND / 5 { 2 } else { 50 })).await;
    }
}

/// Asks a replica for its contact with the database until the end.
pub async fn watch(ground: Arc<Ground>, number: usize, ends: Arc<AtomicBool>) {
    let (caller, replica) = (Caller::new(), &ground.replicas[number]);
    while !ends.load(SeqCst) {
        let instance = replica.view().instance;
        let answer =
            timeout(Duration::from_secs(3), caller.send(replica.port, Method::GET, "/status", ""))
                .await;
        let status = answer.ok().flatten().and_then(|(_, body)| {
            let mut parts = body.split(' ');
            Some((
                parts.next()?.parse().ok()?,
                parts.next()?.parse().ok()?,
                parts.next()?.parse().ok()?,
            ))
        });
        if let Some(complaint) = replica.note(instance, status, ground.recovery) {
            ground.tally.wrong(complaint);
        }
        sleep(Duration::from_millis(50)).await;
    }
}
