use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::error::Fault;

/// The metadata by which a change of a file is detected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FileStamp {
    File(Attributes),
    NotAFile,
    /// The metadata cannot be read, for example because the file is missing.
    Unavailable(io::ErrorKind),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    len: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and seconds and nanoseconds of the last change to the inode.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
    is_unlinked: bool,
}

impl Attributes {
    /// Checks the inode as well, because a program can set the time of modification back.
    #[cfg(unix)]
    fn is_inode_recent(&self, is_recent: impl Fn(Option<SystemTime>) -> bool) -> bool {
        let (_, _, seconds, _) = self.inode;
        let since = u64::try_from(seconds).unwrap_or_default();
        is_recent(UNIX_EPOCH.checked_add(Duration::from_secs(since)))
    }

    #[cfg(not(unix))]
    fn is_inode_recent(&self, _: impl Fn(Option<SystemTime>) -> bool) -> bool {
        false
    }
}

impl FileStamp {
    /// Follows symbolic links.
    ///
    /// While a rename replaces the file, the system can show the old file as deleted. So a file counts as deleted
    /// only if the path leads to a deleted file for 50 ms.
    pub(super) fn of_path(path: &Path) -> Self {
        let mut stamp = Self::resolve(path);
        for _ in 0..10 {
            if !stamp.is_unlinked() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            stamp = Self::resolve(path);
        }
        stamp
    }

    fn resolve(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) => Self::of(&metadata),
            Err(error) => Self::Unavailable(error.kind()),
        }
    }

    pub(super) fn of(metadata: &Metadata) -> Self {
        if !metadata.is_file() {
            return Self::NotAFile;
        }
        Self::File(Attributes {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
            },
            #[cfg(unix)]
            is_unlinked: std::os::unix::fs::MetadataExt::nlink(metadata) == 0,
            #[cfg(not(unix))]
            is_unlinked: false,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::File(Attributes { len: 0, .. }))
    }

    /// Returns whether the file was deleted. Only a mount can still show such a file.
    pub(super) fn is_unlinked(&self) -> bool {
        matches!(self, Self::File(Attributes { is_unlinked: true, .. }))
    }

    /// Returns whether the file changed so recently that another change can leave the same times.
    pub(super) fn is_recent(&self, within: Duration) -> bool {
        let Self::File(attributes) = self else { return false };
        let is_recent = |time: Option<SystemTime>| {
            // A time in the future counts as recent.
            time.is_none_or(|time| time.elapsed().map_or(true, |elapsed| elapsed < within))
        };
        is_recent(attributes.modified) || attributes.is_inode_recent(is_recent)
    }
}

/// Reads a file with this stamp. Returns `None` if the file has changed before or during the read.
pub(super) fn read_unchanged(
    path: &Path,
    stamp: FileStamp,
    max: u64,
) -> Result<Option<Vec<u8>>, Fault> {
    match stamp {
        FileStamp::File(attributes) if attributes.len > max => return Err(Fault::TooLarge(max)),
        FileStamp::File(_) => {}
        FileStamp::NotAFile => return Err(Fault::NotAFile),
        FileStamp::Unavailable(kind) => return Err(Fault::io("find the file")(kind.into())),
    }
    let read = || {
        let file = open(path)?;
        let metadata = file.metadata()?;
        if FileStamp::of(&metadata) != stamp {
            return Ok(None);
        }
        let text = read_at_most(&file, &metadata, max)?;
        let is_same =
            FileStamp::of(&file.metadata()?) == stamp && FileStamp::of_path(path) == stamp;
        Ok(is_same.then_some(text))
    };
    match read() {
        // If the file has disappeared, the next poll reports it.
        Err::<_, io::Error>(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(Some(text)) if text.len() as u64 > max => Err(Fault::TooLarge(max)),
        result => result.map_err(Fault::io("read the file")),
    }
}

/// Reads an open file. The caller holds the lock for changes.
pub(super) fn read_locked(file: &File, metadata: &Metadata, max: u64) -> Result<Vec<u8>, Fault> {
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    if metadata.len() > max {
        return Err(Fault::TooLarge(max));
    }
    let text = read_at_most(file, metadata, max).map_err(Fault::io("read the file"))?;
    if text.len() as u64 > max { Err(Fault::TooLarge(max)) } else { Ok(text) }
}

/// Opens a file for reading. If a pipe has replaced the file, this does not wait for a writer.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    }
    options.open(path)
}

/// Reads at most one byte more than the maximum, so that the caller can detect a larger file.
fn read_at_most(file: &File, metadata: &Metadata, max: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let len = usize::try_from(metadata.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    // If the memory does not suffice for the file, the service keeps its keys.
    text.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.take(max.saturating_add(1)).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, process::Command, sync::mpsc, thread, time::Instant};

    use super::*;

    /// Runs a closure in a thread, because opening a pipe can wait forever.
    fn in_time<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        thread::spawn(move || done.send(run()));
        result.recv_timeout(Duration::from_secs(10)).expect("the closure hangs")
    }

    #[test]
    fn a_pipe_that_replaces_the_file_before_it_is_opened_does_not_hang() {
        let folder = std::env::temp_dir().join(format!("file-stamp-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("keys.jsonl");
        std::fs::write(&path, "{\"v\":1}\n").unwrap();
        let before = FileStamp::of_path(&path);
        assert!(matches!(read_unchanged(&path, before, 100), Ok(Some(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());

        let pipe = path.clone();
        assert!(matches!(in_time(move || read_unchanged(&pipe, before, 100)), Ok(None)));
        let pipe = path.clone();
        let locked = move || {
            let pipe = open(&pipe).unwrap();
            read_locked(&pipe, &pipe.metadata().unwrap(), 100)
        };
        assert!(matches!(in_time(locked), Err(Fault::NotAFile)));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_grows_beyond_the_maximum_is_read_only_up_to_the_maximum() {
        let file = std::env::temp_dir().join(format!("file-stamp-{}.jsonl", std::process::id()));
        std::fs::write(&file, [b'#'; 10]).unwrap();
        let metadata = std::fs::metadata(&file).unwrap();
        std::fs::write(&file, [b'#'; 1000]).unwrap();
        let text = read_at_most(&File::open(&file).unwrap(), &metadata, 100).unwrap();
        assert_eq!(text.len(), 101);
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_file_that_is_replaced_during_a_poll_does_not_count_as_deleted() {
        let folder = std::env::temp_dir().join(format!("file-stamp-poll-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, new) = (folder.join("keys.jsonl"), folder.join("new"));
        fs::write(&path, "").unwrap();
        let until = Instant::now() + Duration::from_millis(300);
        thread::scope(|scope| {
            scope.spawn(|| {
                while Instant::now() < until {
                    fs::write(&new, "").unwrap();
                    fs::rename(&new, &path).unwrap();
                }
            });
            while Instant::now() < until {
                assert!(!FileStamp::of_path(&path).is_unlinked());
            }
        });
        fs::remove_dir_all(folder).unwrap();
    }
}
