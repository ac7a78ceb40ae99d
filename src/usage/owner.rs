//! The keys of the table of counters.

use std::hash::{Hash, Hasher};

use papaya::Equivalent;

use super::row::Subject;

/// The owner of counted requests, as a key of the table.
///
/// A look-up of a key with an id of eight bytes reads no text, because the text is on another page of memory. It
/// compares the id and the hash of the client's id. The seed of the hash is random, so that two clients of one
/// key id have the same hash once in 2^63 pairs.
pub(super) struct Owner {
    id: Id,
    client: ClientHash,
    /// The id of the key, unless `id` has it, and then the id of the client.
    text: Box<str>,
}

/// The id of a key of eight bytes, or the length of another id behind a byte that no text has.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Id([u8; 8]);

impl Id {
    const NO_TEXT: u8 = 0xFF;

    #[inline]
    fn of(id: &str) -> Self {
        id.as_bytes().try_into().map_or_else(|_| Self::long(id), Self)
    }

    #[cold]
    fn long(id: &str) -> Self {
        let [.., a, b, c, d] = id.len().to_be_bytes();
        Self([Self::NO_TEXT, 0, 0, 0, a, b, c, d])
    }

    /// The id for a client without ids of keys. No key's id is empty.
    const NONE: Self = Self([Self::NO_TEXT, 0, 0, 0, 0, 0, 0, 0]);

    /// Returns the id, or else the number of its bytes in a text.
    #[inline]
    fn text(&self) -> Result<&[u8], usize> {
        match self.0 {
            [Self::NO_TEXT, _, _, _, a, b, c, d] => Err(u32::from_be_bytes([a, b, c, d]) as usize),
            _ => Ok(&self.0),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientHash(u64);

impl ClientHash {
    /// Of a key that the layer has only rejected.
    const NO_CLIENT: Self = Self(0);

    #[inline]
    pub(super) fn new(hash: u64) -> Self {
        Self(hash | 1)
    }
}

/// The owner of a request.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    Key {
        id: &'a str,
        client: &'a str,
        hash: ClientHash,
    },
    Client {
        id: &'a str,
        hash: ClientHash,
    },
    /// A rejected key. Any client matches, because a rejection does not name the client.
    KeyOfAny {
        id: &'a str,
    },
}

/// A key with a client, other than this client if there is one.
pub(super) struct KeyOfOther<'a> {
    pub(super) id: &'a str,
    pub(super) client: Option<&'a str>,
}

impl Owner {
    pub(super) fn new(asked: Asked<'_>) -> Self {
        let (id, text, client) = match asked {
            Asked::Key { id, client, hash } => (id, client, hash),
            Asked::Client { id, hash } => {
                return Self { id: Id::NONE, client: hash, text: id.into() };
            }
            Asked::KeyOfAny { id } => (id, "", ClientHash::NO_CLIENT),
        };
        let short = Id::of(id);
        let text = match short.text() {
            Ok(_) => text.into(),
            Err(_) => format!("{id}{text}").into(),
        };
        Self { id: short, client, text }
    }

    fn is_client_alone(&self) -> bool {
        self.id == Id::NONE
    }

    /// Returns the id of the key.
    #[inline]
    fn key_id(&self) -> &[u8] {
        match self.id.text() {
            Ok(id) => id,
            Err(len) => self.text.as_bytes().get(..len).unwrap_or_default(),
        }
    }

    /// Returns the id of the client.
    pub(super) fn client(&self) -> Option<&str> {
        let start = self.id.text().err().unwrap_or(0);
        let is_known = self.client != ClientHash::NO_CLIENT;
        is_known.then(|| self.text.get(start..).unwrap_or_default())
    }

    pub(super) fn subject(&self) -> Subject {
        match self.client() {
            Some(client) if self.is_client_alone() => Subject::client_alone(client),
            client => Subject::key(std::str::from_utf8(self.key_id()).unwrap_or_default(), client),
        }
    }

    /// Returns whether this is a key of this id with a client.
    pub(super) fn is_used_key(&self, id: &str) -> bool {
        self.client != ClientHash::NO_CLIENT
            && !self.is_client_alone()
            && self.key_id() == id.as_bytes()
    }
}

/// The hash is that of the key's id, so that a rejection finds the key of any client.
impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.is_client_alone() {
            state.write(self.text.as_bytes())
        } else {
            state.write(self.key_id())
        }
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.client, &self.text) == (other.id, other.client, &other.text)
    }
}

impl Eq for Owner {}

impl Hash for Asked<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (Self::Key { id, .. } | Self::Client { id, .. } | Self::KeyOfAny { id }) = self;
        state.write(id.as_bytes());
    }
}

impl Equivalent<Owner> for Asked<'_> {
    #[inline]
    fn equivalent(&self, owner: &Owner) -> bool {
        match *self {
            Self::Key { id, hash, .. } => owner.client == hash && is_key(owner, id),
            Self::Client { id, hash } => {
                owner.client == hash && owner.is_client_alone() && *owner.text == *id
            }
            Self::KeyOfAny { id } => is_key(owner, id),
        }
    }
}

#[inline]
fn is_key(owner: &Owner, id: &str) -> bool {
    owner.id == Id::of(id) && (owner.id.text().is_ok() || owner.key_id() == id.as_bytes())
}

impl Hash for KeyOfOther<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.id.as_bytes());
    }
}

impl Equivalent<Owner> for KeyOfOther<'_> {
    fn equivalent(&self, owner: &Owner) -> bool {
        owner.is_used_key(self.id) && (self.client.is_none() || owner.client() != self.client)
    }
}
