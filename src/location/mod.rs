//! Locations are the parts of a request that carry a key.
//!
//! [`KeyLocation`] has the examples.

mod authorization;
mod content;
mod cookie;
mod header;
mod header_values;
mod key_location;
mod kind;
mod names;
mod query;
mod residue;

pub(crate) use self::{
    authorization::{Foreign, begins_with_bearer, read_foreign},
    content::Content,
    header::has_other_meaning,
    residue::Residue,
};
pub use self::{key_location::KeyLocation, kind::LocationKind};
