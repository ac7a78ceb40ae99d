//! New keys: shown once, or taken back.

use std::{
    io::{self, Write as _},
    path::Path,
    time::SystemTime,
};

use serde_json::Value;
use tower_api_key::{
    key::{KeyFormat, MintedKey},
    key_file::{KeyFile, KeyFileError},
    verify::Record,
};
use zeroize::Zeroizing;

use crate::{Failure, args::About, show};

pub(crate) fn issue(
    file: &KeyFile,
    json: bool,
    client: &str,
    format: &KeyFormat,
    about: &About,
) -> Result<(), Failure> {
    refuse_to_lose_a_key()?;
    let (minted, is_new) = file.update(|keys| {
        let minted = format.mint()?;
        keys.insert_record(about.describe(Record::of(&minted, about.client(client))))?;
        Ok((minted, is_absent(file.path())))
    })?;
    let (id, digest) = (minted.id().to_owned(), minted.digest());
    let shown = file.record(&id).filter(|_| json).map(|record| {
        let mut shown = of_file(show::json(&record, SystemTime::now()), file);
        shown["file_created"] = is_new.into();
        shown
    });
    if let Err(error) = hand_out(minted, shown) {
        let taken_back = file.update(|keys| Ok(keys.remove(&digest))).map(drop);
        return Err(not_shown(&error, &id, taken_back));
    }
    if !json {
        show::say(&format!("Issued {id}. The key is shown this once: what is kept is its digest."));
        let did = if is_new { "Created" } else { "Wrote" };
        show::say(&format!("{did} {}.", path(file)));
    }
    Ok(())
}

/// Whether a change creates the file. Ask within the change, which has the lock.
pub(crate) fn is_absent(path: &Path) -> bool {
    !path.exists()
}

/// The file's path, for people.
pub(crate) fn path(file: &KeyFile) -> String {
    show::printable(&file.path().to_string_lossy())
}

/// Adds the file's path, for machines.
pub(crate) fn of_file(mut shown: Value, file: &KeyFile) -> Value {
    shown["file"] = file.path().to_string_lossy().into();
    shown
}

/// Writes a new key to standard output, and nowhere else: alone, or within JSON.
pub(crate) fn hand_out(minted: MintedKey, shown: Option<Value>) -> io::Result<()> {
    let text = minted.reveal(|key| match shown {
        Some(mut shown) => {
            shown["key"] = key.into();
            Zeroizing::new(show::escaped(&shown) + "\n")
        }
        None => Zeroizing::new(format!("{key}\n")),
    });
    // Not through the standard library's handle, which takes an output that cannot be written to for
    // one that was written to.
    #[cfg(unix)]
    let mut out =
        std::fs::File::from(std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?);
    #[cfg(not(unix))]
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What became of a key that nobody has seen.
pub(crate) fn not_shown(
    error: &io::Error,
    id: &str,
    taken_back: Result<(), KeyFileError>,
) -> Failure {
    let then = match taken_back {
        Ok(()) => "so it was taken back".to_owned(),
        Err(failure) => {
            format!("and could not be taken back ({failure}): `apikey list` shows it as {id}")
        }
    };
    let message = format!("the new key could not be written to standard output, {then}: {error}");
    Failure::refused("output", message)
}

/// What is written where nobody reads cannot be read again.
pub(crate) fn refuse_to_lose_a_key() -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use std::os::{fd::AsFd as _, unix::fs::MetadataExt as _};
        let out = io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
        let device = out.and_then(|out| out.metadata()).map(|metadata| metadata.rdev());
        let nowhere = std::fs::metadata("/dev/null").map(|metadata| metadata.rdev());
        if let (Ok(device), Ok(nowhere)) = (device, nowhere) {
            if device == nowhere {
                return Err(Failure::refused(
                    "output",
                    "standard output is closed or leads nowhere: the new key would be lost",
                ));
            }
        }
    }
    Ok(())
}
