use std::time::SystemTime;

use crate::record::Record;

/// Selects records for a list. See [`KeyStore::list`](super::KeyStore::list).
///
/// Without a setter it selects the first 100 records.
///
/// # Example: list all keys of a client
///
/// ```
/// use tower_api_key::store::{KeyStore, MemoryStore, Page, StoreError};
///
/// # async fn example(store: &MemoryStore) -> Result<(), StoreError> {
/// let mut page = Page::new().with_client("mobile-app");
/// loop {
///     let records = store.list(&page).await?;
///     let Some(last) = records.last() else { break };
///     page = page.with_after(last.id().unwrap_or_default());
///     records.iter().for_each(|record| println!("{record:?}"));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Page {
    key_id: Option<String>,
    client: Option<String>,
    ends_before: Option<SystemTime>,
    after: Option<String>,
    limit: usize,
}

impl Page {
    /// Selects the first 100 records.
    pub fn new() -> Self {
        Self { key_id: None, client: None, ends_before: None, after: None, limit: 100 }
    }

    /// Selects the record with this public id.
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// Selects the records of the client with this id.
    pub fn with_client(mut self, client: impl Into<String>) -> Self {
        self.client = Some(client.into());
        self
    }

    /// Selects the records that [expire](Record::expires) or [retire](Record::retires) before this time.
    ///
    /// Expired keys are included.
    pub fn with_ends_before(mut self, time: SystemTime) -> Self {
        self.ends_before = Some(time);
        self
    }

    /// Begins after the record with this public id.
    pub fn with_after(mut self, key_id: impl Into<String>) -> Self {
        self.after = Some(key_id.into());
        self
    }

    /// Sets the largest number of records.
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Returns the public id.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Returns the id of the client.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Returns the time of [`with_ends_before`](Self::with_ends_before).
    #[must_use]
    pub fn ends_before(&self) -> Option<SystemTime> {
        self.ends_before
    }

    /// Returns the public id of the record before the page.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Returns the largest number of records.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns whether the page can have this record, apart from its limit.
    #[must_use]
    pub fn contains(&self, record: &Record) -> bool {
        let ends = [record.expires(), record.retires()];
        let ends_before =
            self.ends_before.is_none_or(|time| ends.into_iter().flatten().any(|end| end < time));
        ends_before
            && self.key_id.as_deref().is_none_or(|id| record.id() == Some(id))
            && self.client.as_deref().is_none_or(|client| record.client().id() == client)
            && self.after.as_deref().is_none_or(|after| record.id() > Some(after))
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}
