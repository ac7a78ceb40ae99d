//! What may go wrong with a file because of where it is: others may change it, or its replacement may
//! never be seen.

/// Of a file that cannot be found, nothing is told.
#[derive(Clone, Copy, Default)]
pub(super) struct Exposure {
    /// A user who is not trusted may write the file, or replace a part of the path to it.
    pub(super) is_writable_by_others: bool,
    /// The file can be replaced under another name, while the path leads to the old one.
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
    use crate::key_file::walk::{Seen, walk};

    impl Exposure {
        /// Root and the user of this process are trusted. A process that does not follow the file, such
        /// as the command, trusts the owner of the file as well, because the service may be that user.
        pub(crate) fn of(path: &Path, trusts_owner: bool) -> Self {
            let mut lookups = Vec::new();
            let walked = walk(path, |folder, entry| lookups.push((*folder, entry.copied())));
            let Ok(end) = walked else { return Self::default() };
            let owner = end.file.filter(|_| trusts_owner).map(|file| file.stat.st_uid);
            let own = geteuid().as_raw();
            let is_trusted = |it: &Stat| [0, own].contains(&it.st_uid) || owner == Some(it.st_uid);
            let is_replaceable = |(folder, entry): &(Stat, Option<Seen>)| {
                // In a sticky folder an entry belongs to its owner alone.
                let is_sticky = Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX);
                let is_kept = is_sticky && entry.is_none_or(|it| is_trusted(&it.stat));
                let is_mount = entry.is_some_and(|it| it.is_mount);
                !is_mount && (!is_trusted(folder) || may_others_write(folder) && !is_kept)
            };
            let is_open = |file: Seen| !is_trusted(&file.stat) || may_others_write(&file.stat);
            Self {
                is_writable_by_others: end.file.is_some_and(is_open)
                    || lookups.iter().any(is_replaceable),
                has_other_names: end.file.is_some_and(|it| it.is_mount || it.stat.st_nlink > 1),
            }
        }
    }

    fn may_others_write(it: &Stat) -> bool {
        Mode::from_raw_mode(it.st_mode).contains(Mode::WOTH)
    }
}
