//! A file that is to be replaced, and its folder, which stays open meanwhile.
//!
//! Another user may be allowed to write the folder, or a part of the path to it, and may put a link
//! there at any moment. So each operation names an entry of the open folder and follows no link.

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
    walk::{End, is_same, walk},
};

pub(super) struct Target {
    folder: OwnedFd,
    name: OsString,
}

/// The metadata of the file that was read.
pub(super) type Old = std::fs::Metadata;

impl Target {
    /// Follows the symbolic links on the path. The file need not be there yet.
    ///
    /// A user who may write no more than a folder on the path must not lead another user's change to
    /// any file of the machine. So a link of theirs counts only if it leads to a folder of theirs.
    pub(super) fn find(path: &Path) -> Result<Self, Fault> {
        let own = geteuid().as_raw();
        let mut strangers = Vec::new();
        let End { folder, name, file } = walk(path, |_, entry| {
            let link = entry.filter(|it| it.is(FileType::Symlink));
            strangers.extend(link.map(|it| it.stat.st_uid));
        })?;
        strangers.retain(|owner| ![0, own].contains(owner));
        let about = fstat(&folder).map_err(|errno| Fault::io("find its folder")(errno.into()))?;
        if strangers.iter().any(|owner| *owner != about.st_uid) {
            return Err(Fault::ReadOnly(
                "a symbolic link of another user leads to it: change it by its own name",
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

    /// Opens the file for reading. A pipe in its place does not make this wait.
    pub(super) fn open(&self) -> io::Result<File> {
        self.open_as(&self.name, OFlags::RDONLY)
    }

    /// Opens an entry for reading and writing.
    pub(super) fn open_entry(&self, name: &OsStr) -> io::Result<File> {
        self.open_as(name, OFlags::RDWR)
    }

    /// Makes an entry that is its writer's alone.
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

    /// Puts an entry in the place of the file.
    pub(super) fn replace_by(&self, name: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.folder, name, &self.folder, &self.name)?)
    }

    pub(super) fn is_link(&self, name: &OsStr) -> bool {
        self.entry(name).is_some_and(|it| is(&it, FileType::Symlink))
    }

    /// Whether the name still leads to this very file.
    pub(super) fn is_named(&self, name: &OsStr, file: &File) -> bool {
        let file = fstat(file).ok();
        self.entry(name).zip(file).is_some_and(|(entry, file)| is_same(&entry, &file))
    }

    fn entry(&self, name: &OsStr) -> Option<Stat> {
        statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// The folder, to be synchronised. It may be one that can be written and not read.
    pub(super) fn folder(&self) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.folder, ".", flags, Mode::empty()).ok().map(File::from)
    }

    /// Gives a lock that was just made to the owner of the file, as far as that can be done, so that a
    /// change by root locks nobody out.
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

    /// As the file that is replaced. A new one stays its writer's alone.
    pub(super) fn keep_owner_and_mode(old: &Old, file: &File) -> Result<(), Fault> {
        let new = file.metadata().map_err(Fault::io("write beside it"))?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid())).map_err(|_| {
                Fault::ReadOnly(
                    "it belongs to another user or group, to whom the new file could not be given: \
                     change it as its owner",
                )
            })?;
        }
        let mode = Permissions::from_mode(old.mode() & 0o777);
        file.set_permissions(mode).map_err(Fault::io("keep its permissions"))
    }
}

/// The same name in the same folder.
impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let folders = fstat(&self.folder).ok().zip(fstat(&other.folder).ok());
        self.name == other.name && folders.is_some_and(|(one, other)| is_same(&one, &other))
    }
}

fn is(it: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(it.st_mode) == kind
}
