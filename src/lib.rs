//! API-key authentication for any tower [`Service`](tower_service::Service).

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

mod anonymous;
#[cfg(feature = "axum")]
mod axum_feature;
mod body;
mod cache;
mod challenge;
mod client;
pub mod error;
pub mod extract;
mod future;
pub mod key;
mod layer;
pub mod observe;
pub mod place;
mod policy;
pub mod rejection;
pub mod respond;
mod service;
pub mod verify;

#[cfg(feature = "axum")]
pub use axum_feature::{ClientOf, NoClient};
#[doc(inline)]
pub use {
    anonymous::Anonymous,
    body::ResponseBody,
    client::{Client, Identity},
    future::ResponseFuture,
    key::KeyDigest,
    layer::ApiKeyLayer,
    place::Place,
    rejection::Rejection,
    service::ApiKeyService,
    verify::Keyring,
};
