use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use http::{Extensions, Request, Response};

use crate::{
    rejection::Rejection,
    respond::{Grpc, RejectionWriter},
};

/// An extension of a request without a client.
///
/// If the layer is [`optional`](crate::ApiKeyLayer::optional), the layer inserts this into a request
/// without a key. If the layer [only reports](crate::ApiKeyLayer::dangerous_report_only), it inserts this
/// into each request that it would reject. A guard further in uses it to reject the request like the
/// layer.
///
/// # Example: require a client in a guard
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
    writer: RejectionWriter,
    rejection: Rejection,
    grpc: Option<Grpc>,
}

/// The same for one type of client. Layers for other client types do not replace it, because a guard for
/// this type must find the layer for this type.
#[derive(Clone)]
struct MissingClient<C> {
    anonymous: Anonymous,
    client: PhantomData<fn() -> C>,
}

impl Anonymous {
    /// Inserts the extension into a request without a client of this type.
    pub(super) fn insert<C, B>(
        request: &mut Request<B>,
        writer: &RejectionWriter,
        rejection: Rejection,
    ) where
        C: Clone + 'static,
    {
        let grpc = Grpc::of(request.method(), request.headers());
        let anonymous = Self { writer: writer.clone(), rejection, grpc };
        let missing = MissingClient::<C> { anonymous: anonymous.clone(), client: PhantomData };
        request.extensions_mut().insert(missing);
        request.extensions_mut().insert(anonymous);
    }

    /// Removes the extension of an outer layer.
    pub(super) fn remove<C: Clone + 'static>(extensions: &mut Extensions) {
        extensions.remove::<MissingClient<C>>();
        extensions.remove::<Self>();
    }

    /// Finds the extension of the layer for this client type, or else of the innermost layer.
    #[must_use]
    pub fn of<C: Clone + 'static>(extensions: &Extensions) -> Option<&Self> {
        let missing = extensions.get::<MissingClient<C>>();
        missing.map(|missing| &missing.anonymous).or_else(|| extensions.get())
    }

    /// Returns the 401 of the layer, with its responder and its challenge.
    ///
    /// If the layer only reports, this is the response that it would have sent.
    #[must_use]
    pub fn reject(&self) -> Response<Bytes> {
        self.writer.write_as(self.rejection.clone(), self.grpc)
    }
}

impl fmt::Debug for Anonymous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Anonymous").field(&self.rejection.reason()).finish()
    }
}
