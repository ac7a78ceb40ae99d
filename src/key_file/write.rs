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
    look::{self, Look},
    target::{Old, Target},
};

const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The right to change a file, until it is dropped.
///
/// What is locked is `<file>.lock`, which is never deleted: after the first rename a lock on the file
/// itself would be one on a file that nobody sees any more.
pub(super) struct Writer {
    /// Symbolic links resolved, so that the link stays one.
    target: Target,
    /// Of the file that was read, whose owner and mode the new one gets.
    old: Option<Old>,
    _lock: File,
}

impl Writer {
    pub(super) fn lock(path: &Path) -> Result<Self, Fault> {
        let started = Instant::now();
        loop {
            let target = Target::find(path)?;
            let name = beside(&target, "", ".lock");
            let lock = open_lock(&target, &name)?;
            while let Err(error) = FileExt::try_lock(&lock) {
                match error {
                    TryLockError::WouldBlock if started.elapsed() < LONGEST_WAIT => {
                        thread::sleep(Duration::from_millis(10));
                    }
                    TryLockError::WouldBlock => return Err(Fault::Locked),
                    TryLockError::Error(error) => return Err(Fault::io("lock it")(error)),
                }
            }
            // While this waited, a link may have been led elsewhere, or the lock deleted.
            if target.is_named(&name, &lock) && Target::find(path)? == target {
                return Ok(Self { target, old: None, _lock: lock });
            }
            if started.elapsed() > LONGEST_WAIT {
                return Err(Fault::Restless);
            }
        }
    }

    /// What the file holds now. Nobody who takes the lock changes it meanwhile.
    pub(super) fn read(&mut self, may_be_absent: bool, max: u64) -> Result<Vec<u8>, Fault> {
        let file = match self.target.open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_absent => {
                return Ok(Vec::new());
            }
            Err(_) if self.target.is_link(self.target.name()) => return Err(Fault::Restless),
            opened => opened.map_err(Fault::io("read it"))?,
        };
        let metadata = file.metadata().map_err(Fault::io("read it"))?;
        let text = look::read_locked(&file, &metadata, max)?;
        self.old = Some(metadata);
        if text.is_empty() && !may_be_absent { Err(Fault::Empty) } else { Ok(text) }
    }

    /// Puts a new file in the place of the old: whoever reads, and a crash at any moment, finds one or
    /// the other, whole.
    pub(super) fn replace(&self, text: &str) -> Result<Look, Fault> {
        let new = beside(&self.target, ".", ".new");
        // Left over from a crash: nobody else writes it, as the lock is ours.
        match self.target.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(read_only("write beside it")(error));
            }
            _ => {}
        }
        self.write(&new, text).inspect_err(|_| _ = self.target.remove(&new))
    }

    fn write(&self, new: &OsStr, text: &str) -> Result<Look, Fault> {
        let target = &self.target;
        let mut file = target.create(new).map_err(read_only("write beside it"))?;
        file.write_all(text.as_bytes()).map_err(Fault::io("write beside it"))?;
        if let Some(old) = &self.old {
            Target::keep_owner_and_mode(old, &file)?;
        }
        file.sync_all().map_err(Fault::io("write beside it"))?;
        // Opened before, since from the rename on nothing may fail any more: it is done.
        let folder = target.folder();
        if !target.is_named(new, &file) {
            return Err(Fault::Restless);
        }
        target.replace_by(new).map_err(read_only("replace it"))?;
        _ = folder.map(|folder| folder.sync_all());
        file.metadata().map(|written| Look::of(&written)).map_err(Fault::io("look at it"))
    }
}

/// Whoever may write the file may take the lock, and nobody else: who only reads could keep it.
///
/// Only a lock that was made here is given to another owner, because another user may have put any
/// other file in its place.
fn open_lock(target: &Target, name: &OsStr) -> Result<File, Fault> {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        match target.open_entry(name) {
            Ok(lock) if lock.metadata().is_ok_and(|it| it.is_file()) => return Ok(lock),
            Ok(_) => return Err(Fault::ReadOnly("its .lock file is not a file: delete that")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if target.is_link(name) => {
                return Err(Fault::ReadOnly("its .lock file is a symbolic link: delete that"));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Fault::ReadOnly(
                    "this user may not open its .lock file: change it as the user who made that",
                ));
            }
            Err(error) => return Err(read_only("open its .lock file")(error)),
        }
        match target.create(name) {
            // Another process made it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                let lock = made.map_err(read_only("make its .lock file"))?;
                target.share_lock(name, &lock);
                return Ok(lock);
            }
        }
    }
    Err(Fault::Restless)
}

fn beside(target: &Target, before: &str, after: &str) -> OsString {
    let mut name = OsString::from(before);
    name.push(target.name());
    name.push(after);
    name
}

/// Tells what to do about a file that cannot be replaced where it is.
fn read_only(doing: &'static str) -> impl FnOnce(io::Error) -> Fault {
    move |error| match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => Fault::ReadOnly(
            "it lies on a read-only file system: change it where it comes from, such as the Secret \
             or the folder that is mounted here",
        ),
        io::ErrorKind::PermissionDenied => Fault::ReadOnly(
            "this user may not write to its folder, where a new file and a lock have to go: change it \
             as the user who may, or change the folder's permissions",
        ),
        io::ErrorKind::ResourceBusy => Fault::ReadOnly(
            "it is mounted by itself, so that it cannot be replaced from here: change it where it \
             comes from, or mount its folder",
        ),
        _ => Fault::io(doing)(error),
    }
}
