use std::sync::Arc;

use super::KeyFileError;

/// An event of a key file.
///
/// The observer and, with the feature `tracing`, the log receive it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyFileEvent {
    /// The file was loaded.
    #[non_exhaustive]
    Loaded {
        /// The number of keys that are not revoked.
        keys: usize,
    },
    /// The file was loaded and has no key that is not revoked. Every key is rejected.
    Emptied,
    /// The file cannot be loaded, or its changes do not arrive. The previous keys stay valid.
    Broken(Arc<KeyFileError>),
    /// The file was loaded after a problem.
    #[non_exhaustive]
    Recovered {
        /// The number of keys that are not revoked.
        keys: usize,
    },
    /// Another user can write or replace the file, and so issue keys.
    ///
    /// The file, or a folder on its path, belongs to a user other than root and the user of this process,
    /// or every user can write it. Symbolic links and their folders are part of the path. If the file is
    /// not [followed](super::KeyFileOptions::follow), its owner counts as the service's user.
    WritableByOthers,
    /// The file has a second hard link, or is mounted by itself.
    ///
    /// Most programs replace a file by a rename. If a program does so under the other name, this path leads
    /// to the old file, and a revoked key stays valid here. Give the file one name, and mount its folder.
    HasOtherNames,
}

impl KeyFileEvent {
    /// Returns a name for metrics that stays the same between versions.
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

    /// Returns whether the event is reported even if this process made the change.
    pub(super) fn matters_after_own_change(&self) -> bool {
        !matches!(self, Self::Loaded { .. })
    }

    #[cfg(feature = "tracing")]
    pub(super) fn log(&self, path: &std::path::Path) {
        const TARGET: &str = "tower_api_key::key_file";
        // A path can contain line breaks and control characters.
        let file = path.display().to_string().escape_debug().to_string();
        match self {
            Self::Loaded { keys } => tracing::info!(target: TARGET, %file, keys, "keys loaded"),
            Self::Recovered { keys } => {
                tracing::info!(target: TARGET, %file, keys, "keys loaded, the key file is valid again");
            }
            Self::Emptied => {
                tracing::error!(target: TARGET, %file, "key file has no keys, every key is rejected");
            }
            Self::Broken(error) => tracing::error!(
                target: TARGET, %file, %error,
                "key file is broken, the previous keys stay valid"
            ),
            Self::WritableByOthers => {
                tracing::warn!(target: TARGET, %file, "another user can write or replace the key file");
            }
            Self::HasOtherNames => tracing::warn!(
                target: TARGET, %file,
                "key file has another name, a replacement under that name does not arrive here"
            ),
        }
    }
}
