use std::sync::Arc;

use http::{
    Method,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

use crate::request_head::RequestHead;

/// The conditions to check before the key.
#[derive(Clone, Default)]
pub(super) struct Conditions {
    pub(super) exempt_paths: Vec<String>,
    pub(super) exempt_if: Vec<Arc<Predicate>>,
    pub(super) secure_if: Vec<Arc<Predicate>>,
    pub(super) pass_preflight: bool,
}

pub(super) type Predicate = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;

impl Conditions {
    /// Compares the raw path, as the router sees it, byte for byte.
    #[inline(always)]
    pub(super) fn exempts_path(&self, head: RequestHead<'_>) -> bool {
        self.exempt_paths.iter().any(|path| path == head.uri().path())
    }

    #[inline(always)]
    pub(super) fn exempts_if(&self, head: RequestHead<'_>) -> bool {
        self.exempt_if.iter().any(|exempt| exempt(head))
    }

    #[inline(always)]
    pub(super) fn is_secure(&self, head: RequestHead<'_>) -> bool {
        self.secure_if.iter().all(|secure| secure(head))
    }

    /// Follows the Fetch standard's definition of a CORS-preflight request. Other OPTIONS need a key.
    #[inline]
    pub(super) fn is_preflight(&self, head: RequestHead<'_>) -> bool {
        self.pass_preflight
            && head.method() == Method::OPTIONS
            && head.headers().contains_key(ORIGIN)
            && head.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }
}

/// The first byte that no request path has, or that is part of a router's pattern.
pub(super) fn invalid_path_byte(path: &str) -> Option<usize> {
    if !path.starts_with('/') {
        return Some(0);
    }
    let is_hex = |at: usize| path.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    path.bytes().zip(0..).position(|(byte, at)| match byte {
        b'%' => !(is_hex(at + 1) && is_hex(at + 2)),
        b':' => path.get(..at).is_some_and(|before| before.ends_with('/')),
        b'?' | b'#' | b'*' | b'{' | b'}' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|' => true,
        byte => !byte.is_ascii_graphic(),
    })
}
