use std::{sync::Arc, time::SystemTime};

use super::KeyFileError;

/// How a [`KeyFile`](super::KeyFile) stands.
#[derive(Clone, Debug)]
pub struct KeyFileStatus {
    pub(super) loaded_at: SystemTime,
    pub(super) keys: usize,
    pub(super) problem: Option<KeyFileProblem>,
}

/// What keeps a file from being loaded. The keys that were loaded before go on working.
#[derive(Clone, Debug)]
pub struct KeyFileProblem {
    pub(super) error: Arc<KeyFileError>,
    pub(super) since: SystemTime,
}

impl KeyFileStatus {
    /// When the keys were last loaded.
    #[must_use]
    pub fn loaded_at(&self) -> SystemTime {
        self.loaded_at
    }

    /// How many keys there are that are not revoked.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// What is wrong with the file now, if something is.
    #[must_use]
    pub fn problem(&self) -> Option<&KeyFileProblem> {
        self.problem.as_ref()
    }
}

impl KeyFileProblem {
    /// What is wrong.
    #[must_use]
    pub fn error(&self) -> &KeyFileError {
        &self.error
    }

    /// Since when something is wrong.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }
}

/// What happened to a file of keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyFileEvent {
    /// The file was loaded.
    #[non_exhaustive]
    Loaded {
        /// How many keys there are that are not revoked.
        keys: usize,
    },
    /// The file holds no keys: everybody is refused.
    Emptied,
    /// The file could not be loaded. The keys that were loaded before go on working.
    Broken(Arc<KeyFileError>),
    /// The file was loaded, after it could not be.
    #[non_exhaustive]
    Recovered {
        /// How many keys there are that are not revoked.
        keys: usize,
    },
    /// Every user of the machine may write the file, or put another in its place, and so give out keys.
    WritableByOthers,
}

impl KeyFileEvent {
    /// A name that stays the same between versions, for metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Loaded { .. } => "loaded",
            Self::Emptied => "emptied",
            Self::Broken(_) => "broken",
            Self::Recovered { .. } => "recovered",
            Self::WritableByOthers => "writable_by_others",
        }
    }

    /// Whether one's own change, too, has to be told of.
    pub(super) fn is_loud(&self) -> bool {
        !matches!(self, Self::Loaded { .. })
    }

    #[cfg(feature = "tracing")]
    pub(super) fn log(&self, path: &std::path::Path) {
        const TARGET: &str = "tower_api_key::key_file";
        // A path may hold anything.
        let file = path.display().to_string().escape_debug().to_string();
        match self {
            Self::Loaded { keys } => tracing::info!(target: TARGET, %file, keys, "keys loaded"),
            Self::Recovered { keys } => {
                tracing::info!(target: TARGET, %file, keys, "keys loaded, after they could not be");
            }
            Self::Emptied => {
                tracing::error!(target: TARGET, %file, "no keys in the file: everybody is refused");
            }
            Self::Broken(error) => {
                tracing::error!(target: TARGET, %file, %error, "keys not loaded: those before stay");
            }
            Self::WritableByOthers => {
                tracing::warn!(target: TARGET, %file, "every user may write the file of keys");
            }
        }
    }
}
