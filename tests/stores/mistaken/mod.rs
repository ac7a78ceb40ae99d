//! A store with a mistake, for the conformance suite to find.

mod feed;
mod reading;
mod rows;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    task, time,
};
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{
        Change, Changed, KeyStore, Listener, Page, Start, StoreError, StoreErrorKind, StoreFuture,
        Write,
    },
};

use self::rows::Rows;

/// A mistake that a store can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    // Reading.
    FindInvents,
    FindsTheFirst,
    ComparesTheSlot,
    LagsBehind,
    HidesDead,
    IgnoresCase,
    NameOfTwoLines,
    // Fields.
    LosesRevokedReason,
    LosesIssuedBy,
    LosesPaused,
    LosesExpires,
    LosesCreated,
    LosesEmptyMetadata,
    InventsAFormat,
    OnlyAscii,
    CutsTexts,
    SortsScopes,
    WholeSeconds,
    Until2038,
    LosesRotatedWithoutOverlap,
    // Lists.
    Unordered,
    NoLimit,
    AfterIsInclusive,
    AfterNeedsARecord,
    ZeroIsAll,
    ClientByPattern,
    ForgetsRetires,
    OneFilterOnly,
    ClientOfTheInsertion,
    // Changes.
    AppliesTwice,
    ReadsNothing,
    IdsAreNotUnique,
    NotAtomic,
    ConflictIsUnavailable,
    WrapsErrors,
    UpdateForgetsTheClient,
    StaleSelection,
    WritesAThousand,
    ErrorShowsTheDigest,
    WritesTheFirstOnly,
    RevokesAgain,
    NoRowIsAnError,
    PruneForgetsExpired,
    KeepsRemovedIds,
    // Concurrency.
    CopiesTheTable,
    BusyIsAnError,
    NotIsolated,
    KeepsTheLockIfDropped,
    KeepsTheLockAfterAPanic,
    // Following.
    DeliversAHundred,
    NoReadyIfEmpty,
    DeliversNoInsertion,
    DeliversNoUpdate,
    DeliversNoRemoval,
    SkipsOwnChanges,
    OneRecordOfAChange,
    RemovalOfAReturnedKey,
    RemovalsLast,
    ConstantVersion,
    VersionTooHigh,
    NoHeartbeat,
    GapAfterReading,
    LosesWhileDelivering,
    LocksWhileDelivering,
    SharedPosition,
    OneFollower,
    NowIsEverything,
    NowIsNever,
    ResumesAtNow,
}

/// One of two handles on a store.
#[derive(Clone)]
pub(crate) struct Mistaken {
    mistake: Mistake,
    handle: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    rows: Mutex<Rows>,
    /// Held during a change, as the lock of a table.
    lock: AsyncMutex<()>,
    is_locked: AtomicBool,
    changed: watch::Sender<u64>,
    /// The position that followers share by mistake.
    position: Mutex<Option<u64>>,
    followers: AtomicUsize,
    /// The handle that made the last change.
    last_by: AtomicUsize,
}

impl Mistaken {
    /// Creates an empty store, and opens it twice.
    pub(crate) fn open(mistake: Mistake) -> (Self, Self) {
        let shared = Arc::<Shared>::default();
        let open = |handle| Self { mistake, handle, shared: Arc::clone(&shared) };
        (open(1), open(2))
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.shared.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn change_rows(&self, change: Change) -> Result<Changed, StoreError> {
        let unavailable = |text| StoreError::new(StoreErrorKind::Unavailable, text);
        let _lock = if self.has(Mistake::CopiesTheTable) {
            None
        } else if self.has(Mistake::BusyIsAnError) {
            Some(self.shared.lock.try_lock().map_err(|_| unavailable("busy"))?)
        } else {
            Some(self.shared.lock.lock().await)
        };
        let keeps =
            self.has(Mistake::KeepsTheLockIfDropped) || self.has(Mistake::KeepsTheLockAfterAPanic);
        if keeps && self.shared.is_locked.swap(true, Relaxed) {
            return Err(unavailable("locked"));
        }
        let mut rows = self.rows().clone();
        let selected = self.select(&rows, change.target());
        if self.has(Mistake::NoRowIsAnError) && selected.is_empty() {
            let kind = tower_api_key::error::KeyringErrorKind::UnknownKeyId;
            return Err(tower_api_key::error::KeyringError::from(kind).into());
        }
        let draft = change.apply(selected);
        if self.has(Mistake::KeepsTheLockAfterAPanic) || draft.is_err() {
            self.shared.is_locked.store(false, Relaxed);
        }
        let draft = draft.map_err(|error| match self.mistake {
            Mistake::WrapsErrors => unavailable("cannot change the rows").with_source(error),
            _ => error,
        })?;
        task::yield_now().await;
        let is_slow =
            [Mistake::BusyIsAnError, Mistake::CopiesTheTable, Mistake::KeepsTheLockIfDropped];
        if is_slow.contains(&self.mistake) {
            time::sleep(Duration::from_micros(200)).await;
        }
        let version = rows.version + 1;
        for write in self.writes_to_make(draft.writes()) {
            if let Err(error) = self.write(&mut rows, write) {
                self.shared.is_locked.store(false, Relaxed);
                return Err(error);
            }
            if self.has(Mistake::NotAtomic) || self.has(Mistake::NotIsolated) {
                *self.rows() = rows.clone();
                time::sleep(Duration::from_millis(1)).await;
            }
        }
        if self.has(Mistake::RevokesAgain) && change.is_revocation() {
            rows.revoke_again(change.target());
        }
        let last = rows.version;
        let second = self.has(Mistake::AppliesTwice).then(|| self.select(&rows, change.target()));
        *self.rows() = rows;
        self.shared.last_by.store(self.handle, Relaxed);
        self.shared.changed.send_replace(last);
        self.shared.is_locked.store(false, Relaxed);
        let version = match self.mistake {
            Mistake::ConstantVersion => 1,
            Mistake::VersionTooHigh => version + 1000,
            _ => version,
        };
        match second {
            Some(rows) => Ok(change.apply(rows)?.committed(version)),
            None => Ok(draft.committed(version)),
        }
    }

    fn writes_to_make<'a>(&self, writes: &'a [Write]) -> &'a [Write] {
        match self.mistake {
            Mistake::WritesAThousand => &writes[..writes.len().min(1000)],
            Mistake::WritesTheFirstOnly => &writes[..writes.len().min(1)],
            _ => writes,
        }
    }

    fn write(&self, rows: &mut Rows, write: &Write) -> Result<(), StoreError> {
        let conflict = || {
            let kind = match self.mistake {
                Mistake::ConflictIsUnavailable => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::Conflict,
            };
            match (self.mistake, write) {
                (Mistake::ErrorShowsTheDigest, Write::Insert(record)) => {
                    StoreError::new(kind, record.digest().encode())
                }
                _ => StoreError::new(kind, "not unique"),
            }
        };
        match write {
            Write::Insert(record) => {
                let upserts = self.has(Mistake::ReadsNothing);
                let clashes = !self.has(Mistake::IdsAreNotUnique)
                    && rows.has_id(record.id().unwrap(), self.mistake);
                if !upserts && (rows.get(&record.digest()).is_some() || clashes) {
                    return Err(conflict());
                }
                rows.put(record.clone(), self.mistake);
            }
            Write::Update(record) if self.has(Mistake::UpdateForgetsTheClient) => {
                let client = rows.get(&record.digest()).unwrap().record.client().clone();
                rows.put(record.clone().with_client(client), self.mistake);
            }
            Write::Update(record) => rows.put(record.clone(), self.mistake),
            Write::Remove(digest) => rows.remove(digest),
        }
        Ok(())
    }
}

impl KeyStore for Mistaken {
    fn name(&self) -> &str {
        if self.has(Mistake::NameOfTwoLines) { "a store\nof two lines" } else { "mistaken" }
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        Box::pin(async { Ok(self.find_row(digest)) })
    }

    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        Box::pin(async {
            task::yield_now().await;
            Ok(self.list_rows(page))
        })
    }

    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed> {
        Box::pin(self.change_rows(change))
    }

    fn follow<'a>(
        &'a self,
        from: Start,
        listener: &'a dyn Listener,
    ) -> StoreFuture<'a, Infallible> {
        Box::pin(self.follow_rows(from, listener))
    }
}
