use std::{convert::Infallible, io::ErrorKind, sync::Arc, thread, time::Duration};

use tokio::{task, time};

use super::{
    KeyFile, Shared,
    applied::Loaded,
    document::{self, At},
    error::Fault,
    file_stamp::{self, FileStamp},
};
use crate::{
    KeyDigest, Keyring,
    error::KeyringErrorKind,
    record::Record,
    store::{
        Change, Changed, Draft, KeyStore, Listener, Page, Start, StoreError, StoreErrorKind,
        StoreFuture, Write,
    },
};

/// The longest time between two polls. If a file keeps changing, it is reported after ten seconds.
const MAX_SILENCE: Duration = Duration::from_secs(15);

/// The number of records after which other tasks of the runtime can run.
const BATCH: usize = 512;

/// Blocking work runs on a thread of tokio for such work. Each method needs a runtime of tokio.
///
/// A change is delivered to this process at once, and to another process within about a second. If the file
/// is broken, following ends with its error.
impl KeyStore for KeyFile {
    fn name(&self) -> &str {
        &self.shared.polled.name
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        let digest = *digest;
        self.blocking(move |file| match file.read()? {
            None => Ok(file.keys.record_by_digest(&digest)),
            Some(records) => Ok(records.into_iter().find(|record| record.digest() == digest)),
        })
    }

    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        let page = page.clone();
        self.blocking(move |file| {
            let mut records = match file.read()? {
                None => file.keys.records().collect(),
                Some(records) => records,
            };
            records.retain(|record| page.contains(record));
            records.sort_by(|one, two| one.id().cmp(&two.id()));
            records.truncate(page.limit());
            Ok(records)
        })
    }

    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed> {
        self.blocking(move |file| file.change(&change))
    }

    fn follow<'a>(
        &'a self,
        from: Start,
        listener: &'a dyn Listener,
    ) -> StoreFuture<'a, Infallible> {
        Box::pin(self.follow_polls(from, listener))
    }
}

/// The next changes for a listener.
struct Batch {
    version: u64,
    /// Whether these are all records.
    is_load: bool,
    removed: Vec<(u64, KeyDigest)>,
    records: Vec<(u64, Record)>,
}

impl KeyFile {
    fn blocking<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            task::spawn_blocking(move || work(&shared)).await.unwrap_or_else(|_| {
                let text = "the work on the key file ended early";
                Err(StoreError::new(StoreErrorKind::OutcomeUnknown, text))
            })
        })
    }

    async fn follow_polls(
        &self,
        from: Start,
        listener: &dyn Listener,
    ) -> Result<Infallible, StoreError> {
        let polled = &self.shared.polled;
        if self.shared.follower.is_none() {
            let text = "the key file was opened without `follow`";
            return Err(StoreError::new(StoreErrorKind::Unavailable, text));
        }
        let mut polls = polled.last.subscribe();
        // The last poll was up to a second ago.
        let version = self.blocking(Shared::refresh).await?;
        let mut seen = match from {
            Start::Everything => None,
            Start::After(cursor) => polled.version_of(&cursor),
            Start::Now => Some(version),
        };
        loop {
            polls.mark_unchanged();
            let batch = self.blocking(move |file| file.changes_since(seen)).await?;
            if batch.is_load {
                listener.restart();
            }
            for removed in batch.removed.chunks(BATCH) {
                removed.iter().for_each(|(version, digest)| listener.removed(*version, *digest));
                task::yield_now().await;
            }
            for records in batch.records.chunks(BATCH) {
                let each = records.iter().cloned();
                each.for_each(|(version, record)| listener.record(version, record));
                task::yield_now().await;
            }
            seen = Some(batch.version);
            let cursor = polled.cursor(batch.version);
            listener.ready(Some(&cursor));
            // A poll without news needs no thread.
            loop {
                let changed = time::timeout(MAX_SILENCE, polls.changed()).await;
                if !matches!(changed, Ok(Ok(()))) {
                    let text = "the thread that follows the key file does not answer";
                    return Err(StoreError::new(StoreErrorKind::Unavailable, text));
                }
                let poll = *polls.borrow_and_update();
                if poll.is_broken || poll.version != batch.version {
                    break;
                }
                listener.ready(Some(&cursor));
            }
        }
    }
}

impl Shared {
    /// Returns the records of the file, or `None` if they are those in memory.
    fn read(&self) -> Result<Option<Vec<Record>>, StoreError> {
        let records = self.read_now();
        records.map_err(|(fault, line)| fault.at(&self.path, line).into())
    }

    fn read_now(&self) -> Result<Option<Vec<Record>>, At> {
        attempts(|| {
            let stamp = FileStamp::of_path(&self.path);
            if self.applied().is_settled(stamp) && !stamp.is_unlinked() {
                return Ok(Some(None));
            }
            if self.create && is_absent(stamp) {
                return Ok(Some(Some(Vec::new())));
            }
            if stamp.is_unlinked() {
                return Err((Fault::Unlinked, None));
            }
            let text = file_stamp::read_unchanged(&self.path, stamp, self.max_size);
            let Some(text) = text.map_err(|fault| (fault, None))? else { return Ok(None) };
            Ok(Some(Some(document::records(&text)?)))
        })
    }

    /// Loads the file if memory may be behind it. Returns the version of the keys in memory.
    fn refresh(&self) -> Result<u64, StoreError> {
        let refreshed = attempts(|| {
            let (stamp, mut applied) = (FileStamp::of_path(&self.path), self.applied());
            let had_keys = self.keys.digests().next().is_some();
            let loaded = if applied.is_settled(stamp) {
                Loaded::Done(Vec::new())
            } else if self.create && !had_keys && is_absent(stamp) {
                Loaded::Done(self.apply_absent(&mut applied, stamp))
            } else {
                self.load(&mut applied, stamp, None)?
            };
            let version = applied.version;
            drop(applied);
            let Loaded::Done(events) = loaded else { return Ok(None) };
            events.iter().for_each(|event| self.emit(event));
            Ok(Some(version))
        });
        refreshed.map_err(|(fault, line)| fault.at(&self.path, line).into())
    }

    fn change(&self, change: &Change) -> Result<Changed, StoreError> {
        let mut failed = None;
        let updated = self.update(|keys| {
            let draft = match change.apply(change.target().select(keys)) {
                Ok(draft) if is_conflict(keys, &draft) => {
                    Err(StoreError::new(StoreErrorKind::Conflict, "another key has this id"))
                }
                applied => applied,
            };
            // An error leaves the file as it is, and creates none.
            let draft = draft.map_err(|error| {
                let refused = error.refused().cloned();
                failed = Some(error);
                refused.unwrap_or_else(|| KeyringErrorKind::DuplicateKeyId.into())
            })?;
            for write in draft.writes() {
                match write {
                    Write::Insert(record) | Write::Update(record) => {
                        _ = keys.put_record(record.clone())?;
                    }
                    Write::Remove(digest) => _ = keys.remove(digest),
                }
            }
            Ok(draft)
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let (draft, version) =
            updated.map_err(|(fault, line)| StoreError::from(fault.at(&self.path, line)))?;
        Ok(draft.committed(version))
    }

    fn changes_since(&self, seen: Option<u64>) -> Result<Batch, StoreError> {
        let applied = self.applied();
        if let Some(problem) = &self.status().problem {
            return Err((*problem.error).clone().into());
        }
        let version = applied.version;
        let changes = seen.and_then(|seen| applied.log.since(seen));
        let Some(changes) = changes else {
            let records = self.keys.records().map(|record| (version, record)).collect();
            return Ok(Batch { version, is_load: true, removed: Vec::new(), records });
        };
        let mut batch = Batch { version, is_load: false, removed: Vec::new(), records: Vec::new() };
        for (version, digest) in changes {
            match self.keys.record_by_digest(&digest) {
                Some(record) => batch.records.push((version, record)),
                None => batch.removed.push((version, digest)),
            }
        }
        Ok(batch)
    }
}

/// Tries again for a second if a program writes the file.
fn attempts<T>(mut attempt: impl FnMut() -> Result<Option<T>, At>) -> Result<T, At> {
    const MAX_ATTEMPTS: u32 = 20;
    for _ in 0..MAX_ATTEMPTS {
        if let Some(result) = attempt()? {
            return Ok(result);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err((Fault::Unstable, None))
}

fn is_absent(stamp: FileStamp) -> bool {
    stamp == FileStamp::Unavailable(ErrorKind::NotFound) || stamp.is_empty()
}

/// Returns whether a new record has the id of another record.
fn is_conflict(keys: &Keyring, draft: &Draft) -> bool {
    draft.writes().iter().any(|write| match write {
        Write::Insert(record) => record.id().is_some_and(|id| keys.record(id).is_some()),
        Write::Update(_) | Write::Remove(_) => false,
    })
}
