use rusqlite::Connection;
use tower_api_key::store::StoreError;

use crate::{
    database::{Access, Database, Opened},
    schema,
};

impl Database {
    /// Opens a database with the tables of this program. It never creates a file.
    pub(crate) fn open(&self, access: Access) -> Result<Opened, StoreError> {
        self.resume()?;
        let mut opened = self.open_any(access)?;
        opened.version = schema::check(self, &opened.connection)?;
        if access == Access::Write {
            // If other processes read the database now, it keeps its mode, and readers and writers wait for
            // one another.
            _ = set_journal_mode(&opened.connection);
        }
        // The first read has created the files beside the database.
        opened.stamp = self.stamp_after(&opened.stamp)?;
        Ok(opened)
    }

    /// Creates or upgrades the tables of a database, and creates its file. Returns the version before.
    pub(crate) fn migrate(&self) -> Result<Option<u32>, StoreError> {
        self.create()?;
        let mut opened = self.open_any(Access::Write)?;
        let from = schema::migrate(self, &mut opened.connection)?;
        set_journal_mode(&opened.connection).map_err(self.failed("set the journal mode"))?;
        self.checkpoint(&opened);
        Ok(from)
    }
}

/// Sets the mode in which readers do not wait for a writer.
///
/// The file keeps its mode. A file that was exported has another one.
fn set_journal_mode(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", (), |_| Ok(()))
}
