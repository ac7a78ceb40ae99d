use rusqlite::{
    ErrorCode,
    ffi::{SQLITE_CONSTRAINT_TRIGGER, SQLITE_CONSTRAINT_UNIQUE, SQLITE_IOERR_SHMOPEN, code_to_str},
};
use tower_api_key::store::{StoreError, StoreErrorKind};

/// The reason why the engine failed. It never has a value of a row.
struct Reason {
    kind: StoreErrorKind,
    text: &'static str,
    /// SQLite's own number, for a search.
    code: Option<i32>,
}

impl Reason {
    fn of(error: &rusqlite::Error) -> Self {
        use StoreErrorKind::{Corrupt, Denied, Unavailable};

        let code = error.sqlite_error().map(|error| error.extended_code);
        let (kind, text) = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                (Unavailable, "another process holds the lock of the database")
            }
            Some(ErrorCode::DiskFull) => (Unavailable, "the disk is full"),
            Some(ErrorCode::ReadOnly) => {
                (Denied, "the database or its folder is read-only for this process")
            }
            Some(ErrorCode::PermissionDenied) => (Denied, "access is denied"),
            Some(ErrorCode::CannotOpen) => (
                Denied,
                "this process cannot open the database, or its -wal and -shm files beside it",
            ),
            Some(ErrorCode::SystemIoFailure) if code == Some(SQLITE_IOERR_SHMOPEN) => {
                (Denied, "this process cannot create the -shm file beside the database")
            }
            Some(ErrorCode::NotADatabase) => (Corrupt, "not an SQLite database"),
            Some(ErrorCode::DatabaseCorrupt) => (Corrupt, "the database is damaged"),
            Some(ErrorCode::ConstraintViolation) => (Corrupt, "the tables do not accept the row"),
            Some(_) => (Unavailable, code.map_or("SQLite failed", code_to_str)),
            // A column of another type.
            None => (Corrupt, "the tables are not those of this program"),
        };
        Self { kind, text, code }
    }

    fn store_error(self, file: &str, doing: &str) -> StoreError {
        let code = self.code.map(|code| format!(" (SQLite code {code})")).unwrap_or_default();
        StoreError::new(self.kind, format!("{file}: cannot {doing}: {}{code}", self.text))
    }
}

/// Converts an error of the engine. The text names the file and the operation.
pub(crate) fn failed(file: &str, doing: &str, error: &rusqlite::Error) -> StoreError {
    Reason::of(error).store_error(file, doing)
}

/// Converts an error of an insertion.
pub(crate) fn insert_failed(file: &str, error: &rusqlite::Error) -> StoreError {
    let mut reason = Reason::of(error);
    if matches!(reason.code, Some(SQLITE_CONSTRAINT_TRIGGER | SQLITE_CONSTRAINT_UNIQUE)) {
        reason.kind = StoreErrorKind::Conflict;
        reason.text = "another key has this digest or id";
    }
    reason.store_error(file, "insert a key")
}

/// Converts an error of `COMMIT`.
///
/// If a sync to the disk fails, SQLite ends the transaction. But after a crash its pages may be found in the
/// log and count as committed.
pub(crate) fn commit_failed(file: &str, error: &rusqlite::Error) -> StoreError {
    let mut reason = Reason::of(error);
    let is_certain = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::ConstraintViolation
        )
    );
    if !is_certain {
        reason.kind = StoreErrorKind::OutcomeUnknown;
    }
    reason.store_error(file, "commit the change")
}
