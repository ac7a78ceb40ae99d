use std::{sync::Arc, time::SystemTime};

use super::KeyFileError;

/// The state of a [`KeyFile`](super::KeyFile). Returned by [`KeyFile::status`](super::KeyFile::status).
#[derive(Clone, Debug)]
pub struct KeyFileStatus {
    pub(super) loaded_at: SystemTime,
    pub(super) keys: usize,
    pub(super) problem: Option<KeyFileProblem>,
}

/// The reason why a file cannot be loaded or why its changes do not arrive.
///
/// The keys that were loaded before stay valid.
#[derive(Clone, Debug)]
pub struct KeyFileProblem {
    pub(super) error: Arc<KeyFileError>,
    pub(super) since: SystemTime,
}

impl KeyFileStatus {
    /// Returns the time at which the keys were last loaded.
    #[must_use]
    pub fn loaded_at(&self) -> SystemTime {
        self.loaded_at
    }

    /// Returns the number of keys that are not revoked.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Returns the current problem, or `None` if the file was loaded.
    #[must_use]
    pub fn problem(&self) -> Option<&KeyFileProblem> {
        self.problem.as_ref()
    }
}

impl KeyFileProblem {
    /// Returns the current error.
    #[must_use]
    pub fn error(&self) -> &KeyFileError {
        &self.error
    }

    /// Returns the time at which the file became broken.
    ///
    /// If the error changes before the file is valid again, the time stays.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }
}
