use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    path::Path,
    time::{Duration, SystemTime},
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

impl Look {
    pub(super) fn at(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) => Self::of(&metadata),
            Err(error) => Self::Unseen(error.kind()),
        }
    }

    fn of(metadata: &Metadata) -> Self {
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
        match self {
            // One from the future is as doubtful.
            Self::File(Stamp { modified: Some(modified), .. }) => {
                modified.elapsed().map_or(true, |elapsed| elapsed < within)
            }
            Self::File(_) => true,
            Self::NotAFile | Self::Unseen(_) => false,
        }
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
    whole().map_err(Fault::io("read it"))
}
