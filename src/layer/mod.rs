//! The layer and its service.
//!
//! `service` and `future` call the plain functions of `authenticate`, which read a `Config`.

mod anonymous;
mod api_key_layer;
mod authenticate;
mod cache_headers;
mod conditions;
mod config;
mod exempt;
mod future;
mod guarded;
mod locations;
mod mark;
#[cfg(feature = "limit")]
mod passed;
mod request_settings;
mod service;
mod vary;

#[cfg(feature = "limit")]
pub(crate) use self::passed::passed_in_this_thread;
pub use self::{
    anonymous::Anonymous, api_key_layer::ApiKeyLayer, exempt::Exempt, future::ResponseFuture,
    service::ApiKeyService,
};
