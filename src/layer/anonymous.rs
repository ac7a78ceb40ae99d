use std::{any::TypeId, fmt};

use bytes::Bytes;
use http::Response;

use crate::{rejection::Rejection, request_head::RequestHead, respond::RejectionWriter};

/// An extension of a request without a client.
///
/// If the layer is [`optional`](crate::ApiKeyLayer::optional), the layer inserts this into a request
/// without a key. If the layer [only reports](crate::ApiKeyLayer::dangerous_report_only), it inserts this
/// into each request that it would reject. A guard further in uses it to reject the request like the
/// layer. A request that needs no key is [`Exempt`](crate::Exempt) instead.
///
/// # Example: require a client in a guard
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use tower_api_key::extract::RequestHead;
/// use tower_api_key::{Anonymous, Client, respond};
///
/// /// Returns the response to a request without a client.
/// fn members_only(head: RequestHead<'_>) -> Option<Response<Bytes>> {
///     if head.extensions().get::<Client>().is_some() {
///         return None;
///     }
///     Some(match Anonymous::of::<Client>(head.extensions()) {
///         Some(anonymous) => anonymous.reject(head),
///         None => respond::server_error(head, "Put an `ApiKeyLayer` outside, and exempt no path."),
///     })
/// }
/// # assert!(members_only(RequestHead::of(&http::Request::new(()))).is_some());
/// ```
#[derive(Clone)]
pub struct Anonymous {
    writer: RejectionWriter,
    rejection: Rejection,
    client_type: TypeId,
}

impl Anonymous {
    /// Creates the extension of a layer for this client type.
    pub(super) fn new<C: 'static>(writer: &RejectionWriter, rejection: Rejection) -> Self {
        Self { writer: writer.clone(), rejection, client_type: TypeId::of::<C>() }
    }

    /// Returns the 401 of the layer, with its responder and its challenge.
    ///
    /// If the layer only reports, this is the response that the layer would have sent. The layer does not
    /// write the response again. It reports the rejection to its observer by
    /// [`on_guard`](crate::observe::Observe::on_guard), with the outcome
    /// [`Rejected`](crate::observe::Outcome::Rejected) and the reason, such as `missing`.
    #[must_use]
    pub fn reject(&self, head: RequestHead<'_>) -> Response<Bytes> {
        self.writer.write_for(self.client_type, head, self.rejection.clone())
    }
}

impl fmt::Debug for Anonymous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Anonymous").field(&self.rejection.reason()).finish()
    }
}
