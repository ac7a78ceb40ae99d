//! An axum `Router` with one route, within the layer.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Response, StatusCode},
    middleware::{Next, from_fn},
    response::IntoResponse,
    routing::get,
};
use tower::util::MapRequestLayer;
use tower_api_key::{ApiKeyLayer, Client, extract::header};

use super::{NAME, by_hand, oauth, ours, requests::in_header};
use crate::{
    harness::Bench,
    keys::{Stores, key},
    row::{Asked::Wrong, BY_HAND, FROM_FN, OAUTH, OURS, OURS_CACHED, Row},
};

pub fn cases(bench: &mut Bench, stores: &Stores) {
    bench.add(row("no layer"), app, in_header::<Body>);
    let client = Client::new("client-0");
    let insert = MapRequestLayer::new(move |mut request: axum::extract::Request| {
        request.extensions_mut().insert(client.clone());
        request
    });
    bench.add(row("the client inserted, no more"), || app().layer(insert), in_header::<Body>);

    let known = key(0);
    let from_fn = app().layer(from_fn(move |headers: HeaderMap, request, next: Next| {
        let known = headers.get(NAME).is_some_and(|value| value == known.as_str());
        async move {
            if known { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
        }
    }));
    let by_hand = app().layer(by_hand::layer(stores.known(1), unauthorized));
    let oauth = app().layer(oauth(1));
    let ours = app().layer(ours(stores.ring(1)));

    both(bench, FROM_FN, &from_fn);
    both(bench, BY_HAND, &by_hand);
    both(bench, OAUTH, &oauth);
    both(bench, OURS, &ours);
    let cached = ApiKeyLayer::new(header("x-api-key"), stores.ring(1).clone());
    bench.add(row(OURS_CACHED), || app().layer(cached), in_header::<Body>);

    for (who, app) in [(FROM_FN, from_fn), (BY_HAND, by_hand), (OURS, ours)] {
        bench.add(row(who).threads(2), || app, in_header::<Body>);
    }
}

fn row(who: &'static str) -> Row {
    Row::new("axum", who)
}

/// Accepted and refused.
fn both(bench: &mut Bench, who: &'static str, app: &Router) {
    bench.add(row(who), || app.clone(), in_header::<Body>);
    bench.add(row(who).asked(Wrong), || app.clone(), in_header::<Body>);
}

fn app() -> Router {
    Router::new().route("/secret-data", get(async || ()))
}

fn unauthorized() -> Response<Body> {
    (StatusCode::UNAUTHORIZED, r#"{"error":"Unauthorized access"}"#).into_response()
}
