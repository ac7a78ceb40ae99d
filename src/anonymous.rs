use std::{fmt, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use http::{Extensions, Request, Response};

use crate::{policy::Policy, rejection::Rejection, respond::Grpc};

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

/// The same for one type of client. A layer whose clients are of another type leaves it, so that a guard
/// for this type answers as the layer for this type would have.
#[derive(Clone)]
struct Lacks<C> {
    anonymous: Anonymous,
    client: PhantomData<fn() -> C>,
}

impl Anonymous {
    /// Marks a request that lacks a client of this type.
    pub(crate) fn mark<C, B>(request: &mut Request<B>, policy: &Arc<Policy>, rejection: Rejection)
    where
        C: Clone + 'static,
    {
        let grpc = Grpc::of(request.method(), request.headers());
        let anonymous = Self { policy: Arc::clone(policy), rejection, grpc };
        let lacks = Lacks::<C> { anonymous: anonymous.clone(), client: PhantomData };
        request.extensions_mut().insert(lacks);
        request.extensions_mut().insert(anonymous);
    }

    /// Removes the mark of a request that an exempt path has opened.
    pub(crate) fn remove<C: Clone + 'static>(extensions: &mut Extensions) {
        extensions.remove::<Lacks<C>>();
        extensions.remove::<Self>();
    }

    /// The mark of the layer whose clients are of this type, or else of the innermost layer.
    pub(crate) fn of<C: Clone + 'static>(extensions: &Extensions) -> Option<&Self> {
        let lacks = extensions.get::<Lacks<C>>();
        lacks.map(|lacks| &lacks.anonymous).or_else(|| extensions.get())
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
