use std::{fmt, sync::Arc};

use crate::error::{ConfigError, ConfigErrorKind};

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
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Client(Arc<Shared>);

#[derive(Clone, PartialEq, Eq)]
struct Shared {
    id: Box<str>,
    name: Option<Box<str>>,
    scopes: Box<[Box<str>]>,
    key_id: Option<Box<str>>,
}

impl Client {
    /// A client by its id, the name that logs show and [`revoke`](crate::Keyring::revoke) takes.
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into().into_boxed_str();
        Self(Arc::new(Shared { id, name: None, scopes: Box::default(), key_id: None }))
    }

    /// Adds a name for people to read.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).name = Some(name.into().into_boxed_str());
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
        Arc::make_mut(&mut self.0).scopes = scopes;
        self
    }

    /// Adds the public id of the key that was presented, where a verifier knows one.
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).key_id = Some(key_id.into().into_boxed_str());
        self
    }

    /// The client's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The client's name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The public id of the key that was presented, if one is known. Never the key.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.0.key_id.as_deref()
    }

    /// The scopes, in the order they were set.
    pub fn granted(&self) -> impl Iterator<Item = &str> {
        self.0.scopes.iter().map(AsRef::as_ref)
    }

    /// A client that logs could not show, or with a scope that could never match, is a mistake.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.id().trim().is_empty() || self.id().chars().any(char::is_control) {
            return Err(ConfigError::new(ConfigErrorKind::ClientId));
        }
        match self.granted().position(|scope| !is_scope(scope)) {
            Some(at) => Err(ConfigError::new(ConfigErrorKind::Scope).at(at)),
            None => Ok(()),
        }
    }

    /// Whether the client has a scope: compared byte for byte, and never by prefix.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        is_scope(scope) && self.granted().any(|granted| granted == scope)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { id, name, scopes, key_id } = &*self.0;
        f.debug_struct("Client")
            .field("id", id)
            .field("name", name)
            .field("scopes", scopes)
            .field("key_id", key_id)
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
    /// The client's id. It must not change while the client is in a keyring.
    fn id(&self) -> &str;

    /// Whether the client has a scope; by default it has none.
    fn has_scope(&self, scope: &str) -> bool {
        let _ = scope;
        false
    }

    /// The public id of the key that was presented, if one is known.
    fn key_id(&self) -> Option<&str> {
        None
    }
}

impl Identity for Client {
    fn id(&self) -> &str {
        self.id()
    }

    fn has_scope(&self, scope: &str) -> bool {
        self.has_scope(scope)
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id()
    }
}

/// A scope-token of RFC 6749 §3.3.
fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
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
