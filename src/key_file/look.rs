use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::error::Fault;

/// What can be seen of a file without reading it, wherever its path leads now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    File(Stamp),
    NotAFile,
    /// Gone, or out of sight.
    Unseen(io::ErrorKind),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    /// Device, inode and the time of the last change to it.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
    is_unlinked: bool,
}

impl Stamp {
    /// Somebody may have set the time of modification back.
    #[cfg(unix)]
    fn is_changed_lately(&self, is_fresh: impl Fn(Option<SystemTime>) -> bool) -> bool {
        let (_, _, seconds, _) = self.inode;
        let since = u64::try_from(seconds).unwrap_or_default();
        is_fresh(UNIX_EPOCH.checked_add(Duration::from_secs(since)))
    }

    #[cfg(not(unix))]
    fn is_changed_lately(&self, _: impl Fn(Option<SystemTime>) -> bool) -> bool {
        false
    }
}

impl Look {
    pub(super) fn at(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) => Self::of(&metadata),
            Err(error) => Self::Unseen(error.kind()),
        }
    }

    pub(super) fn of(metadata: &Metadata) -> Self {
        if !metadata.is_file() {
            return Self::NotAFile;
        }
        Self::File(Stamp {
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
        matches!(self, Self::File(Stamp { len: 0, .. }))
    }

    /// Whether the file was deleted, so that only a mount still shows it.
    pub(super) fn is_unlinked(&self) -> bool {
        matches!(self, Self::File(Stamp { is_unlinked: true, .. }))
    }

    /// Whether it was changed so lately that another change may have left the same times.
    pub(super) fn is_fresh(&self, within: Duration) -> bool {
        let Self::File(stamp) = self else { return false };
        let is_fresh = |time: Option<SystemTime>| {
            // One from the future is as doubtful.
            time.is_none_or(|time| time.elapsed().map_or(true, |elapsed| elapsed < within))
        };
        is_fresh(stamp.modified) || stamp.is_changed_lately(is_fresh)
    }
}

/// Reads a file that looks like this; `None` if it has been changed since, or meanwhile.
pub(super) fn read(path: &Path, look: Look, max: u64) -> Result<Option<Vec<u8>>, Fault> {
    match look {
        Look::File(stamp) if stamp.len > max => return Err(Fault::TooLarge(max)),
        Look::File(_) => {}
        Look::NotAFile => return Err(Fault::NotAFile),
        Look::Unseen(kind) => return Err(Fault::io("find it")(kind.into())),
    }
    let whole = || {
        let file = open(path)?;
        let metadata = file.metadata()?;
        if Look::of(&metadata) != look {
            return Ok(None);
        }
        let text = read_at_most(&file, &metadata, max)?;
        let is_same = Look::of(&file.metadata()?) == look && Look::at(path) == look;
        Ok(is_same.then_some(text))
    };
    match whole() {
        // Gone since it was looked at: the next look tells.
        Err::<_, io::Error>(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(Some(text)) if text.len() as u64 > max => Err(Fault::TooLarge(max)),
        read => read.map_err(Fault::io("read it")),
    }
}

/// Reads a file that no other writer changes meanwhile.
pub(super) fn read_locked(file: &File, metadata: &Metadata, max: u64) -> Result<Vec<u8>, Fault> {
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    if metadata.len() > max {
        return Err(Fault::TooLarge(max));
    }
    let text = read_at_most(file, metadata, max).map_err(Fault::io("read it"))?;
    if text.len() as u64 > max { Err(Fault::TooLarge(max)) } else { Ok(text) }
}

/// Opens a path that was a file when it was looked at. It may be a pipe by now, which would wait for
/// a writer.
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

/// Reads a file, and one byte more than the maximum if the file has grown beyond that.
fn read_at_most(file: &File, metadata: &Metadata, max: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let len = usize::try_from(metadata.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    // A service that lacks the memory for the file keeps its keys.
    text.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.take(max.saturating_add(1)).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(all(test, unix))]
mod tests {
    use std::{process::Command, sync::mpsc, thread};

    use super::*;

    /// Runs it in a thread, because opening a pipe may wait for good.
    fn soon<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        thread::spawn(move || done.send(run()));
        result.recv_timeout(Duration::from_secs(10)).expect("it hangs")
    }

    #[test]
    fn a_pipe_that_takes_the_place_of_a_file_after_it_was_looked_at_does_not_hang() {
        let folder = std::env::temp_dir().join(format!("look-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("keys.jsonl");
        std::fs::write(&path, "{\"v\":1}\n").unwrap();
        let before = Look::at(&path);
        assert!(matches!(read(&path, before, 100), Ok(Some(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());

        let pipe = path.clone();
        assert!(matches!(soon(move || read(&pipe, before, 100)), Ok(None)));
        let pipe = path.clone();
        let locked = move || {
            let pipe = open(&pipe).unwrap();
            read_locked(&pipe, &pipe.metadata().unwrap(), 100)
        };
        assert!(matches!(soon(locked), Err(Fault::NotAFile)));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_has_grown_beyond_the_maximum_is_read_no_further() {
        let file = std::env::temp_dir().join(format!("look-{}.jsonl", std::process::id()));
        std::fs::write(&file, [b'#'; 10]).unwrap();
        let metadata = std::fs::metadata(&file).unwrap();
        std::fs::write(&file, [b'#'; 1000]).unwrap();
        let text = read_at_most(&File::open(&file).unwrap(), &metadata, 100).unwrap();
        assert_eq!(text.len(), 101);
        std::fs::remove_file(file).unwrap();
    }
}
