use std::{
    fmt, iter,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Changed, Draft, KeyChangeKind, KeyStore, StoreError, StoreErrorKind, Target,
    rule::{Remarks, Rule},
};
use crate::{Client, Keyring, KeyringBuilder, key::KeyFormat, record::Record};

/// A change to the records of a store, in one transaction.
///
/// The change holds the rule and its arguments. It owns them, so that a store can run it on a thread of its
/// own while the transaction is open. A clone is cheap.
///
/// # Example: issue a key that expires
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_api_key::{Client, key::KeyFormat, store::{Change, MemoryStore}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = MemoryStore::new();
/// let in_90_days = SystemTime::now() + Duration::from_secs(90 * 24 * 60 * 60);
/// let issue = Change::issue_with(&KeyFormat::new("sk_live")?, Client::new("ci"), move |record| {
///     record.with_expires(in_90_days).with_note("deploys")
/// });
/// let changed = issue.with_by("alice").commit(&store).await?;
/// if let Some(minted) = changed.into_minted() {
///     minted.reveal(|key| println!("{key}"));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a change takes effect when it is committed"]
pub struct Change {
    target: Target,
    rule: Rule,
    remarks: Remarks,
    formats: Vec<KeyFormat>,
    at: Option<SystemTime>,
    attempt: u32,
}

impl Change {
    /// Mints a key and issues it to a client. See [`Keyring::issue`].
    pub fn issue(format: &KeyFormat, client: Client) -> Self {
        Self::issue_with(format, client, |record| record)
    }

    /// Mints a key and issues it to a client, and sets other fields by a closure.
    ///
    /// The closure runs again for each attempt.
    pub fn issue_with(
        format: &KeyFormat,
        client: Client,
        complete: impl Fn(Record) -> Record + Send + Sync + 'static,
    ) -> Self {
        let rule = Rule::Issue(format.clone(), client, Arc::new(complete));
        Self::new(Target::digests(iter::empty()), rule)
    }

    /// Inserts a key by its record. See [`Keyring::insert_record`].
    pub fn insert(record: Record) -> Self {
        Self::insert_all([record])
    }

    /// Inserts keys by their records, all or none. See [`Keyring::insert_record`].
    pub fn insert_all(records: impl IntoIterator<Item = Record>) -> Self {
        Self::insert_by(Rule::Insert, records)
    }

    /// Inserts records, unless their digest is in the store. The others stay as they are.
    ///
    /// A revoked record stays revoked. A second run changes nothing, so a deployment can run it each time.
    pub fn insert_if_absent(records: impl IntoIterator<Item = Record>) -> Self {
        Self::insert_by(Rule::InsertIfAbsent, records)
    }

    fn insert_by(
        rule: impl FnOnce(Arc<[Record]>) -> Rule,
        records: impl IntoIterator<Item = Record>,
    ) -> Self {
        let records: Arc<[_]> = records.into_iter().collect();
        let target = Target::digests(records.iter().map(Record::digest));
        Self::new(target, rule(records))
    }

    /// Mints a key to take the place of another. See [`Keyring::rotate`].
    ///
    /// The new key works now. The old key works until the overlap is over.
    pub fn rotate(key_id: impl Into<String>, overlap: Duration) -> Self {
        let key_id = key_id.into();
        Self::new(Target::KeyId(key_id.clone()), Rule::Rotate(key_id, overlap))
    }

    /// Revokes one key. If there is no key, or if it was revoked before, this is no error.
    pub fn revoke_key(key_id: impl Into<String>) -> Self {
        Self::new(Target::KeyId(key_id.into()), Rule::Revoke)
    }

    /// Revokes all keys of a client. No key is no error.
    pub fn revoke_client(client: impl Into<String>) -> Self {
        Self::new(Target::Client(client.into()), Rule::Revoke)
    }

    /// Pauses a key. See [`Keyring::pause`].
    pub fn pause(key_id: impl Into<String>) -> Self {
        let key_id = key_id.into();
        Self::new(Target::KeyId(key_id.clone()), Rule::Pause(key_id))
    }

    /// Resumes a paused key. See [`Keyring::resume`].
    pub fn resume(key_id: impl Into<String>) -> Self {
        let key_id = key_id.into();
        Self::new(Target::KeyId(key_id.clone()), Rule::Resume(key_id))
    }

    /// Changes any fields of a record, except for the id and the digest. See [`Keyring::update`].
    ///
    /// The closure receives the record as it is in the transaction. It runs again for each attempt.
    pub fn update(
        key_id: impl Into<String>,
        change: impl Fn(Record) -> Record + Send + Sync + 'static,
    ) -> Self {
        let key_id = key_id.into();
        Self::new(Target::KeyId(key_id.clone()), Rule::Update(key_id, Arc::new(change)))
    }

    /// Removes the records of keys that are dead since before this time.
    ///
    /// Choose a time some days ago, so that every process and every backup has seen the key dead.
    pub fn prune(dead_before: SystemTime) -> Self {
        Self::new(Target::DeadBefore(dead_before), Rule::Prune)
    }

    /// Removes the record of a key that was issued and never handed out.
    ///
    /// If a person or program may have the key, revoke the key instead. A store forgets a removed key, so that
    /// a later change can insert it again. If there is no key, this is no error.
    pub fn remove(key_id: impl Into<String>) -> Self {
        Self::new(Target::KeyId(key_id.into()), Rule::Prune)
    }

    fn new(target: Target, rule: Rule) -> Self {
        let remarks = Remarks::default();
        Self { target, rule, remarks, formats: Vec::new(), at: None, attempt: 0 }
    }

    /// Sets the author of the change, a person or a program.
    ///
    /// The record of an issued, rotated or revoked key keeps it.
    pub fn with_by(mut self, name: impl Into<String>) -> Self {
        self.remarks.by = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Sets the reason of the change, for people to read.
    ///
    /// The record of a rotated or revoked key keeps it.
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.remarks.reason = Some(reason.into()).filter(|reason| !reason.is_empty());
        self
    }

    /// Sets the time of the change. By default it is the current time in the transaction.
    ///
    /// Fractions of a second are cut off.
    pub fn with_time(mut self, time: SystemTime) -> Self {
        self.at = Some(time);
        self
    }

    /// Adds a format of minted keys. See [`KeyringBuilder::format`].
    pub fn with_format(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// Returns the author of the change.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        self.remarks.by.as_deref()
    }

    /// Returns the reason of the change.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.remarks.reason.as_deref()
    }

    /// Returns the time of the change, if it was set.
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        self.at
    }

    /// Returns the records to read. For a [`KeyStore`].
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns whether the change revokes keys.
    #[must_use]
    pub fn is_revocation(&self) -> bool {
        matches!(self.rule, Rule::Revoke)
    }

    /// Returns the kind of change of a record that the change updates.
    pub(super) fn kind(&self) -> KeyChangeKind {
        self.rule.kind()
    }

    /// Applies the change to the records of its target, and returns the writes. For a [`KeyStore`].
    ///
    /// The store reads and locks the records before. If the transaction begins again, the store calls this
    /// again.
    ///
    /// # Errors
    ///
    /// Returns an error of the kind [`Refused`](StoreErrorKind::Refused) if the change is invalid. If the
    /// records contradict one another, the kind is [`Corrupt`](StoreErrorKind::Corrupt).
    pub fn apply(&self, records: impl IntoIterator<Item = Record>) -> Result<Draft, StoreError> {
        let records = records.into_iter();
        let before: Vec<_> = records.filter(|record| self.target.contains(record)).collect();
        let at = self.at;
        let clock = move || whole_seconds(at.unwrap_or_else(SystemTime::now));
        let keys = Keyring::builder().clock(clock);
        let keys = self.formats.iter().cloned().fold(keys, KeyringBuilder::format).build();
        keys.replace(before.iter().cloned()).map_err(|error| {
            StoreError::new(StoreErrorKind::Corrupt, "the records contradict one another")
                .with_source(error)
        })?;
        let minted = self.rule.run(&keys, &self.remarks, self.attempt)?;
        Ok(Draft::compare(before, &keys, minted))
    }

    /// Commits the change to a store. After a conflict it tries again.
    ///
    /// For example, another key can have the minted id. The next attempt mints another key.
    ///
    /// # Errors
    ///
    /// Returns the error of [`KeyStore::change`]. After five conflicts it returns the last one.
    pub async fn commit(mut self, store: &dyn KeyStore) -> Result<Changed, StoreError> {
        const MAX_ATTEMPTS: u32 = 5;
        loop {
            self.attempt += 1;
            match store.change(self.clone()).await {
                Err(error)
                    if error.kind() == StoreErrorKind::Conflict && self.attempt < MAX_ATTEMPTS => {}
                result => return result,
            }
        }
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("kind", &self.rule.name())
            .field("target", &self.target)
            .field("by", &self.remarks.by)
            .field("reason", &self.remarks.reason)
            .finish_non_exhaustive()
    }
}
