use std::{any::TypeId, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{CACHE_CONTROL, RETRY_AFTER},
};

use super::{Grpc, GuardMark, Json, Respond, challenge::Challenges, grpc, guard::Finish};
use crate::{
    header_list::list_contains,
    location::KeyLocation,
    rejection::{Reason, Rejection, RejectionKind, whole_seconds},
    request_head::RequestHead,
};

/// Writes rejections for a guard, in the style of a layer or in a style of its own.
///
/// A guard inside an [`ApiKeyLayer`](crate::ApiKeyLayer) needs no writer, because [`reject`](super::reject)
/// takes the style of that layer. Use a writer for a guard outside, or for an explicit style. A writer from
/// [`rejection_writer`](crate::ApiKeyLayer::rejection_writer) has the responder, the realm and the challenges
/// of the layer. Cloning costs one reference count.
///
/// An `ApiKeyLayer` outside of the guard reports the rejection to its observer. If the guard is outside, no layer
/// sees the response, so the guard calls [`on_guard`](crate::observe::Observe::on_guard) itself.
/// [Page 17](crate::guide::_17_guards) of the manual shows how.
///
/// # Example: a guard outside of the layer
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use tower_api_key::extract::{RequestHead, bearer};
/// use tower_api_key::rejection::Reason;
/// use tower_api_key::respond::{Problem, RejectionWriter};
/// use tower_api_key::{ApiKeyLayer, Keyring, Rejection};
///
/// fn too_many<B>(writer: &RejectionWriter, request: &Request<B>) -> Response<Bytes> {
///     writer.write(RequestHead::of(request), Rejection::new(Reason::TooManyFailures))
/// }
///
/// let layer = ApiKeyLayer::new(bearer(), Keyring::single("12345abcde")?).respond(Problem::default());
/// let response = too_many(&layer.rejection_writer(), &Request::new(()));
/// assert_eq!(response.status(), 429);
/// assert_eq!(response.headers()["retry-after"], "1");
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RejectionWriter(Arc<Style>);

#[derive(Clone)]
struct Style {
    realm: String,
    challenges: Challenges,
    respond: Arc<dyn Respond + Send + Sync>,
    /// In seconds.
    retry_after: Option<u64>,
}

impl RejectionWriter {
    /// Sets the responder, as [`ApiKeyLayer::respond`](crate::ApiKeyLayer::respond) does.
    pub fn with_responder(mut self, respond: impl Respond + Send + Sync + 'static) -> Self {
        self.set_responder(respond);
        self
    }

    /// Writes the complete response to a request, which no layer further out writes again.
    ///
    /// A gRPC request gets a gRPC response without a body. Every other request gets the response of the
    /// responder, with a challenge if the writer is from a layer. The response has `Cache-Control: no-store`, and
    /// the rejection is in its extensions. If the guard is inside an [`ApiKeyLayer`](crate::ApiKeyLayer), that
    /// layer still reports the rejection to its observer.
    #[must_use]
    pub fn write(&self, head: RequestHead<'_>, rejection: Rejection) -> Response<Bytes> {
        self.write_marked(head, rejection, Finish::Report)
    }

    /// Writes the complete response, which only the layer for this client type reports.
    pub(crate) fn write_for(
        &self,
        client_type: TypeId,
        head: RequestHead<'_>,
        rejection: Rejection,
    ) -> Response<Bytes> {
        self.write_marked(head, rejection, Finish::ReportBy(client_type))
    }

    /// Writes a complete response and marks it as a guard's.
    pub(super) fn write_marked(
        &self,
        head: RequestHead<'_>,
        rejection: Rejection,
        finish: Finish,
    ) -> Response<Bytes> {
        let grpc = Grpc::of(head.method(), head.headers());
        let mut response = self.write_as(rejection, grpc);
        let mark = GuardMark::new(head, &response, grpc, finish);
        response.extensions_mut().insert(mark);
        response
    }

    /// Writes challenges for these locations. Without a location there is no challenge.
    pub(crate) fn new(locations: &[KeyLocation]) -> Self {
        let realm = "api".to_owned();
        Self(Arc::new(Style {
            challenges: Challenges::new(locations, &realm),
            realm,
            respond: Arc::new(Json::default()),
            retry_after: None,
        }))
    }

    pub(crate) fn realm(&self) -> &str {
        &self.0.realm
    }

    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.0.retry_after
    }

    pub(crate) fn set_realm(&mut self, locations: &[KeyLocation], realm: String) {
        let style = Arc::make_mut(&mut self.0);
        style.challenges = Challenges::new(locations, &realm);
        style.realm = realm;
    }

    pub(crate) fn set_responder(&mut self, respond: impl Respond + Send + Sync + 'static) {
        Arc::make_mut(&mut self.0).respond = Arc::new(respond);
    }

    pub(crate) fn set_retry_after(&mut self, wait: Duration) {
        Arc::make_mut(&mut self.0).retry_after = Some(whole_seconds(wait));
    }

    /// Writes the responder's response, or gRPC's own, and adds the headers that no responder can lose.
    #[inline]
    pub(crate) fn write_as(&self, rejection: Rejection, grpc: Option<Grpc>) -> Response<Bytes> {
        let mut response = match grpc {
            Some(grpc) => grpc.respond(&rejection),
            None => self.0.respond.respond(&rejection),
        };
        if grpc.is_none() {
            let status = response.status();
            self.0.challenges.write(&rejection, status, response.headers_mut());
        }
        if let Some(seconds) = self.seconds_to_wait(&rejection) {
            write_retry_after(&mut response, &rejection, seconds, grpc);
        } else if grpc.is_some() && rejection.reason() == Reason::CostAboveLimit {
            grpc::write_no_retry(response.headers_mut());
        }
        let headers = response.headers_mut();
        if !list_contains(headers, &CACHE_CONTROL, |it| it.eq_ignore_ascii_case("no-store")) {
            headers.append(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response.extensions_mut().insert(rejection);
        response
    }

    #[inline]
    fn seconds_to_wait(&self, rejection: &Rejection) -> Option<u64> {
        let of_layer = self.0.retry_after.filter(|_| rejection.kind() == RejectionKind::Failed);
        rejection.retry_after().map(|wait| wait.as_secs()).or(of_layer)
    }
}

fn write_retry_after(
    response: &mut Response<Bytes>,
    rejection: &Rejection,
    seconds: u64,
    grpc: Option<Grpc>,
) {
    if grpc.is_some() {
        grpc::write_retry(response.headers_mut(), rejection, seconds);
    } else if response.status() == rejection.status() {
        response.headers_mut().entry(RETRY_AFTER).or_insert(seconds.into());
    }
}

/// Writes JSON, without challenges.
impl Default for RejectionWriter {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl fmt::Debug for RejectionWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectionWriter").field("realm", &self.0.realm).finish_non_exhaustive()
    }
}
