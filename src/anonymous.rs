use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Response;

use crate::{
    extract::Head,
    policy::Policy,
    rejection::{Reason, Rejection},
    respond::Grpc,
};

/// In the extensions of a request that came without a key and was let through, since the layer is
/// [`optional`](crate::ApiKeyLayer::optional).
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
///         (None, None) => panic!("no `ApiKeyLayer` around this service"),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Anonymous {
    policy: Arc<Policy>,
    grpc: Option<Grpc>,
}

impl Anonymous {
    pub(crate) fn new(policy: &Arc<Policy>, head: Head<'_>) -> Self {
        let grpc = Grpc::of(head.method(), head.headers());
        Self { policy: Arc::clone(policy), grpc }
    }

    /// The response to a missing key: 401, in the form and with the challenge of the layer.
    #[must_use]
    pub fn reject(&self) -> Response<Bytes> {
        self.policy.reject(Rejection::new(Reason::Missing), self.grpc)
    }
}

impl fmt::Debug for Anonymous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anonymous")
    }
}
