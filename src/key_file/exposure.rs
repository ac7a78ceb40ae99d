//! The risks of a path. Another user can change the file, or a replacement does not arrive.

/// The risks of a path. A missing file has none.
#[derive(Clone, Copy, Default)]
pub(super) struct Exposure {
    /// An untrusted user can write the file or replace a part of its path.
    pub(super) is_writable_by_others: bool,
    /// A program can replace the file under another name, while the path leads to the old file.
    pub(super) has_other_names: bool,
}

#[cfg(not(unix))]
impl Exposure {
    pub(super) fn of(_: &std::path::Path, _: bool) -> Self {
        Self::default()
    }
}

#[cfg(unix)]
mod unix {
    use std::path::Path;

    use rustix::{
        fs::{Mode, Stat},
        process::geteuid,
    };

    use super::Exposure;
    use crate::key_file::path_walk::{Entry, walk};

    impl Exposure {
        /// Inspects every folder, link and file on the path.
        ///
        /// Root and the user of this process are trusted. A process that does not follow the file, such
        /// as the command, also trusts the owner of the file, because the service can run as that user.
        pub(crate) fn of(path: &Path, trusts_owner: bool) -> Self {
            let mut lookups = Vec::new();
            let walked = walk(path, |folder, entry| lookups.push((*folder, entry.copied())));
            let Ok(end) = walked else { return Self::default() };
            let owner = end.file.filter(|_| trusts_owner).map(|file| file.stat.st_uid);
            let own = geteuid().as_raw();
            let is_trusted = |it: &Stat| [0, own].contains(&it.st_uid) || owner == Some(it.st_uid);
            let is_replaceable = |(folder, entry): &(Stat, Option<Entry>)| {
                // In a sticky folder only the owner of an entry can replace it.
                let is_sticky = Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX);
                let is_protected = is_sticky && entry.is_none_or(|it| is_trusted(&it.stat));
                let is_mount = entry.is_some_and(|it| it.is_mount);
                !is_mount && (!is_trusted(folder) || is_world_writable(folder) && !is_protected)
            };
            let is_writable =
                |file: Entry| !is_trusted(&file.stat) || is_world_writable(&file.stat);
            Self {
                is_writable_by_others: end.file.is_some_and(is_writable)
                    || lookups.iter().any(is_replaceable),
                has_other_names: end.file.is_some_and(|it| it.is_mount || it.stat.st_nlink > 1),
            }
        }
    }

    fn is_world_writable(it: &Stat) -> bool {
        Mode::from_raw_mode(it.st_mode).contains(Mode::WOTH)
    }
}
