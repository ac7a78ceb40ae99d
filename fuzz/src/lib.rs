//! What the targets share: how an input is read, the places that are looked through, and how a
//! request is sent. What should come of it says [`oracle`], which shares nothing with the library.
//!
//! Inputs are text, so that seeds, dictionaries and finds can be read: lines of words that choose a
//! configuration, then a request as it stands in HTTP/1, a header a line.

pub mod file;
pub mod minted;
#[path = "../../tests/support/oracle.rs"]
pub mod oracle;
mod places;
mod send;
pub mod service;

use axum::extract::OriginalUri;
use http::{HeaderName, HeaderValue, Method, Request, Uri, request::Parts};

pub use self::{
    places::{agree, extractor, find, library_place},
    send::{Reply, send},
};

/// What all keys of the targets have in them, and nothing else that a caller or log may see.
pub const CANARY: &str = "canary";

/// The first line, and what follows it.
pub fn first_line(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

/// The words of a line, as far as they are text.
pub fn words(line: &[u8]) -> impl Iterator<Item = &str> {
    line.split(|byte| *byte == b' ').filter_map(|word| std::str::from_utf8(word).ok())
}

/// `GET /path`, then `name:value` in each line. `None` for what no server could have parsed.
pub fn request(text: &[u8]) -> Option<Parts> {
    let (first, rest) = first_line(text);
    let at = first.iter().position(|byte| *byte == b' ')?;
    let method = Method::from_bytes(&first[..at]).ok()?;
    let mut request = bare(method, &first[at + 1..])?;
    for line in rest.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..at]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[at + 1..])) {
            request.headers.append(name, value);
        }
    }
    Some(request)
}

/// A request without headers, as axum hands it on.
pub fn bare(method: Method, target: &[u8]) -> Option<Parts> {
    let uri = Uri::try_from(target).ok()?;
    let request = Request::builder().method(method).uri(uri.clone());
    Some(request.extension(OriginalUri(uri)).body(()).ok()?.into_parts().0)
}
