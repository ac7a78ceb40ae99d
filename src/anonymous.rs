use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Response;

use crate::{extract::Head, policy::Policy, rejection::Rejection, respond::Grpc};

/// In the extensions of a request that was let through without a client: it came without a key, and
/// the layer is [`optional`](crate::ApiKeyLayer::optional); or it should have been turned away, and the
/// layer [only reports](crate::ApiKeyLayer::dangerous_report_only).
///
/// With it a guard further in, which does want a client, answers as the layer would have.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use tower_api_key::{Anonymous, Client};
///
/// fn members_only(request: &Request<()>) -> Response<Bytes> {
///     match (request.extensions().get::<Client>(), request.extensions().get::<Anonymous>()) {
///         (Some(client), _) => Response::new(client.id().to_owned().into()),
///         (None, Some(anonymous)) => anonymous.reject(),
///         (None, None) => server_error("no `ApiKeyLayer` around this service"),
///     }
/// }
/// # fn server_error(text: &'static str) -> Response<Bytes> { Response::new(text.into()) }
/// ```
#[derive(Clone)]
pub struct Anonymous {
    policy: Arc<Policy>,
    rejection: Rejection,
    grpc: Option<Grpc>,
}

impl Anonymous {
    pub(crate) fn new(policy: &Arc<Policy>, head: Head<'_>, rejection: Rejection) -> Self {
        let grpc = Grpc::of(head.method(), head.headers());
        Self { policy: Arc::clone(policy), rejection, grpc }
    }

    /// The response to a missing key: 401, in the form and with the challenge of the layer. Where the
    /// layer only reports, the response that it held back.
    #[must_use]
    pub fn reject(&self) -> Response<Bytes> {
        self.policy.reject(self.rejection.clone(), self.grpc)
    }
}

impl fmt::Debug for Anonymous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Anonymous").field(&self.rejection.reason()).finish()
    }
}
