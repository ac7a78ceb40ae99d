//! Extractors find the key in the head of a request.
//!
//! [`header`](fn@header), [`query`](fn@query), [`cookie`](fn@cookie), [`bearer`] and [`scheme`] return a
//! [`KeyLocation`](crate::KeyLocation). It reads one location. A tuple, an array or a `Vec` of extractors reads all of them,
//! and a request may have a key in only one of them. [`first_of`](fn@first_of) takes the first location with a value.
//! Use [`from_fn`](fn@from_fn) or the trait [`Extract`] for an extractor of your own.
//!
//! # Examples
//!
//! ```
//! use tower_api_key::{ApiKeyLayer, Keyring, extract::{bearer, header, query}};
//!
//! let keys = Keyring::single("12345abcde")?;
//! let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), query("api_key")), keys);
//! # Ok::<(), tower_api_key::error::KeyringError>(())
//! ```
//!
//! # When does a request have no key or two keys?
//!
//! | the request has | result |
//! |---|---|
//! | an empty or blank value | no key, in every location |
//! | two header lines, query pairs or cookies of one name, even if equal or empty | ambiguous: 400 |
//! | values in two locations (without [`first_of`](fn@first_of)) | ambiguous: 400 |
//! | a comma-joined line (`a, b`) | one value |
//!
//! A query parameter is the weakest location, because URLs end up in access logs, browser histories and
//! `Referer` headers (RFC 9700 §4.3.2). The layer reads it only if you name it.

mod extracted;
mod extractor;
mod first_of;
mod from_fn;
mod lists;
mod location;

pub use self::{
    extracted::{Extracted, Found},
    extractor::Extract,
    first_of::{FirstOf, first_of},
    from_fn::{FromFn, from_fn},
    location::{bearer, cookie, header, query, scheme},
};
#[doc(inline)]
pub use crate::request_head::RequestHead;
