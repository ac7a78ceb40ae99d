use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_api_key::{Client, KeyDigest, key::KeyFormat, record::Record, store::Target};

use super::Mistake;

/// The table of a store.
#[derive(Clone, Default)]
pub(super) struct Rows {
    pub(super) version: u64,
    pub(super) rows: Vec<Row>,
    pub(super) removed: Vec<(u64, KeyDigest)>,
    removed_ids: Vec<String>,
}

#[derive(Clone)]
pub(super) struct Row {
    pub(super) version: u64,
    pub(super) is_new: bool,
    pub(super) written: SystemTime,
    pub(super) record: Record,
    /// The client at the time of the insertion.
    pub(super) first_client: String,
}

impl Rows {
    pub(super) fn get(&self, digest: &KeyDigest) -> Option<&Row> {
        self.rows.iter().find(|row| row.record.digest() == *digest)
    }

    pub(super) fn has_id(&self, id: &str, mistake: Mistake) -> bool {
        let ids = self.rows.iter().map(|row| row.record.id().unwrap());
        let is_same = |other: &str| match mistake {
            Mistake::IgnoresCase => other.eq_ignore_ascii_case(id),
            _ => other == id,
        };
        ids.into_iter().any(is_same)
            || mistake == Mistake::KeepsRemovedIds && self.removed_ids.iter().any(|it| it == id)
    }

    pub(super) fn put(&mut self, record: Record, mistake: Mistake) {
        self.version += 1;
        let record = damaged(record, mistake);
        let old = self.rows.iter_mut().find(|row| row.record.digest() == record.digest());
        let (version, written) = (self.version, SystemTime::now());
        match old {
            Some(row) => {
                (row.version, row.is_new, row.written) = (version, false, written);
                row.record = record;
            }
            None => {
                let first_client = record.client().id().to_owned();
                self.rows.push(Row { version, is_new: true, written, record, first_client });
            }
        }
    }

    pub(super) fn remove(&mut self, digest: &KeyDigest) {
        self.version += 1;
        if let Some(row) = self.get(digest) {
            self.removed_ids.push(row.record.id().unwrap().to_owned());
        }
        self.rows.retain(|row| row.record.digest() != *digest);
        self.removed.push((self.version, *digest));
    }

    pub(super) fn revoke_again(&mut self, target: &Target) {
        for row in self.rows.iter_mut().filter(|row| target.contains(&row.record)) {
            row.record = row.record.clone().with_revoked(SystemTime::now());
        }
    }
}

/// Returns a record as a table with the mistake keeps it.
fn damaged(record: Record, mistake: Mistake) -> Record {
    let client = record.client().clone();
    match mistake {
        Mistake::LosesRevokedReason => record.with_revoked_reason(""),
        Mistake::LosesIssuedBy => record.with_issued_by(""),
        Mistake::LosesPaused => record.with_paused(None),
        Mistake::LosesExpires => record.with_expires(None),
        Mistake::LosesCreated => record.with_created(None),
        Mistake::LosesEmptyMetadata => {
            let scopes: Vec<_> = client.scopes().map(str::to_owned).collect();
            let entries = client.metadata_entries().filter(|(_, value)| !value.is_empty());
            let bare = Client::new(client.id()).with_scopes(scopes);
            let new = entries.fold(bare, |new, (key, value)| new.with_metadata(key, value));
            record.with_client(new)
        }
        Mistake::InventsAFormat => record.with_format(KeyFormat::default()),
        Mistake::OnlyAscii => {
            let note: String = record.note().unwrap_or_default().to_owned();
            record.with_note(note.replace(|it: char| !it.is_ascii(), "?"))
        }
        Mistake::CutsTexts => {
            let note: String = record.note().unwrap_or_default().chars().take(255).collect();
            record.with_note(note)
        }
        Mistake::SortsScopes => {
            let mut scopes: Vec<_> = client.scopes().map(str::to_owned).collect();
            scopes.sort();
            record.with_client(client.with_scopes(scopes))
        }
        Mistake::WholeSeconds => {
            let created = record.created().map(|time| cut(time, u64::MAX));
            let expires = record.expires().map(|time| cut(time, u64::MAX));
            record.with_created(created).with_expires(expires)
        }
        Mistake::Until2038 => {
            let expires = record.expires().map(|time| cut(time, i32::MAX as u64));
            record.with_expires(expires)
        }
        Mistake::LosesRotatedWithoutOverlap if record.rotated() == record.retires() => {
            record.with_rotated(None)
        }
        _ => record,
    }
}

fn cut(time: SystemTime, latest: u64) -> SystemTime {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap().as_secs().min(latest);
    UNIX_EPOCH + Duration::from_secs(seconds)
}
