use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    Shared,
    applied::replace_keys,
    document::{self, At, Document},
    error::Fault,
    file_stamp::FileStamp,
    writer::Writer,
};
use crate::{Keyring, KeyringBuilder, error::KeyringError};

impl Shared {
    /// Makes a change. Returns its result with the version of the keys in memory.
    pub(super) fn update<T>(
        &self,
        change: impl FnOnce(&Keyring) -> Result<T, KeyringError>,
    ) -> Result<(T, u64), At> {
        let of_file = |fault| (fault, None);
        // If there were keys before, a missing file is a mistake. A change must not create it again.
        let may_be_absent = self.create && self.keys.records().next().is_none();
        // If the file is missing, this must not create a lock beside it.
        let is_missing =
            FileStamp::of_path(&self.path) == FileStamp::Unavailable(ErrorKind::NotFound);
        if is_missing && !may_be_absent {
            return Err(of_file(Fault::NoFile));
        }
        let mut writer = Writer::lock(&self.path).map_err(of_file)?;
        let before = FileStamp::of_path(&self.path);
        if before.is_unlinked() {
            return Err(of_file(Fault::Unlinked));
        }
        // Opening a device can have side effects, and a socket cannot be opened.
        if before == FileStamp::NotAFile {
            return Err(of_file(Fault::NotAFile));
        }
        let text = writer.read(may_be_absent, self.max_size).map_err(of_file)?;
        let document = if text.is_empty() { Document::default() } else { Document::read(&text)? };
        let keys = self.keyring_for_update();
        replace_keys(&keys, document.records().cloned().collect())?;

        let done = change(&keys).map_err(|error| of_file(Fault::Refused(error)))?;

        let changed = document.with(&keys.records().collect::<Vec<_>>());
        let unreadable = |fault| of_file(Fault::Unreadable(Box::new(fault)));
        if changed.len() as u64 > self.max_size {
            return Err(unreadable(Fault::TooLarge(self.max_size)));
        }
        let records =
            document::records(changed.as_bytes()).map_err(|(fault, _)| unreadable(fault))?;
        let mut applied = self.applied();
        let (written, content) = if changed == document.text() {
            (before, text.as_slice())
        } else {
            (writer.replace(&changed).map_err(of_file)?, changed.as_bytes())
        };
        let is_current = FileStamp::of_path(&self.path) == written;
        let was_empty = {
            let status = self.status();
            status.keys == 0 && status.problem.is_none()
        };
        let mut events = Vec::new();
        if is_current || written != before {
            match self.set_keys(&mut applied, records) {
                Ok(()) => {
                    let event = self.set_loaded();
                    events
                        .extend((event.matters_after_own_change() && !was_empty).then_some(event));
                }
                Err(_) => applied.invalidate(),
            }
        }
        // If another program has replaced the file meanwhile, the follower reads it.
        if is_current {
            applied.set_written(written, content);
        } else {
            applied.invalidate();
        }
        let version = applied.version;
        drop((applied, writer));
        events.iter().for_each(|event| self.emit(event));
        #[cfg(feature = "store")]
        self.notify(version);
        Ok((done, version))
    }

    /// Returns an empty keyring whose clock has whole seconds, as times in the file do.
    fn keyring_for_update(&self) -> Keyring {
        let clock = Arc::clone(&self.clock);
        let keys = Keyring::builder().clock(move || {
            let since = clock().duration_since(UNIX_EPOCH).unwrap_or_default();
            UNIX_EPOCH + Duration::from_secs(since.as_secs())
        });
        self.formats.iter().cloned().fold(keys, KeyringBuilder::format).build()
    }
}
