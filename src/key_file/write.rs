use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use fs4::{FileExt, TryLockError};

use super::{error::Fault, look::Look};

const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The right to change a file, until it is dropped.
///
/// What is locked is `<file>.lock`, which is never deleted: after the first rename a lock on the file
/// itself would be one on a file that nobody sees any more.
pub(super) struct Writer {
    /// Symbolic links resolved, so that the link stays one.
    target: PathBuf,
    _lock: File,
}

impl Writer {
    pub(super) fn lock(path: &Path) -> Result<Self, Fault> {
        let started = Instant::now();
        loop {
            let target = resolve(path)?;
            let name = beside(&target, "", ".lock");
            let lock = open_lock(&name, &target)?;
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
            let is_there = lock.metadata().is_ok_and(|ours| is_same(&ours, &name));
            if is_there && resolve(path)? == target {
                return Ok(Self { target, _lock: lock });
            }
            if started.elapsed() > LONGEST_WAIT {
                return Err(Fault::Restless);
            }
        }
    }

    /// What the file holds now. Nobody who takes the lock changes it meanwhile.
    pub(super) fn read(&self, may_be_absent: bool) -> Result<Vec<u8>, Fault> {
        // Reading a pipe would wait for somebody to write.
        if fs::metadata(&self.target).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Fault::NotAFile);
        }
        match fs::read(&self.target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_absent => {
                Ok(Vec::new())
            }
            Ok(text) if text.is_empty() && !may_be_absent => Err(Fault::Empty),
            read => read.map_err(Fault::io("read it")),
        }
    }

    /// Puts a new file in the place of the old: whoever reads, and a crash at any moment, finds one or
    /// the other, whole.
    pub(super) fn replace(&self, text: &str) -> Result<Look, Fault> {
        let new = beside(&self.target, ".", ".new");
        // Left over from a crash: nobody else writes it, as the lock is ours.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(read_only("write beside it")(error));
            }
            _ => {}
        }
        self.write(&new, text).inspect_err(|_| _ = fs::remove_file(&new))
    }

    fn write(&self, new: &Path, text: &str) -> Result<Look, Fault> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(new).map_err(read_only("write beside it"))?;
        file.write_all(text.as_bytes()).map_err(Fault::io("write beside it"))?;
        #[cfg(unix)]
        unix::keep_owner_and_mode(&self.target, &file)?;
        file.sync_all().map_err(Fault::io("write beside it"))?;
        // Opened before, since from the rename on nothing may fail any more: it is done.
        let folder = self.target.parent().and_then(|folder| File::open(folder).ok());
        fs::rename(new, &self.target).map_err(read_only("replace it"))?;
        _ = folder.map(|folder| folder.sync_all());
        file.metadata().map(|written| Look::of(&written)).map_err(Fault::io("look at it"))
    }
}

/// Whoever may write the file may take the lock, and nobody else: who only reads could keep it.
fn open_lock(name: &Path, target: &Path) -> Result<File, Fault> {
    let is_link = |name: &Path| fs::symlink_metadata(name).is_ok_and(|it| it.is_symlink());
    if is_link(name) {
        return Err(Fault::ReadOnly("its .lock file is a symbolic link: delete that"));
    }
    let is_new = !name.exists();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let lock = options.open(name).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied if !is_new => Fault::ReadOnly(
            "this user may not open its .lock file: change it as the user who made that",
        ),
        _ => read_only("make its .lock file")(error),
    })?;
    #[cfg(unix)]
    if is_new {
        unix::share_lock(target, &lock);
    }
    Ok(lock)
}

#[cfg(unix)]
fn is_same(ours: &fs::Metadata, name: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(name).is_ok_and(|it| (it.dev(), it.ino()) == (ours.dev(), ours.ino()))
}

#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, name: &Path) -> bool {
    name.exists()
}

/// The file itself, wherever symbolic links to it stand. It need not be there yet.
fn resolve(path: &Path) -> Result<PathBuf, Fault> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(Fault::Dangling);
            }
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            let folder =
                fs::canonicalize(folder.unwrap_or(Path::new("."))).map_err(|error| match error
                    .kind()
                {
                    io::ErrorKind::NotFound => Fault::NoFolder,
                    _ => Fault::io("find its folder")(error),
                })?;
            Ok(folder.join(path.file_name().ok_or(Fault::NotAFile)?))
        }
        found => found.map_err(Fault::io("find it")),
    }
}

fn beside(target: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = OsString::from(before);
    name.push(target.file_name().unwrap_or_default());
    name.push(after);
    target.with_file_name(name)
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

#[cfg(unix)]
mod unix {
    use std::{
        fs::{self, File, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, fchown},
        path::Path,
    };

    use super::Fault;

    /// Gives a new lock to whom the file belongs, as far as that can be done, so that a change by
    /// root locks nobody out.
    pub(super) fn share_lock(target: &Path, lock: &File) {
        let folder = target.parent().unwrap_or(target);
        let Ok(owner) = fs::metadata(target).or_else(|_| fs::metadata(folder)) else { return };
        let writers = if owner.is_file() { owner.mode() & 0o022 } else { 0 };
        _ = fchown(lock, Some(owner.uid()), Some(owner.gid()));
        _ = lock.set_permissions(Permissions::from_mode(0o600 | writers | (writers << 1)));
    }

    /// As the file that is replaced; a new one stays its writer's alone.
    pub(super) fn keep_owner_and_mode(target: &Path, file: &File) -> Result<(), Fault> {
        let Ok(old) = fs::metadata(target) else { return Ok(()) };
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
