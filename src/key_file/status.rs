use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{KeyFileError, Shared, follow::Taken};

/// How a [`KeyFile`](super::KeyFile) stands.
#[derive(Clone, Debug)]
pub struct KeyFileStatus {
    pub(super) loaded_at: SystemTime,
    pub(super) keys: usize,
    pub(super) problem: Option<KeyFileProblem>,
}

/// A reason why a file cannot be loaded, or why its changes do not arrive. The keys that were loaded
/// before go on working.
#[derive(Clone, Debug)]
pub struct KeyFileProblem {
    pub(super) error: Arc<KeyFileError>,
    pub(super) since: SystemTime,
}

impl Shared {
    pub(super) fn tell(&self, event: &KeyFileEvent) {
        #[cfg(feature = "tracing")]
        event.log(&self.path);
        if let Some(observe) = &self.observe {
            observe(event);
        }
    }

    pub(super) fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MutexGuard<'_, KeyFileStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// The file could not be loaded, or its changes do not arrive any more. The keys that were loaded
    /// before go on working.
    Broken(Arc<KeyFileError>),
    /// The file was loaded, after it could not be.
    #[non_exhaustive]
    Recovered {
        /// How many keys there are that are not revoked.
        keys: usize,
    },
    /// Another user may write the file, or put another in its place, and so issue keys.
    ///
    /// The file, or a folder on its path, belongs to a user other than root and the user of this process,
    /// or every user may write it. Symbolic links and their folders are part of the path. If the file is
    /// not [followed](super::KeyFileOptions::follow), then its owner counts as the service's user.
    WritableByOthers,
    /// The file has another name: it has a second hard link, or is mounted by itself.
    ///
    /// Most programs replace a file by a rename. If they do so under the other name, this path leads to the
    /// old file, and a key that was revoked keeps working here. Give the file one name, and mount its folder.
    HasOtherNames,
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
            Self::HasOtherNames => "has_other_names",
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
                tracing::warn!(target: TARGET, %file, "another user may write or replace the key file");
            }
            Self::HasOtherNames => tracing::warn!(
                target: TARGET, %file,
                "the key file has another name: if it is replaced there, changes do not arrive here"
            ),
        }
    }
}
