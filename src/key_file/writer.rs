use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use fs4::{FileExt, TryLockError};

use super::{
    error::Fault,
    file_stamp::{self, FileStamp},
    target::{OldMetadata, Target},
};

/// The time that a writer waits for the lock.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The exclusive right to change a file, until the writer is dropped.
///
/// The lock is on `<file>.lock`, which is never deleted. A lock on the key file itself would stay on the old
/// file after a rename.
pub(super) struct Writer {
    /// The target of symbolic links, so that a change does not replace a link.
    target: Target,
    /// The owner and the mode that the new file gets.
    old: Option<OldMetadata>,
    _lock: File,
}

impl Writer {
    /// Waits for the lock.
    pub(super) fn lock(path: &Path) -> Result<Self, Fault> {
        let started = Instant::now();
        loop {
            let target = Target::find(path)?;
            let name = beside(&target, "", ".lock");
            let lock = open_lock(&target, &name)?;
            while let Err(error) = FileExt::try_lock(&lock) {
                match error {
                    TryLockError::WouldBlock if started.elapsed() < MAX_WAIT => {
                        thread::sleep(Duration::from_millis(10));
                    }
                    TryLockError::WouldBlock => return Err(Fault::Locked),
                    TryLockError::Error(error) => return Err(Fault::io("lock the file")(error)),
                }
            }
            // Another process can have changed a link or deleted the lock meanwhile.
            if target.is_named(&name, &lock) && Target::find(path)? == target {
                return Ok(Self { target, old: None, _lock: lock });
            }
            if started.elapsed() > MAX_WAIT {
                return Err(Fault::Unstable);
            }
        }
    }

    /// Reads the current content of the file.
    pub(super) fn read(&mut self, may_be_absent: bool, max: u64) -> Result<Vec<u8>, Fault> {
        let file = match self.target.open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_absent => {
                return Ok(Vec::new());
            }
            Err(_) if self.target.is_link(self.target.name()) => return Err(Fault::Unstable),
            opened => opened.map_err(Fault::io("read the file"))?,
        };
        let metadata = file.metadata().map_err(Fault::io("read the file"))?;
        let text = file_stamp::read_locked(&file, &metadata, max)?;
        self.old = Some(metadata);
        if text.is_empty() && !may_be_absent { Err(Fault::Empty) } else { Ok(text) }
    }

    /// Replaces the file by a new file with this text.
    ///
    /// A reader finds the whole old file or the whole new one, even after a crash.
    pub(super) fn replace(&self, text: &str) -> Result<FileStamp, Fault> {
        let new = beside(&self.target, ".", ".new");
        // Removes the rest of a crash. This process holds the lock, so no other writer uses it.
        match self.target.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(explain("write the new file")(error));
            }
            _ => {}
        }
        self.write(&new, text).inspect_err(|_| _ = self.target.remove(&new))
    }

    fn write(&self, new: &OsStr, text: &str) -> Result<FileStamp, Fault> {
        let target = &self.target;
        let mut file = target.create(new).map_err(explain("write the new file"))?;
        file.write_all(text.as_bytes()).map_err(Fault::io("write the new file"))?;
        if let Some(old) = &self.old {
            Target::keep_owner_and_mode(old, &file)?;
        }
        file.sync_all().map_err(Fault::io("write the new file"))?;
        // Opens the folder first, because no step after the rename may fail.
        let folder = target.folder();
        if !target.is_named(new, &file) {
            return Err(Fault::Unstable);
        }
        target.replace_by(new).map_err(explain("replace the file"))?;
        _ = folder.map(|folder| folder.sync_all());
        let metadata = file.metadata().map_err(Fault::io("read the metadata of the new file"))?;
        Ok(FileStamp::of(&metadata))
    }
}

/// Opens or creates the lock file.
///
/// Only users who can write the key file can open the lock, because a reader could otherwise block all
/// changes. Only a lock that this process has created gets another owner, because another user can have put
/// any file in its place.
fn open_lock(target: &Target, name: &OsStr) -> Result<File, Fault> {
    const MAX_ATTEMPTS: u32 = 100;
    for _ in 0..MAX_ATTEMPTS {
        match target.open_entry(name) {
            Ok(lock) if lock.metadata().is_ok_and(|it| it.is_file()) => return Ok(lock),
            Ok(_) => {
                return Err(Fault::ReadOnly(
                    "the .lock file is not a regular file. Delete the .lock file",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if target.is_link(name) => {
                return Err(Fault::ReadOnly(
                    "the .lock file is a symbolic link. Delete the .lock file",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Fault::ReadOnly(
                    "this user may not open the .lock file. Change the key file as the user who created the .lock \
                     file",
                ));
            }
            Err(error) => return Err(explain("open the .lock file")(error)),
        }
        match target.create(name) {
            // Another process has created the lock meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => {
                let lock = created.map_err(explain("create the .lock file"))?;
                target.share_lock(name, &lock);
                return Ok(lock);
            }
        }
    }
    Err(Fault::Unstable)
}

fn beside(target: &Target, before: &str, after: &str) -> OsString {
    let mut name = OsString::from(before);
    name.push(target.name());
    name.push(after);
    name
}

/// Turns an error into advice, if the file cannot be replaced at its path.
fn explain(doing: &'static str) -> impl FnOnce(io::Error) -> Fault {
    move |error| match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => Fault::ReadOnly(
            "the file is on a read-only file system. Change it at its source, such as the Secret or the \
             folder that is mounted here",
        ),
        io::ErrorKind::PermissionDenied => Fault::ReadOnly(
            "this user may not write to the folder, and a change creates a new file and a lock there. \
             Change the file as the user who may, or change the permissions of the folder",
        ),
        io::ErrorKind::ResourceBusy => Fault::ReadOnly(
            "the file is mounted by itself, so this process cannot replace it. Change it at its source, or \
             mount its folder",
        ),
        _ => Fault::io(doing)(error),
    }
}
