//! New keys: shown once, or taken back.

use std::{
    io::{self, Write as _},
    time::SystemTime,
};

use tower_api_key::{
    key::MintedKey,
    key_file::{KeyFile, KeyFileError},
};
use zeroize::Zeroizing;

use crate::{Failure, show};

/// Writes a new key to standard output, and nowhere else.
pub(crate) fn hand_out(minted: MintedKey, json: bool, file: &KeyFile) -> io::Result<()> {
    let record = file.record(minted.id());
    let text = minted.reveal(|key| match record.filter(|_| json) {
        Some(record) => {
            let mut shown = show::json(&record, SystemTime::now());
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
    Failure::refused(format!(
        "the new key could not be written to standard output, {then}: {error}"
    ))
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
                    "standard output is closed or leads nowhere: the new key would be lost",
                ));
            }
        }
    }
    Ok(())
}
