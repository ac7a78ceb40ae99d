use std::time::SystemTime;

use super::Counts;

/// The owner of counted requests.
///
/// The order is that of a report. Keys are sorted by client, and the totals come last. The subject of a limit is
/// another type, `limit::Subject`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// A key with a public id.
    #[non_exhaustive]
    Key {
        /// The id of the client, or `None` if the layer has only rejected the key since the process started.
        client: Option<Box<str>>,
        /// The public id of the key.
        id: Box<str>,
    },
    /// A client whose verifier knows no ids of keys.
    #[non_exhaustive]
    Client {
        /// The id of the client.
        id: Box<str>,
    },
    /// All requests without a known key. The key is unknown, malformed or missing.
    Unknown,
    /// All keys above [`max_keys`](super::UsageBuilder::max_keys).
    Overflow,
}

impl Subject {
    /// Creates the subject of a key, for a sink's test or for rows from a store.
    #[must_use]
    pub fn key(id: impl Into<Box<str>>, client: Option<&str>) -> Self {
        Self::Key { client: client.map(Into::into), id: id.into() }
    }

    /// Creates the subject of a client, for a verifier without ids of keys.
    #[must_use]
    pub fn client_alone(id: impl Into<Box<str>>) -> Self {
        Self::Client { id: id.into() }
    }

    /// Returns the public id of the key.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::Key { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Returns the id of the client, if it is known.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        match self {
            Self::Key { client, .. } => client.as_deref(),
            Self::Client { id } => Some(id),
            _ => None,
        }
    }
}

/// The requests of one key in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    subject: Subject,
    hour: SystemTime,
    counts: Counts,
    last_used: Option<SystemTime>,
}

impl UsageRow {
    /// Creates a row. A [`Usage`](super::Usage) creates them itself.
    #[must_use]
    pub fn new(
        subject: Subject,
        hour: SystemTime,
        counts: Counts,
        last_used: Option<SystemTime>,
    ) -> Self {
        Self { subject, hour, counts, last_used }
    }

    /// Returns the owner of the requests.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the public id of the key, unless the row counts several keys.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.subject.key_id()
    }

    /// Returns the id of the client, if it is known.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.subject.client()
    }

    /// Returns the beginning of the hour.
    #[must_use]
    pub fn hour(&self) -> SystemTime {
        self.hour
    }

    /// Returns the numbers of requests.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the minute of the last accepted request in this hour.
    #[must_use]
    pub fn last_used(&self) -> Option<SystemTime> {
        self.last_used
    }

    /// Adds a row of the same subject and hour.
    pub(super) fn merge(&mut self, other: &Self) {
        self.counts += other.counts;
        self.last_used = self.last_used.max(other.last_used);
    }
}

/// Sorts rows by subject and hour, and merges the rows of the same subject and hour.
pub(super) fn merge(mut rows: Vec<UsageRow>) -> Vec<UsageRow> {
    rows.sort_by(|a, b| a.subject.cmp(&b.subject).then(a.hour.cmp(&b.hour)));
    rows.dedup_by(|later, kept| {
        let is_same = later.subject == kept.subject && later.hour == kept.hour;
        if is_same {
            kept.merge(later);
        }
        is_same
    });
    rows
}

/// The last use of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    subject: Subject,
    at: SystemTime,
}

impl LastUse {
    /// Creates a last use from a store of your own.
    #[must_use]
    pub fn new(subject: Subject, at: SystemTime) -> Self {
        Self { subject, at }
    }

    /// Returns the owner of the request.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the public id of the key, or `None` if the verifier knows no ids.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.subject.key_id()
    }

    /// Returns the id of the client, if it is known.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.subject.client()
    }

    /// Returns the minute of the last accepted request.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }
}
