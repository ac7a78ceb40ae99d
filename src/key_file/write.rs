use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use fs4::{FileExt, TryLockError};

use super::error::Fault;

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
        let target = resolve(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, unix::mode(&target).unwrap_or(0o600));
        let lock =
            options.open(beside(&target, "", ".lock")).map_err(read_only("make its .lock file"))?;
        let started = Instant::now();
        loop {
            match FileExt::try_lock(&lock) {
                Ok(()) => return Ok(Self { target, _lock: lock }),
                Err(TryLockError::WouldBlock) if started.elapsed() > LONGEST_WAIT => {
                    return Err(Fault::Locked);
                }
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::Error(error)) => return Err(Fault::io("lock it")(error)),
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
    pub(super) fn replace(&self, text: &str) -> Result<(), Fault> {
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

    fn write(&self, new: &Path, text: &str) -> Result<(), Fault> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(new).map_err(read_only("write beside it"))?;
        file.write_all(text.as_bytes()).map_err(Fault::io("write beside it"))?;
        #[cfg(unix)]
        unix::keep_owner_and_mode(&self.target, &file)?;
        file.sync_all().map_err(Fault::io("write beside it"))?;
        fs::rename(new, &self.target).map_err(read_only("replace it"))?;
        #[cfg(unix)]
        unix::sync_folder(&self.target).map_err(Fault::io("write its folder to disk"))?;
        Ok(())
    }
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
        io,
        os::unix::fs::{MetadataExt, PermissionsExt, fchown},
        path::Path,
    };

    use super::Fault;

    pub(super) fn mode(path: &Path) -> Option<u32> {
        Some(fs::metadata(path).ok()?.mode() & 0o777)
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

    pub(super) fn sync_folder(target: &Path) -> io::Result<()> {
        target.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}
