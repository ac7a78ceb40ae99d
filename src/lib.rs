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
//! A request without a valid key gets a 401 and never reaches the handler. The 401 has a JSON body and a
//! challenge, which is its `WWW-Authenticate` header. An accepted request reaches the handler with the key
//! removed and a [`Client`] attached. If you enable the feature `axum`, write `client: Client` instead of
//! `Extension`.
//!
//! [The first page of the manual](guide::_01_start) adds the crate to a new project and guards a route in five
//! minutes. If you migrate from another solution, read [page 12](guide::_12_coming_from).
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
//! | extractor | finds a key in the request head, and lists the [`KeyLocation`]s where it looks | [`extract`] |
//! | verifier | verifies a key and returns its client, or a `VerifyError` | [`verify`] |
//! | responder | writes a [`Rejection`] as a response | [`respond`] |
//! | observer | receives every decision, for logs and metrics | [`observe`] |
//!
//! [The contents of the manual](guide) explain these and other words.
//!
//! # Use several keys and locations
//!
//! A [`Keyring`] holds the digest and the client of each key. You can change the keyring while requests run,
//! because its clones share the keys. A location is the part of a request that carries a key. A tuple accepts
//! a key in any of its locations. If a request has keys in two of them, it gets a 400.
//!
//! ```
//! use tower_api_key::extract::{bearer, header, query};
//! use tower_api_key::respond::Problem;
//! use tower_api_key::{ApiKeyLayer, Client, KeyDigest, Keyring};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Keyring::new();
//! keys.insert("sk_live_0123456789abcdef", Client::new("mobile-app").with_scopes(["reports:read"]))?;
//! let stored = "sha256:ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5";  // from a database
//! keys.insert_digest(KeyDigest::parse(stored)?, Client::new("ci"))?;
//!
//! let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), query("api_key")), keys.clone())
//!     .realm("reports")                           // the name of the service in the challenge
//!     .respond(Problem::default())                // writes rejections as RFC 9457 problem details
//!     .exempt_path("/health");                    // needs no key
//!
//! keys.revoke_client("ci");                       // the layer rejects the next request of this client
//! # Ok(())
//! # }
//! ```
//!
//! Keys can come from the environment ([`Keyring::from_env`]), from a file (`key_file`), from a closure
//! ([`verify::from_fn`]) or from a database ([`verify::from_async_fn`]).
//!
//! # Issue, rotate and revoke keys
//!
//! [`Keyring::issue`] creates a key. It contains your prefix, a public id, 131 random bits and a checksum
//! ([`KeyFormat`](key::KeyFormat)). The id names the key in logs. If you [rotate](Keyring::rotate) a key, the old
//! and the new key are valid for a time that you choose. You can also [pause](Keyring::pause) or
//! [revoke](Keyring::revoke_key) a key, and set its expiry. [Page 4](guide::_04_keys) has the steps.
//!
//! # Guard routes and forward the client
//!
//! A scope is a permission of a client. [`RequireScopeLayer`] rejects a client that lacks a scope. If your
//! service is a proxy, [`SetClientHeaderLayer`] sends the id of the client to the upstream service. If your own
//! middleware or handler must reject a request, return [`respond::reject`].
//!
//! # Limit clients and count requests
//!
//! `limit::ClientLimitLayer` limits each client by its plan, and rejects with a 429 (feature `limit`).
//! `limit::FailureLimitLayer` blocks callers that send wrong keys. `usage::Usage` counts the requests of each key
//! (feature `usage`). The package `tower-api-key-redis` shares limits between replicas.
//! [Page 11](guide::_11_limits_and_usage) says which limit to use.
//!
//! # Secure defaults
//!
//! [Page 5](guide::_05_rejections) lists the defaults and the method that changes each.
//!
//! - Only digests are stored. Lookup cost does not depend on the number of keys, and digests are compared
//!   in constant time. No debug output, error, log line or panic message contains a key or a digest.
//! - If a key is blank or an [obvious mistake](Keyring#what-is-no-key), inserting it is an error. If its
//!   variable is not set, [`Keyring::from_env`] returns an error. A keyring without keys rejects every key.
//! - The layer strips keys from every configured location. On an exempt path it keeps an `Authorization`
//!   header and marks its value sensitive, so that logs hide it.
//! - If an outer layer or a server inserted a `Client`, the layer removes it. So a handler never reads a client
//!   that this layer did not verify.
//! - Rejections are never cached. Responses to GET and HEAD have `Vary`, because caches store no others. If the
//!   layer accepted a key, such a response also has `Cache-Control: private`.
//! - The layer never reads a body. If it rejects a request, it frees the capacity that `poll_ready` reserved in
//!   the inner service.
//!
//! The crate does not terminate TLS, does not identify people, and limits nothing by default. Proxies and outer layers
//! see the key before this layer does. [Page 15](guide::_15_promises) lists the promises with their tests.
//!
//! # Features
//!
//! | name | what it adds | default |
//! |---|---|---|
//! | `file` | `key_file`: reads keys from a file and watches it for changes. The command `apikey` of the package `tower-api-key-cli` changes the file | no |
//! | `limit` | `limit`: limits how often a client may call, and how often a peer may send wrong keys | no |
//! | `store` | `store`: keys in a store that several processes share, such as a database. A process holds all records in memory, or the keys in use, and follows the store. Requires tokio | no |
//! | `tracing` | `observe::Tracing`: writes a log event for every decision. The log also reports loaded keys, problems of a key file, and a `RequireScopeLayer` without an `ApiKeyLayer` around it | no |
//! | `metrics` | `observe::Metrics`: counts decisions by outcome, reason, location, client and key | no |
//! | `usage` | `usage`: counts the requests of each key by hour, and remembers its last use. A file or a store of your own keeps the counts, and `apikey usage` prints them | no |
//! | `test-util` | `test_util`: tests whether every route of your app rejects a request without a key. With `store`, `store_conforms` checks a store of your own | no |
//! | `axum` | handlers can take [`Client`] as an argument, or `ClientOf<T>` if your verifier returns a type of your own. The layer also strips keys from axum's `OriginalUri` | no |

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
#[cfg(feature = "store")]
pub mod store;
// Documentation alone. The package `tests` runs its examples, because they use frameworks.
#[cfg(all(doc, not(doctest)))]
pub mod guide;
mod header_list;
pub mod key;
#[cfg(feature = "file")]
pub mod key_file;
mod keyring;
mod layer;
#[cfg(feature = "limit")]
pub mod limit;
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
#[cfg(feature = "usage")]
pub mod usage;
pub mod verify;

#[cfg(feature = "axum")]
pub use self::axum::{ClientOf, ClientRejection};
#[cfg(feature = "limit")]
pub use self::limit::{ClientLimitLayer, FailureLimitLayer};
#[doc(inline)]
pub use {
    body::ResponseBody,
    client::{Client, Identity},
    key::KeyDigest,
    keyring::{Keyring, KeyringBuilder},
    layer::{Anonymous, ApiKeyLayer, ApiKeyService, Exempt, ResponseFuture},
    location::KeyLocation,
    propagate_client::PropagateClientLayer,
    rejection::Rejection,
    require_scope::RequireScopeLayer,
    set_client_header::SetClientHeaderLayer,
};
