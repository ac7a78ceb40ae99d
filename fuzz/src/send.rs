use std::{
    cell::RefCell,
    convert::Infallible,
    future::ready,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CACHE_CONTROL, request, response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, service_fn};
use tower_api_key::{ApiKeyLayer, extract::Extract, observe::Observe, verify::Verify};

/// What came of one request.
pub struct Reply {
    pub head: response::Parts,
    pub body: Bytes,
    /// The request as the inner service saw it, if it did.
    pub seen: Option<request::Parts>,
}

/// Sends a request through a layer, to a service that answers `inside`; one that asks for it has it
/// say that its answer is public.
pub fn send<E, V, O>(layer: &ApiKeyLayer<E, V, O>, request: &request::Parts) -> Reply
where
    E: Extract,
    V: Verify,
    O: Observe<V::Client>,
{
    let seen = RefCell::new(None);
    let mut service = layer.layer(service_fn(|request: Request<()>| {
        let mut response = Response::new(Full::new(Bytes::from_static(b"inside")));
        if request.headers().contains_key("x-public") {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        }
        let before = seen.replace(Some(request.into_parts().0));
        assert!(before.is_none(), "called twice");
        ready(Ok::<_, Infallible>(response))
    }));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut context) else { panic!("it is ready") };
    let Ok(response) = finish(service.call(Request::from_parts(request.clone(), ())));
    let (head, body) = response.into_parts();
    let Ok(body) = finish(body.collect());
    Reply { head, body: body.to_bytes(), seen: seen.take() }
}

fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("it never ends")
}
