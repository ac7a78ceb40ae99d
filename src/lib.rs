//! API-key authentication for any tower [`Service`](tower_service::Service).
//!
//! The service can be an axum `Router`, a tonic server, a bare hyper service or a reverse proxy.
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};
//!
//! async fn whoami(Extension(client): Extension<Client>) -> String {
//!     format!("hello {}", client.id())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app: Router = Router::new()
//!     .route("/whoami", get(whoami))
//!     .layer(ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?));
//! # Ok(())
//! # }
//! ```
//!
//! A request without a valid key gets a 401 with a challenge and a JSON body, and never reaches the
//! handler. An accepted request reaches the handler with the key removed and a [`Client`] attached.
//!
//! # How is a request processed?
//!
//! ```text
//! request ─▶ extract ─▶ verify ─▶ strip keys, insert Client ─▶ inner service ─▶ response
//!               │          │
//!               └──────────┴─▶ Rejection ─▶ respond ─────────────────────────▶ response
//! ```
//!
//! | part | task | module |
//! |---|---|---|
//! | extractor | finds a key in the request head, and declares its [`KeyLocation`]s | [`extract`] |
//! | verifier | verifies a key and returns its client, or a `VerifyError` | [`verify`] |
//! | responder | writes a [`Rejection`] as a response | [`respond`] |
//! | observer | receives every decision, for logs and metrics | [`observe`] |
//!
//! [The manual](guide) begins with [five minutes](guide::_01_start) from an empty folder to a guarded route.
//! Migrating? See the [comparison](guide::_12_coming_from).
//!
//! # Use several keys and locations
//!
//! A [`Keyring`] holds the digests of many keys and their clients, and changes while requests run. An
//! extractor can be a tuple of locations:
//!
//! ```
//! use tower_api_key::extract::{bearer, header, query};
//! use tower_api_key::respond::Problem;
//! use tower_api_key::{ApiKeyLayer, Client, KeyDigest, Keyring};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Keyring::new();
//! keys.insert("sk_live_0123456789abcdef", Client::new("mobile-app").with_scopes(["reports:read"]))?;
//! # let stored = KeyDigest::of("another").encode();
//! keys.insert_digest(KeyDigest::parse(&stored)?, Client::new("ci"))?;
//!
//! let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), query("api_key")), keys.clone())
//!     .realm("reports")
//!     .respond(Problem::default())
//!     .exempt_path("/health");
//!
//! keys.revoke_client("ci");      // the next request sees it
//! # Ok(())
//! # }
//! ```
//!
//! Keys can come from the environment ([`Keyring::from_env`]), from a file (`key_file`), from a closure
//! ([`verify::from_fn`]) or from a database ([`verify::from_async_fn`]).
//!
//! # Issue, rotate and revoke keys
//!
//! [`Keyring::issue`] issues a key of 131 random bits with your prefix, a public id for logs and a checksum
//! ([`KeyFormat`](key::KeyFormat)). Keys can expire, be [rotated](Keyring::rotate) with an overlap, be
//! [paused](Keyring::pause) and be [revoked](Keyring::revoke_key). [Page 4](guide::_04_keys) has the steps.
//!
//! # Guard routes and forward the client
//!
//! [`RequireScopeLayer`] requires scopes on a route. [`SetClientHeaderLayer`] forwards the client to an upstream
//! service behind a proxy. A guard of your own rejects with [`respond::reject`].
//!
//! # Secure defaults
//!
//! [Page 5](guide::_05_rejections) lists the defaults and the method that changes each.
//!
//! - Only digests are stored. Lookup cost does not depend on the number of keys, and digests are compared
//!   in constant time. No `Debug`, error, log line or panic holds a key or digest.
//! - If a key is blank or an [obvious mistake](Keyring#what-is-no-key), inserting it is an error. If the
//!   environment variable is not set, that is an error, too. A keyring without keys rejects every key.
//! - The layer strips keys from every configured location on every path. On an exempt path an
//!   `Authorization` line stays, and the layer marks it sensitive. The layer removes any client of the
//!   verifier's type that was in the extensions before.
//! - Rejections are never cached. Responses to GET and HEAD have `Vary`, and those to a client have
//!   `Cache-Control: private`.
//! - The layer never reads a body. If it rejects a request, it gives the permit of the inner service back.
//!
//! The crate does not end TLS, does not identify people, and does not limit attempts. Proxies and outer layers
//! see the key before this layer does. [Page 15](guide::_15_promises) lists the promises with their tests.
//!
//! # Features
//!
//! | name | what it adds | default |
//! |---|---|---|
//! | `file` | `key_file`: keys in a file that services follow. The command `apikey` of the package `tower-api-key-cli` changes such a file | no |
//! | `tracing` | `observe::Tracing`: a log event for every decision. Log lines about loaded keys, key files and guards without a layer | no |
//! | `metrics` | `observe::Metrics`: counters of decisions, by outcome, reason, location, client and key | no |
//! | `test-util` | `test_util`, for the tests of your app: does every route reject a request without a key? | no |
//! | `axum` | [`Client`] and `ClientOf<T>` (for a type of your own) are handler arguments. The layer also strips keys from axum's `OriginalUri` | no |

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

#[cfg(feature = "axum")]
mod axum;
pub mod body;
mod client;
pub mod error;
pub mod extract;
pub mod set_client_header;
// Documentation alone. The package `tests` runs its examples, because they use frameworks.
#[cfg(all(doc, not(doctest)))]
pub mod guide;
mod header_list;
pub mod key;
#[cfg(feature = "file")]
pub mod key_file;
mod keyring;
mod layer;
pub mod location;
mod macros;
pub mod observe;
pub mod propagate_client;
pub mod record;
pub mod rejection;
mod request_head;
pub mod require_scope;
pub mod respond;
#[cfg(feature = "test-util")]
pub mod test_util;
pub mod verify;

#[cfg(feature = "axum")]
pub use self::axum::{ClientOf, ClientRejection};
#[doc(inline)]
pub use {
    body::ResponseBody,
    client::{Client, Identity},
    key::KeyDigest,
    keyring::{Keyring, KeyringBuilder},
    layer::{Anonymous, ApiKeyLayer, ApiKeyService, ResponseFuture},
    location::KeyLocation,
    propagate_client::PropagateClientLayer,
    rejection::Rejection,
    require_scope::RequireScopeLayer,
    set_client_header::SetClientHeaderLayer,
};
