use std::{error::Error, fmt};

use ::axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, header::CACHE_CONTROL, request::Parts},
    response::{IntoResponse, Response},
};

use crate::{Anonymous, Client};

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
/// the layer did not send. If no layer verified the request, it is a 500, whose body and log line name the fix.
#[derive(Debug)]
pub struct ClientRejection(Option<Anonymous>);

impl ClientRejection {
    fn of<T: Clone + 'static>(parts: &Parts) -> Self {
        Self(Anonymous::of::<T>(&parts.extensions).cloned())
    }
}

impl IntoResponse for ClientRejection {
    fn into_response(self) -> Response {
        if let Some(anonymous) = &self.0 {
            return anonymous.reject().map(Body::from);
        }
        let fix = self.to_string();
        tracing::error!("{fix}");
        (StatusCode::INTERNAL_SERVER_ERROR, [(CACHE_CONTROL, "no-store")], fix).into_response()
    }
}

impl fmt::Display for ClientRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Some(_) => "A handler needs a client, and the layer passed the request on without one.",
            None => {
                "A handler needs a client, and no `ApiKeyLayer` verified this request. Add \
                 `.layer(ApiKeyLayer::new(…))` after the route. If the path is exempt, remove it from \
                 `exempt_path`, or take `Option<Client>`. Also, a type of your own must be the \
                 verifier's client type."
            }
        })
    }
}

impl Error for ClientRejection {}
