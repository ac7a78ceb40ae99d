use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    Shared,
    document::{self, At, Document},
    error::Fault,
    follow,
    look::Look,
    write::Writer,
};
use crate::{Keyring, error::ConfigError};

impl Shared {
    pub(super) fn update<T>(
        &self,
        change: impl FnOnce(&Keyring) -> Result<T, ConfigError>,
    ) -> Result<T, At> {
        let of_file = |fault| (fault, None);
        // Once there were keys, a file without any is a mishap, and not to be made anew.
        let may_be_absent = self.create && self.keys.records().next().is_none();
        // A lock beside a file that is not there would be all that is left of this.
        if Look::at(&self.path) == Look::Unseen(ErrorKind::NotFound) && !may_be_absent {
            return Err(of_file(Fault::NoFile));
        }
        let mut writer = Writer::lock(&self.path).map_err(of_file)?;
        let before = Look::at(&self.path);
        if before.is_unlinked() {
            return Err(of_file(Fault::Unlinked));
        }
        // Opening a device may do something, and a socket cannot be opened.
        if before == Look::NotAFile {
            return Err(of_file(Fault::NotAFile));
        }
        let text = writer.read(may_be_absent, self.max_size).map_err(of_file)?;
        let document = if text.is_empty() { Document::default() } else { Document::read(&text)? };
        let keys = self.keyring_for_a_change();
        follow::fill(&keys, document.records().cloned().collect())?;

        let done = change(&keys).map_err(|error| of_file(Fault::Refused(error)))?;

        let changed = document.with(&keys.records().collect::<Vec<_>>());
        // What could not be read back is not written.
        let unreadable = |fault| of_file(Fault::Unreadable(Box::new(fault)));
        if changed.len() as u64 > self.max_size {
            return Err(unreadable(Fault::TooLarge(self.max_size)));
        }
        let records =
            document::records(changed.as_bytes()).map_err(|(fault, _)| unreadable(fault))?;
        let mut taken = self.taken();
        let (written, held) = if changed == document.text() {
            (before, text.as_slice())
        } else {
            (writer.replace(&changed).map_err(of_file)?, changed.as_bytes())
        };
        let is_ours = Look::at(&self.path) == written;
        let was_empty = {
            let status = self.status();
            status.keys == 0 && status.problem.is_none()
        };
        let mut events = Vec::new();
        if is_ours || written != before {
            match follow::fill(&self.keys, records) {
                Ok(()) => {
                    events.extend(self.loaded().filter(|event| event.is_loud() && !was_empty));
                }
                Err(_) => taken.forget(),
            }
        }
        // Whoever came in between with another file, it is for the one who follows to take it.
        if is_ours {
            taken.wrote(written, held);
        } else {
            taken.forget();
        }
        drop((taken, writer));
        events.iter().for_each(|event| self.tell(event));
        Ok(done)
    }

    /// With the clock of the file, in whole seconds: that is how times are written.
    fn keyring_for_a_change(&self) -> Keyring {
        let clock = Arc::clone(&self.clock);
        let keys = Keyring::new().clock(move || {
            let since = clock().duration_since(UNIX_EPOCH).unwrap_or_default();
            UNIX_EPOCH + Duration::from_secs(since.as_secs())
        });
        self.formats.iter().cloned().fold(keys, Keyring::format)
    }
}
