use std::{fmt, sync::Arc};

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::{KeyFormat, KeyId},
};

/// Whoever a key was issued to; what a handler reads.
///
/// It never holds the key or its digest. Cloning costs one reference count.
///
/// ```
/// use tower_api_key::Client;
///
/// let client = Client::new("mobile-app").with_name("Mobile app").scopes(["reports:read"]);
/// assert_eq!(client.id(), "mobile-app");
/// assert!(client.has_scope("reports:read"));
/// ```
///
/// Handlers find it in the request's extensions, `request.extensions().get::<Client>()`, or with
/// the feature `axum` as an argument. An API key tells which client calls, not which person.
///
/// Two are equal if id, name and scopes are, whichever of its keys a client has used.
#[derive(Clone)]
#[must_use]
pub struct Client {
    shared: Arc<Shared>,
    /// Set by the keyring; beside the rest, so that a client's keys may share that.
    key_id: KeyId,
}

#[derive(Clone)]
struct Shared {
    id: Box<str>,
    name: Option<Box<str>>,
    scopes: Box<[Box<str>]>,
    /// The id that a verifier of somebody's own has given.
    key_id: Option<Box<str>>,
}

impl Client {
    /// A client by its id, the name that logs show and [`revoke`](crate::Keyring::revoke) takes.
    ///
    /// This never fails. A keyring refuses a new client if its id is empty or has more than 128
    /// characters, begins or ends with a blank, or holds a character that cannot be seen. Two clients
    /// with such ids would look alike in a log. Letters of two alphabets that look alike stay distinct.
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into().into_boxed_str();
        let shared = Shared { id, name: None, scopes: Box::default(), key_id: None };
        Self { shared: Arc::new(shared), key_id: KeyId::NONE }
    }

    /// Adds a name for people to read, of at most 256 characters. A keyring refuses a new client whose
    /// name begins or ends with a blank, or holds a character that cannot be seen.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.shared).name = Some(name.into().into_boxed_str());
        self
    }

    /// Sets what the client may do (RFC 6749 §3.3), in place of what was set before.
    ///
    /// This never fails: a scope that is not valid, with a blank in it for example, matches nothing,
    /// and a keyring refuses the client.
    pub fn scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let scopes = scopes.into_iter().map(|scope| scope.into().into_boxed_str()).collect();
        Arc::make_mut(&mut self.shared).scopes = scopes;
        self
    }

    /// Adds the public id of the key that was presented, where a verifier of your own knows one. A
    /// [`Keyring`](crate::Keyring) knows those of its keys; one that is set here goes first, but not
    /// for a key that is refused.
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.shared).key_id = Some(key_id.into().into_boxed_str());
        self
    }

    /// The client's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The client's name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }

    /// The public id of the key that was presented, if one is known. Never the key.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        let kept = self.key_id.as_str();
        self.shared.key_id.as_deref().or((!kept.is_empty()).then_some(kept))
    }

    /// Says with which of a keyring's keys it comes.
    pub(crate) fn stamp(&mut self, key_id: KeyId) {
        self.key_id = key_id;
    }

    /// The scopes, in the order they were set.
    pub fn granted(&self) -> impl Iterator<Item = &str> {
        self.shared.scopes.iter().map(AsRef::as_ref)
    }

    /// A client that logs could or must not show, or with a scope that could never match, is a mistake.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let is_key = KeyFormat::of(self.id().as_bytes()).is_some();
        if is_key || self.id().trim().is_empty() || self.id().chars().any(char::is_control) {
            return Err(ConfigError::new(ConfigErrorKind::ClientId));
        }
        match self.granted().position(|scope| !is_scope(scope)) {
            Some(at) => Err(ConfigError::new(ConfigErrorKind::Scope).at(at)),
            None => Ok(()),
        }
    }

    /// Returns the reason why a new client cannot have this id or name.
    pub(crate) fn check_new(&self) -> Result<(), ConfigError> {
        use ConfigErrorKind::{ClientIdTooLong, ClientNameTooLong, HiddenInId, HiddenInName};

        self.check()?;
        check_text(self.id(), MAX_ID_LEN, ClientIdTooLong, HiddenInId)?;
        let name = self.name().unwrap_or_default();
        check_text(name, MAX_NAME_LEN, ClientNameTooLong, HiddenInName)
    }

    /// Whether the client has a scope: compared byte for byte, and never by prefix.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        is_scope(scope) && self.granted().any(|granted| granted == scope)
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        let Shared { id, name, scopes, key_id: _ } = &*self.shared;
        Arc::ptr_eq(&self.shared, &other.shared)
            || (id, name, scopes) == (&other.shared.id, &other.shared.name, &other.shared.scopes)
    }
}

impl Eq for Client {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.shared.id)
            .field("name", &self.shared.name)
            .field("scopes", &self.shared.scopes)
            .field("key_id", &self.key_id())
            .finish()
    }
}

/// What observers, scopes and [`revoke`](crate::Keyring::revoke) need to know of a client type.
///
/// Any `Clone + Send + Sync + 'static` type can stand in [`Client`]'s place; this is for those that
/// want to be revoked by id or to be named in logs.
///
/// ```
/// use tower_api_key::{Identity, Keyring};
///
/// #[derive(Clone)]
/// struct Tenant {
///     slug: &'static str,
/// }
///
/// impl Identity for Tenant {
///     fn id(&self) -> &str {
///         self.slug
///     }
/// }
///
/// let keys: Keyring<Tenant> = Keyring::new();
/// keys.insert("12345abcde", Tenant { slug: "acme" })?;
/// assert_eq!(keys.revoke("acme"), 1);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
pub trait Identity {
    /// The client's id. It must not change while the client is in a keyring, which asks for it in the
    /// midst of changes: it must not use the keyring itself.
    fn id(&self) -> &str;

    /// Whether the client has a scope, as a [`RequireScopeLayer`](crate::RequireScopeLayer) asks; by default
    /// whether it is one of those [`granted`](Self::granted), a list that is then made each time.
    fn has_scope(&self, scope: &str) -> bool {
        self.granted().contains(&scope)
    }

    /// The scopes that the client has, where they can be listed, for a
    /// [`ClientHeaderLayer`](crate::ClientHeaderLayer) to hand on; by default none.
    fn granted(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The public id of the key that was presented, if one is known.
    fn key_id(&self) -> Option<&str> {
        None
    }

    /// Is told the public id of a key that is issued to this client, or by which another one is
    /// rotated, to be answered by [`key_id`](Self::key_id) from then on. By default it is forgotten.
    fn set_key_id(&mut self, key_id: &str) {
        let _ = key_id;
    }
}

impl Identity for Client {
    fn id(&self) -> &str {
        self.id()
    }

    fn has_scope(&self, scope: &str) -> bool {
        self.has_scope(scope)
    }

    fn granted(&self) -> Vec<&str> {
        self.granted().collect()
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id()
    }

    fn set_key_id(&mut self, key_id: &str) {
        if self.shared.key_id.is_some() {
            Arc::make_mut(&mut self.shared).key_id = None;
        }
        self.key_id = KeyId::parse(key_id).unwrap_or(KeyId::NONE);
    }
}

/// A scope-token of RFC 6749 §3.3.
pub(crate) fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

/// The longest id of a new client, in characters.
const MAX_ID_LEN: usize = 128;

/// The longest name of a new client, in characters.
const MAX_NAME_LEN: usize = 256;

fn check_text(
    text: &str,
    max_len: usize,
    too_long: ConfigErrorKind,
    hidden: ConfigErrorKind,
) -> Result<(), ConfigError> {
    if text.chars().nth(max_len).is_some() {
        return Err(too_long.into());
    }
    let at_edge = [(0, text.starts_with(' ')), (text.len().saturating_sub(1), text.ends_with(' '))];
    let at_edge = at_edge.into_iter().find(|(_, is_blank)| *is_blank).map(|(at, _)| at);
    match at_edge.or_else(|| text.find(is_hidden)) {
        Some(at) => Err(ConfigError::new(hidden).at(at)),
        None => Ok(()),
    }
}

/// Whether a character cannot be seen, or cannot be told from a blank.
///
/// These are the controls, marks of format, separators and unassigned characters, and the letters,
/// marks and symbols without a shape that Unicode has beside them.
pub(crate) fn is_hidden(char: char) -> bool {
    use GeneralCategoryGroup::{Other, Separator};

    char != ' ' && matches!(char.general_category_group(), Other | Separator)
        || matches!(
            char,
            // Default_Ignorable_Code_Point
            '\u{34F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
                | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0100}'..='\u{E01EF}'
                // An empty pattern of Braille, a filler, a note without a head
                | '\u{2800}' | '\u{16FE4}' | '\u{1D159}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_matches_whole_and_a_bad_one_never() {
        let client = Client::new("ci").scopes(["jobs:write", "two words", ""]);
        assert!(client.has_scope("jobs:write"));
        for scope in ["jobs", "jobs:writer", "JOBS:WRITE", "two words", "two", ""] {
            assert!(!client.has_scope(scope), "{scope:?}");
        }
    }

    #[test]
    fn changing_a_clone_leaves_the_first_alone() {
        let one = Client::new("ci").scopes(["a"]);
        let two = one.clone().with_name("CI").scopes(["b"]).with_key_id("k1");
        assert!(one.has_scope("a") && one.name().is_none() && one.key_id().is_none());
        assert!(two.has_scope("b") && !two.has_scope("a"));
        assert_eq!((two.id(), two.name(), two.key_id()), ("ci", Some("CI"), Some("k1")));
    }
}
