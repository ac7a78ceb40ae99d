//! Prints a new key once, and explains if that fails.

use std::io::{self, Write as _};

use serde_json::Value;
use tower_api_key::{key::MintedKey, store::StoreError};
use zeroize::Zeroizing;

use crate::{Failure, escape};

/// Prints a new key to standard output, alone or as a field of JSON.
pub(crate) fn print_key(minted: MintedKey, record: Option<Value>) -> io::Result<()> {
    let text = minted.reveal(|key| match record {
        Some(mut record) => {
            record["key"] = key.into();
            Zeroizing::new(escape::json(&record) + "\n")
        }
        None => Zeroizing::new(format!("{key}\n")),
    });
    // This writes to the file descriptor. The standard library's handle reports success if the output is
    // not open for writing, and the key would be lost.
    #[cfg(unix)]
    let mut out =
        std::fs::File::from(std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?);
    #[cfg(not(unix))]
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Explains that a key could not be printed, and whether the change was undone.
pub(crate) fn report_unprinted(
    error: &io::Error,
    id: &str,
    undone: Result<(), StoreError>,
) -> Failure {
    let outcome = match undone {
        Ok(()) => "so the change was undone".to_owned(),
        Err(failure) => {
            format!("and the change could not be undone ({failure}), so revoke {id}")
        }
    };
    let message = format!("cannot write the new key to standard output, {outcome}: {error}");
    Failure::rejected("output", message)
}

/// Rejects a standard output that discards the key.
pub(crate) fn require_stdout() -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use std::os::{fd::AsFd as _, unix::fs::MetadataExt as _};
        let out = io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
        let device = out.and_then(|out| out.metadata()).map(|metadata| metadata.rdev());
        let null = std::fs::metadata("/dev/null").map(|metadata| metadata.rdev());
        if let (Ok(device), Ok(null)) = (device, null) {
            if device == null {
                return Err(Failure::rejected(
                    "output",
                    "standard output is closed or discarded, so the new key would be lost",
                ));
            }
        }
    }
    Ok(())
}
