//! A path, followed one name at a time.

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

/// As many links as Linux follows on one path.
const MOST_LINKS: usize = 40;

/// A folder that only has to be searched, not read.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FOLDER: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where a path leads.
pub(super) struct End {
    /// Held open, so that no change to the path leads a later operation elsewhere.
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
    /// `None` if the folder has no such name.
    pub(super) file: Option<Seen>,
}

/// An entry of a folder.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) stat: Stat,
    /// Whether something is mounted there, so that the entry cannot be replaced. Only Linux tells.
    pub(super) is_mount: bool,
}

impl Seen {
    pub(super) fn is(&self, kind: FileType) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == kind
    }
}

/// Follows a path and its symbolic links. `visit` receives each folder in which a name is looked up,
/// and the entry of that name: a folder, a link or the file.
pub(super) fn walk(path: &Path, mut visit: impl FnMut(&Stat, Option<&Seen>)) -> Result<End, Fault> {
    let failed = |errno: Errno| Fault::io("find it")(errno.into());
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
        let about = fstat(&folder).map_err(failed)?;
        let (seen, entry) = match look_up(folder.as_fd(), &name) {
            Err(Errno::NOENT) if is_file_a_link => return Err(Fault::Dangling),
            Err(Errno::NOENT) if is_last => {
                visit(&about, None);
                return Ok(End { folder, name, file: None });
            }
            Err(Errno::NOENT) => return Err(Fault::NoFolder),
            found => found.map_err(failed)?,
        };
        visit(&about, Some(&seen));
        match entry {
            Entry::Link(leads_to) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(failed(Errno::LOOP));
                }
                is_file_a_link |= is_last;
                push(&mut names, &leads_to);
            }
            Entry::Folder(_) if is_last => return Err(Fault::NotAFile),
            Entry::Folder(inner) => folder = inner,
            Entry::Other if is_last => return Ok(End { folder, name, file: Some(seen) }),
            Entry::Other => return Err(failed(Errno::NOTDIR)),
        }
    }
    Err(Fault::NotAFile)
}

/// The last name first.
fn push(names: &mut Vec<OsString>, path: &Path) {
    names.extend(path.components().rev().filter_map(|component| match component {
        Component::CurDir | Component::Prefix(_) => None,
        other => Some(other.as_os_str().to_owned()),
    }));
}

enum Entry {
    Folder(OwnedFd),
    /// Where it leads.
    Link(PathBuf),
    Other,
}

fn look_up(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(Seen, Entry), Errno> {
    match openat(folder, name, FOLDER, Mode::empty()) {
        Ok(inner) => {
            let seen = Seen { stat: fstat(&inner)?, is_mount: is_mount(inner.as_fd()) };
            Ok((seen, Entry::Folder(inner)))
        }
        Err(Errno::NOENT) => Err(Errno::NOENT),
        // A link or a file, or a folder that cannot be opened.
        Err(errno) => match look_at(folder, name)? {
            (seen, _) if seen.is(FileType::Directory) => Err(errno),
            (seen, Some(leads_to)) => Ok((seen, Entry::Link(leads_to))),
            (seen, None) => Ok((seen, Entry::Other)),
        },
    }
}

/// Looks at an entry that is no folder, and at where it leads if it is a link. Both belong to one and
/// the same entry, because another user may give its name to another meanwhile.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn look_at(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(Seen, Option<PathBuf>), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let it = openat(folder, name, flags, Mode::empty())?;
    let seen = Seen { stat: fstat(&it)?, is_mount: is_mount(it.as_fd()) };
    let leads_to = match seen.is(FileType::Symlink) {
        true => Some(path_of(readlinkat(&it, "", Vec::new())?)),
        false => None,
    };
    Ok((seen, leads_to))
}

/// Elsewhere a link cannot be opened, so that it is looked at twice.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn look_at(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(Seen, Option<PathBuf>), Errno> {
    use rustix::fs::{AtFlags, statat};

    let stat = || statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    let seen = Seen { stat: stat()?, is_mount: false };
    if !seen.is(FileType::Symlink) {
        return Ok((seen, None));
    }
    let leads_to = path_of(readlinkat(folder, name, Vec::new())?);
    if is_same(&seen.stat, &stat()?) { Ok((seen, Some(leads_to))) } else { Err(Errno::AGAIN) }
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
