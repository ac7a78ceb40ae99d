use std::{
    fmt,
    pin::Pin,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use tokio::time;

use crate::{
    Client, KeyDigest,
    error::KeyringErrorKind,
    key::MintedKey,
    record::Record,
    store::{Change, Changed, KeyStore, Page, StoreError, StoreErrorKind},
};

/// The longest time for an answer of a store.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The future of a check.
pub(super) type Check = Pin<Box<dyn Future<Output = Result<(), Wrong>> + Send>>;

/// How a store differs.
pub(super) struct Wrong {
    pub(super) text: String,
}

impl From<String> for Wrong {
    fn from(text: String) -> Self {
        Self { text }
    }
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        Self { text: format!("an unexpected error of the kind {}: {error}", error.kind().as_str()) }
    }
}

/// Two handles on one store.
pub(super) struct Stores {
    pub(super) one: Arc<dyn KeyStore>,
    pub(super) two: Arc<dyn KeyStore>,
}

/// Declares the behaviours of a module.
macro_rules! behaviours {
    ($($(#[$meta:meta])* async fn $name:ident($stores:ident) $body:block)*) => {
        pub(super) const BEHAVIOURS: &[$crate::test_util::StoreBehaviour] = &[$(
            $crate::test_util::StoreBehaviour {
                name: stringify!($name),
                run: |stores| Box::pin($name(stores)),
            }
        ),*];

        $(
            $(#[$meta])*
            async fn $name($stores: $crate::test_util::store::stores::Stores)
                -> Result<(), $crate::test_util::store::stores::Wrong>
            {
                $body
                Ok(())
            }
        )*
    };
}

/// Ends a check unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+).into());
        }
    };
}

/// Ends a check unless two values are equal.
macro_rules! ensure_eq {
    ($one:expr, $two:expr, $($text:tt)+) => {
        match (&$one, &$two) {
            (one, two) if one != two => {
                let text = format!($($text)+);
                return Err(format!("{text}: {one:?} instead of {two:?}").into());
            }
            _ => {}
        }
    };
}

pub(super) use {behaviours, ensure, ensure_eq};

impl Stores {
    /// Commits a change by the first handle.
    pub(super) async fn commit(&self, change: Change) -> Result<Changed, Wrong> {
        Ok(bounded(change.commit(&*self.one)).await??)
    }

    /// Inserts records in one change.
    pub(super) async fn insert(
        &self,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<(), Wrong> {
        self.commit(Change::insert_if_absent(records)).await.map(drop)
    }

    /// Returns the record with this id.
    pub(super) async fn record(&self, key_id: &str) -> Result<Record, Wrong> {
        let mut records = bounded(self.one.list(&Page::new().with_key_id(key_id))).await??;
        let record = records.pop().filter(|record| record.id() == Some(key_id));
        Ok(record.ok_or_else(|| format!("the list has no record {key_id}"))?)
    }

    /// Returns the record with this digest.
    pub(super) async fn find(&self, digest: &KeyDigest) -> Result<Option<Record>, Wrong> {
        Ok(bounded(self.one.find(digest)).await??)
    }

    /// Returns the ids on a page.
    pub(super) async fn ids(&self, page: &Page) -> Result<Vec<String>, Wrong> {
        let records = bounded(self.one.list(page)).await??;
        Ok(records.iter().map(|record| record.id().unwrap_or_default().to_owned()).collect())
    }

    /// Returns all records in the order of their ids.
    pub(super) async fn all(&self) -> Result<Vec<Record>, Wrong> {
        Ok(bounded(self.one.list(&Page::new().with_limit(1_000_000))).await??)
    }
}

/// Awaits an answer of a store.
pub(super) async fn bounded<T>(future: impl Future<Output = T>) -> Result<T, Wrong> {
    let answer = time::timeout(PATIENCE, future).await;
    Ok(answer.map_err(|_| "the store gave no answer within ten seconds".to_owned())?)
}

/// Returns the id and the text of a minted key.
pub(super) fn reveal(changed: Changed) -> Result<(String, String), Wrong> {
    let minted = changed.into_minted().ok_or_else(|| "the minted key is lost".to_owned())?;
    let id = MintedKey::id(&minted).to_owned();
    Ok((id, minted.reveal(str::to_owned)))
}

/// Checks that a change is refused for a reason.
pub(super) fn ensure_refused(
    result: Result<Changed, StoreError>,
    kind: KeyringErrorKind,
) -> Result<(), Wrong> {
    let Err(error) = result else {
        return Err(format!("the change was made and not refused as {}", kind.as_str()).into());
    };
    let reason = error.refused().map(|error| error.kind());
    ensure!(
        error.kind() == StoreErrorKind::Refused && reason == Some(kind),
        "the error is {:?} ({error}) instead of a refusal as {}",
        error.kind(),
        kind.as_str()
    );
    Ok(())
}

/// A time in whole seconds, so many days from the start of the process.
pub(super) fn days(days: i64) -> SystemTime {
    static NOW: LazyLock<u64> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap_or_default().as_secs()
    });
    let seconds = NOW.saturating_add_signed(days * 24 * 60 * 60);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The digest of a key for each number.
pub(super) fn digest(number: u32) -> KeyDigest {
    KeyDigest::of(format!("a key of the conformance suite, number {number}"))
}

/// A record for each number. Its id is this number.
pub(super) fn record(number: u32) -> Result<Record, Wrong> {
    record_of(number, "ci")
}

/// The same for another client.
pub(super) fn record_of(number: u32, client: &str) -> Result<Record, Wrong> {
    let record = Record::new(digest(number), Client::new(client)).with_created(days(-30));
    with_id(record, &format!("{number:08}"))
}

/// Sets the id of a record.
pub(super) fn with_id(record: Record, id: &str) -> Result<Record, Wrong> {
    record.with_id(id).map_err(|error| Wrong { text: error.to_string() })
}

impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
