use tokio_postgres::{Error, Row};
use tower_api_key::store::Cursor;

use crate::schema::Version;

/// The statement that [`Server::read`] reads. A standby has no current position of the log.
pub(crate) const SERVER: &str = "SELECT s.version, s.compatible, pg_is_in_recovery(), pg_current_snapshot()::text, \
    CASE WHEN pg_is_in_recovery() THEN '' ELSE concat_ws('/', c.system_identifier, \
    substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), extract(epoch FROM pg_postmaster_start_time()), \
    d.oid, 'api_keys'::regclass::oid, 'api_keys_gone'::regclass::oid) END, \
    extract(epoch FROM clock_timestamp())::bigint, \
    CASE WHEN pg_is_in_recovery() THEN 0 ELSE (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint END, \
    CASE WHEN pg_is_in_recovery() THEN 0 ELSE (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint END \
    FROM api_keys_schema s, pg_control_system() c, pg_database d WHERE d.datname = current_database()";

/// A point in the history of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The cluster, its timeline, its last start, and the tables. Numbers of transactions are comparable only within.
    epoch: String,
    /// When every record was last read, in seconds since 1970 by the clock of the server.
    pub(crate) loaded: i64,
    /// The transactions that were visible.
    snapshot: String,
}

impl Position {
    pub(crate) fn parse(cursor: &Cursor) -> Option<Self> {
        let mut parts = cursor.as_str().split(' ');
        let [epoch, loaded, snapshot] = [parts.next()?, parts.next()?, parts.next()?];
        let loaded = loaded.parse().ok()?;
        let position = Self { epoch: epoch.to_owned(), loaded, snapshot: snapshot.to_owned() };
        let is_snapshot = snapshot.bytes().all(|it| it.is_ascii_digit() || b":,".contains(&it));
        (is_snapshot && position.xmax() > 0 && parts.next().is_none()).then_some(position)
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor::new(format!("{} {} {}", self.epoch, self.loaded, self.snapshot))
    }

    pub(crate) fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// Returns whether all changes between the two are known.
    pub(crate) fn leads_to(&self, later: &Self) -> bool {
        self.epoch == later.epoch && self.xmax() <= later.xmax()
    }

    /// Returns the first number that no transaction had. A snapshot is `xmin:xmax:` and the numbers in progress.
    fn xmax(&self) -> u64 {
        self.snapshot.split(':').nth(1).and_then(|xmax| xmax.parse().ok()).unwrap_or_default()
    }
}

/// The state of the server at the beginning of a transaction.
pub(crate) struct Server {
    pub(crate) version: Version,
    pub(crate) is_standby: bool,
    /// The current position. Its `loaded` is the current time.
    pub(crate) position: Position,
    /// The end of the log, which has each commit before the position.
    inserted: i64,
    /// The end of the durable part of the log.
    flushed: i64,
}

impl Server {
    /// Reads a row of [`SERVER`].
    pub(crate) fn read(row: &Row) -> Result<Self, Error> {
        let version = Version { version: row.try_get(0)?, compatible: row.try_get(1)? };
        let (snapshot, epoch, loaded) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        let position = Position { epoch, loaded, snapshot };
        let (inserted, flushed) = (row.try_get(6)?, row.try_get(7)?);
        Ok(Self { version, is_standby: row.try_get(2)?, position, inserted, flushed })
    }
}

/// Finds the last position that survives a crash of the server.
///
/// A crash can undo transactions of other programs that commit asynchronously, and give their numbers to changes of
/// keys. A position that knows such a transaction would then miss the change.
#[derive(Default)]
pub(crate) struct Durable {
    position: Option<Position>,
    /// A later position, and the end of the log at that time.
    waiting: Option<(Position, i64)>,
}

impl Durable {
    pub(crate) fn starting_at(position: Option<Position>) -> Self {
        Self { position, waiting: None }
    }

    /// Notes a position, and returns the cursor of the last durable one.
    pub(crate) fn note(&mut self, server: &Server) -> Option<Cursor> {
        if server.inserted <= server.flushed {
            self.position = Some(server.position.clone());
            self.waiting = None;
        } else {
            if self.waiting.as_ref().is_some_and(|(_, inserted)| *inserted <= server.flushed) {
                self.position = self.waiting.take().map(|(position, _)| position);
            }
            self.waiting.get_or_insert_with(|| (server.position.clone(), server.inserted));
        }
        self.position.as_ref().map(Position::cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(snapshot: &str) -> Position {
        let epoch = "1/00000001/2/3".to_owned();
        Position { epoch, loaded: 1_000_000, snapshot: snapshot.to_owned() }
    }

    fn server(snapshot: &str, inserted: i64, flushed: i64) -> Server {
        let version = Version { version: 1, compatible: 1 };
        Server { version, is_standby: false, position: position(snapshot), inserted, flushed }
    }

    #[test]
    fn a_cursor_is_read_again() {
        let one = position("10:20:10,14");
        assert_eq!(Position::parse(&one.cursor()), Some(one));
        for text in ["", "1", "a b c", "e 1 1:2:'", "e 1 1:2: x", "e x 1:2:", "e 1 :", "e 1 1"] {
            assert_eq!(Position::parse(&Cursor::new(text)), None, "{text}");
        }
    }

    #[test]
    fn a_position_leads_only_to_a_later_one_of_the_same_epoch() {
        let one = position("10:20:10");
        assert!(one.leads_to(&one) && one.leads_to(&position("10:21:10")));
        assert!(!position("10:21:10").leads_to(&one), "the numbers of transactions went back");
        let other = Position { epoch: "1/00000002/2/3".to_owned(), ..one.clone() };
        assert!(!one.leads_to(&other), "another timeline");
    }

    #[test]
    fn a_position_is_durable_once_the_log_before_it_is() {
        let mut durable = Durable::default();
        assert_eq!(durable.note(&server("1:1:", 50, 40)), None);
        assert_eq!(durable.note(&server("2:2:", 60, 49)), None);
        let first = Some(position("1:1:").cursor());
        assert_eq!(durable.note(&server("3:3:", 70, 50)), first);
        assert_eq!(durable.note(&server("4:4:", 80, 69)), first);
        assert_eq!(durable.note(&server("5:5:", 90, 70)), Some(position("3:3:").cursor()));
        assert_eq!(durable.note(&server("6:6:", 95, 95)), Some(position("6:6:").cursor()));
        assert_eq!(durable.note(&server("7:7:", 99, 95)), Some(position("6:6:").cursor()));
    }
}
