//! gRPC calls: of a service that answers at once, and of the routes of a tonic server with one unary
//! method.

use std::fmt::Debug;

use http::{Request, Response};
use tonic::{
    Status,
    body::Body,
    codegen::BoxStream,
    metadata::MetadataValue,
    service::{InterceptorLayer, Routes},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_server::{Health, HealthServer},
};
use tower::{Layer, Service};

use super::{by_hand, oauth, ours, requests::call, tower::Inner};
use crate::{
    harness::Bench,
    keys::{Stores, key},
    row::{Asked::Wrong, BY_HAND, OAUTH, OURS, Row},
};

pub fn cases(bench: &mut Bench, stores: &Stores) {
    around(bench, stores, "tower, gRPC", Inner, call);
    let routes = Routes::new(HealthServer::new(Serving)).prepare();
    around(bench, stores, "tonic", routes, |key| call(key).map(Body::new));
}

fn around<S, B>(
    bench: &mut Bench,
    stores: &Stores,
    stack: &'static str,
    inner: S,
    call: fn(&str) -> Request<B>,
) where
    S: Service<Request<B>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Debug,
    S::Future: Send + 'static,
    B: Default + Send + 'static,
{
    let known: MetadataValue<_> = key(0).parse().expect("metadata");
    let interceptor = InterceptorLayer::new(move |call: tonic::Request<()>| {
        match call.metadata().get("x-api-key") {
            Some(value) if value == known => Ok(call),
            _ => Err(unauthenticated()),
        }
    });
    let by_hand = by_hand::layer(stores.known(1), || unauthenticated().into_http());

    let row = |who| Row::new(stack, who);
    bench.add(row("no layer"), || inner.clone(), call);
    both(bench, row("tonic's interceptor with `==`"), interceptor.layer(inner.clone()), call);
    both(bench, row(BY_HAND), by_hand.layer(inner.clone()), call);
    both(bench, row(OAUTH), oauth(1).layer(inner.clone()), call);
    both(bench, row(OURS), ours(stores.ring(1)).layer(inner), call);
}

/// Accepted and refused.
fn both<S, B, B2>(bench: &mut Bench, row: Row, service: S, call: fn(&str) -> Request<B>)
where
    S: Service<Request<B>, Response = Response<B2>> + Clone + Send + 'static,
    S::Error: Debug,
    B: Send + 'static,
{
    bench.add(row.clone(), || service.clone(), call);
    bench.add(row.asked(Wrong), || service, call);
}

fn unauthenticated() -> Status {
    Status::unauthenticated("Unauthorized access")
}

/// Answers at once.
#[derive(Clone)]
struct Serving;

#[tonic::async_trait]
impl Health for Serving {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        Ok(tonic::Response::new(HealthCheckResponse { status: 1 }))
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
