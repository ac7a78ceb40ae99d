use std::{sync::Arc, time::Duration};

use super::KeyChangeKind;
use crate::{
    Client, Keyring,
    error::KeyringError,
    key::{KeyFormat, MintedKey},
    record::Record,
};

type Edit = Arc<dyn Fn(Record) -> Record + Send + Sync>;

/// The rule of a change. It runs on a keyring with the records of the target alone.
#[derive(Clone)]
pub(super) enum Rule {
    Issue(KeyFormat, Client, Edit),
    Insert(Arc<[Record]>),
    InsertIfAbsent(Arc<[Record]>),
    Rotate(String, Duration),
    Revoke,
    Pause(String),
    Resume(String),
    Update(String, Edit),
    Prune,
}

/// Texts about a change, for people.
#[derive(Clone, Default)]
pub(super) struct Remarks {
    pub(super) by: Option<String>,
    pub(super) reason: Option<String>,
}

impl Rule {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Issue(..) => "issue",
            Self::Insert(_) | Self::InsertIfAbsent(_) => "insert",
            Self::Rotate(..) => "rotate",
            Self::Revoke => "revoke",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Update(..) => "update",
            Self::Prune => "prune",
        }
    }

    /// Returns the kind of change of a record that was there before.
    pub(super) fn kind(&self) -> KeyChangeKind {
        match self {
            Self::Issue(..) | Self::Insert(_) | Self::InsertIfAbsent(_) => KeyChangeKind::Issued,
            Self::Rotate(..) => KeyChangeKind::Rotated,
            Self::Revoke => KeyChangeKind::Revoked,
            Self::Pause(_) => KeyChangeKind::Paused,
            Self::Resume(_) => KeyChangeKind::Resumed,
            Self::Update(..) => KeyChangeKind::Updated,
            Self::Prune => KeyChangeKind::Removed,
        }
    }

    /// Makes the change and returns a minted key.
    pub(super) fn run(
        &self,
        keys: &Keyring,
        remarks: &Remarks,
        attempt: u32,
    ) -> Result<Option<MintedKey>, KeyringError> {
        match self {
            Self::Issue(format, client, complete) => {
                let minted = keys.issue(format, client.clone())?;
                keys.update(minted.id(), |record| complete(remarks.issued(record)))?;
                return Ok(Some(minted));
            }
            Self::Rotate(key_id, overlap) => {
                let minted = keys.rotate(key_id, *overlap)?;
                keys.update(key_id, |record| remarks.rotated(record))?;
                keys.update(minted.id(), |record| remarks.issued(record))?;
                return Ok(Some(minted));
            }
            Self::Insert(records) => {
                for record in records.iter() {
                    insert(keys, record.clone(), attempt)?;
                }
            }
            Self::InsertIfAbsent(records) => {
                for record in records.iter() {
                    if keys.record_by_digest(&record.digest()).is_none() {
                        insert(keys, record.clone(), attempt)?;
                    }
                }
            }
            Self::Revoke => {
                let live = keys.records().filter(|record| record.revoked().is_none());
                for key_id in live.filter_map(|record| record.id().map(str::to_owned)) {
                    keys.revoke_key(&key_id);
                    keys.update(&key_id, |record| remarks.revoked(record))?;
                }
            }
            Self::Pause(key_id) => keys.pause(key_id)?,
            Self::Resume(key_id) => keys.resume(key_id)?,
            Self::Update(key_id, change) => keys.update(key_id, |record| change(record))?,
            Self::Prune => {
                for record in keys.records() {
                    keys.remove(&record.digest());
                }
            }
        }
        Ok(None)
    }
}

/// Inserts a record. If its id was derived and is taken in the store, the next attempt has a random id.
fn insert(keys: &Keyring, record: Record, attempt: u32) -> Result<(), KeyringError> {
    let has_derived_id = record.id().is_none();
    let record = if has_derived_id && attempt > 1 {
        let minted = KeyFormat::default().mint()?;
        record.with_id(minted.id())?
    } else {
        record
    };
    keys.insert_record(record)
}

impl Remarks {
    fn issued(&self, record: Record) -> Record {
        match &self.by {
            Some(by) => record.with_issued_by(by),
            None => record,
        }
    }

    fn rotated(&self, record: Record) -> Record {
        match &self.reason {
            Some(reason) => record.with_rotated_reason(reason),
            None => record,
        }
    }

    fn revoked(&self, record: Record) -> Record {
        let record = match &self.by {
            Some(by) => record.with_revoked_by(by),
            None => record,
        };
        match &self.reason {
            Some(reason) => record.with_revoked_reason(reason),
            None => record,
        }
    }
}
