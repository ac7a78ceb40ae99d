use std::fmt;

use crate::record::Record;

/// A change of one key, for an audit trail.
///
/// A process knows the author and the reason of its own changes. Another process knows them only if the
/// record keeps them, as it does for an issued, rotated or revoked key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    kind: KeyChangeKind,
    key_id: String,
    client: String,
    by: Option<String>,
    reason: Option<String>,
    is_own: bool,
}

/// The kinds of [`KeyChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyChangeKind {
    /// The key is new.
    Issued,
    /// Another key takes the place of the key.
    Rotated,
    /// The key is revoked.
    Revoked,
    /// The key is paused.
    Paused,
    /// The key is paused no longer.
    Resumed,
    /// Other fields of the record have changed.
    Updated,
    /// The record was removed.
    Removed,
}

/// Remarks on a change by this process.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) by: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
}

impl KeyChange {
    /// Returns the change from one state of a record to another, if there is one.
    pub(super) fn between(
        old: Option<&Record>,
        new: Option<&Record>,
        own: Option<Own<'_>>,
    ) -> Option<Self> {
        let record = new.or(old)?;
        let kind = KeyChangeKind::between(old, new)?;
        let (by, reason) = match (own, kind) {
            (Some(own), _) => (own.by, own.reason),
            (None, KeyChangeKind::Issued) => (record.issued_by(), None),
            (None, KeyChangeKind::Rotated) => (None, record.rotated_reason()),
            (None, KeyChangeKind::Revoked) => (record.revoked_by(), record.revoked_reason()),
            (None, _) => (None, None),
        };
        Some(Self::new(kind, record, by, reason, own.is_some()))
    }

    /// Returns a change whose kind is known, although the old record is not.
    pub(super) fn of(kind: KeyChangeKind, record: &Record, own: Own<'_>) -> Self {
        Self::new(kind, record, own.by, own.reason, true)
    }

    fn new(
        kind: KeyChangeKind,
        record: &Record,
        by: Option<&str>,
        reason: Option<&str>,
        is_own: bool,
    ) -> Self {
        Self {
            kind,
            key_id: record.id().unwrap_or_default().to_owned(),
            client: record.client().id().to_owned(),
            by: by.map(str::to_owned),
            reason: reason.map(str::to_owned),
            is_own,
        }
    }

    #[cfg(feature = "metrics")]
    pub(super) fn count(&self, store: &str) {
        super::metrics::change(store, self.kind.as_str());
    }

    #[cfg(feature = "tracing")]
    pub(super) fn log(&self, store: &str) {
        tracing::info!(
            target: super::LOG_TARGET, store,
            change = self.kind.as_str(),
            api_key.id = self.key_id,
            api_key.client = ?self.client,
            by = self.by().map(tracing::field::debug),
            reason = self.reason().map(tracing::field::debug),
            "key changed"
        );
    }

    /// Returns the kind of change. If several fields have changed, it is the most important one.
    #[must_use]
    pub fn kind(&self) -> KeyChangeKind {
        self.kind
    }

    /// Returns the public id of the key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the id of the client.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Returns the author of the change, if it is known.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        self.by.as_deref()
    }

    /// Returns the reason of the change, if it is known.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Returns whether this handle or a clone of it made the change.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.is_own
    }
}

impl KeyChangeKind {
    fn between(old: Option<&Record>, new: Option<&Record>) -> Option<Self> {
        let (old, new) = match (old, new) {
            (None, None) => return None,
            (None, Some(_)) => return Some(Self::Issued),
            (Some(_), None) => return Some(Self::Removed),
            (Some(old), Some(new)) => (old, new),
        };
        if old == new {
            return None;
        }
        let successor =
            |record: &Record| (record.rotated(), record.replaced_by().map(str::to_owned));
        Some(match (old.paused(), new.paused()) {
            _ if old.revoked() != new.revoked() => Self::Revoked,
            _ if successor(old) != successor(new) => Self::Rotated,
            (None, Some(_)) => Self::Paused,
            (Some(_), None) => Self::Resumed,
            _ => Self::Updated,
        })
    }

    /// Returns a name for metrics that stays the same between versions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Rotated => "rotated",
            Self::Revoked => "revoked",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Updated => "updated",
            Self::Removed => "removed",
        }
    }
}

/// Shows the change in one line, such as `0a1B2c3D of ci revoked by alice: in a public log`.
impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {}", self.key_id, self.client.escape_debug(), self.kind.as_str())?;
        if let Some(by) = &self.by {
            write!(f, " by {}", by.escape_debug())?;
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {}", reason.escape_debug())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{Client, KeyDigest};

    #[test]
    fn the_most_important_difference_names_the_change() {
        let now = SystemTime::now();
        let old = Record::new(KeyDigest::of("a"), Client::new("ci"));
        let kind = |new: &Record| KeyChangeKind::between(Some(&old), Some(new));
        assert_eq!(kind(&old), None);
        let mut new = old.clone().with_note("a note");
        assert_eq!(kind(&new), Some(KeyChangeKind::Updated));
        new = new.with_paused(now);
        assert_eq!(kind(&new), Some(KeyChangeKind::Paused));
        assert_eq!(KeyChangeKind::between(Some(&new), Some(&old)), Some(KeyChangeKind::Resumed));
        new = new.with_rotated(now);
        assert_eq!(kind(&new), Some(KeyChangeKind::Rotated));
        new = new.with_revoked(now).with_revoked_by("alice").with_revoked_reason("leaked\nkey");
        assert_eq!(kind(&new), Some(KeyChangeKind::Revoked));
        let change = KeyChange::between(Some(&old), Some(&new), None).unwrap();
        assert_eq!(change.to_string(), " of ci revoked by alice: leaked\\nkey");
        let own = Own { by: Some("bob"), reason: None };
        let change = KeyChange::between(None, Some(&new), Some(own)).unwrap();
        assert_eq!(
            (change.kind(), change.by(), change.reason()),
            (KeyChangeKind::Issued, Some("bob"), None)
        );
    }
}
