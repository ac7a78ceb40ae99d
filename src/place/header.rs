use http::{
    HeaderName,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT,
        HOST, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
    },
};

use crate::error::{ConfigError, ConfigErrorKind};

/// The name of a header that a key may stand in by itself.
pub(crate) fn header_name(name: &str) -> Result<HeaderName, ConfigError> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| ConfigError::new(ConfigErrorKind::HeaderName))?;
    if name == AUTHORIZATION || name == COOKIE {
        return Err(ConfigError::new(ConfigErrorKind::ReservedHeader));
    }
    if has_other_meaning(|taken| name == taken) {
        return Err(ConfigError::new(ConfigErrorKind::TakenHeader));
    }
    Ok(name)
}

/// Whether this is a header that a message or its way depends on, or that proves something to someone
/// else.
pub(crate) fn has_other_meaning(is_it: impl Fn(&str) -> bool) -> bool {
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
    NAMED.iter().map(HeaderName::as_str).chain(OTHERS).any(is_it)
}
