//! The file that a change replaces, and its open folder.
//!
//! Another user may be able to write the folder or a part of its path, and can put a link there at any
//! moment. So each operation names an entry of the open folder and follows no link.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    },
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, openat, renameat, statat, unlinkat,
    },
    process::geteuid,
};

use super::{
    error::Fault,
    path_walk::{End, is_same, walk},
};

pub(super) struct Target {
    folder: OwnedFd,
    name: OsString,
}

/// The metadata of the file that a change has read.
pub(super) type OldMetadata = std::fs::Metadata;

impl Target {
    /// Finds the file and follows the symbolic links on the path. The file need not exist.
    ///
    /// A user who can write a folder on the path must not redirect a change of another user to any file of
    /// the machine. So a link of an untrusted user must lead to a folder of that user.
    pub(super) fn find(path: &Path) -> Result<Self, Fault> {
        let own = geteuid().as_raw();
        let mut link_owners = Vec::new();
        let End { folder, name, file } = walk(path, |_, entry| {
            let link = entry.filter(|it| it.is(FileType::Symlink));
            link_owners.extend(link.map(|it| it.stat.st_uid));
        })?;
        link_owners.retain(|owner| ![0, own].contains(owner));
        let about = fstat(&folder).map_err(|errno| Fault::io("find the folder")(errno.into()))?;
        if link_owners.iter().any(|owner| *owner != about.st_uid) {
            return Err(Fault::ReadOnly(
                "a symbolic link of another user leads to the file. Change the file by its own path",
            ));
        }
        if file.is_some_and(|file| !file.is(FileType::RegularFile)) {
            return Err(Fault::NotAFile);
        }
        Ok(Self { folder, name })
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Opens the file for reading. If a pipe has replaced the file, this does not wait for a writer.
    pub(super) fn open(&self) -> io::Result<File> {
        self.open_as(&self.name, OFlags::RDONLY)
    }

    /// Opens an entry for reading and writing.
    pub(super) fn open_entry(&self, name: &OsStr) -> io::Result<File> {
        self.open_as(name, OFlags::RDWR)
    }

    /// Creates an entry with the mode 0600.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        self.open_as(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open_as(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        const ALWAYS: OFlags =
            OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
        Ok(openat(&self.folder, name, flags | ALWAYS, Mode::RUSR | Mode::WUSR)?.into())
    }

    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    /// Renames an entry to the name of the file.
    pub(super) fn replace_by(&self, name: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.folder, name, &self.folder, &self.name)?)
    }

    pub(super) fn is_link(&self, name: &OsStr) -> bool {
        self.entry(name).is_some_and(|it| is(&it, FileType::Symlink))
    }

    /// Returns whether the name still leads to this file.
    pub(super) fn is_named(&self, name: &OsStr, file: &File) -> bool {
        let file = fstat(file).ok();
        self.entry(name).zip(file).is_some_and(|(entry, file)| is_same(&entry, &file))
    }

    fn entry(&self, name: &OsStr) -> Option<Stat> {
        statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Opens the folder for a sync. Returns `None` if the folder is not readable.
    pub(super) fn folder(&self) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.folder, ".", flags, Mode::empty()).ok().map(File::from)
    }

    /// Gives a new lock the owner of the file, so that a change by root does not lock the owner out.
    ///
    /// Errors are ignored, because a user other than root cannot change owners.
    pub(super) fn share_lock(&self, name: &OsStr, lock: &File) {
        let file = self.entry(&self.name).filter(|it| is(it, FileType::RegularFile));
        let writers = file.map_or(Mode::empty(), |file| Mode::from_raw_mode(file.st_mode));
        let mut mode = Mode::RUSR | Mode::WUSR;
        for (may_write, may_use) in
            [(Mode::WGRP, Mode::RGRP | Mode::WGRP), (Mode::WOTH, Mode::ROTH | Mode::WOTH)]
        {
            mode.set(may_use, writers.contains(may_write));
        }
        let Some(owner) = file.or_else(|| fstat(&self.folder).ok()) else { return };
        if !self.is_named(name, lock) {
            return;
        }
        _ = fchown(lock, Some(owner.st_uid), Some(owner.st_gid));
        _ = fchmod(lock, mode);
    }

    /// Gives the new file the owner, the group and the mode of the old file.
    pub(super) fn keep_owner_and_mode(old: &OldMetadata, file: &File) -> Result<(), Fault> {
        let new = file.metadata().map_err(Fault::io("write the new file"))?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid())).map_err(|_| {
                Fault::ReadOnly(
                    "the file belongs to another user or group, and this process cannot keep its owner. \
                     Change the file as its owner",
                )
            })?;
        }
        let mode = Permissions::from_mode(old.mode() & 0o777);
        file.set_permissions(mode).map_err(Fault::io("keep the permissions of the file"))
    }
}

/// Compares the name and the folder.
impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let folders = fstat(&self.folder).ok().zip(fstat(&other.folder).ok());
        self.name == other.name && folders.is_some_and(|(one, other)| is_same(&one, &other))
    }
}

fn is(it: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(it.st_mode) == kind
}
