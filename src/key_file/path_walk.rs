//! Follows a path one name at a time.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat},
    io::Errno,
};

use super::error::Fault;

/// The number of links that Linux follows on one path.
const MAX_LINKS: usize = 40;

/// The flags to open a folder for lookups. The folder need not be readable.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FOLDER: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The end of a path.
pub(super) struct End {
    /// Stays open, so that a change of the path cannot redirect a later operation.
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
    /// `None` if the folder has no such name.
    pub(super) file: Option<Entry>,
}

/// An entry of a folder.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) stat: Stat,
    /// Whether the entry is a mount point, which cannot be replaced. Only Linux reports it.
    pub(super) is_mount: bool,
}

impl Entry {
    pub(super) fn is(&self, kind: FileType) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == kind
    }
}

/// Follows a path and its symbolic links.
///
/// `visit` receives each folder in which a name is looked up, and the entry of that name. The entry is a
/// folder, a link or the file.
pub(super) fn walk(
    path: &Path,
    mut visit: impl FnMut(&Stat, Option<&Entry>),
) -> Result<End, Fault> {
    let failed = |errno: Errno| Fault::io("find the file")(errno.into());
    let start = if path.is_absolute() { "/" } else { "." };
    let mut folder = openat(CWD, start, FOLDER, Mode::empty()).map_err(failed)?;
    let mut names = Vec::new();
    push(&mut names, path);
    let (mut links, mut is_file_a_link) = (0, false);
    while let Some(name) = names.pop() {
        if name == ".." || name == "/" {
            folder = openat(&folder, &name, FOLDER, Mode::empty()).map_err(failed)?;
            continue;
        }
        let is_last = names.is_empty();
        let folder_stat = fstat(&folder).map_err(failed)?;
        let (entry, kind) = match look_up(folder.as_fd(), &name) {
            Err(Errno::NOENT) if is_file_a_link => return Err(Fault::Dangling),
            Err(Errno::NOENT) if is_last => {
                visit(&folder_stat, None);
                return Ok(End { folder, name, file: None });
            }
            Err(Errno::NOENT) => return Err(Fault::NoFolder),
            found => found.map_err(failed)?,
        };
        visit(&folder_stat, Some(&entry));
        match kind {
            EntryKind::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed(Errno::LOOP));
                }
                is_file_a_link |= is_last;
                push(&mut names, &target);
            }
            EntryKind::Folder(_) if is_last => return Err(Fault::NotAFile),
            EntryKind::Folder(inner) => folder = inner,
            EntryKind::Other if is_last => return Ok(End { folder, name, file: Some(entry) }),
            EntryKind::Other => return Err(failed(Errno::NOTDIR)),
        }
    }
    Err(Fault::NotAFile)
}

/// Pushes the names of a path, the last name first.
fn push(names: &mut Vec<OsString>, path: &Path) {
    names.extend(path.components().rev().filter_map(|component| match component {
        Component::CurDir | Component::Prefix(_) => None,
        other => Some(other.as_os_str().to_owned()),
    }));
}

enum EntryKind {
    Folder(OwnedFd),
    /// The target of the link.
    Link(PathBuf),
    Other,
}

fn look_up(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(Entry, EntryKind), Errno> {
    match openat(folder, name, FOLDER, Mode::empty()) {
        Ok(inner) => {
            let entry = Entry { stat: fstat(&inner)?, is_mount: is_mount(inner.as_fd()) };
            Ok((entry, EntryKind::Folder(inner)))
        }
        Err(Errno::NOENT) => Err(Errno::NOENT),
        // The entry is a link, a file, or a folder that cannot be opened.
        Err(errno) => match inspect(folder, name)? {
            (entry, _) if entry.is(FileType::Directory) => Err(errno),
            (entry, Some(target)) => Ok((entry, EntryKind::Link(target))),
            (entry, None) => Ok((entry, EntryKind::Other)),
        },
    }
}

/// Returns an entry and, if the entry is a link, its target.
///
/// Both come from one open entry, because another user can replace the name meanwhile.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn inspect(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(Entry, Option<PathBuf>), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let it = openat(folder, name, flags, Mode::empty())?;
    let entry = Entry { stat: fstat(&it)?, is_mount: is_mount(it.as_fd()) };
    let target = match entry.is(FileType::Symlink) {
        true => Some(path_of(readlinkat(&it, "", Vec::new())?)),
        false => None,
    };
    Ok((entry, target))
}

/// Compares the entry before and after, because these systems cannot open a link.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn inspect(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(Entry, Option<PathBuf>), Errno> {
    use rustix::fs::{AtFlags, statat};

    let stat = || statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    let entry = Entry { stat: stat()?, is_mount: false };
    if !entry.is(FileType::Symlink) {
        return Ok((entry, None));
    }
    let target = path_of(readlinkat(folder, name, Vec::new())?);
    if is_same(&entry.stat, &stat()?) { Ok((entry, Some(target))) } else { Err(Errno::AGAIN) }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_mount(it: BorrowedFd<'_>) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};

    statx(it, "", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|it| it.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_mount(_: BorrowedFd<'_>) -> bool {
    false
}

fn path_of(link: std::ffi::CString) -> PathBuf {
    OsString::from_vec(link.into_bytes()).into()
}

pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}
