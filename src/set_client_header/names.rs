use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, TRAILER},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    client::{Identity, is_scope},
    error::{ConfigError, ConfigErrorKind},
    location::has_other_meaning,
};

/// The headers that forward the client.
#[derive(Clone, Debug)]
pub(super) struct Names {
    id: HeaderName,
    scopes: Option<HeaderName>,
}

fn free_name(name: &str) -> Result<HeaderName, ConfigError> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| ConfigError::new(ConfigErrorKind::HeaderName))?;
    if has_other_meaning(|taken| is_alike(taken, &name)) {
        return Err(ConfigError::new(ConfigErrorKind::TakenHeader));
    }
    Ok(name)
}

/// Returns whether a server can treat two names as equal. CGI writes both `x-client-id` and `x_client_id` as
/// `HTTP_X_CLIENT_ID`, and some servers do so with other punctuation as well.
fn is_alike(sent: &str, name: &HeaderName) -> bool {
    let folded =
        |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' };
    sent.bytes().map(folded).eq(name.as_str().bytes().map(folded))
}

/// The bytes that are encoded, because a header cannot hold them, or loses them at its edges. `%` is among
/// them, because it begins an encoded byte.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

impl Names {
    pub(super) fn new(id: &str) -> Result<Self, ConfigError> {
        Ok(Self { id: free_name(id)?, scopes: None })
    }

    pub(super) fn set_scopes(&mut self, name: &str) -> Result<(), ConfigError> {
        let name = free_name(name)?;
        if is_alike(name.as_str(), &self.id) {
            return Err(ConfigError::new(ConfigErrorKind::DuplicateHeader));
        }
        self.scopes = Some(name);
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.id].into_iter().chain(&self.scopes)
    }

    /// Removes the headers of these names, and of similar names, which a caller may have sent.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        let is_ours = |sent: &str| self.all().any(|name| is_alike(sent, name));
        let sent: Vec<_> = headers.keys().filter(|sent| is_ours(sent.as_str())).cloned().collect();
        for name in sent {
            headers.remove(name);
        }
        let names_others = |name: &HeaderName| *name == CONNECTION || *name == TRAILER;
        for (_, line) in headers.iter_mut().filter(|(name, _)| names_others(name)) {
            let options = || line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            let is_wanted = |option: &&[u8]| !std::str::from_utf8(option).is_ok_and(is_ours);
            if !options().all(|option| is_wanted(&option)) {
                let wanted: Vec<_> = options().filter(is_wanted).collect();
                // A part of a valid header value is valid.
                if let Ok(wanted) = HeaderValue::from_bytes(&wanted.join(&b", "[..])) {
                    *line = wanted;
                }
            }
        }
    }

    pub(super) fn insert(&self, headers: &mut HeaderMap, client: &impl Identity) {
        let id = utf8_percent_encode(client.id(), ENCODED).to_string();
        let scopes = self.scopes.as_ref().and_then(|name| {
            let scopes: Vec<_> = client.scopes().into_iter().filter(|it| is_scope(it)).collect();
            (!scopes.is_empty()).then(|| (name, scopes.join(" ")))
        });
        for (name, value) in [(&self.id, id)].into_iter().chain(scopes) {
            // The value is visible ASCII. If the map is full, the header is left out, and the upstream service
            // sees no client.
            if let Ok(value) = HeaderValue::try_from(value) {
                let _ = headers.try_insert(name, value);
            }
        }
    }
}
