use std::{error::Error, fmt};

use ::axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};

use crate::{Anonymous, Client, Exempt, extract::RequestHead, respond::server_error};

/// Extracts a client of your own type in a handler. [`Client`] needs no wrapper.
///
/// If the request has no client, the caller gets the 401 of the layer. `Option<ClientOf<T>>` accepts such a
/// request. Both are as with `Client`.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_api_key::{ApiKeyLayer, ClientOf, Keyring, extract::header};
///
/// #[derive(Clone)]
/// struct Tenant {
///     slug: String,
/// }
///
/// async fn whoami(ClientOf(tenant): ClientOf<Tenant>) -> String {
///     tenant.slug
/// }
///
/// let keys: Keyring<Tenant> = Keyring::new();
/// let app: Router = Router::new()
///     .route("/whoami", get(whoami))
///     .layer(ApiKeyLayer::new(header("x-api-key"), keys));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ClientOf<T>(pub T);

impl<S: Sync, T: Clone + Send + Sync + 'static> FromRequestParts<S> for ClientOf<T> {
    type Rejection = ClientRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ClientRejection> {
        parts.extensions.get().cloned().map(ClientOf).ok_or_else(|| ClientRejection::of::<T>(parts))
    }
}

impl<S: Sync, T: Clone + Send + Sync + 'static> OptionalFromRequestParts<S> for ClientOf<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned().map(ClientOf))
    }
}

/// Extracts the client, with the feature `axum`.
impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = ClientRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ClientRejection> {
        let ClientOf(client) =
            <ClientOf<_> as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(client)
    }
}

/// Extracts the client, with the feature `axum`.
impl<S: Sync> OptionalFromRequestParts<S> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}

/// The rejection of a request without a client, by a handler that needs one.
///
/// On an optional route it is the 401 of the layer. Behind a layer that only reports, it is the rejection that
/// the layer did not send. If the request is exempt, or if no layer verified it, it is a 500 (gRPC 13), whose
/// body and log line name the fix.
pub struct ClientRejection {
    cause: Cause,
    /// The head of the request, because the response depends on it.
    parts: Box<Parts>,
}

enum Cause {
    Anonymous(Anonymous),
    Exempt,
    NoLayer,
}

impl ClientRejection {
    fn of<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Self {
        let cause = match Anonymous::of::<T>(&parts.extensions) {
            Some(anonymous) => Cause::Anonymous(anonymous.clone()),
            None if Exempt::of::<T>(&parts.extensions).is_some() => Cause::Exempt,
            None => Cause::NoLayer,
        };
        Self { cause, parts: Box::new(parts.clone()) }
    }
}

impl IntoResponse for ClientRejection {
    fn into_response(self) -> Response {
        let head = RequestHead::of_parts(&self.parts);
        let response = match &self.cause {
            Cause::Anonymous(anonymous) => anonymous.reject(head),
            Cause::Exempt | Cause::NoLayer => server_error(head, &self.to_string()),
        };
        response.map(Body::from)
    }
}

impl fmt::Display for ClientRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.cause {
            Cause::Anonymous(_) => {
                "A handler needs a client, and the layer passed the request on without one."
            }
            Cause::Exempt => {
                "A handler needs a client, and the `ApiKeyLayer` exempts this request. Remove the path \
                 from `exempt_path`, or take `Option<Client>`."
            }
            Cause::NoLayer => {
                "A handler needs a client, and no `ApiKeyLayer` verified this request. Add \
                 `.layer(ApiKeyLayer::new(…))` after the route. Also, a type of your own must be the \
                 verifier's client type."
            }
        })
    }
}

impl Error for ClientRejection {}

/// Shows the cause only, because the head can hold a forwarded key.
impl fmt::Debug for ClientRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause: &dyn fmt::Debug = match &self.cause {
            Cause::Anonymous(anonymous) => anonymous,
            Cause::Exempt => &"Exempt",
            Cause::NoLayer => &"NoLayer",
        };
        f.debug_tuple("ClientRejection").field(cause).finish()
    }
}
