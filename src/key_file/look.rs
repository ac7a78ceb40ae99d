use std::{
    fs::{File, Metadata},
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
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::File(Stamp { len: 0, .. }))
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
pub(super) fn read(path: &Path, look: Look) -> Result<Option<Vec<u8>>, Fault> {
    match look {
        Look::File(_) => {}
        Look::NotAFile => return Err(Fault::NotAFile),
        Look::Unseen(kind) => return Err(Fault::io("find it")(kind.into())),
    }
    let whole = || {
        let mut file = File::open(path)?;
        let mut text = Vec::new();
        let mut is_same = Look::of(&file.metadata()?) == look;
        if is_same {
            file.read_to_end(&mut text)?;
            is_same = Look::of(&file.metadata()?) == look && Look::at(path) == look;
        }
        Ok(is_same.then_some(text))
    };
    match whole() {
        // Gone since it was looked at: the next look tells.
        Err::<_, io::Error>(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map_err(Fault::io("read it")),
    }
}
