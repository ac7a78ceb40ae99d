//! The files of several processes under one name.
//!
//! The first process writes `usage.jsonl`, a second one at the same time `usage.2.jsonl`, and so on. A lock beside
//! each file shows whether a process writes it. After a restart, a process goes on with the first free file.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use fs4::{FileExt, TryLockError};

use super::{
    error::{Fault, UsageFileError},
    file,
};

/// The maximum number of processes under one name.
const MAX: u32 = 64;

/// The exclusive right to write a file, until it is dropped.
pub(super) struct Slot {
    pub(super) path: PathBuf,
    /// The files of the other processes, if no process has had this slot before.
    pub(super) others: Option<Vec<PathBuf>>,
    _lock: File,
}

impl Slot {
    /// Reserves the first free file.
    pub(super) fn find(path: &Path) -> Result<Self, UsageFileError> {
        let name = path;
        for number in 1..=MAX {
            let path = numbered(name, number);
            // No lock belongs beside a device or a pipe.
            file::check_kind(&path).map_err(|fault| fault.at(&path, None))?;
            let is_new = fs::symlink_metadata(lock_of(&path)).is_err();
            let found = Self::try_lock(&path).map_err(|fault| fault.at(&path, None))?;
            if let Some(lock) = found {
                let others = if is_new { others(name, number) } else { None };
                return Ok(Self { path, others, _lock: lock });
            }
        }
        Err(Fault::Locked.at(path, None))
    }

    fn try_lock(path: &Path) -> Result<Option<File>, Fault> {
        const ATTEMPTS: u32 = 100;

        let name = lock_of(path);
        for _ in 0..ATTEMPTS {
            let lock = file::open_to_append(&name).map_err(in_lock)?;
            match FileExt::try_lock(&lock) {
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(Fault::io("lock the file")(error)),
                // Another process can have deleted the lock file meanwhile.
                Ok(()) if file::is_at(&lock, &name) => return Ok(Some(lock)),
                Ok(()) => {}
            }
        }
        Err(Fault::Locked)
    }
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Returns the files of the other processes, if a slot can be new.
///
/// Processes take the slots in their order. So if there is a file above this slot, or if one is missing below, a
/// file was deleted.
fn others(path: &Path, number: u32) -> Option<Vec<PathBuf>> {
    let below: Vec<_> = (1..number).map(|number| numbered(path, number)).collect();
    (existing(path).unwrap_or_default() == below).then_some(below)
}

/// Returns whether a file with a lower number than another is missing.
pub(super) fn has_hole(path: &Path, existing: &[PathBuf]) -> bool {
    (1..).zip(existing).any(|(number, file)| *file != numbered(path, number))
}

/// Says that an error concerns the lock and not the file.
fn in_lock(fault: Fault) -> Fault {
    match fault {
        Fault::Io(_, error) => Fault::Io("open the .lock file", error),
        other => other,
    }
}

/// Returns the path of a slot, such as `usage.2.jsonl`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Returns the existing files of a name, in the order of their numbers.
pub(super) fn existing(path: &Path) -> Result<Vec<PathBuf>, UsageFileError> {
    let files: Vec<_> = (1..=MAX).map(|number| numbered(path, number)).collect();
    let exists = |path: &PathBuf| match fs::symlink_metadata(path) {
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(Fault::io("find the file")(error).at(path, None)),
        Ok(_) => Ok(true),
    };
    let mut found = Vec::new();
    for file in files {
        if exists(&file)? {
            found.push(file);
        }
    }
    if found.is_empty() { Err(Fault::NoFile.at(path, None)) } else { Ok(found) }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns the name of the file that replaces another, beside it.
pub(super) fn replacement(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or(OsStr::new("usage")));
    name.push(".new");
    path.with_file_name(name)
}
