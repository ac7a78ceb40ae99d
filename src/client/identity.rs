use super::Client;
use crate::key::KeyId;

/// The id, the scopes and the key id of a client type, for observers, scopes and
/// [`revoke_client`](crate::Keyring::revoke_client).
///
/// Any type that is `Clone + Send + Sync + 'static` can replace [`Client`]. Implement this trait
/// to revoke keys by client, to require scopes, and to name clients in logs.
///
/// # Examples
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
/// assert_eq!(keys.revoke_client("acme"), 1);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
pub trait Identity {
    /// Returns the id of the client.
    ///
    /// It must not change while the client is in a keyring. This runs under the keyring's lock. Do not
    /// call the keyring from it.
    fn id(&self) -> &str;

    /// Returns whether the client has a scope, for a [`RequireScopeLayer`](crate::RequireScopeLayer).
    ///
    /// By default this searches [`scopes`](Self::scopes), which makes a list each time.
    fn has_scope(&self, scope: &str) -> bool {
        self.scopes().contains(&scope)
    }

    /// Returns the scopes of the client, which a [`SetClientHeaderLayer`](crate::SetClientHeaderLayer) forwards.
    ///
    /// By default there are none.
    fn scopes(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Returns the public id of the presented key, if it is known.
    fn key_id(&self) -> Option<&str> {
        None
    }

    /// Sets the key id that [`key_id`](Self::key_id) returns.
    ///
    /// A keyring calls this when it issues or rotates a key. By default the id is ignored.
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

    fn scopes(&self) -> Vec<&str> {
        self.scopes().collect()
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id()
    }

    fn set_key_id(&mut self, key_id: &str) {
        if self.shared.extra.as_ref().is_some_and(|extra| extra.key_id.is_some()) {
            self.change_extra(|extra| extra.key_id = None);
        }
        self.set_key_id(KeyId::parse(key_id).unwrap_or(KeyId::NONE));
    }
}
