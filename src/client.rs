mod check;
mod identity;

use std::{any::Any, fmt, sync::Arc};

#[cfg(any(feature = "metrics", feature = "tracing"))]
#[cfg(feature = "tracing")]
pub(crate) use self::check::is_hidden;
pub(crate) use self::check::is_scope;
pub use self::identity::Identity;
use crate::key::KeyId;

/// The client that owns a key, which handlers read.
///
/// A client is a program, a team or a partner, and not a person. It never holds the key or its digest. A
/// clone costs one reference count.
///
/// Handlers find the client in the extensions of the request: `request.extensions().get::<Client>()`. With
/// the feature `axum` it is also an argument.
///
/// Two clients are equal if their ids, names, scopes and metadata are. The presented key does not count.
///
/// # Examples
///
/// ```
/// use tower_api_key::Client;
///
/// let client = Client::new("mobile-app")
///     .with_name("Mobile app")
///     .with_scopes(["reports:read"])
///     .with_metadata("plan", "pro");
///
/// assert_eq!(client.id(), "mobile-app");
/// assert!(client.has_scope("reports:read"));
/// assert_eq!(client.metadata("plan"), Some("pro"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Client {
    shared: Arc<Shared>,
    /// The id that the keyring sets. It is beside the rest, so that the keys of a client share the rest.
    key_id: KeyId,
}

#[derive(Clone)]
struct Shared {
    id: Box<str>,
    name: Option<Box<str>>,
    scopes: Box<[Box<str>]>,
    /// On the heap, so that a client without these fields stays small.
    extra: Option<Box<Extra>>,
}

/// The fields that few clients have.
#[derive(Clone, Default)]
struct Extra {
    /// The id that a verifier of the user's own has set.
    key_id: Option<Box<str>>,
    /// Sorted by key. Each key is there once.
    metadata: Vec<(Box<str>, Box<str>)>,
}

impl Client {
    /// Creates a client with an id, which logs show and [`revoke_client`](crate::Keyring::revoke_client)
    /// takes.
    ///
    /// This never fails. A keyring rejects a new client if its id
    ///
    /// - is empty or has more than 128 characters,
    /// - begins or ends with a blank,
    /// - holds a character that cannot be seen.
    ///
    /// Two clients with such ids would look alike in a log. Letters of two alphabets that look alike stay
    /// distinct.
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into().into_boxed_str();
        let shared = Shared { id, name: None, scopes: Box::default(), extra: None };
        Self { shared: Arc::new(shared), key_id: KeyId::NONE }
    }

    /// Sets a name for people to read, of at most 256 characters.
    ///
    /// A keyring rejects a new client if its name begins or ends with a blank, or holds a character that
    /// cannot be seen.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.shared).name = Some(name.into().into_boxed_str());
        self
    }

    /// Sets the scopes of the client (RFC 6749 §3.3), and replaces those that were set before.
    ///
    /// This never fails. If a scope is not valid, for example because of a blank, it matches no scope and
    /// a keyring rejects the client.
    pub fn with_scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let scopes = scopes.into_iter().map(|scope| scope.into().into_boxed_str()).collect();
        Arc::make_mut(&mut self.shared).scopes = scopes;
        self
    }

    /// Sets one metadata value, such as the plan of the client. It replaces the value of the same key.
    ///
    /// Logs and `Debug` never show metadata. This never fails. A keyring rejects a new client if
    ///
    /// - it has more than 16 metadata keys,
    /// - a key is empty, has more than 64 characters, begins or ends with a blank, or holds a character
    ///   that cannot be seen,
    /// - a value has more than 256 characters.
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into().into_boxed_str(), value.into().into_boxed_str());
        self.change_extra(|extra| {
            let place = extra.metadata.binary_search_by(|(known, _)| known.cmp(&key));
            match place.map(|at| extra.metadata.get_mut(at)) {
                Ok(found) => found.into_iter().for_each(|(_, old)| *old = value.clone()),
                Err(at) => extra.metadata.insert(at, (key, value)),
            }
        });
        self
    }

    /// Sets the public id of the presented key, if a verifier of your own knows it.
    ///
    /// A [`Keyring`](crate::Keyring) knows the ids of its keys. An id that is set here goes first, except
    /// for a key that is rejected.
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        let key_id = key_id.into().into_boxed_str();
        self.change_extra(|extra| extra.key_id = Some(key_id));
        self
    }

    /// Returns the id of the client.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Returns the name of the client.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }

    /// Returns the scopes, in the order in which they were set.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.shared.scopes.iter().map(AsRef::as_ref)
    }

    /// Returns whether the client has a scope. Scopes are compared byte for byte, and never by prefix.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        is_scope(scope) && self.scopes().any(|own| own == scope)
    }

    /// Returns the metadata value of a key.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata_entries().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Returns all metadata as pairs of key and value, sorted by key.
    pub fn metadata_entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let extra = self.shared.extra.iter();
        extra.flat_map(|extra| &extra.metadata).map(|(key, value)| (&**key, &**value))
    }

    /// Returns the public id of the presented key, if it is known. It never returns the key.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        let own = self.shared.extra.as_ref().and_then(|extra| extra.key_id.as_deref());
        let of_keyring = self.key_id.as_str();
        own.or((!of_keyring.is_empty()).then_some(of_keyring))
    }

    /// Sets the id of the keyring's key. An id that the user has set stays and goes first.
    pub(crate) fn set_key_id(&mut self, key_id: KeyId) {
        self.key_id = key_id;
    }

    fn change_extra(&mut self, change: impl FnOnce(&mut Extra)) {
        change(Arc::make_mut(&mut self.shared).extra.get_or_insert_default());
    }
}

/// Returns the client if a client type is [`Client`].
pub(crate) fn as_client<C: 'static>(client: &C) -> Option<&Client> {
    (client as &dyn Any).downcast_ref()
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (&*self.shared, &*other.shared);
        Arc::ptr_eq(&self.shared, &other.shared)
            || (&one.id, &one.name, &one.scopes) == (&two.id, &two.name, &two.scopes)
                && self.metadata_entries().eq(other.metadata_entries())
    }
}

impl Eq for Client {}

/// The metadata is left out.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_matches_whole_and_a_bad_one_never() {
        let client = Client::new("ci").with_scopes(["jobs:write", "two words", ""]);
        assert!(client.has_scope("jobs:write"));
        for scope in ["jobs", "jobs:writer", "JOBS:WRITE", "two words", "two", ""] {
            assert!(!client.has_scope(scope), "{scope:?}");
        }
    }

    #[test]
    fn metadata_is_sorted_by_key_and_a_later_value_replaces_an_earlier_one() {
        let client = Client::new("ci").with_metadata("plan", "free").with_metadata("a", "");
        let client = client.with_metadata("plan", "pro").with_metadata("region", "eu");
        let entries: Vec<_> = client.metadata_entries().collect();
        assert_eq!(entries, [("a", ""), ("plan", "pro"), ("region", "eu")]);
        assert_eq!((client.metadata("plan"), client.metadata("a")), (Some("pro"), Some("")));
        assert_eq!((client.metadata("PLAN"), client.metadata("pla")), (None, None));
        let other_order = Client::new("ci").with_metadata("region", "eu").with_metadata("a", "");
        assert_eq!(other_order.clone().with_metadata("plan", "pro"), client);
        assert_ne!(other_order, client);
    }

    #[test]
    fn changing_a_clone_leaves_the_first_alone() {
        let one = Client::new("ci").with_scopes(["a"]);
        let two = one.clone().with_name("CI").with_scopes(["b"]).with_key_id("k1");
        assert!(one.has_scope("a") && one.name().is_none() && one.key_id().is_none());
        assert!(two.has_scope("b") && !two.has_scope("a"));
        assert_eq!((two.id(), two.name(), two.key_id()), ("ci", Some("CI"), Some("k1")));
    }
}
