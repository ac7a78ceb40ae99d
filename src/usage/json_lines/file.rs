//! Opens files without following a symbolic link.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use super::error::Fault;

/// Returns an error if a path leads to another kind of file than a regular one. Opening checks that again.
pub(super) fn check_kind(path: &Path) -> Result<(), Fault> {
    match fs::symlink_metadata(path) {
        Ok(entry) if entry.is_symlink() => Err(Fault::Link),
        Ok(entry) if !entry.is_file() => Err(Fault::NotAFile),
        _ => Ok(()),
    }
}

/// Opens a file to append to it and to read it. If it does not exist, this creates it with the mode 0600.
///
/// Another user may be able to write the folder, and could put a link to a file of this user there.
pub(super) fn open_to_append(path: &Path) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    open(&options, path).map_err(explain(path, "open the file"))
}

/// Creates a file that does not exist yet.
pub(super) fn create_new(path: &Path) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true);
    open(&options, path).map_err(explain(path, "create the new file"))
}

/// Opens a file to read it. Returns `None` if it does not exist.
pub(super) fn open_to_read(path: &Path) -> Result<Option<File>, Fault> {
    match open(OpenOptions::new().read(true), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(explain(path, "read the file")),
    }
}

/// If a pipe is there, this does not wait for another process.
fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let mut options = options.clone();
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;

        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default()).mode(0o600);
    }
    #[cfg(not(unix))]
    if is_link(path) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

fn explain(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Fault {
    move |error| match error.kind() {
        _ if is_link(path) => Fault::Link,
        io::ErrorKind::NotFound => Fault::NoFolder,
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => Fault::NotAFile,
        _ => Fault::io(doing)(error),
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink())
}

/// Returns whether a path still leads to an open file.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(entry)) => is_same(&file, &entry),
        _ => false,
    }
}

#[cfg(unix)]
fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, other: &fs::Metadata) -> bool {
    other.is_file()
}

/// Gives a new file the owner, the group and the mode of another.
#[cfg(unix)]
pub(super) fn keep_owner_and_mode(old: &File, new: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

    let (before, after) = (old.metadata()?, new.metadata()?);
    if (before.uid(), before.gid()) != (after.uid(), after.gid()) {
        fchown(new, Some(before.uid()), Some(before.gid()))?;
    }
    new.set_permissions(fs::Permissions::from_mode(before.mode() & 0o777))
}

#[cfg(not(unix))]
pub(super) fn keep_owner_and_mode(_: &File, _: &File) -> io::Result<()> {
    Ok(())
}
