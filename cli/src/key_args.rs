//! Arguments about a key, and the records that they build or change.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args as ClapArgs, ValueEnum};
use tower_api_key::{
    Client,
    error::{KeyringError, KeyringErrorKind},
    record::Record,
};

use crate::{Failure, store::Store, time_args};

#[derive(Clone, ClapArgs)]
pub(crate) struct KeyArgs {
    /// A scope of the client. Separate scopes by commas, or repeat the option
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    pub(crate) scopes: Vec<String>,
    /// The name of the client, for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Metadata of the client, such as plan=pro. Repeat the option for more
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = parse_metadata)]
    pub(crate) metadata: Vec<(String, String)>,
    /// When the key expires, such as 90d, 6mo, 1y, 2027-01-31 or 2027-01-31T12:00:00+02:00
    ///
    /// Months and years follow the calendar. One year after 29 February is 28 February. A day ends at
    /// midnight in UTC. A time without an offset is in UTC.
    #[arg(long, value_parser = time_args::parse_end, value_name = "WHEN")]
    pub(crate) expires: Option<SystemTime>,
    /// When the key becomes valid, in the same form as `--expires`. A day begins at midnight in UTC
    #[arg(long, value_parser = time_args::parse_begin, value_name = "WHEN")]
    pub(crate) not_before: Option<SystemTime>,
    /// A note, for people
    #[arg(long)]
    pub(crate) note: Option<String>,
}

/// The fields to change. At least one is required.
#[derive(Clone, ClapArgs)]
#[group(
    required = true,
    multiple = true,
    args = ["scopes", "name", "metadata", "expires", "not_before", "note", "clear"]
)]
pub(crate) struct EditArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Removes a field. Separate fields by commas, or repeat the option
    ///
    /// `--scope` replaces all scopes, and `--meta` replaces one value. To replace all metadata, add `--clear meta`.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub(crate) clear: Vec<Field>,
}

/// A field that can be removed. It has the name of the option that sets it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Field {
    Scope,
    Name,
    Meta,
    Expires,
    NotBefore,
    Note,
}

#[derive(Clone, ClapArgs)]
pub(crate) struct Author {
    /// Who makes the change, for people. The default for a database is the user who is logged in
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Author {
    /// Returns the name, or an empty text.
    ///
    /// A key file has no default, because an older service cannot read a file with this field.
    pub(crate) fn name(&self, store: &Store) -> String {
        let user = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
        let default = || match store.file() {
            Some(_) => None,
            None => ["SUDO_USER", "LOGNAME", "USER"].into_iter().find_map(user),
        };
        self.by.clone().or_else(default).unwrap_or_default()
    }
}

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
        self.complete_client(Client::new(id).with_scopes(&self.scopes))
    }

    /// Sets the times and the note of a record.
    pub(crate) fn complete(&self, record: Record) -> Record {
        // A keyring accepts a record that has expired. On the command line an expiry in the past is a
        // mistake, and the keyring finds it by the time of creation. A key file stores whole seconds.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.set(record.with_created(UNIX_EPOCH + Duration::from_secs(now.as_secs())))
    }

    fn complete_client(&self, client: Client) -> Client {
        let client = self.name.iter().fold(client, |client, name| client.with_name(name));
        let metadata = self.metadata.iter();
        metadata.fold(client, |client, (key, value)| client.with_metadata(key, value))
    }

    fn set(&self, record: Record) -> Record {
        let record = self.expires.iter().fold(record, |record, time| record.with_expires(*time));
        let record =
            self.not_before.iter().fold(record, |record, time| record.with_not_before(*time));
        self.note.iter().fold(record, |record, note| record.with_note(note))
    }
}

impl EditArgs {
    /// Removes fields of a record, and sets others.
    pub(crate) fn edit(&self, record: Record) -> Record {
        let is_cleared = |field| self.clear.contains(&field);
        let old = record.client();
        let mut client = Client::new(old.id());
        if !self.key.scopes.is_empty() {
            client = client.with_scopes(&self.key.scopes);
        } else if !is_cleared(Field::Scope) {
            client = client.with_scopes(old.scopes());
        }
        if let Some(name) = old.name().filter(|_| !is_cleared(Field::Name)) {
            client = client.with_name(name);
        }
        if !is_cleared(Field::Meta) {
            let metadata = old.metadata_entries();
            client = metadata.fold(client, |client, (key, value)| client.with_metadata(key, value));
        }
        let mut record = record.with_client(self.key.complete_client(client));
        if is_cleared(Field::Expires) {
            record = record.with_expires(None);
        }
        if is_cleared(Field::NotBefore) {
            record = record.with_not_before(None);
        }
        if is_cleared(Field::Note) {
            record = record.with_note("");
        }
        self.key.set(record)
    }
}

fn parse_metadata(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or("expected a key and a value, such as plan=pro")?;
    Ok((key.to_owned(), value.to_owned()))
}
