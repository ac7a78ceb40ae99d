//! API-key authentication for any tower [`Service`](tower_service::Service): an axum `Router`, a
//! tonic server, a bare hyper service, a reverse proxy. One layer, the same everywhere.
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
//! A request without the key, or with a wrong one, is answered 401 with a challenge and a JSON body,
//! and never reaches the handler. One with the key reaches it without the key, and with the
//! [`Client`] whose key it was.
//!
//! # The manual
//!
//! [The manual](guide) begins with [five minutes](guide::_01_start) from nothing to a guarded route, with
//! axum, tonic or hyper, and goes on to where keys [travel](guide::_02_locations), how they are
//! [rotated](guide::_04_keys), what a refused caller [sees](guide::_05_rejections), the
//! [order of layers](guide::_06_layer_order), [proxies](guide::_07_proxies), [gRPC](guide::_08_grpc),
//! [databases](guide::_10_database), [tests](guide::_14_testing) and [production](guide::_16_in_production).
//! Who has something already finds it [side by side](guide::_12_coming_from).
//!
//! # The way of a request
//!
//! ```text
//! request ─▶ extract ─▶ verify ─▶ keys taken out, Client put in ─▶ inner service ─▶ response
//!               │          │
//!               └──────────┴─▶ Rejection ─▶ respond ─────────────────────────────▶ response
//! ```
//!
//! | part | is | where |
//! |---|---|---|
//! | extractor | finds a key in the request head, and declares its [`KeyLocation`]s | [`extract`] |
//! | verifier | verifies a key and returns its client, or a `VerifyError` | [`verify`] |
//! | responder | writes a [`Rejection`] as a response, for the caller | [`respond`] |
//! | observer | receives every decision, for logs and metrics | [`observe`] |
//!
//! # More than one key
//!
//! A [`Keyring`] holds the digests of many keys, each with its client, and changes while requests
//! run. An extractor can be a tuple of locations:
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
//! Keys can come from the environment ([`Keyring::from_env`]), from a file that is followed while
//! requests run (`key_file`), or from your own code: [`verify::from_fn`], and
//! [`verify::from_async_fn`] for a database.
//!
//! A route can want more than a key: [`RequireScopeLayer`] lets only clients with certain scopes through.
//! Where the inner service is a proxy, [`SetClientHeaderLayer`] tells the service behind it who calls.
//!
//! # New keys, and their life
//!
//! A [`KeyFormat`](key::KeyFormat) mints keys of 131 random bits, with a prefix of yours, a public id
//! for logs, and a checksum; [`Keyring::issue`] gives one to a client. Keys can begin, end, be
//! [rotated](Keyring::rotate) with an overlap, and be [revoked](Keyring::revoke_key). The observer
//! sees the id and the reason; a caller sees the same 401 for all that opens nothing.
//!
//! [Page 4](guide::_04_keys) of the manual says how to mint, store, rotate and revoke them.
//!
//! # Safe without reading on
//!
//! | event | HTTP | gRPC | the client is told |
//! |---|---|---|---|
//! | no key | 401 | 16 | a challenge; `{"error":"Unauthorized access"}` |
//! | unknown, expired, not yet valid, revoked, paused, malformed or over-long key | 401 | 16 | one and the same answer |
//! | more than one key | 400 | 3 | `{"error":"More than one API key in the request"}` |
//! | the verifier failed: an `Err` | 503 | 14 | `{"error":"Service unavailable"}`, and nothing of the cause; when to ask again, if you say it ([`retry_after`](ApiKeyLayer::retry_after)) |
//! | the client lacks a scope ([`RequireScopeLayer`]) | 403 | 7 | `{"error":"Forbidden"}`; no scope is named |
//! | no secure connection ([`require_secure`](ApiKeyLayer::require_secure), which is off unless you say what is secure) | 403 | 7 | `{"error":"HTTPS required"}`, whatever key there is |
//! | any of these while the layer [only reports](ApiKeyLayer::dangerous_report_only) | | | nothing: it gets in, without a client |
//!
//! - Only digests are stored. Finding one takes the same work however many there are, and comparing two
//!   the same time wherever they differ. No `Debug`, error, log line or panic holds a key or digest.
//! - An empty, blank or pasted-with-a-newline key is an `Err` when it is inserted, and so is an
//!   [obvious mistake](Keyring#what-is-no-key) or an unset environment variable. A keyring without keys refuses everything.
//! - The key is taken out of the request, from every configured place and on every way in; only on an
//!   exempt path an `Authorization` line stays, marked sensitive. A client that somebody else put into
//!   the extensions goes, if it is of the verifier's client type.
//! - Rejections are never cached (`no-store`). Responses to a GET or HEAD carry `Vary`, and those to a
//!   client `Cache-Control: private`.
//! - Bodies are not touched: not before a rejection, and frame by frame after.
//! - The inner service that was made ready is the one that is called, and a refused request gives the
//!   permit back that the inner service reserved for it.
//!
//! What is *not* promised: TLS is yours to put in front, a key identifies a client and not a person, and
//! whoever stands in front sees the key before this layer does. [Page 15](guide::_15_promises) has it all,
//! with the test that shows it.
//!
//! # Features
//!
//! | name | what it adds | default |
//! |---|---|---|
//! | `file` | `key_file`: keys in a file that is followed while requests run. The command `apikey` of the package `tower-api-key-cli` changes such a file | no |
//! | `tracing` | `observe::Tracing`: an event in the log for every decision; and log lines of keys that are loaded, of what happens to a file of keys, and of a [`RequireScopeLayer`] in the wrong place | no |
//! | `metrics` | `observe::Metrics`: counters of decisions, by outcome, reason, place, client and key | no |
//! | `test-util` | `test_util`, for the tests of your app: does every route refuse strangers? | no |
//! | `axum` | [`Client`] (and `ClientOf<T>`, for a type of your own) as a handler's argument; the key leaves axum's `OriginalUri`, too | no |

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
