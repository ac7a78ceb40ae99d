use std::slice;

use http::{Request, header::AUTHORIZATION};
use zeroize::Zeroizing;

use crate::{
    error::{ConfigError, ConfigErrorKind},
    location::{Foreign, KeyLocation, LocationKind, Residue, read_foreign},
    rejection::Reason,
    request_head::RequestHead,
};

/// The configured locations. The layer strips them on every path through it.
#[derive(Clone)]
pub(super) struct Locations {
    list: Vec<KeyLocation>,
    reads_authorization: bool,
    pub(super) forward_key: bool,
}

impl Locations {
    pub(super) fn new(list: Vec<KeyLocation>) -> Result<Self, ConfigError> {
        if list.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::NoLocation));
        }
        let mut rest = list.iter();
        while let Some(location) = rest.next() {
            if rest.clone().any(|other| other == location) {
                return Err(ConfigError::new(ConfigErrorKind::DuplicateLocation));
            }
        }
        let reads_authorization = list.iter().any(KeyLocation::is_in_authorization);
        Ok(Self { list, reads_authorization, forward_key: false })
    }

    pub(super) fn list(&self) -> &[KeyLocation] {
        &self.list
    }

    /// Finds the location of an extractor's result. If there is only one, the extractor need not name it.
    #[inline(always)]
    pub(super) fn find(&self, named: Option<&KeyLocation>) -> Option<&KeyLocation> {
        match &*self.list {
            [only] if named.is_none_or(|named| named.is_same(only)) => Some(only),
            _ => self.find_in_list(named),
        }
    }

    #[inline(never)]
    fn find_in_list(&self, named: Option<&KeyLocation>) -> Option<&KeyLocation> {
        self.list.iter().find(|location| Some(*location) == named)
    }

    /// The reason why no key was found. If the layer reads no scheme, this ignores `Authorization`.
    #[inline(always)]
    pub(super) fn missing_reason(&self, head: RequestHead<'_>) -> Reason {
        if self.reads_authorization { self.missing_scheme_reason(head) } else { Reason::Missing }
    }

    fn missing_scheme_reason(&self, head: RequestHead<'_>) -> Reason {
        let schemes = self.list.iter().filter(|location| location.is_in_authorization());
        let line = head.headers().get(AUTHORIZATION);
        let read = |line| read_foreign(line, schemes.map(KeyLocation::name));
        match line.map_or(Foreign::None, read) {
            Foreign::None => Reason::Missing,
            Foreign::NoScheme => Reason::NoScheme,
            Foreign::OtherScheme => Reason::OtherScheme,
        }
    }

    /// Strips all configured locations, wherever the key came from.
    ///
    /// Remaining keys are marked sensitive. All of them stay if they are forwarded. On exempt paths an
    /// `Authorization` line stays, because it may be meant for another service.
    pub(super) fn strip<B>(&self, request: &mut Request<B>, exempt: bool) {
        for location in &self.list {
            let kind = location.kind();
            if self.forward_key || (exempt && location.is_in_authorization()) {
                location.set_sensitive(request.headers_mut());
            } else if kind == LocationKind::Query {
                location.strip_uri(request.uri_mut());
                // axum keeps the URI as it was before `nest` removed its prefix.
                #[cfg(feature = "axum")]
                if let Some(::axum::extract::OriginalUri(uri)) = request.extensions_mut().get_mut()
                {
                    location.strip_uri(uri);
                }
            } else {
                location.strip_headers(request.headers_mut());
            }
        }
    }

    /// Returns the bytes that a custom extractor found, if [`strip`](Self::strip) would leave them. If
    /// the extractor names no location, this searches all of them.
    #[cold]
    pub(super) fn find_residue(
        &self,
        head: RequestHead<'_>,
        found: &[u8],
        location: Option<&KeyLocation>,
        max_key_len: usize,
    ) -> Option<Zeroizing<Vec<u8>>> {
        if self.forward_key || location.is_some_and(|it| it.kind() == LocationKind::Header) {
            return None;
        }
        // A part of a longer value finds the same lines, and bounds the work.
        let found = found.get(..max_key_len).unwrap_or(found);
        let residue = self.max_residue(head, found, location);
        matches!(residue, Residue::Possible | Residue::Present).then(|| found.to_vec().into())
    }

    fn max_residue(
        &self,
        head: RequestHead<'_>,
        found: &[u8],
        location: Option<&KeyLocation>,
    ) -> Residue {
        let locations = location.map_or(&*self.list, slice::from_ref);
        let all = locations.iter().map(|it| it.residue(head.headers(), head.uri(), found));
        all.max().unwrap_or(Residue::None)
    }

    /// Removes whole lines for the bytes of [`find_residue`](Self::find_residue).
    #[cold]
    pub(super) fn strip_lines<B>(
        &self,
        request: &mut Request<B>,
        found: &[u8],
        location: Option<&KeyLocation>,
    ) {
        let max = self.max_residue(RequestHead::of(request), found, location);
        for location in location.map_or(&*self.list, slice::from_ref) {
            if location.residue(request.headers(), request.uri(), found) != max {
                continue;
            }
            location.strip_lines(request.headers_mut(), found);
            location.strip_pairs(request.uri_mut(), found);
            #[cfg(feature = "axum")]
            if let Some(::axum::extract::OriginalUri(uri)) = request.extensions_mut().get_mut() {
                location.strip_pairs(uri, found);
            }
        }
    }
}
