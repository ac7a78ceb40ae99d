//! The file that a change replaces, on a system whose files have no owner and no mode.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use super::error::Fault;

#[derive(PartialEq)]
pub(super) struct Target(PathBuf);

pub(super) type OldMetadata = fs::Metadata;

impl Target {
    /// Finds the file and follows the symbolic links on the path. The file need not exist.
    pub(super) fn find(path: &Path) -> Result<Self, Fault> {
        match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_ok() {
                    return Err(Fault::Dangling);
                }
                let folder = path.parent().filter(|folder| *folder != Path::new(""));
                let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
                let folder = folder.map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => Fault::NoFolder,
                    _ => Fault::io("find the folder")(error),
                })?;
                Ok(Self(folder.join(path.file_name().ok_or(Fault::NotAFile)?)))
            }
            Ok(target) if !target.is_file() => Err(Fault::NotAFile),
            found => found.map(Self).map_err(Fault::io("find the file")),
        }
    }

    pub(super) fn name(&self) -> &OsStr {
        self.0.file_name().unwrap_or_default()
    }

    fn entry(&self, name: &OsStr) -> PathBuf {
        self.0.with_file_name(name)
    }

    pub(super) fn open(&self) -> io::Result<File> {
        File::open(&self.0)
    }

    pub(super) fn open_entry(&self, name: &OsStr) -> io::Result<File> {
        if self.is_link(name) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        OpenOptions::new().read(true).write(true).open(self.entry(name))
    }

    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.entry(name))
    }

    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.entry(name))
    }

    /// Renames an entry to the name of the file.
    pub(super) fn replace_by(&self, name: &OsStr) -> io::Result<()> {
        fs::rename(self.entry(name), &self.0)
    }

    pub(super) fn is_link(&self, name: &OsStr) -> bool {
        fs::symlink_metadata(self.entry(name)).is_ok_and(|it| it.is_symlink())
    }

    pub(super) fn is_named(&self, name: &OsStr, _: &File) -> bool {
        self.entry(name).exists()
    }

    pub(super) fn folder(&self) -> Option<File> {
        self.0.parent().and_then(|folder| File::open(folder).ok())
    }

    pub(super) fn share_lock(&self, _: &OsStr, _: &File) {}

    pub(super) fn keep_owner_and_mode(_: &OldMetadata, _: &File) -> Result<(), Fault> {
        Ok(())
    }
}
