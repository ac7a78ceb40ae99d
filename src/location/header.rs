use http::{
    HeaderMap, HeaderName,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT,
        HOST, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
    },
};

use super::content::Content;
use crate::key::trim;

#[inline(always)]
pub(super) fn read<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Content<'a> {
    Content::only(headers.get_all(name).into_iter(), |line| {
        Content::Value(trim(line.as_bytes()).into())
    })
}

/// Whether HTTP itself, a proxy or another authentication needs this header.
pub(crate) fn has_other_meaning(matches: impl Fn(&str) -> bool) -> bool {
    const NAMED: [HeaderName; 17] = [
        AUTHORIZATION,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        COOKIE,
        EXPECT,
        HOST,
        ORIGIN,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        WWW_AUTHENTICATE,
    ];
    const OTHERS: [&str; 3] = ["http2-settings", "keep-alive", "proxy-connection"];
    NAMED.iter().map(HeaderName::as_str).chain(OTHERS).any(matches)
}
