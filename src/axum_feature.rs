use std::{error::Error, fmt};

use axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, header::CACHE_CONTROL, request::Parts},
    response::{IntoResponse, Response},
};

use crate::{Anonymous, Client};

/// A client type of your own as a handler's argument; [`Client`] is one by itself.
///
/// As with `Client`, a request that was let through without a key gets the layer's 401, and
/// `Option<ClientOf<T>>` takes either.
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
    type Rejection = NoClient;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoClient> {
        parts.extensions.get().cloned().map(ClientOf).ok_or_else(|| NoClient::of::<T>(parts))
    }
}

impl<S: Sync, T: Clone + Send + Sync + 'static> OptionalFromRequestParts<S> for ClientOf<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned().map(ClientOf))
    }
}

/// With the feature `axum`.
impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = NoClient;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, NoClient> {
        let ClientOf(client) =
            <ClientOf<_> as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(client)
    }
}

/// With the feature `axum`.
impl<S: Sync> OptionalFromRequestParts<S> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}

/// A handler wants a client, and the request has none.
///
/// On an optional route it is the layer's own 401, and behind a layer that only reports the answer that
/// was held back. Where no layer ran it is a 500, whose body and log line name the fix.
#[derive(Debug)]
pub struct NoClient(Option<Anonymous>);

impl NoClient {
    fn of<T: Clone + 'static>(parts: &Parts) -> Self {
        Self(Anonymous::of::<T>(&parts.extensions).cloned())
    }
}

impl IntoResponse for NoClient {
    fn into_response(self) -> Response {
        if let Some(anonymous) = &self.0 {
            return anonymous.reject().map(Body::from);
        }
        let fix = self.to_string();
        tracing::error!("{fix}");
        (StatusCode::INTERNAL_SERVER_ERROR, [(CACHE_CONTROL, "no-store")], fix).into_response()
    }
}

impl fmt::Display for NoClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Some(_) => "A handler wants a client, and the request was let through without one.",
            None => {
                "A handler wants the client of a request that no `ApiKeyLayer` has verified: add \
                 `.layer(ApiKeyLayer::new(…))` after the route, take the path out of `exempt_path`, \
                 or take `Option<Client>`; a type of your own must be the verifier's client type."
            }
        })
    }
}

impl Error for NoClient {}
