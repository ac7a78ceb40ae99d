//! Builds records from the arguments of `issue` and `import`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_api_key::{
    Client,
    error::{KeyringError, KeyringErrorKind},
    record::Record,
};

use crate::{Failure, args::KeyArgs};

impl KeyArgs {
    /// Rejects a lifetime in which the key would never be valid, and names the option.
    pub(crate) fn check_lifetime(&self) -> Result<(), Failure> {
        let cause = match (self.expires, self.not_before) {
            (Some(end), _) if end <= SystemTime::now() => "--expires is in the past",
            (Some(end), Some(begin)) if end < begin => "--expires is before --not-before",
            _ => return Ok(()),
        };
        let error = KeyringError::from(KeyringErrorKind::Lifetime);
        Err(Failure::rejected(error.kind().as_str(), format!("{error}: {cause}")))
    }

    pub(crate) fn build_client(&self, id: &str) -> Client {
        let client = Client::new(id).with_scopes(&self.scopes);
        self.name.iter().fold(client, |client, name| client.with_name(name))
    }

    /// Sets the times and the note of a record.
    pub(crate) fn complete(&self, record: Record) -> Record {
        // A keyring accepts a record that has expired. On the command line an expiry in the past is a
        // mistake, and the keyring finds it by the time of creation. The file stores whole seconds.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = record.with_created(UNIX_EPOCH + Duration::from_secs(now.as_secs()));
        let record = self.expires.iter().fold(record, |record, time| record.with_expires(*time));
        let record =
            self.not_before.iter().fold(record, |record, time| record.with_not_before(*time));
        self.note.iter().fold(record, |record, note| record.with_note(note))
    }
}
