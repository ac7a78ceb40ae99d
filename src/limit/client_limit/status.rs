use std::{
    convert::Infallible,
    fmt::{self, Write},
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use tower_service::Service;

use super::{ClientLimitLayer, warnings::FIX};
use crate::{
    client::{Client, Identity},
    extract::RequestHead,
    layer::{Anonymous, Exempt},
    limit::{Limits, Taken},
    respond::{quoted, server_error},
    verify::VerifyError,
};

/// Shows a client its own limits, and takes nothing.
///
/// Created by [`ClientLimitLayer::status_service`].
pub struct LimitStatusService<F, C = Client> {
    layer: ClientLimitLayer<F, C>,
}

impl<F, C> LimitStatusService<F, C> {
    pub(super) fn new(layer: ClientLimitLayer<F, C>) -> Self {
        Self { layer }
    }
}

impl<B, F, P, C> Service<Request<B>> for LimitStatusService<F, C>
where
    F: Fn(&C) -> P,
    P: Deref<Target = Limits> + Send + 'static,
    C: Identity + Clone + Send + Sync + 'static,
{
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let head = RequestHead::of(&request);
        let ClientLimitLayer { plan, settings, .. } = &self.layer;
        let Some(client) = head.extensions().get::<C>() else {
            let response = match Anonymous::of::<C>(head.extensions()) {
                Some(anonymous) => anonymous.reject(head),
                None if Exempt::of::<C>(head.extensions()).is_some() => {
                    server_error(head, FIX_EXEMPT)
                }
                None => server_error(head, FIX),
            };
            return Box::pin(async { Ok(response.map(|body| into_text(&body))) });
        };
        if !matches!(*head.method(), Method::GET | Method::HEAD) {
            return Box::pin(async { Ok(method_not_allowed()) });
        }
        let (limits, client_id) = (plan(client), client.id().to_owned());
        let taking = settings.limiter.peek(settings.subject_of(client), &limits);
        let (settings, request) = (Arc::clone(settings), request.map(drop));
        Box::pin(async move {
            let taken = taking.await;
            if taken.is_passed() {
                return Ok(json(&client_id, &limits, &taken));
            }
            let rejection = VerifyError::failed("the store of limits did not answer").into();
            Ok(settings.reject(RequestHead::of(&request), rejection).map(|body| into_text(&body)))
        })
    }
}

const FIX_EXEMPT: &str = "A `LimitStatusService` needs a client, and its `ApiKeyLayer` exempts this path. Remove \
     the exemption of the path.";

fn method_not_allowed() -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Writes the client and its limits.
fn json(client_id: &str, limits: &Limits, taken: &Taken) -> Response<String> {
    let mut text = format!(r#"{{"client":{},"limits":["#, quoted(client_id));
    for (at, (limit, state)) in limits.iter().zip(taken.states(limits)).enumerate() {
        let comma = if at > 0 { "," } else { "" };
        // Writing to a `String` does not fail.
        let _ = write!(
            text,
            r#"{comma}{{"name":{},"quota":{},"window_seconds":{},"burst":{},"remaining":{},"seconds_until_more":{}}}"#,
            quoted(limit.name()),
            limit.quota(),
            limit.window().as_secs(),
            limit.capacity(),
            state.remaining,
            state.until_more.as_secs(),
        );
    }
    text.push_str("]}");
    let mut response = Response::new(text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The bodies of the crate's responders are text.
fn into_text(body: &Bytes) -> String {
    String::from_utf8_lossy(body).into_owned()
}

impl<F, C> Clone for LimitStatusService<F, C> {
    fn clone(&self) -> Self {
        Self::new(self.layer.clone())
    }
}

impl<F, C> fmt::Debug for LimitStatusService<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitStatusService").finish_non_exhaustive()
    }
}
